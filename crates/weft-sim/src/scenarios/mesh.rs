//! Three callers and three replicas of a Service, each with its proxy, all told by one registry.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use weft_model::{Health, ObjectName, Protocol, TrafficPolicy};
use weft_proxy::config::{Inbound, InboundOwn, Listen, Outbound, OutboundTo};
use weft_proxy::snapshot::OwnWorkload;
use weft_wire::ObjectKey;
use weft_world::{BoxFuture, Clock, World};

use super::requests::{Caller, Executed, Outcome, identity, require_once, serve};
use super::rules::{rules, service, traffic};
use crate::entropy::Random;
use crate::error::{SimError, require};
use crate::host::{Crash, Host};
use crate::link::LinkOptions;
use crate::mesh::{Certificates, SimProxy};
use crate::registry::{Registry, port, workload};
use crate::scenario::Scenario;
use crate::simulation::{Simulation, SimulationOptions};

/// Rolling restarts and changes of the configuration, and nothing that breaks.
pub const ROLLOUTS: Scenario = Scenario {
    name: "mesh-rollouts",
    about: "drains, restarts and changes of the configuration cost no request",
    options,
    play: play_rollouts,
};

/// Whatever can happen to replicas and the network between.
pub const FAULTS: Scenario = Scenario {
    name: "mesh-faults",
    about: "crashes, drains, changes and resets: none is executed twice, all end, all recover",
    options,
    play: play_faults,
};

const CALLERS: u8 = 3;
const REPLICAS: u8 = 3;

/// Beyond what is kept of a request for another attempt.
const BODY_BYTES_MAX: usize = 100_000;

/// How long a request may take that meets any fault: a connection to a host that is silently gone
/// is given up after some minutes.
const REQUEST_MAX: Duration = Duration::from_secs(1_200);

pub(super) fn options() -> SimulationOptions {
    let mut options = SimulationOptions::default();
    options.network.link = LinkOptions::lan().with_loss(0.001);
    options.time_limit = Duration::from_secs(4 * 3_600);
    options.steps_max = 40_000_000;
    options
}

/// What the applications of a mesh speak.
#[derive(Clone, Copy)]
pub(super) struct Speaks {
    pub(super) protocol: Protocol,
    /// An application, which answers each request with the request's own body.
    pub(super) serve: fn(World, SocketAddr, u64, Executed) -> BoxFuture<'static, io::Result<()>>,
    /// After which statuses rules have requests sent again.
    pub(super) retried: &'static [u16],
}

pub(super) struct Mesh {
    speaks: Speaks,
    registry: Registry,
    certificates: Certificates,
    pub(super) executed: Executed,
    /// What the Service that copies go to was sent.
    copied: Executed,
    pub(super) callers: Vec<Host>,
    replicas: Vec<Replica>,
    /// Keeps what copies go to.
    _shadow: SimProxy,
}

struct Replica {
    host: Host,
    name: String,
    generation: Cell<u64>,
    proxy: RefCell<SimProxy>,
}

pub(super) fn at(host: &Host, port: u16) -> SocketAddr {
    SocketAddr::new(host.ip(), port)
}

