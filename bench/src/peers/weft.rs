//! Weft, as its users get it.
//!
//! The calling side asks for the exact identity of the called one. The called side takes every
//! identity that the root vouches for: the file has no way yet to name those that are allowed.

use super::{CANARIES, GRANTS, Hops, Launch, PREFIX, Protocol, Rules, Site, free_address};
use crate::certificates::WEB_ID;
use crate::install::Places;
use anyhow::{Context, Result};
use std::fs::{self, File};
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
    if site.rules == Rules::Mesh {
        return in_a_mesh(site);
    }
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
    Ok(Launch::proxy(role, listen, command, configuration))
}

const DATA: &str = "weft-data";
const CREDENTIAL: &str = "weft-data/admin";

/// A pair that follows a control plane, which has the rules.
fn in_a_mesh(site: &Site<'_>) -> Result<Vec<Launch>> {
    for directory in [DATA, "weft-called", "weft-calling"] {
        let directory = site.folder.join(directory);
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("removing {}", directory.display()))?;
        }
    }
    let (control, inbound, outbound) = (free_address()?, free_address()?, free_address()?);
    let backend = site.backend;
    let resources = resources();
    let rules = site.write("weft-rules.yaml", &resources)?;
    let mut command = site.command();
    command.args(["control", "--data", DATA, "--listen", &control.to_string()]);
    let is_proxy = false;
    let control = Launch {
        role: "control",
        is_proxy,
        before: vec![],
        listen: control,
        command,
        configuration: resources,
    };
    let mut apply = site.command();
    apply.args(["apply", "--credential", CREDENTIAL, "-f"]).arg(rules);
    let called = format!(
        "identity: {{ joinToken: web.token, serviceAccount: shop/web, services: [shop/web] }}
data: weft-called
workload:
  name: shop/web-1
  services: [shop/web]
  listen: {inbound}
  ports:
  - {{ port: 80, protocol: http, application: {backend} }}
"
    );
    let calling = format!(
        "identity: {{ joinToken: client.token, serviceAccount: shop/client }}
data: weft-calling
outbound:
- {{ listen: {outbound}, service: shop/web, port: 80 }}
"
    );
    let mut called = launch(site, "inbound", inbound, called)?;
    called.before = vec![apply, token(site, "web", &["--service", "shop/web"])?];
    let mut calling = launch(site, "outbound", outbound, calling)?;
    calling.before = vec![token(site, "client", &[])?];
    Ok(vec![control, called, calling])
}

/// Has a join token for the service account `name` written into a file.
fn token(site: &Site<'_>, name: &str, more: &[&str]) -> Result<Command> {
    let file = site.folder.join(format!("{name}.token"));
    let file = File::create(&file).with_context(|| format!("creating {}", file.display()))?;
    let mut command = site.command();
    let account = format!("shop/{name}");
    command.args(["token", "--credential", CREDENTIAL, "--service-account", &account]);
    command.args(more).stdout(file);
    Ok(command)
}

/// The rules. A route may have 16 of them.
fn resources() -> String {
    let route = |name: &str, rules: &str| {
        format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: {name}, namespace: shop }}
spec:
  parentRefs: [{{ group: \"\", kind: Service, name: web, port: 80 }}]
  rules:
{rules}"
        )
    };
    let canary = |index: usize| {
        let rules = format!(
            "  - matches:
    - path: {{ type: PathPrefix, value: {PREFIX} }}
      headers: [{{ name: x-canary, value: v{index} }}]
    backendRefs: [{{ name: web, port: 80 }}]
"
        );
        route(&format!("canary-{index}"), &rules)
    };
    let canaries: String = (0..CANARIES).map(canary).collect();
    let items = route(
        "items",
        &format!(
            "  - matches: [{{ path: {{ type: PathPrefix, value: {PREFIX} }} }}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {{ set: [{{ name: x-env, value: prod }}], remove: [x-debug] }}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {{ add: [{{ name: x-served-by, value: web }}] }}
    backendRefs: [{{ name: web, port: 80 }}]
"
        ),
    );
    let grant = |prefix: &str| {
        format!(
            "  - {{ from: [{{ serviceAccount: shop/client }}], to: [{{ methods: [GET], paths: [\"{prefix}/*\"] }}] }}
"
        )
    };
    let areas: String = (1..GRANTS).map(|index| grant(&format!("/area-{index}"))).collect();
    let last = grant(PREFIX);
    format!(
        "apiVersion: v1
kind: Service
metadata: {{ name: web, namespace: shop }}
spec: {{ selector: {{ app: web }}, ports: [{{ port: 80, appProtocol: http }}] }}
{canaries}{items}---
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{ name: web, namespace: shop }}
spec:
  targetRefs: [{{ group: \"\", kind: Service, name: web }}]
  allow:
{areas}{last}"
    )
}
