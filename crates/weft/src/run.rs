//! `weft run`: a command in a network of its own, whose only way in and out is a proxy.

mod dns;
mod inside;
mod options;
mod place;

use std::collections::BTreeMap;
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::sync::Notify;
use weft_control::api::RegisterRequest;
use weft_model::Protocol;
use weft_net::namespace::{
    ConfineError, Confined, ConfinedCommand, Exit, Next, Opened, Plan, confine,
};
use weft_proxy::config::{Inbound, InboundOwn, Listen, Outbound, OutboundTo};
use weft_proxy::snapshot::{EndpointSpec, OwnWorkload, Reach};
use weft_proxy::{Excluded, Overload, Parts, Proxy, start};
use weft_telemetry::metrics::{self, Metrics, Registry};
use weft_telemetry::{AccessLog, Both, Recorder};
use weft_wire::Release;
use weft_world::{Listener, Moment, World};

use self::inside::Inside;
pub use self::options::Arguments;
use self::options::Checked;
use self::place::Place;
use crate::admin::{self, Shown};
use crate::joined::{self, Joined, Joining, Workload};
use crate::name_servers::{self, NameServers};
use crate::overload;

/// How long SIGTERM is held back at most, so that what is under way for the command is answered.
const HELD_MAX: Duration = Duration::from_secs(2);

/// How long what the command has sent and was asked may take to arrive after the command has ended.
const LINGER: Duration = Duration::from_secs(5);

/// Runs the command to its end, beside a proxy of `release`, and passes its exit code on.
pub fn run(arguments: &Arguments, release: Release) -> anyhow::Result<ExitCode> {
    let world = weft_net::world();
    let checked = options::check(&*world.files, arguments)?;
    // Before there is any other thread, since it divides the process.
    let plan = Plan { program: checked.program.clone(), arguments: checked.arguments.clone() };
    let confined = confine(&plan).map_err(explain)?;

    let access_log = checked.log.start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the event loop")?;
    let ended = runtime.block_on(serve(world, checked, confined, access_log, release))?;
    Ok(ExitCode::from(ended.code()))
}

/// A message for who may not make namespaces.
fn explain(error: ConfineError) -> anyhow::Error {
    let is_forbidden = matches!(error, ConfineError::NotAllowed(_));
    let error = anyhow::Error::new(error);
    if is_forbidden {
        return error.context(
            "a network for the command cannot be made; run it as root, or use `weft proxy` with \
             explicit listeners, for which no rights are needed",
        );
    }
    error.context("a network for the command cannot be made")
}

async fn serve(
    world: World,
    checked: Checked,
    confined: Confined,
    access_log: AccessLog,
    release: Release,
) -> anyhow::Result<Exit> {
    let Opened { captured: listeners, dns_datagrams, dns_listeners, inside, mut command } =
        confined.open().context("the command's network cannot be used")?;
    let registry = Registry::new(metrics::Options {
        version: env!("CARGO_PKG_VERSION"),
        ..metrics::Options::default()
    });
    registry.watch_access_log(&access_log);

    let beginning = begin(&world, &checked, registry.clone(), release).await?;
    // The place is held to the end.
    let Beginning { published, metrics, tunnels, joined, place: _place } = beginning;
    let overload = Overload::default();
    let recorder: Rc<dyn Recorder> = Rc::new(Both(Metrics::new(&registry), access_log));
    // As the host's own programs would ask, read before the command runs.
    let servers = NameServers::of_host(&world);
    let proxy = Rc::new(Proxy::new(Parts {
        inside: Rc::new(Inside::new(Rc::new(inside))),
        world: world.clone(),
        tls: Some(Rc::new(joined.tls.clone())),
        system_roots: crate::system_roots(),
        recorder: recorder.clone(),
        configuration: joined.configuration.clone(),
        discovery: Some(joined.discovery()),
        resolver: Some(Rc::new(name_servers::OfWorker(servers.clone()))),
        overload: overload.clone(),
    }));
    tokio::task::spawn_local(overload::watch(world.clone(), overload, registry.clone()));
    let outbound = captured(&checked, listeners).chain(published).collect();
    let _running = match start(&proxy, outbound, vec![tunnels]) {
        Ok(running) => running,
        Err(error) => {
            joined.leave(&world).await;
            return Err(error).context("the proxy cannot start");
        }
    };
    if let Some(metrics) = metrics {
        weft_control::say!("weft run: metrics at http://{}/metrics", metrics.address);
        let configuration = joined.configuration.clone();
        metrics.show(Shown { registry, configuration, needs_own: true });
    }
    let namespace = checked.service_account.own_namespace();
    let names = Rc::new(dns::Server::new(&world, proxy.clone(), namespace, recorder, servers));
    let answering = names.clone().serve(dns_datagrams, dns_listeners);
    joined.ready(&world, "weft run", true).await;
    if let Err(error) = command.start(names.zones().search()).await {
        joined.leave(&world).await;
        return Ok(not_started(&checked, error));
    }
    let ended = tokio::select! {
        biased;
        ended = to_its_end(&world, &mut command, &joined, &proxy) => {
            ended.context("the command's end was not seen")
        }
        () = answering => Err(anyhow!("the DNS server has ended")),
    };
    joined.leave(&world).await;
    // The last words of the command are still on their way, as after the end of any process.
    tokio::select! {
        biased;
        () = async { tokio::join!(proxy.drain(), proxy.hung_up()); } => {}
        () = world.clock.sleep(LINGER) => {}
    }
    ended
}

