//! `weft explain`: what the mesh would do with a request, a call or a connection, step by step, and
//! what made it so.
//!
//! The proxies' own decisions are asked (`weft_proxy::explain`), on what their control plane would
//! tell them: here they are only put into words.

mod ask;
mod mesh;
mod outcome;
mod print;
mod report;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use weft_dns::{Subject, Zones};
use weft_model::{Address, Namespace, Network, ObjectName, SpiffeId, Workload};
use weft_proxy::explain::{Called, Caller, Explanation, Sent, external_of};
use weft_proxy::snapshot::{OwnWorkload, Snapshot, TunnelTarget};
use weft_wire::ObjectKey;
use weft_wire::discovery::Subscription;

use self::ask::Host;
use self::mesh::{Known, Mesh};
use self::print::Question;
use self::report::{By, Report};
use crate::access::Access;
use crate::files::sources;
use crate::output::Output;
use crate::resources::block_on;

/// The arguments of `weft explain`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    access: Access,

    /// The method, as in GET; GRPC for a call of gRPC, TLS for a connection of the application's
    /// own TLS, TCP for one whose bytes are neither.
    method: String,

    /// The URL as the caller's program has it, as in http://cart:80/items?page=2;
    /// grpc://HOST:PORT/SERVICE/METHOD for a call, tls://HOST:PORT or tcp://HOST:PORT for a
    /// connection.
    url: String,

    /// The service account that calls.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    from: ObjectName,

    /// A header of the request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// The request is one of HTTP/2, as calls always are.
    #[arg(long)]
    http2: bool,

    /// The server that a connection of TLS is for. Default: the host of the URL.
    #[arg(long, value_name = "HOST")]
    server_name: Option<String>,

    /// Files or directories with resources, instead of those of the running mesh; `-` is standard
    /// input.
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The namespace of objects in files that name none.
    #[arg(short, long)]
    namespace: Option<String>,

    /// The address that servers see the caller at. Default: that of a workload of its service
    /// account.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,

    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// The exit code where the request may be refused.
const REFUSED: u8 = 1;

/// The exit code where nothing could be explained.
const FAILED: u8 = 2;

/// Explains, and says by the exit code whether it would be answered: 0 if in any case, 1 if
/// the request may be refused, 2 if it could not be explained.
pub fn run(arguments: &Arguments) -> ExitCode {
    match explain(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(REFUSED),
        Err(error) => {
            weft_control::say!("{}", crate::explained(&error).trim_end());
            ExitCode::from(FAILED)
        }
    }
}

fn explain(arguments: &Arguments) -> anyhow::Result<bool> {
    let Arguments { access, method, url, from, headers, http2, .. } = arguments;
    let Arguments { files, namespace, address, output, server_name, .. } = arguments;
    let asked = ask::question(method, url, headers, *http2, server_name.as_deref())?;
    let mesh = if files.is_empty() {
        let client = access.client()?;
        block_on(Mesh::of_control(&client))?
    } else {
        Mesh::of_files(&sources(files)?, namespace.as_deref())?
    };
    let identity = SpiffeId::new(mesh.trust_domain().clone(), from.clone());
    let own = mesh.workloads_of(&identity).into_iter().next();
    let external = |host: &str| -> anyhow::Result<Option<ObjectName>> {
        let known = mesh.known(own.map(own_workload), from.own_namespace(), &[])?;
        Ok(external_of(&known.snapshot, host))
    };
    let named = meaning(&mesh, from.namespace(), &asked, external)?;
    let address = address.or_else(|| own?.addresses.first().copied());
    let (told, rule) = match &named.called {
        None => (outside(&mesh, &named.text), None),
        Some(called) => {
            let caller = Asking { mesh: &mesh, own, identity: &identity, address };
            let explanation = caller.explain(called, &asked.sent)?;
            let rule = rule_names(&explanation);
            let target = &asked.target;
            let told = report::report(&mesh, named.text, called, target, &explanation);
            (told, rule)
        }
    };
    let identity = identity.to_string();
    let question = Question { method, url, identity, address, rule };
    let said = match output {
        Output::Text => print::text(&mesh, &question, &told),
        Output::Json => format!("{:#}\n", print::json(&mesh, &question, &told)),
    };
    crate::output::print(said)?;
    Ok(told.is_answered())
}

/// What a host means, in words too.
struct Named {
    /// What is called; nothing if it is not of the mesh.
    called: Option<Called>,
    text: String,
}

