//! HAProxy with one thread: upstream connections shared between clients, no log.
//!
//! The calling side checks the root and the DNS name of the called one; the called side checks the
//! root only, for HAProxy 2.6 cannot read the URI in a certificate.

use super::{CANARIES, GRANTS, Hops, Launch, PREFIX, Protocol, Rules, Site, free_address};
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
    let (decided, changed) = match (site.rules, role) {
        (Rules::None, _) => ("    default_backend web\n".to_owned(), ""),
        (Rules::Mesh, "outbound") => (routes(), CHANGES),
        (Rules::Mesh, _) => (grants(), ""),
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
{decided}backend web
{changed}    server web-1 {upstream}{server_options}
"
    );
    let file = site.write(&format!("haproxy-{role}.cfg"), &configuration)?;
    let mut command = site.command();
    command.arg("-db").arg("-f").arg(file);
    Ok(Launch::proxy(role, listen, command, configuration))
}

const CHANGES: &str = "    http-request set-header x-env prod
    http-request del-header x-debug
    http-response add-header x-served-by web
";

fn routes() -> String {
    let canary = |index| {
        format!(
            "    use_backend web if {{ path_beg {PREFIX}/ }} {{ req.hdr(x-canary) -m str v{index} }}\n"
        )
    };
    let canaries: String = (0..CANARIES).map(canary).collect();
    format!("{canaries}    use_backend web if {{ path_beg {PREFIX}/ }}\n")
}

/// What may be done, but not by whom, which it cannot tell.
fn grants() -> String {
    let acl = |prefix: String| format!("    acl is_granted path_beg {prefix}/\n");
    let granted: String = (1..GRANTS).map(|index| acl(format!("/area-{index}"))).collect();
    let last = acl(PREFIX.to_owned());
    format!(
        "{granted}{last}    http-request deny unless METH_GET is_granted\n    default_backend web\n"
    )
}
