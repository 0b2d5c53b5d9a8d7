//! Envoy with one worker: static configuration, its default statistics and request ids, no access
//! log.
//!
//! Statistics and ids stay on, though Envoy's benchmarking guide turns them off, since a mesh needs
//! both and Weft is measured with both.

use super::{CANARIES, GRANTS, Hops, Launch, PREFIX, Protocol, Rules, Site, free_address};
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

/// The connection manager with `routes` and, before the router, `filters`.
fn http_filter(routes: &str, filters: &str) -> String {
    format!(
        "- name: http
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
    stat_prefix: web
    route_config:
      virtual_hosts:
      - name: web
        domains: [\"*\"]
        routes:
{routes}    http_filters:
{filters}    - name: router
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"
    )
}

const EVERYTHING: &str = "        - match: { prefix: / }
          route: { cluster: web }
";

fn routes() -> String {
    let canary = |index| {
        format!(
            "        - match:
            path_separated_prefix: {PREFIX}
            headers: [{{ name: x-canary, string_match: {{ exact: v{index} }} }}]
          route: {{ cluster: web }}
"
        )
    };
    let canaries: String = (0..CANARIES).map(canary).collect();
    format!(
        "{canaries}        - match: {{ path_separated_prefix: {PREFIX} }}
          route: {{ cluster: web }}
          request_headers_to_add:
          - header: {{ key: x-env, value: prod }}
            append_action: OVERWRITE_IF_EXISTS_OR_ADD
          request_headers_to_remove: [x-debug]
          response_headers_to_add:
          - header: {{ key: x-served-by, value: web }}
"
    )
}

fn grants() -> String {
    let grant = |name: String, prefix: &str| {
        format!(
            "          {name}:
            permissions:
            - and_rules:
                rules:
                - header: {{ name: \":method\", string_match: {{ exact: GET }} }}
                - url_path: {{ path: {{ prefix: {prefix}/ }} }}
            principals:
            - authenticated: {{ principal_name: {{ exact: \"{CLIENT_ID}\" }} }}
"
        )
    };
    let areas = 1..GRANTS;
    let granted: String =
        areas.map(|index| grant(format!("area-{index}"), &format!("/area-{index}"))).collect();
    let last = grant("items".to_owned(), PREFIX);
    format!(
        "    - name: rbac
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
        rules:
          action: ALLOW
          policies:
{}",
        indent(&format!("{granted}{last}"), 2)
    )
}

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
        Protocol::Http => {
            let (routes, filters) = match (site.rules, role) {
                (Rules::None, _) => (EVERYTHING.to_owned(), String::new()),
                (Rules::Mesh, "outbound") => (routes(), String::new()),
                (Rules::Mesh, _) => (EVERYTHING.to_owned(), grants()),
            };
            indent(&http_filter(&routes, &filters), 6)
        }
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
    Ok(Launch::proxy(role, listen, command, configuration))
}

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}
