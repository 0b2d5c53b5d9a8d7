//! The one binary: each command of `weft` is a module here.
//!
//! Deliberately absent: a copy of any rule. Commands read what users write, wire the crates
//! together, and print.

mod proxy;

use clap::{Parser, Subcommand};

/// A service mesh: encrypted, observable, controllable traffic between services.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a proxy with explicit listeners and given certificates.
    Proxy(proxy::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Proxy(arguments) => proxy::run(&arguments),
    }
}
