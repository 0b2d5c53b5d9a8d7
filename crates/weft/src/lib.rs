//! The one binary: each command of `weft` is a module here.
//!
//! Deliberately absent: a copy of any rule. Commands read what users write, wire the crates
//! together, and print.

// A pipe that nobody reads must not make a command panic: `output` knows what to do, and `say!`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod access;
mod admin;
mod ca;
mod check;
mod control;
mod demo;
mod explain;
mod files;
mod joined;
mod name_servers;
mod output;
mod overload;
mod proxy;
mod resources;
mod run;
mod status;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weft_identity::SystemRoots;
use weft_wire::Release;

/// A service mesh: encrypted, observable, controllable traffic between services.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// See a small mesh of separate processes at work on this machine.
    Demo(demo::Arguments),
    /// A service of the demo's shop.
    #[command(hide = true)]
    DemoService(demo::shop::Arguments),
    /// A process of the demo, which ends with it.
    #[command(hide = true)]
    DemoProcess(demo::processes::Arguments),
    /// Say what is wrong with resources in files, without any control plane.
    Check(check::Arguments),
    /// Make resources as files say.
    Apply(resources::Apply),
    /// Show resources.
    Get(resources::Select),
    /// Delete a resource.
    Delete(resources::Delete),
    /// Show resources, and then what changes.
    Watch(resources::Select),
    /// Show the proxies that are connected, and how far they are.
    Status(status::Arguments),
    /// Say what the mesh would do with a request, step by step, and what made it so.
    Explain(explain::Arguments),
    /// Make a join token, by which a proxy gets its identity.
    Token(resources::Token),
    /// See and change what the certificate authority trusts.
    Ca(ca::Arguments),
    /// Run the control plane of a mesh outside Kubernetes.
    Control(control::Arguments),
    /// Run a command in a network of its own, whose only way in and out is the mesh.
    Run(Box<run::Arguments>),
    /// Run a proxy with explicit listeners, for which no rights are needed.
    Proxy(proxy::Arguments),
}

/// Does what `arguments` say, of which the first is the name of the program. Its proxies are of
/// `release`.
pub fn main(arguments: impl IntoIterator<Item = OsString>, release: Release) -> ExitCode {
    let code = run(Arguments::parse_from(arguments).command, release);
    // The last lines are still on their way.
    weft_telemetry::lines::finish();
    code
}

/// Whom this system trusts.
fn system_roots() -> SystemRoots {
    SystemRoots::new(std::env::var_os("SSL_CERT_FILE").map(PathBuf::from))
}

fn run(command: Command, release: Release) -> ExitCode {
    let result = match command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoService(arguments) => demo::shop::run(&arguments),
        Command::DemoProcess(arguments) => demo::processes::become_weft(&arguments),
        Command::Check(arguments) => return check::run(&arguments),
        Command::Apply(arguments) => resources::apply(&arguments),
        Command::Get(arguments) => resources::get(&arguments),
        Command::Delete(arguments) => resources::delete(&arguments),
        Command::Watch(arguments) => resources::watch(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Explain(arguments) => return explain::run(&arguments),
        Command::Token(arguments) => resources::token(&arguments),
        Command::Ca(arguments) => ca::run(&arguments),
        Command::Control(arguments) => control::run(&arguments),
        Command::Proxy(arguments) => proxy::run(&arguments, release),
        Command::Run(arguments) => match run::run(&arguments, release) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            weft_control::say!("{}", explained(&error).trim_end());
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, and why, each cause once: some errors say what is below them, some do not.
fn explained(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !said.contains(&cause) {
            let lead = match text.is_empty() {
                // Findings in files have a head of their own, as those of a compiler.
                true if ["error: ", "warning: "].iter().any(|head| cause.starts_with(head)) => "",
                true => "weft: ",
                false => "  because: ",
            };
            text.push_str(&format!("{lead}{}\n", cause.trim_end()));
        }
        said = cause;
    }
    // What others have written is in it, who may be nobody's friend.
    let is_layout = |c: char| c == '\n' || c == '\t';
    text.split_inclusive(is_layout)
        .map(|part| match part.strip_suffix(is_layout) {
            Some(line) => weft_crd::harmless(line) + &part[line.len()..],
            None => weft_crd::harmless(part),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    const DEFAULTS: &str = include_str!("../../../docs/defaults.md");

    /// The defaults of `command` and of those below it that have no row of the page, which names
    /// flag, command and value.
    fn untold(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for argument in command.get_arguments().filter(|one| one.get_action().takes_values()) {
            let Some(flag) = argument.get_long() else { continue };
            let values: Vec<_> =
                argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            let is_row = |line: &&str| {
                line.starts_with("| ")
                    && line.contains(&format!("`--{flag}`"))
                    && line.contains(&format!("`{path}`"))
                    && values.iter().all(|value| line.contains(&**value))
            };
            if !values.is_empty() && !DEFAULTS.lines().any(|line| is_row(&line)) {
                found.push(format!("`--{flag}` of `{path}`: {}", values.join(" ")));
            }
        }
        for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            untold(command, &format!("{path} {}", command.get_name()), found);
        }
    }

    #[test]
    fn what_went_wrong_drives_no_terminal() {
        let error = anyhow::anyhow!("no key `\u{1b}[31m`").context("one\n\ttwo \u{202e}");
        let expected = "weft: one\n\ttwo \\u{202e}\n  because: no key `\\u{1b}[31m`\n";
        assert_eq!(explained(&error), expected);
        // What has a head of its own keeps it.
        let refusal = anyhow::anyhow!("warning: spec: a\n\nerror: spec: b\n");
        assert_eq!(explained(&refusal), "warning: spec: a\n\nerror: spec: b\n");
    }

    #[test]
    fn the_page_of_defaults_has_those_of_all_flags() {
        let mut found = Vec::new();
        untold(&Arguments::command(), "weft", &mut found);
        assert!(found.is_empty(), "docs/defaults.md lacks {found:#?}");
    }

    #[test]
    fn each_cause_is_said_once() {
        let error = anyhow::anyhow!("no such file")
            .context("cannot read a.pem: no such file")
            .context("the proxy cannot start");
        let expected = "weft: the proxy cannot start\n  because: cannot read a.pem: no such file\n";
        assert_eq!(explained(&error), expected);
        let findings = "error: spec.x: unknown field\n --> a.yaml:3:5";
        assert_eq!(explained(&anyhow::anyhow!(findings)), format!("{findings}\n"));
    }
}