/// What the host of `asked` means to a program of `namespace`.
/// `external` says which ExternalService has a host.
fn meaning(
    mesh: &Mesh,
    namespace: &str,
    asked: &ask::Question,
    external: impl Fn(&str) -> anyhow::Result<Option<ObjectName>>,
) -> anyhow::Result<Named> {
    let port = asked.port;
    let name = match &asked.host {
        Host::Address(ip) => {
            let called = Some(Called::Address(SocketAddr::new(*ip, port.get())));
            return Ok(Named { called, text: format!("the address {ip}, port {port}") });
        }
        Host::Name(name) => name,
    };
    let zones = Zones::new(mesh.settings.dns_zone.clone(), Namespace::new(namespace)?);
    let outside = || {
        let host = name.trim_end_matches('.').to_ascii_lowercase();
        let external = external(&host)?;
        anyhow::Ok(match external {
            Some(service) => {
                let text = format!("`{name}` means ExternalService {service}, port {port}");
                Named { called: Some(Called::Host(host.into(), port)), text }
            }
            None => Named { called: None, text: format!("`{name}` is not a name of the mesh") },
        })
    };
    Ok(match ask::subject(&zones, name) {
        Subject::Service { name: service, maybe_outside: true } if !mesh.has_service(&service) => {
            outside()?
        }
        Subject::Service { name: service, .. } => {
            let text = format!("`{name}` means Service {service}, port {port}");
            Named { called: Some(Called::Service(service, port)), text }
        }
        Subject::Outside => outside()?,
        Subject::Known(_) | Subject::Refused => {
            bail!("`{name}` never leaves the machine, or is no name of a Service: nothing is sent")
        }
    })
}

/// What there is to say of what is not of the mesh.
fn outside(mesh: &Mesh, text: &str) -> Report {
    Report::outside(text, mesh.settings.outbound)
}

/// Route and rule as records have them.
fn rule_names(explanation: &Explanation) -> Option<(String, String)> {
    let chosen = explanation.rule.as_ref()?;
    let rule = chosen.rule().name.clone().unwrap_or_else(|| chosen.rule_index.to_string());
    Some((chosen.route.name.to_string(), rule))
}

/// Who asks, in which mesh.
struct Asking<'a> {
    mesh: &'a Mesh,
    /// A workload of the identity: its place is the caller's.
    own: Option<&'a Workload>,
    identity: &'a SpiffeId,
    address: Option<IpAddr>,
}

impl Asking<'_> {
    fn explain(&self, called: &Called, sent: &Sent) -> anyhow::Result<Explanation> {
        let Asking { mesh, own, identity, address } = self;
        let subscription = match called {
            Called::Service(name, _) => Subscription::Service(name.clone()),
            Called::Address(address) => {
                Subscription::Address(Address { network: Network::default(), ip: address.ip() })
            }
            Called::Host(..) => Subscription::SelfWorkload,
        };
        let namespace = identity.service_account().own_namespace();
        let own = own.map(own_workload);
        let Known { snapshot, refused } = mesh.known(own, namespace, &[subscription])?;
        complain(&refused);
        let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let caller = Caller { snapshot, identity: (*identity).clone(), address };
        let servers = RefCell::new(BTreeMap::<ObjectName, Arc<Snapshot>>::new());
        let server = |target: &TunnelTarget| {
            let mut servers = servers.borrow_mut();
            let of = || self.server(target);
            servers.entry(target.workload.clone()).or_insert_with(of).clone()
        };
        Ok(weft_proxy::explain::explain(&caller, called, sent, &server))
    }

    /// What the proxy of `target` knows.
    fn server(&self, target: &TunnelTarget) -> Arc<Snapshot> {
        let own = self.mesh.workload(&target.workload).map(own_workload);
        let namespace = target.workload.own_namespace();
        match self.mesh.known(own, namespace, &[]) {
            Ok(Known { snapshot, refused }) => {
                complain(&refused);
                snapshot
            }
            // It knows nothing then, and lets nobody in.
            Err(_) => Arc::default(),
        }
    }
}

fn own_workload(workload: &Workload) -> OwnWorkload {
    let Workload { name, generation, .. } = workload;
    OwnWorkload { name: name.clone(), generation: *generation, applications: BTreeMap::new() }
}

/// Says on standard error what proxies refuse to take.
fn complain(refused: &[(ObjectKey, String)]) {
    for (key, why) in refused {
        weft_control::say!("weft explain: proxies do not take {key}: {why}");
    }
}

impl Report {
    /// Whether an application answers, wherever the request goes, or a filter as the route says.
    fn is_answered(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.by == By::Application || outcome.is_meant)
    }
}
