//! The proxies that are compared: how each is configured and started for a scenario.
//!
//! All get one worker thread and the same work. Configurations name files relative to the folder
//! they lie in, which is where the proxy is started, so that they can be read in the results
//! without this machine's paths.

use crate::install::{self, Places};
use crate::scenario::Scenario;
use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

mod envoy;
mod haproxy;
mod nginx;
mod weft;

/// A proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// The one this is all about.
    Weft,
    /// One worker, as a reverse proxy.
    Nginx,
    /// One thread.
    Haproxy,
    /// `--concurrency 1`.
    Envoy,
}

/// What the proxies are told the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// Bytes.
    Tcp,
}

/// How many proxies there are between client and backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hops {
    /// One, plain text on both sides.
    One,
    /// Two, mTLS 1.3 between them, both checking the other's certificate.
    TwoWithMtls,
}

/// What is decided about each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Nothing.
    None,
    /// At the caller's proxy, [`CANARIES`] rules of a prefix and a header that no request has, then
    /// one of the prefix alone, which sets a header, takes one out, and adds one to the answer; at
    /// the called one's, [`GRANTS`] rules of who may do what, of which the last allows it.
    Mesh,
}

/// How many rules with a header there are before the one that matches.
pub const CANARIES: usize = 20;
/// How many rules there are of who may do what.
pub const GRANTS: usize = 10;
/// What the rules add to an answer.
pub const MARK: &str = "x-served-by: web";
/// Where requests go, by the rules.
pub const PREFIX: &str = "/items";

/// What a peer has to know to write its configuration.
pub struct Site<'a> {
    /// The peer's program.
    pub program: &'a Path,
    /// Where configuration, certificates and logs lie; the working folder of the proxies.
    pub folder: &'a Path,
    /// Where the backend listens.
    pub backend: SocketAddr,
    /// What the bytes are.
    pub protocol: Protocol,
    /// How many proxies.
    pub hops: Hops,
    /// What is decided.
    pub rules: Rules,
}

/// One process to be started.
pub struct Launch {
    /// `outbound` or `inbound`, or what it does beside the proxies.
    pub role: &'static str,
    /// Whether it is one of the proxies, which are measured.
    pub is_proxy: bool,
    /// What is run to its end before.
    pub before: Vec<Command>,
    /// Where it will listen.
    pub listen: SocketAddr,
    /// How it is started.
    pub command: Command,
    /// The text of its configuration.
    pub configuration: String,
}

impl Launch {
    fn proxy(
        role: &'static str,
        listen: SocketAddr,
        command: Command,
        configuration: String,
    ) -> Self {
        Self { role, is_proxy: true, before: Vec::new(), listen, command, configuration }
    }
}

impl Peer {
    /// The name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// Whether the peer can do it at all.
    pub fn supports(self, scenario: Scenario) -> bool {
        // Debian's nginx-light has no stream module, and no nginx has rules of a mesh's kind.
        self != Self::Nginx
            || (scenario.protocol() == Protocol::Http && scenario.rules() == Rules::None)
    }

    /// The version of `program`, as it says itself, or for Weft the commit it was built from.
    pub fn version(self, program: &Path, places: &Places) -> Result<String> {
        match self {
            Self::Weft => Ok(weft::version(places)),
            Self::Nginx => install::version(program, "-v"),
            Self::Haproxy => install::version(program, "-v"),
            Self::Envoy => install::version(program, "--version").map(|said| envoy::version(&said)),
        }
    }

    /// Writes the configurations; the proxies are to be started in this order, and the last one
    /// faces the client.
    pub fn launches(self, site: &Site<'_>) -> Result<Vec<Launch>> {
        match self {
            Self::Weft => weft::launches(site),
            Self::Nginx => nginx::launches(site),
            Self::Haproxy => haproxy::launches(site),
            Self::Envoy => envoy::launches(site),
        }
    }
}

impl Site<'_> {
    /// Writes `text` as the configuration file `name`.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(PathBuf::from(name))
    }

    /// The peer's program, to be started in the folder of its configuration.
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.current_dir(self.folder);
        command
    }
}

/// An address of 127.0.0.1 whose port is free, below those the kernel gives to outgoing
/// connections.
fn free_address() -> Result<SocketAddr> {
    const FIRST: u16 = 18_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no port from {FIRST} on is free")
}