impl Mesh {
    pub(super) fn new(sim: &Simulation, speaks: Speaks) -> Mesh {
        let registry = Registry::new("weft.test");
        registry.add_service("shop/web", "240.0.0.1", speaks.protocol, TrafficPolicy::default());
        registry.add_service("shop/shadow", "240.0.0.2", speaks.protocol, TrafficPolicy::default());
        let certificates = Certificates::default();
        let (executed, copied) = (Executed::default(), Executed::default());
        let host = |name: &str, number: u8, net: u8| {
            sim.host(&format!("{name}-{number}"), [IpAddr::from([10, 0, net, number + 1])])
        };
        let callers: Vec<_> = (0..CALLERS).map(|number| host("caller", number, 0)).collect();
        for caller in &callers {
            let configuration = registry.subscribe(None, &[service()]);
            let listen = Listen::At(at(caller, 9001));
            let outbound = Outbound { listen, to: OutboundTo::Service(service(), port(80)) };
            let name = identity(caller.name());
            SimProxy::start(caller, name, &certificates, configuration, vec![outbound], vec![]);
        }
        let place = host("shadow", 0, 2);
        let start = |executed: &Executed, name: &str, account: &str, host: &Host| {
            start(sim, &registry, &certificates, speaks, executed, (host, name, account, 1))
        };
        let _shadow = start(&copied, "shop/shadow-0", "shadow", &place);
        let (tunnel, services) = (at(&place, 15008), ["shop/shadow"]);
        let own =
            workload("shop/shadow-0", 1, &identity("shadow"), tunnel, &services, speaks.protocol);
        registry.add_workload(own);
        let replicas = Vec::new();
        let mut mesh =
            Mesh { speaks, registry, certificates, executed, copied, callers, replicas, _shadow };
        for number in 0..REPLICAS {
            let (host, name) = (host("web", number, 1), format!("shop/web-{number}"));
            let proxy = RefCell::new(mesh.start(sim, &host, &name, 1));
            mesh.replicas.push(Replica { host, name, generation: Cell::new(1), proxy });
            mesh.register(usize::from(number), Health::Healthy);
        }
        mesh
    }

    /// Starts a replica: its proxy, and the application behind it.
    fn start(&self, sim: &Simulation, host: &Host, name: &str, generation: u64) -> SimProxy {
        let Mesh { registry, certificates, speaks, executed, .. } = self;
        start(sim, registry, certificates, *speaks, executed, (host, name, "web", generation))
    }

    /// Tells everybody of a replica as it is, with this `health`.
    fn register(&self, number: usize, health: Health) {
        let Replica { host, name, generation, .. } = &self.replicas[number];
        let (tunnel, web) = (at(host, 15008), identity("web"));
        let (services, protocol) = (["shop/web"], self.speaks.protocol);
        let own = workload(name, generation.get(), &web, tunnel, &services, protocol);
        self.registry.add_workload(weft_model::Workload { health, ..own });
    }

    /// Lets a replica run again after a crash, as another instance. Callers are told late.
    async fn restart(&self, sim: &Simulation, number: usize, random: &mut Random) {
        let Replica { host, name, generation, proxy } = &self.replicas[number];
        generation.set(generation.get() + 1);
        host.restart();
        proxy.replace(self.start(sim, host, name, generation.get()));
        sim.sleep(random.duration(Duration::ZERO, Duration::from_secs(2))).await;
        self.register(number, Health::Healthy);
    }

    /// One replica after the other could be ended so: it drains, and then it is gone.
    async fn roll(&self, sim: &Simulation, number: usize, random: &mut Random) {
        if random.chance(0.5) {
            // The control plane may hear of it, or not.
            self.register(number, Health::Draining);
        }
        let proxy = self.replicas[number].proxy.borrow().clone();
        proxy.drain().await;
        sim.crash(&self.replicas[number].host, Crash::Reset);
        sim.sleep(random.duration(Duration::ZERO, Duration::from_secs(3))).await;
        self.restart(sim, number, random).await;
    }

    /// Changes what is known of the mesh. If it `is_gentle`, no request loses its way.
    async fn reconfigure(&self, sim: &Simulation, random: &mut Random, is_gentle: bool) {
        for _ in 0..random.size(1, 10) {
            let number = random.size(0, self.replicas.len() - 1);
            match random.below(4) {
                0 => self.register(number, Health::Unhealthy),
                1 if is_gentle => self.register(number, Health::Draining),
                1 => {
                    // Its own proxy hears of it, too, and ends what is under way.
                    let name = self.replicas[number].name.parse().expect("it is a name");
                    self.registry.apply([], [ObjectKey::Workload(name)]);
                }
                2 if random.chance(0.3) => {
                    let (protocol, traffic) = (self.speaks.protocol, traffic(random));
                    self.registry.add_service("shop/web", "240.0.0.1", protocol, traffic);
                }
                2 => self.registry.apply([rules(random, self.speaks.retried, is_gentle)], []),
                _ => self.register(number, Health::Healthy),
            }
            sim.sleep(random.duration(Duration::ZERO, Duration::from_millis(300))).await;
            self.register(number, Health::Healthy);
        }
    }
}

