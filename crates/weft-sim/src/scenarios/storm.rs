//! A chain of services that all send again what fails, and whose last one fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_http::{Fields, ResponseHead};
use weft_model::{
    Backend, Ejection, HttpPath, ObjectName, Parent, PathMatch, Percent, Protocol, Retry,
    RetryBudget, RetryStatus, Route, RouteMatch, RouteParent, RouteRule, TrafficPolicy, Weight,
    WeightedBackend,
};
use weft_proxy::config::{Inbound, InboundOwn, Listen, Outbound, OutboundTo};
use weft_proxy::h2::server::Incoming;
use weft_proxy::snapshot::OwnWorkload;
use weft_wire::Object;
use weft_world::{Clock, ListenerOptions, World};

use super::mesh::{at, options};
use super::requests::identity;
use crate::entropy::Random;
use crate::error::{SimError, require};
use crate::host::Host;
use crate::http2::{self, Client};
use crate::mesh::{Certificates, SimProxy};
use crate::registry::{Registry, port, workload};
use crate::scenario::Scenario;
use crate::simulation::Simulation;

/// Four hops, of which each may send again.
pub const CHAIN: Scenario = Scenario {
    name: "retry-storm",
    about: "over four hops that all retry, what reaches the failing last one is within the budgets",
    options,
    play,
};

/// How many services stand in line, and so how many proxies may send again.
const HOPS: usize = 4;

/// How many requests begin while the last service fails, and how many in a second.
const REQUESTS: u32 = 300;
const PER_SECOND: u32 = 20;

/// How many begin once it is well again.
const AFTER: u32 = 20;

/// By when what began has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run is about.
#[derive(Clone, Copy, Debug)]
struct Plan {
    budget: RetryBudget,
    retries_max: u32,
    /// How often the last service fails.
    failing: f64,
    /// Whether the services hand on that an answer was sent again for already.
    is_handed_on: bool,
}

impl Plan {
    fn of(seed: u64) -> Plan {
        let mut random = Random::derive(seed, "plan");
        let percent = *random.pick(&[0, 10, 20, 50]);
        let percent = Percent::new(percent).expect("it is at most 100");
        let per_second_min = *random.pick(&[0, 1, 3]);
        Plan {
            budget: RetryBudget { percent, per_second_min },
            retries_max: *random.pick(&[1, 2, 5]),
            failing: *random.pick(&[0.1, 0.5, 1.0]),
            is_handed_on: random.chance(0.5),
        }
    }

    /// How many requests `first` requests may become where they are sent again once.
    fn most(&self, first: u32, took: Duration) -> u32 {
        let RetryBudget { percent, per_second_min } = self.budget;
        let seconds = u32::try_from(took.as_secs()).expect("it is a short run") + 1;
        first + first * u32::from(percent.get()) / 100 + per_second_min * seconds
    }
}

/// How many requests each service got, the caller's own first.
type Counts = Rc<RefCell<[u32; HOPS + 1]>>;

/// A service of the chain, or the caller before it.
#[derive(Clone)]
struct Link {
    world: World,
    /// Its place.
    place: usize,
    /// Where its proxy takes what it asks the next one, and the connection there.
    next: Option<SocketAddr>,
    client: Rc<RefCell<Option<Rc<Client>>>>,
    plan: Plan,
    counts: Counts,
    /// Whether the last one fails at times.
    is_bad: Rc<Cell<bool>>,
    random: Rc<RefCell<Random>>,
}

fn name(place: usize) -> ObjectName {
    format!("shop/s{place}").parse().expect("it is a name")
}

/// All requests for the service at `place` are sent again when it fails.
fn route(place: usize, plan: &Plan) -> Object {
    let service = name(place);
    let path = PathMatch::Prefix(HttpPath::new("/").expect("it is a path"));
    let statuses = [500, 502, 503, 504].map(|status| RetryStatus::new(status).expect("an error"));
    let retry =
        Retry { retries_max: plan.retries_max, statuses: statuses.into(), ..Retry::default() };
    let backend = Backend::Service { name: service.clone(), port: port(80) };
    let weight = Weight::new(1).expect("it is small");
    let rule = RouteRule {
        name: None,
        matches: vec![RouteMatch { path, headers: vec![], query: vec![], method: None }],
        filters: vec![],
        backends: vec![WeightedBackend { backend, weight, filters: vec![] }],
        timeouts: Default::default(),
        retry: Some(retry),
        faults: vec![],
    };
    Object::Route(Arc::new(Route {
        name: format!("http/{service}").parse().expect("it is a name"),
        created: 0,
        parents: [RouteParent { parent: Parent::Service(service), port: None }].into(),
        hostnames: Default::default(),
        rules: vec![rule],
    }))
}

