//! nginx as a reverse proxy with one worker: keep-alive on both sides, no log.
//!
//! The calling side checks the root and the DNS name of the called one; the called side checks the
//! root only, for nginx cannot read the URI in a certificate.

use super::{Hops, Launch, Site, free_address};
use crate::certificates::WEB_NAME;
use anyhow::Result;
use std::fs;
use std::net::SocketAddr;

const ACCEPT_TLS: &str = " ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate web.pem;
        ssl_certificate_key web.key;
        ssl_client_certificate roots.pem;
        ssl_verify_client on";

pub fn launches(site: &Site<'_>) -> Result<Vec<Launch>> {
    let outbound = free_address()?;
    let plain = "proxy_pass http://web";
    if site.hops == Hops::One {
        return Ok(vec![launch(site, "outbound", outbound, "", site.backend, plain)?]);
    }
    let inbound = free_address()?;
    let pass_on = format!(
        "proxy_pass https://web;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_certificate client.pem;
            proxy_ssl_certificate_key client.key;
            proxy_ssl_trusted_certificate roots.pem;
            proxy_ssl_verify on;
            proxy_ssl_name {WEB_NAME};
            proxy_ssl_server_name on"
    );
    Ok(vec![
        launch(site, "inbound", inbound, ACCEPT_TLS, site.backend, plain)?,
        launch(site, "outbound", outbound, "", inbound, &pass_on)?,
    ])
}

fn launch(
    site: &Site<'_>,
    role: &'static str,
    listen: SocketAddr,
    listen_options: &str,
    upstream: SocketAddr,
    pass_on: &str,
) -> Result<Launch> {
    // nginx closes a connection after 1,000 requests by default, which here would be every few
    // milliseconds.
    let configuration = format!(
        "daemon off;
worker_processes 1;
pid nginx-{role}.pid;
error_log stderr warn;
events {{
    worker_connections 4096;
}}
http {{
    access_log off;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    upstream web {{
        server {upstream};
        keepalive 128;
        keepalive_timeout 1h;
        keepalive_requests 1000000000;
        keepalive_time 24h;
    }}
    server {{
        listen {listen}{listen_options};
        location / {{
            {pass_on};
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
        }}
    }}
}}
"
    );
    fs::create_dir_all(site.folder.join("temporary"))?;
    let file = site.write(&format!("nginx-{role}.conf"), &configuration)?;
    let mut command = site.command();
    command.args(["-e", "stderr", "-p"]).arg(site.folder).arg("-c").arg(site.folder.join(file));
    Ok(Launch::proxy(role, listen, command, configuration))
}
