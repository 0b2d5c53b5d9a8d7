//! Envoy with one worker: static configuration, its default statistics and request ids, no access
//! log.
//!
//! Statistics and ids stay on, though Envoy's benchmarking guide turns them off, since a mesh needs
//! both and Weft is measured with both.

use super::{Hops, Launch, Protocol, Site, free_address};
use crate::certificates::{CLIENT_ID, WEB_ID};
use anyhow::Result;
use std::net::SocketAddr;

/// The release out of `/a/path/envoy  version: commit/1.40.0/Clean/RELEASE/BoringSSL`.
pub fn version(said: &str) -> String {
    let build = said.rsplit("version: ").next().unwrap_or(said);
    let release = build.split('/').nth(1).unwrap_or(build);
    format!("Envoy {release}")
}

pub fn launches(site: &Site<'_>) -> Result<Vec<Launch>> {
    let outbound = free_address()?;
    if site.hops == Hops::One {
        return Ok(vec![launch(site, "outbound", outbound, "", site.backend, "")?]);
    }
    let inbound = free_address()?;
    let accept =
        transport_socket("Downstream", "web", CLIENT_ID, "require_client_certificate: true");
    let connect = transport_socket("Upstream", "client", WEB_ID, "sni: web.shop.test");
    let accept = indent(&accept, 4);
    let connect = indent(&connect, 4);
    Ok(vec![
        launch(site, "inbound", inbound, &accept, site.backend, "")?,
        launch(site, "outbound", outbound, "", inbound, &connect)?,
    ])
}

fn transport_socket(side: &str, own: &str, other_id: &str, also: &str) -> String {
    format!(
        "transport_socket:
  name: tls
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext
    {also}
    common_tls_context:
      tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}
      tls_certificates:
      - certificate_chain: {{ filename: {own}.pem }}
        private_key: {{ filename: {own}.key }}
      validation_context:
        trusted_ca: {{ filename: roots.pem }}
        match_typed_subject_alt_names:
        - san_type: URI
          matcher: {{ exact: {other_id} }}
"
    )
}

const HTTP_FILTER: &str = "- name: http
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
    stat_prefix: web
    route_config:
      virtual_hosts:
      - name: web
        domains: [\"*\"]
        routes:
        - match: { prefix: / }
          route: { cluster: web }
    http_filters:
    - name: router
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
";

const TCP_FILTER: &str = "- name: tcp
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
    stat_prefix: web
    cluster: web
";

fn launch(
    site: &Site<'_>,
    role: &'static str,
    listen: SocketAddr,
    accept_tls: &str,
    upstream: SocketAddr,
    connect_tls: &str,
) -> Result<Launch> {
    let filter = match site.protocol {
        Protocol::Http => indent(HTTP_FILTER, 6),
        Protocol::Tcp => indent(TCP_FILTER, 6),
    };
    let configuration = format!(
        "static_resources:
  listeners:
  - name: {role}
    address: {{ socket_address: {{ address: {}, port_value: {} }} }}
    filter_chains:
    - filters:
{filter}{}  clusters:
  - name: web
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: web
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{ socket_address: {{ address: {}, port_value: {} }} }}
{connect_tls}",
        listen.ip(),
        listen.port(),
        indent(accept_tls, 2),
        upstream.ip(),
        upstream.port(),
    );
    let file = site.write(&format!("envoy-{role}.yaml"), &configuration)?;
    let mut command = site.command();
    command.arg("-c").arg(file).args(["--concurrency", "1", "--log-level", "warning"]);
    command.args(["--disable-hot-restart"]);
    Ok(Launch { role, listen, command, configuration })
}

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}