/// Starts the proxy of what is at `place`, which calls the next one, if there is one.
fn start(host: &Host, place: usize, registry: &Registry, certificates: &Certificates) {
    let next = (place < HOPS).then(|| name(place + 1));
    let own = (place > 0).then(|| OwnWorkload {
        name: format!("{}-1", name(place)).parse().expect("it is a name"),
        generation: 1,
        applications: BTreeMap::from([(port(80), at(host, 8080))]),
    });
    let inbound = own
        .iter()
        .map(|_| Inbound { listen: Listen::At(at(host, 15008)), own: InboundOwn::Discovered });
    let inbound = inbound.collect();
    let outbound = next.iter().map(|next| Outbound {
        listen: Listen::At(at(host, 9001)),
        to: OutboundTo::Service(next.clone(), port(80)),
    });
    let outbound = outbound.collect();
    let services: Vec<_> = next.into_iter().collect();
    let configuration = registry.subscribe(own, &services);
    let identity = identity(host.name());
    SimProxy::start(host, identity, certificates, configuration, outbound, inbound);
}

/// The chain, the caller first.
fn chain(
    sim: &Simulation,
    plan: Plan,
    counts: &Counts,
    is_bad: &Rc<Cell<bool>>,
) -> Vec<(Host, Link)> {
    let registry = Registry::new("weft.test");
    let certificates = Certificates::default();
    let mut links = Vec::new();
    for place in 0..=HOPS {
        let ip = IpAddr::from([10, 0, 0, u8::try_from(place).expect("it is small") + 1]);
        let host = sim.host(&format!("s{place}"), [ip]);
        if place > 0 {
            let ejection = Ejection {
                ejected_max: Percent::new(0).expect("it is at most 100"),
                ..Ejection::default()
            };
            let traffic =
                TrafficPolicy { retry_budget: plan.budget, ejection, ..TrafficPolicy::default() };
            let service = name(place).to_string();
            registry.add_service(&service, &format!("240.0.0.{place}"), Protocol::Http2, traffic);
            registry.apply([route(place, &plan)], []);
            let tunnel = at(&host, 15008);
            let (identity, services) = (identity(host.name()), [service.as_str()]);
            let workload =
                workload(&format!("{service}-1"), 1, &identity, tunnel, &services, Protocol::Http2);
            registry.add_workload(workload);
        }
        let link = Link {
            world: host.world(),
            place,
            next: (place < HOPS).then(|| at(&host, 9001)),
            client: Rc::default(),
            plan,
            counts: counts.clone(),
            is_bad: is_bad.clone(),
            random: Rc::new(RefCell::new(Random::derive(sim.seed(), &format!("link {place}")))),
        };
        links.push((host, link));
    }
    for (place, (host, link)) in links.iter().enumerate() {
        start(host, place, &registry, &certificates);
        if place > 0 {
            let listening = link.world.network.listen(at(host, 8080), ListenerOptions::default());
            let (listener, link) = (listening.expect("the address is the host's"), link.clone());
            let handle = move |incoming| link.clone().handle(incoming);
            drop(host.spawn(http2::serve(listener, host.world(), handle)));
        }
    }
    links
}

impl Link {
    /// What becomes of a request for this service.
    async fn handle(self, incoming: Incoming) {
        let Incoming { mut stream, .. } = incoming;
        let Ok(_) = http2::read(&mut stream).await else { return };
        self.counts.borrow_mut()[self.place] += 1;
        let answer = match self.next {
            Some(_) => self.ask().await,
            None if self.is_bad.get() && self.random.borrow_mut().chance(self.plan.failing) => {
                if self.random.borrow_mut().chance(0.3) {
                    return drop(stream);
                }
                ResponseHead::with_status(503)
            }
            None => ResponseHead::with_status(200),
        };
        http2::answer(&mut stream, &answer, b"", &Fields::default()).await;
    }

