//! A Service with some replicas, a caller, and a proxy beside each, all told by one registry.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use weft_model::{Locality, ObjectName, Protocol, SpiffeId, TrafficPolicy, Workload};
use weft_proxy::config::{Inbound, InboundOwn, Listen, Outbound, OutboundTo};
use weft_proxy::snapshot::OwnWorkload;
use weft_sim::http2::Client;
use weft_sim::{Certificates, Registry, Revoked, SimProxy, port, workload};
use weft_telemetry::Record;
use weft_wire::Release;

use crate::talk::{Line, address};
use crate::*;

/// How a shop is set up.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) replicas: usize,
    /// What the Service says is spoken.
    pub(crate) service: Protocol,
    /// What the workloads say is spoken.
    pub(crate) workload: Protocol,
    pub(crate) traffic: TrafficPolicy,
    /// Where the caller runs, if that is known.
    pub(crate) caller: Option<Locality>,
    /// Where the replicas run, as far as that is known.
    pub(crate) localities: Vec<Locality>,
    /// What the proxies are that are started first.
    pub(crate) release: Release,
}

impl Plan {
    /// So many replicas, which speak HTTP.
    pub(crate) fn http(replicas: usize) -> Plan {
        Plan::of(replicas, Protocol::Http)
    }

    /// So many replicas, which speak `protocol`.
    pub(crate) fn of(replicas: usize, protocol: Protocol) -> Plan {
        let traffic =
            TrafficPolicy { balance: weft_model::Balance::RoundRobin, ..Default::default() };
        let (caller, localities, release) = (None, Vec::new(), Release::this());
        let (service, workload) = (protocol, protocol);
        Plan { replicas, service, workload, traffic, caller, localities, release }
    }
}

pub(crate) struct Shop {
    pub(crate) sim: Simulation,
    pub(crate) registry: Registry,
    pub(crate) certificates: Certificates,
    pub(crate) revoked: Revoked,
    pub(crate) client: Host,
    pub(crate) caller: SimProxy,
    pub(crate) hosts: Vec<Host>,
    pub(crate) proxies: Vec<RefCell<SimProxy>>,
    plan: Plan,
}

pub(crate) fn identity(name: &str) -> SpiffeId {
    format!("spiffe://weft.test/ns/shop/sa/{name}").parse().unwrap()
}

fn name(number: usize) -> ObjectName {
    format!("shop/web-{number}").parse().unwrap()
}

fn own(
    name: &str,
    generation: u64,
    applications: BTreeMap<weft_model::Port, SocketAddr>,
) -> OwnWorkload {
    OwnWorkload { name: name.parse().unwrap(), generation, applications }
}

/// Starts the proxy of the caller, on `host`.
fn caller(
    host: &Host,
    registry: &Registry,
    certificates: &Certificates,
    plan: &Plan,
    release: &Release,
) -> SimProxy {
    let service: ObjectName = "shop/web".parse().unwrap();
    let own = plan.caller.as_ref().map(|_| own("shop/client", 1, BTreeMap::new()));
    let configuration = registry.subscribe_as(release.clone(), own, std::slice::from_ref(&service));
    let outbound = Outbound {
        listen: Listen::At(address("10.0.0.2:9001")),
        to: OutboundTo::Service(service, port(80)),
    };
    SimProxy::start(host, identity("client"), certificates, configuration, vec![outbound], vec![])
}

impl Shop {
    pub(crate) fn new(seed: u64, plan: Plan) -> Shop {
        let sim = Simulation::new(seed, patient());
        let registry = Registry::new("weft.test");
        registry.add_service("shop/web", "240.0.0.1", plan.service, plan.traffic.clone());
        let certificates = Certificates::default();
        let revoked = certificates.revoked.clone();
        let client = sim.host("client", [IpAddr::from([10, 0, 0, 2])]);
        if plan.caller.is_some() {
            let at = address("10.0.0.2:15008");
            let own = workload("shop/client", 1, &identity("client"), at, &[], plan.workload);
            registry.add_workload(Workload { locality: plan.caller.clone(), ..own });
        }
        let caller = caller(&client, &registry, &certificates, &plan, &plan.release);
        let ip = |number: usize| IpAddr::from([10, 0, 1, u8::try_from(number).unwrap() + 1]);
        let host = |number| sim.host(&format!("web-{number}"), [ip(number)]);
        let hosts: Vec<_> = (0..plan.replicas).map(host).collect();
        let (proxies, plan) = (Vec::new(), plan);
        let mut shop =
            Shop { sim, registry, certificates, revoked, client, caller, hosts, proxies, plan };
        for number in 0..shop.hosts.len() {
            let proxy = shop.proxy(number, 1, &shop.plan.release);
            shop.registry.add_workload(shop.workload(number, 1));
            shop.proxies.push(RefCell::new(proxy));
        }
        shop
    }

    /// The address of replica `number`, with `port`.
    pub(crate) fn at(&self, number: usize, port: u16) -> SocketAddr {
        SocketAddr::new(self.hosts[number].ip(), port)
    }

    pub(crate) fn workload(&self, number: usize, generation: u64) -> Workload {
        let (tunnel, web) = (self.at(number, 15008), identity("web"));
        let protocol = self.plan.workload;
        let name = name(number).to_string();
        let own = workload(&name, generation, &web, tunnel, &["shop/web"], protocol);
        Workload { locality: self.plan.localities.get(number).cloned(), ..own }
    }