/// What is there before the proxy.
struct Beginning {
    published: Vec<Outbound>,
    metrics: Option<admin::Opened>,
    tunnels: Inbound,
    joined: Joined,
    place: Place,
}

/// Opens what is listened at, and joins.
async fn begin(
    world: &World,
    checked: &Checked,
    registry: Arc<Registry>,
    release: Release,
) -> anyhow::Result<Beginning> {
    // What somebody else may have taken comes before what is given once only: a start that fails
    // costs no use of the join token.
    let published = published(world, checked)?;
    let metrics = checked.metrics.map(admin::open).transpose()?;
    let place = Place::find(world, checked).await?;
    let (workload, tunnels) = register(world, checked, &place)?;
    let joining = Joining {
        token: checked.token.clone(),
        service_account: checked.service_account.clone(),
        services: checked.services.clone(),
        data: Some(place.data.clone()),
        workload: Some(workload),
        registry,
        release,
    };
    let joined = joined::join(world, joining).await?;
    Ok(Beginning { published, metrics, tunnels, joined, place })
}

/// Where what the command calls arrives.
fn captured(
    checked: &Checked,
    listeners: Vec<Box<dyn Listener>>,
) -> impl Iterator<Item = Outbound> {
    let excluded =
        Excluded { cidrs: checked.exclude_cidrs.clone(), ports: checked.exclude_ports.clone() };
    listeners.into_iter().map(move |listener| Outbound {
        listen: Listen::Open(listener),
        to: OutboundTo::Original(excluded.clone()),
    })
}

/// The ports of the command that are reached from outside, open.
fn published(world: &World, checked: &Checked) -> anyhow::Result<Vec<Outbound>> {
    let published = checked.publish.iter().map(|publish| {
        let endpoint = EndpointSpec::new(publish.application, Reach::Application);
        let name = format!("published {}", publish.listen);
        let outbound = Outbound::fixed(publish.listen, &name, Protocol::Opaque, vec![endpoint]);
        let listener = weft_proxy::open(&*world.network, outbound.listen)
            .context("a port of the command cannot be published (--publish)")?;
        Ok(Outbound { listen: Listen::Open(listener), to: outbound.to })
    });
    published.collect()
}

/// What is registered, and the listener for tunnels to it.
fn register(
    world: &World,
    checked: &Checked,
    place: &Place,
) -> anyhow::Result<(Workload, Inbound)> {
    let listen = checked.tunnels;
    let listener = weft_proxy::open(&*world.network, listen.into())
        .context("the proxies of others cannot be let in (--address, --tunnel-port)")?;
    let generation = joined::generation(world, Some(&place.data));
    let (region, zone) = checked.locality.clone();
    let registration = RegisterRequest {
        workload: place.name.to_string(),
        generation,
        services: checked.services.iter().map(ToString::to_string).collect(),
        ports: checked.ports.clone(),
        addresses: vec![listen.ip()],
        tunnel_port: listener.local_address().port(),
        region,
        zone,
    };
    let applications = BTreeMap::new();
    let own = OwnWorkload { name: place.name.clone(), generation, applications };
    let inbound = Inbound { listen: Listen::Open(listener), own: InboundOwn::Discovered };
    Ok((Workload { registration, own }, inbound))
}

/// Says why the command cannot be run. The exit codes are those of shells.
fn not_started(checked: &Checked, error: std::io::Error) -> Exit {
    let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    let program = checked.program.to_string_lossy();
    let error = anyhow::Error::new(error).context(format!("cannot run {program}"));
    weft_control::say!("{}", crate::explained(&error).trim_end());
    Exit::Code(code)
}

/// Waits for the command's end. Once it is told to end, nothing new is taken for it.
async fn to_its_end(
    world: &World,
    command: &mut ConfinedCommand,
    joined: &Joined,
    proxy: &Proxy,
) -> std::io::Result<Exit> {
    let is_told = Notify::new();
    let draining = async {
        is_told.notified().await;
        // Peers are told in answers; that the control plane tells them too is waited for by nobody.
        let telling = async {
            joined.drain(world).await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = telling => {}
            () = proxy.drain() => {}
        }
    };
    let (mut draining, mut is_drained) = (pin!(draining), false);
    // Set while it is not told yet that it is to end: the first time only.
    let (mut held, mut was_held): (Option<Moment>, bool) = (None, false);
    loop {
        let is_held = held.is_some();
        let until = held.unwrap_or_else(|| world.clock.now());
        tokio::select! {
            biased;
            next = command.next() => {
                let signal = match next? {
                    Next::Ended(exit) => return Ok(exit),
                    Next::Signal(signal) => signal,
                };
                if [weft_net::TERMINATE, weft_net::INTERRUPT].contains(&signal) {
                    is_told.notify_one();
                }
                if signal == weft_net::TERMINATE && !was_held && !is_drained {
                    // Many programs end at once, with answers half given.
                    (held, was_held) = (Some(world.clock.now() + HELD_MAX), true);
                } else {
                    held = held.filter(|_| signal != weft_net::TERMINATE);
                    command.signal(signal)?;
                }
            }
            () = &mut draining, if !is_drained => {
                is_drained = true;
                if held.take().is_some() {
                    command.signal(weft_net::TERMINATE)?;
                }
            }
            () = world.clock.timer(until), if is_held => {
                held = None;
                command.signal(weft_net::TERMINATE)?;
            }
        }
    }
}
