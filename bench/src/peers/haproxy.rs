//! HAProxy with one thread: upstream connections shared between clients, no log.
//!
//! The calling side checks the root and the DNS name of the called one; the called side checks the
//! root only, for HAProxy 2.6 cannot read the URI in a certificate.

use super::{Hops, Launch, Protocol, Site, free_address};
use crate::certificates::WEB_NAME;
use anyhow::Result;
use std::net::SocketAddr;

pub fn launches(site: &Site<'_>) -> Result<Vec<Launch>> {
    let outbound = free_address()?;
    if site.hops == Hops::One {
        return Ok(vec![launch(site, "outbound", outbound, "", site.backend, "")?]);
    }
    let inbound = free_address()?;
    let accept = " ssl crt web-both.pem ca-file roots.pem verify required";
    let connect = format!(
        " ssl crt client-both.pem ca-file roots.pem verify required verifyhost {WEB_NAME} sni str({WEB_NAME})"
    );
    Ok(vec![
        launch(site, "inbound", inbound, accept, site.backend, "")?,
        launch(site, "outbound", outbound, "", inbound, &connect)?,
    ])
}

fn launch(
    site: &Site<'_>,
    role: &'static str,
    listen: SocketAddr,
    bind_options: &str,
    upstream: SocketAddr,
    server_options: &str,
) -> Result<Launch> {
    let (mode, only_in_mode) = match site.protocol {
        Protocol::Http => ("http", "http-reuse always"),
        Protocol::Tcp => ("tcp", "option splice-auto"),
    };
    let configuration = format!(
        "global
    nbthread 1
    maxconn 4096
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3
defaults
    mode {mode}
    {only_in_mode}
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend {role}
    bind {listen}{bind_options}
    default_backend web
backend web
    server web-1 {upstream}{server_options}
"
    );
    let file = site.write(&format!("haproxy-{role}.cfg"), &configuration)?;
    let mut command = site.command();
    command.arg("-db").arg("-f").arg(file);
    Ok(Launch { role, listen, command, configuration })
}