    fn proxy(&self, number: usize, generation: u64, release: &Release) -> SimProxy {
        let applications = BTreeMap::from([(port(80), self.at(number, 8080))]);
        let own = own(&name(number).to_string(), generation, applications);
        let configuration = self.registry.subscribe_as(release.clone(), Some(own), &[]);
        let listen = Listen::At(self.at(number, 15008));
        let inbound = Inbound { listen, own: InboundOwn::Discovered };
        let (host, web) = (&self.hosts[number], identity("web"));
        SimProxy::start(host, web, &self.certificates, configuration, vec![], vec![inbound])
    }

    /// Starts replica `number` again after a crash, as the next `generation`.
    pub(crate) fn restart(&self, number: usize, generation: u64) {
        self.restart_as(number, generation, &Release::this());
    }

    /// The same with a proxy of `release`.
    pub(crate) fn restart_as(&self, number: usize, generation: u64, release: &Release) {
        self.hosts[number].restart();
        *self.proxies[number].borrow_mut() = self.proxy(number, generation, release);
        self.registry.add_workload(self.workload(number, generation));
    }

    /// Starts the caller's proxy again after a crash, as one of `release`.
    pub(crate) fn restart_caller(&self, release: &Release) -> SimProxy {
        self.client.restart();
        caller(&self.client, &self.registry, &self.certificates, &self.plan, release)
    }

    /// The proxy of replica `number`.
    pub(crate) fn replica(&self, number: usize) -> SimProxy {
        self.proxies[number].borrow().clone()
    }

    /// The listener of the application of replica `number`.
    pub(crate) fn application(&self, number: usize) -> Box<dyn Listener> {
        let network = self.hosts[number].world().network;
        network.listen(self.at(number, 8080), ListenerOptions::default()).unwrap()
    }

    /// A connection of the caller to its proxy.
    pub(crate) async fn call(&self) -> Line {
        let world = self.client.world();
        loop {
            // The proxy may not listen yet.
            match world.network.connect(address("10.0.0.2:9001")).await {
                Ok(stream) => return Line::new(world, stream),
                Err(_) => self.sim.sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// The same for a caller that speaks HTTP/2.
    pub(crate) async fn client(&self) -> Client {
        let world = self.client.world();
        loop {
            match Client::connect(&world, address("10.0.0.2:9001")).await {
                Ok(client) => return client,
                Err(_) => self.sim.sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// The records of the caller's proxy, in the order in which the requests came.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = self.caller.records.borrow().clone();
        records.sort_by_key(|record| record.started);
        records
    }

    /// Lets the application of replica `number` answer all requests with its number and the length
    /// of the body. What it has executed is counted in `executed`.
    pub(crate) fn serve(&self, number: usize, executed: &Executed) {
        let mut listener = self.application(number);
        let (world, executed) = (self.hosts[number].world(), executed.clone());
        drop(self.hosts[number].spawn(async move {
            while let Ok(accepted) = listener.accept().await {
                let mut line = Line::new(world.clone(), accepted.stream);
                let executed = executed.clone();
                drop(tokio::task::spawn_local(async move {
                    while let Some((target, body)) = line.request().await {
                        executed.borrow_mut().push((number, target, body.len(), sum(&body)));
                        let answer = format!("{number} {}", body.len());
                        let length = answer.len();
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                        if line.send(&[head.as_bytes(), answer.as_bytes()].concat()).await.is_err()
                        {
                            return;
                        }
                    }
                }));
            }
        }));
    }
}

/// What was executed: where, what, how long its body was, and a sum over it.
pub(crate) type Executed = Rc<RefCell<Vec<(usize, String, usize, u64)>>>;

/// A sum in which order counts.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

/// What `future` gives within `limit` of simulated time.
pub(crate) async fn within<T>(
    sim: &Simulation,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = sim.sleep(limit) => None,
    }
}

/// What all of `futures` give, in their order; they go on at the same time.
pub(crate) async fn together<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        for (future, output) in all.iter_mut().filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(found) = future.as_mut().poll(cx) {
                *output = Some(found);
            }
        }
        match all.iter().all(|(_, output)| output.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    all.into_iter().filter_map(|(_, output)| output).collect()
}

/// The same, for what many share.
pub(crate) fn shared<T: Default>() -> Rc<RefCell<T>> {
    Rc::default()
}

/// A route for all requests to `shop/web`, as `change` makes it.
pub(crate) fn route(change: impl FnOnce(&mut weft_model::RouteRule)) -> weft_wire::Object {
    use weft_model::{Backend, HttpPath, Parent, PathMatch, RouteMatch, RouteParent, RouteRule};
    use weft_model::{Timeouts, Weight, WeightedBackend};
    let service: ObjectName = "shop/web".parse().unwrap();
    let path = PathMatch::Prefix(HttpPath::new("/").unwrap());
    let matches = vec![RouteMatch { path, headers: vec![], query: vec![], method: None }];
    let backend = Backend::Service { name: service.clone(), port: port(80) };
    let (weight, filters) = (Weight::new(1).unwrap(), vec![]);
    let backends = vec![WeightedBackend { backend, weight, filters }];
    let timeouts = Timeouts::default();
    let filters = vec![];
    let mut rule =
        RouteRule { name: None, matches, filters, backends, timeouts, retry: None, faults: vec![] };
    change(&mut rule);
    weft_wire::Object::Route(Arc::new(weft_model::Route {
        name: "http/shop/web".parse().unwrap(),
        created: 0,
        parents: [RouteParent { parent: Parent::Service(service), port: None }].into(),
        hostnames: Default::default(),
        rules: vec![rule],
    }))
}