/// Starts an instance: its proxy on a host, by its name, account and generation, and the
/// application behind it.
fn start(
    sim: &Simulation,
    registry: &Registry,
    certificates: &Certificates,
    speaks: Speaks,
    executed: &Executed,
    (host, name, account, generation): (&Host, &str, &str, u64),
) -> SimProxy {
    let name: ObjectName = name.parse().expect("it is a name");
    let applications = BTreeMap::from([(port(80), at(host, 8080))]);
    let own = OwnWorkload { name, generation, applications };
    let configuration = registry.subscribe(Some(own), &[]);
    let listen = Listen::At(at(host, 15008));
    let inbound = vec![Inbound { listen, own: InboundOwn::Discovered }];
    let account = identity(account);
    let proxy = SimProxy::start(host, account, certificates, configuration, vec![], inbound);
    let (world, at) = (host.world(), at(host, 8080));
    let (seed, executed) = (sim.seed() ^ generation, executed.clone());
    drop(host.spawn((speaks.serve)(world, at, seed, executed)));
    proxy
}

/// One who asks, and is driven by [`play`].
pub(super) trait Asks: 'static {
    /// What it asks with: `GET` may be executed several times, the others not.
    const METHODS: &[&str];

    fn world(&self) -> &World;

    fn random(&mut self) -> &mut Random;

    /// Sends a request, and says what became of it.
    fn ask(
        &mut self,
        method: &str,
        number: &str,
    ) -> impl Future<Output = Result<Outcome, SimError>>;
}

impl Asks for Caller {
    const METHODS: &[&str] = &["GET", "POST"];

    fn world(&self) -> &World {
        &self.world
    }

    fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    async fn ask(&mut self, method: &str, number: &str) -> Result<Outcome, SimError> {
        Caller::ask(self, method, number).await
    }
}

/// What `caller` gets, which must come in time.
async fn ask(caller: &mut impl Asks, method: &str, number: &str) -> Result<Outcome, SimError> {
    let clock = caller.world().clock.clone();
    let clock: &dyn Clock = &*clock;
    tokio::select! {
        biased;
        outcome = caller.ask(method, number) => outcome,
        () = clock.sleep(REQUEST_MAX) => {
            let promise = format!("{number} ends within {REQUEST_MAX:?}");
            Err(SimError::Broken { promise })
        }
    }
}

/// Lets `callers`, each on the host of its number, ask until `trouble` is over. `is_fine` judges
/// each outcome.
pub(super) fn play<A: Asks>(
    sim: &Simulation,
    mesh: &Mesh,
    callers: Vec<(usize, A)>,
    is_fine: fn(&str, &Outcome) -> bool,
    trouble: impl Future<Output = ()>,
) -> Result<(), SimError> {
    let is_calm = Rc::new(Cell::new(false));
    let mut tasks = Vec::new();
    for (number, (host, mut caller)) in callers.into_iter().enumerate() {
        let is_calm = is_calm.clone();
        tasks.push(mesh.callers[host].spawn(async move {
            let mut request = 0;
            while !is_calm.get() {
                let method = *caller.random().pick(A::METHODS);
                let name = format!("/{}/{number}/{request}", method.to_lowercase());
                let outcome = ask(&mut caller, method, &name).await?;
                require(is_fine(method, &outcome), || format!("{name} ended with {outcome:?}"))?;
                request += 1;
                let pause = caller.random().duration(Duration::ZERO, Duration::from_millis(400));
                caller.world().clock.sleep(pause).await;
            }
            // What broke during the faults may be noticed only now; after that, all is well.
            for _ in 0..20 {
                let name = format!("/get/{number}/{request}");
                if ask(&mut caller, "GET", &name).await? == Outcome::Answered(200, true) {
                    return Ok::<(), SimError>(());
                }
                request += 1;
                caller.world().clock.sleep(Duration::from_secs(5)).await;
            }
            Err(SimError::Broken { promise: "requests succeed once the faults are over".into() })
        }));
    }
    sim.run(async {
        trouble.await;
        is_calm.set(true);
        for task in tasks {
            task.await??;
        }
        Ok::<(), SimError>(())
    })??;
    require_once(&mesh.executed, |count, name| count == 1 || name.starts_with("/get/"))?;
    // What is copied is copied once, and a copy is no request of the Service itself.
    require_once(&mesh.copied, |count, name| count == 1 || name.starts_with("/get/"))
}

