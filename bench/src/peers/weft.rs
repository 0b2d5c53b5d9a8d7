//! Weft, as its users get it.
//!
//! The calling side asks for the exact identity of the called one. The called side takes every
//! identity that the root vouches for: the file has no way yet to name those that are allowed.

use super::{Hops, Launch, Protocol, Site, free_address};
use crate::certificates::WEB_ID;
use crate::install::Places;
use anyhow::Result;
use std::process::Command;

/// The workspace's version and the commit, marked when there were changes on top of it or when the
/// build is not the one that is shipped.
pub fn version(places: &Places) -> String {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        let output = git.arg("-C").arg(&places.workspace).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let mut version = env!("CARGO_PKG_VERSION").to_owned();
    if let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) {
        let sources =
            ["status", "--porcelain", "--untracked-files=no", "--", "crates", "Cargo.lock"];
        let changed = git(&sources).is_none_or(|changes| !changes.is_empty());
        version += &format!(" ({commit}{})", if changed { " with changes" } else { "" });
    }
    match places.profile() {
        "dist" => version,
        profile => version + &format!(", built with profile {profile}: its figures mean nothing"),
    }
}

pub fn launches(site: &Site<'_>) -> Result<Vec<Launch>> {
    let outbound = free_address()?;
    let backend = site.backend;
    let protocol = match site.protocol {
        Protocol::Http => "http",
        Protocol::Tcp => "tcp",
    };
    if site.hops == Hops::One {
        let text = format!(
            "outbound:
- listen: {outbound}
  protocol: {protocol}
  endpoints:
  - address: {backend}
"
        );
        return Ok(vec![launch(site, "outbound", outbound, text)?]);
    }
    let inbound = free_address()?;
    let called = format!(
        "identity:
  certificates: web.pem
  key: web.key
  roots: roots.pem
inbound:
- listen: {inbound}
  workload: shop/web-1
  ports:
  - {{ port: 80, protocol: {protocol}, application: {backend} }}
"
    );
    let calling = format!(
        "identity:
  certificates: client.pem
  key: client.key
  roots: roots.pem
outbound:
- listen: {outbound}
  protocol: {protocol}
  endpoints:
  - tunnel: {inbound}
    identity: {WEB_ID}
    workload: shop/web-1
    port: 80
"
    );
    Ok(vec![
        launch(site, "inbound", inbound, called)?,
        launch(site, "outbound", outbound, calling)?,
    ])
}

fn launch(
    site: &Site<'_>,
    role: &'static str,
    listen: std::net::SocketAddr,
    configuration: String,
) -> Result<Launch> {
    let file = site.write(&format!("weft-{role}.yaml"), &configuration)?;
    let mut command = site.command();
    command.args(["proxy", "--config"]).arg(file);
    Ok(Launch { role, listen, command, configuration })
}
