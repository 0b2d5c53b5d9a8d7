//! nginx as a reverse proxy with one worker: keep-alive on both sides, no log.

use super::{Launch, Site, free_address};
use anyhow::Result;
use std::fs;

pub fn launches(site: &Site<'_>) -> Result<Vec<Launch>> {
    let listen = free_address()?;
    let backend = site.backend;
    // nginx closes a connection after 1,000 requests by default, which here would be every few
    // milliseconds.
    let configuration = format!(
        "daemon off;
worker_processes 1;
pid nginx.pid;
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
        server {backend};
        keepalive 128;
        keepalive_timeout 1h;
        keepalive_requests 1000000000;
        keepalive_time 24h;
    }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
        }}
    }}
}}
"
    );
    fs::create_dir_all(site.folder.join("temporary"))?;
    let file = site.write("nginx.conf", &configuration)?;
    let mut command = site.command();
    command.args(["-e", "stderr", "-p"]).arg(site.folder).arg("-c").arg(site.folder.join(file));
    Ok(vec![Launch { role: "outbound", listen, command, configuration }])
}