/// Rolling restarts and changes, of which no caller is to notice anything.
pub(super) async fn rollouts(sim: &Simulation, mesh: &Mesh) {
    let mut random = Random::derive(sim.seed(), "rollouts");
    for _ in 0..5 {
        sim.sleep(random.duration(Duration::ZERO, Duration::from_secs(1))).await;
        let number = random.size(0, mesh.replicas.len() - 1);
        match random.below(3) {
            0 => mesh.reconfigure(sim, &mut random, true).await,
            _ => mesh.roll(sim, number, &mut random).await,
        }
    }
}

/// Whatever can happen to replicas and the network between, one after the other.
pub(super) async fn troubles(sim: &Simulation, mesh: &Mesh) {
    let mut random = Random::derive(sim.seed(), "faults");
    for _ in 0..8 {
        sim.sleep(random.duration(Duration::ZERO, Duration::from_secs(1))).await;
        let caller = random.size(0, mesh.callers.len() - 1);
        let number = random.size(0, mesh.replicas.len() - 1);
        let (caller, replica) = (&mesh.callers[caller], &mesh.replicas[number].host);
        match random.below(6) {
            0 => sim.reset_connections(caller, replica),
            1 => {
                sim.partition(caller, replica);
                let wait = random.duration(Duration::ZERO, Duration::from_secs(20));
                sim.sleep(wait).await;
                sim.heal(caller, replica);
            }
            2 => mesh.reconfigure(sim, &mut random, false).await,
            3 => mesh.roll(sim, number, &mut random).await,
            how => {
                let how = if how == 4 { Crash::Silent } else { Crash::Reset };
                sim.crash(replica, how);
                if random.chance(0.3) {
                    mesh.register(number, Health::Unhealthy);
                }
                sim.sleep(random.duration(Duration::ZERO, Duration::from_secs(5))).await;
                mesh.restart(sim, number, &mut random).await;
            }
        }
    }
}

/// Applications and callers of HTTP/1.1.
fn http1() -> Speaks {
    let serve = |world, at, seed, executed| -> BoxFuture<'static, _> {
        Box::pin(serve(world, at, seed, executed))
    };
    Speaks { protocol: Protocol::Http, serve, retried: &[503] }
}

/// One caller on each of the callers' hosts.
fn callers(mesh: &Mesh, seed: u64) -> Vec<(usize, Caller)> {
    let caller = |(number, host): (usize, &Host)| {
        let random = Random::derive(seed, &format!("caller {number}"));
        (number, Caller::new(host.world(), at(host, 9001), BODY_BYTES_MAX, random))
    };
    mesh.callers.iter().enumerate().map(caller).collect()
}

fn play_rollouts(sim: &Simulation) -> Result<(), SimError> {
    let mesh = Mesh::new(sim, http1());
    let is_fine = |method: &str, outcome: &Outcome| {
        // A connection that the application closed just then may cost a POST, and nothing else.
        *outcome == Outcome::Answered(200, true)
            || (method == "POST" && *outcome == Outcome::Answered(502, false))
    };
    play(sim, &mesh, callers(&mesh, sim.seed()), is_fine, rollouts(sim, &mesh))
}

fn play_faults(sim: &Simulation) -> Result<(), SimError> {
    let mesh = Mesh::new(sim, http1());
    let is_fine = |_: &str, outcome: &Outcome| *outcome != Outcome::Answered(200, false);
    play(sim, &mesh, callers(&mesh, sim.seed()), is_fine, troubles(sim, &mesh))
}