    /// Asks the next service, and makes an own answer of what comes.
    async fn ask(&self) -> ResponseHead {
        let asked = http2::head("GET /a HTTP/1.1\r\nHost: next\r\n\r\n");
        let got = match self.client().await {
            Some(client) => client.ask(&asked, b"").await.ok(),
            None => None,
        };
        let Some(got) = got else { return ResponseHead::with_status(502) };
        let mut answer = ResponseHead::with_status(got.head.status);
        let sign = got.head.fields.get(RETRIED).filter(|_| self.plan.is_handed_on);
        if let Some(sign) = sign {
            answer.fields.append(RETRIED, sign);
        }
        answer
    }

    /// A connection to the own proxy.
    async fn client(&self) -> Option<Rc<Client>> {
        let kept = self.client.borrow().clone().filter(|client| client.is_usable());
        if kept.is_some() {
            return kept;
        }
        let client = Rc::new(Client::connect(&self.world, self.next?).await.ok()?);
        self.client.replace(Some(client.clone()));
        Some(client)
    }
}

/// What says of an answer that it was sent again for, or that there was no room for it.
const RETRIED: &str = "Weft-Retried";

/// Has `count` requests begin, one after the other, and returns the statuses when all have ended.
async fn ask(
    sim: &Simulation,
    (host, link): &(Host, Link),
    count: u32,
) -> Result<Vec<u16>, SimError> {
    let mut tasks = Vec::new();
    for _ in 0..count {
        let link = link.clone();
        tasks.push(host.spawn(async move {
            link.counts.borrow_mut()[0] += 1;
            link.ask().await.status
        }));
        sim.sleep(Duration::from_secs(1) / PER_SECOND).await;
    }
    let mut statuses = Vec::new();
    for task in tasks {
        let clock: &dyn Clock = &*link.world.clock;
        let status = tokio::select! {
            biased;
            status = task => status?,
            () = clock.sleep(PATIENCE) => {
                return Err(SimError::Broken { promise: "each request ends".into() });
            }
        };
        statuses.push(status);
    }
    Ok(statuses)
}

fn play(sim: &Simulation) -> Result<(), SimError> {
    let plan = Plan::of(sim.seed());
    let (counts, is_bad) = (Counts::default(), Rc::new(Cell::new(true)));
    let links = chain(sim, plan, &counts, &is_bad);
    sim.run(async {
        // Proxies listen.
        sim.sleep(Duration::from_secs(1)).await;
        let began = sim.now();
        let statuses = ask(sim, &links[0], REQUESTS).await?;
        is_bad.set(false);
        judge(&plan, &counts.borrow(), sim.now() - began, &statuses)?;
        let statuses = ask(sim, &links[0], AFTER).await?;
        require(statuses.iter().all(|status| *status == 200), || {
            format!("all goes well once the last service does: {statuses:?}")
        })
    })?
}

/// Whether each service got no more than the budgets let through.
fn judge(
    plan: &Plan,
    counts: &[u32; HOPS + 1],
    took: Duration,
    statuses: &[u16],
) -> Result<(), SimError> {
    let told = || format!("{plan:?}: the services got {counts:?} in {took:?}");
    for hop in counts.windows(2) {
        require(hop[1] <= plan.most(hop[0], took), || {
            format!("a hop keeps its budget: {}", told())
        })?;
    }
    // Where it is handed on, only the last hop sends again.
    if plan.is_handed_on {
        let before = &counts[..HOPS];
        let is_once = before.iter().all(|count| *count == REQUESTS);
        require(is_once, || format!("only the last hop sends again: {}", told()))?;
    }
    let has_failed = statuses.iter().any(|status| *status != 200);
    require(has_failed || plan.failing < 1.0, || "what fails always is not answered".into())?;
    let may_retry = plan.budget.percent.get() > 0 || plan.budget.per_second_min > 0;
    let is_retried = counts[HOPS] > counts[HOPS - 1];
    require(is_retried || !may_retry, || format!("what fails is sent again: {}", told()))
}
