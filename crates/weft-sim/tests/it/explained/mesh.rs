//! The mesh that is explained: applications behind their proxies, and two callers' proxies, all of
//! whose records are kept.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use weft_compile::{Assignment, Change, Compiler, Options};
use weft_crd::Parsed;
use weft_decide::grpc::is_call;
use weft_http::{
    BodyDecoder, BodySize, Fields, HeadLimits, RequestHead, ResponseHead, Step, request,
};
use weft_model::{Address, Health, Network, ObjectName, SpiffeId};
use weft_proxy::config::{Inbound, InboundOwn, Listen, Outbound, OutboundTo};
use weft_proxy::detect::{Spoken, of_bytes};
use weft_proxy::explain::{Called, Caller, Explanation, Sent, explain};
use weft_proxy::h2::server::{self, Incoming, Server};
use weft_proxy::snapshot::{Configuration, OwnWorkload, TunnelTarget};
use weft_proxy::{Excluded, Resolution, Resolver};
use weft_sim::{Capture, Certificates, Registry, SimProxy, http2, port};
use weft_telemetry::Record;
use weft_wire::discovery::Subscription;
use weft_wire::{Release, SourceVersion};
use weft_world::{BoxFuture, World};

use super::called::{By, CALLERS, EXTRA, Extra, TARGET_OFFSET, VERSIONS, called};
use super::generated::WAITING;
use crate::shop::shared;
use crate::*;

/// A server: who it is, of which version and of which kind, and in which zone.
struct ServerSpec {
    name: &'static str,
    version: &'static str,
    by: By,
    zone: &'static str,
}

const fn server(
    name: &'static str,
    version: &'static str,
    by: By,
    zone: &'static str,
) -> ServerSpec {
    ServerSpec { name, version, by, zone }
}

const SERVERS: [ServerSpec; 8] = [
    server("server-v1", "v1", By::Web, "a"),
    server("server-v2", "v2", By::Web, "b"),
    server("server-v2-far", "v2", By::Web, "c"),
    server("store-v1", "v1", By::Store, "a"),
    server("store-v2", "v2", By::Store, "b"),
    server("shadow-v1", "v1", By::Shadow, "a"),
    server("shadow-v2", "v2", By::Shadow, "b"),
    server("shadow-v2-far", "v2", By::Shadow, "c"),
];

/// How each server fares, by its place among all.
pub(super) type Healths = [Health; SERVERS.len()];

/// Whether the workload gets copies alone.
fn is_shadow(workload: &str) -> bool {
    let mut shadows = SERVERS.iter().filter(|spec| spec.by == By::Shadow);
    shadows.any(|spec| workload.strip_prefix("shop/") == Some(spec.name))
}

/// What an application got.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) workload: String,
    pub(super) port: u16,
    /// The head, where HTTP was spoken.
    pub(super) head: Option<RequestHead>,
}

impl Arrived {
    /// Whether the application is outside of the mesh.
    pub(super) fn is_outside(&self) -> bool {
        self.workload.parse::<IpAddr>().is_ok()
    }
}

/// A proxy, and what it knows.
struct Side {
    host: Host,
    proxy: SimProxy,
    configuration: Arc<Configuration>,
    identity: SpiffeId,
}

/// All that was recorded of one thing that was sent.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) outbound: Vec<Record>,
    /// Each with its workload.
    pub(super) inbound: Vec<(String, Record)>,
    pub(super) arrived: Vec<Arrived>,
    /// What callers' proxies say became of copies, by what these were for.
    pub(super) mirrored: Vec<(String, &'static str)>,
}

pub(super) struct Lab {
    pub(super) sim: Simulation,
    callers: Vec<Side>,
    servers: BTreeMap<ObjectName, Side>,
    arrived: Rc<RefCell<Vec<Arrived>>>,
}

use std::cell::RefCell;

fn identity(namespace: &str, name: &str) -> SpiffeId {
    format!("spiffe://weft.local/ns/{namespace}/sa/{name}").parse().unwrap()
}

/// The workloads as resources, those of callers among them.
fn workloads() -> String {
    let workload = |namespace: &str, name: &str, labels: &str, spec: String| {
        format!(
            "---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: {{ name: {name}, namespace: {namespace}, labels: {{ {labels} }} }}
spec:
  tunnelPort: 15008
{spec}"
        )
    };
    let mut text = String::new();
    for (number, ServerSpec { name, version, by, zone }) in SERVERS.iter().enumerate() {
        let its = || called(true).iter().filter(|called| called.by == *by);
        let labels: String = its().map(|called| format!("{}: both, ", called.name)).collect();
        let ports: Vec<_> =
            its().map(|called| format!("{{ port: {} }}", TARGET_OFFSET + called.port)).collect();
        let (ports, region) = (ports.join(", "), if *zone == "c" { "far" } else { "near" });
        let spec = format!(
            "  serviceAccount: {name}\n  addresses: [{}]\n  ports: [{ports}]\n  \
             locality: {{ region: {region}, zone: {zone} }}\n",
            server_ip(number)
        );
        text.push_str(&workload("shop", name, &format!("{labels}version: {version}"), spec));
    }
    for (number, account) in CALLERS.iter().enumerate() {
        let (namespace, name) = account.split_once('/').unwrap();
        // Where the other one is, nobody says.
        let place = if number == 0 { "  locality: { region: near, zone: a }\n" } else { "" };
        let ip = caller_ip(number);
        let spec = format!("  serviceAccount: {name}\n  addresses: [{ip}]\n{place}");
        text.push_str(&workload(namespace, name, "", spec));
    }
    text
}

/// What is outside of the mesh.
const OUTSIDE: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 8)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
];

/// Where connections to addresses end up.
const CAPTURED: u16 = 15001;

fn server_ip(number: usize) -> IpAddr {
    IpAddr::from([10, 0, 1, u8::try_from(number).unwrap() + 1])
}

/// Where the callers call from. Policies tell one block of addresses from the other.
fn caller_ip(number: usize) -> IpAddr {
    [IpAddr::from([192, 0, 2, 1]), IpAddr::from([10, 0, 2, 1])][number]
}

/// All resources of a mesh that has these beside its workloads.
fn whole(defaults: &str, resources: &str) -> Parsed {
    let text = format!(
        "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: {{ name: mesh }}\n\
         spec: {{ trustDomain: weft.local, defaults: {defaults} }}\n{}{}{resources}",
        super::called::services(true),
        workloads()
    );
    weft_crd::parse("drawn.yaml", text.as_bytes(), &weft_crd::Options::default())
}

/// Whether these are no resources of a mesh.
pub(super) fn are_wrong(defaults: &str, resources: &str) -> bool {
    whole(defaults, resources).has_errors()
}

impl Lab {
    /// A mesh with these resources, whose servers fare so.
    pub(super) fn start(seed: u64, defaults: &str, resources: &str, healths: &Healths) -> Lab {
        let sim = Simulation::new(seed, patient());
        let registry = Registry::new("weft.local");
        let parsed = whole(defaults, resources);
        assert!(!parsed.has_errors(), "{}", parsed.render());
        let mut compiler = Compiler::new(Options::default());
        let put = parsed.objects.into_iter().map(|object| Change::Put(Arc::new(object)));
        let health = SERVERS.iter().zip(healths).map(|(spec, health)| {
            Change::Health(format!("shop/{}", spec.name).parse().unwrap(), Some(*health))
        });
        let given = |ip: [u8; 4]| {
            let address = Address { network: Network::default(), ip: ip.into() };
            Some(Assignment::Given([address].into()))
        };
        let services = called(true).iter().zip(1..).map(|(called, number)| {
            let name = format!("shop/{}", called.name).parse().unwrap();
            Change::Assign(name, given([240, 119, 0, number]))
        });
        let of_workloads = SERVERS.iter().zip(1..).map(|(spec, number)| {
            let name = format!("shop/{}", spec.name).parse().unwrap();
            Change::AssignWorkload(name, given([240, 119, 1, number]))
        });
        let changes = put.chain(health).chain(services).chain(of_workloads);
        let update = compiler.update(changes, SourceVersion { epoch: 1, revision: 1 });
        registry.apply(update.changed.iter().map(|object| object.object().clone()), []);

        let certificates = Certificates::default();
        let arrived = shared();
        let mut lab = Lab { sim, callers: Vec::new(), servers: BTreeMap::new(), arrived };
        for (number, spec) in SERVERS.iter().enumerate() {
            let side = lab.server(&registry, &certificates, number, spec);
            lab.servers.insert(format!("shop/{}", spec.name).parse().unwrap(), side);
        }
        for ip in OUTSIDE {
            let host = lab.sim.host(&ip.to_string(), [ip]);
            for (port, by) in [(80, By::Web), (443, By::Store), (5432, By::Store), (8080, By::Web)]
            {
                lab.serve(&host, &ip.to_string(), port, by);
            }
        }
        for number in 0..CALLERS.len() {
            let side = lab.caller(&registry, &certificates, number);
            lab.callers.push(side);
        }
        lab
    }

    fn caller(&self, registry: &Registry, certificates: &Certificates, number: usize) -> Side {
        let number_of = number;
        let (namespace, account) = CALLERS[number].split_once('/').unwrap();
        let identity = identity(namespace, account);
        let host = self.sim.host(&format!("caller-{number}"), [caller_ip(number)]);
        let names: Vec<ObjectName> =
            called(true).iter().map(|it| format!("shop/{}", it.name).parse().unwrap()).collect();
        let own_namespace = identity.service_account().own_namespace();
        let own = OwnWorkload {
            name: identity.service_account().clone(),
            generation: 0,
            applications: BTreeMap::new(),
        };
        // That what would become of a copy can be explained, too.
        let shadows = VERSIONS.map(|version| format!("shop/shadow-{version}").parse().unwrap());
        let known = names.iter().cloned().chain(shadows).map(Subscription::Service);
        let addresses = EXTRA.iter().filter_map(|extra| match extra {
            Extra::Address(ip, _) => Some(ip.parse().unwrap()),
            Extra::Host(..) => None,
        });
        let address = |ip| Subscription::Address(Address { network: Network::default(), ip });
        let known: Vec<_> = known.chain(addresses.map(address)).collect();
        let configuration =
            registry.subscribe_in(Some(own_namespace), Release::this(), Some(own), &known);
        let listener = |(index, name): (usize, &ObjectName)| Outbound {
            listen: Listen::At(self.listener(number, index)),
            to: OutboundTo::Service(name.clone(), port(called(true)[index].port)),
        };
        let extra = |(index, extra): (usize, &Extra)| match extra {
            Extra::Host(host, number) => Some(Outbound {
                listen: Listen::At(self.listener(number_of, called(true).len() + index)),
                to: OutboundTo::Host((*host).into(), port(*number)),
            }),
            Extra::Address(..) => None,
        };
        let redirected = ListenerOptions { redirected: true, ..ListenerOptions::default() };
        let at = (Ipv4Addr::LOCALHOST, CAPTURED).into();
        let captured = Outbound {
            listen: Listen::Open(host.world().network.listen(at, redirected).unwrap()),
            to: OutboundTo::Original(Excluded { cidrs: vec![], ports: vec![] }),
        };
        host.capture(Capture { outbound: Some(CAPTURED), ..Capture::default() });
        let services = names.iter().enumerate().map(listener);
        let hosts = EXTRA.iter().enumerate().filter_map(extra);
        let outbound = services.chain(hosts).chain([captured]).collect();
        let (told, identity_of) = (configuration.clone(), identity.clone());
        let listeners = (outbound, vec![]);
        let names: Option<Rc<dyn Resolver>> = Some(Rc::new(Names));
        let proxy = SimProxy::start_with(&host, identity_of, certificates, told, listeners, names);
        Side { host, proxy, configuration, identity }
    }

    fn server(
        &self,
        registry: &Registry,
        certificates: &Certificates,
        number: usize,
        spec: &ServerSpec,
    ) -> Side {
        let identity = identity("shop", spec.name);
        let host = self.sim.host(spec.name, [server_ip(number)]);
        let its = called(true).iter().filter(|called| called.by == spec.by);
        let ports: Vec<_> = its.map(|called| TARGET_OFFSET + called.port).collect();
        let at = |number: u16| SocketAddr::new(host.ip(), number);
        let name = format!("shop/{}", spec.name);
        let own = OwnWorkload {
            name: name.parse().unwrap(),
            generation: 0,
            applications: ports.iter().map(|number| (port(*number), at(*number))).collect(),
        };
        let namespace = identity.service_account().own_namespace();
        let configuration = registry.subscribe_in(Some(namespace), Release::this(), Some(own), &[]);
        let inbound = Inbound { listen: Listen::At(at(15008)), own: InboundOwn::Discovered };
        let (told, identity_of) = (configuration.clone(), identity.clone());
        let proxy = SimProxy::start(&host, identity_of, certificates, told, vec![], vec![inbound]);
        for number in ports {
            self.serve(&host, &name, number, spec.by);
        }
        Side { host, proxy, configuration, identity }
    }

    /// Starts an application on `host`.
    fn serve(&self, host: &Host, name: &str, port: u16, by: By) {
        let at = SocketAddr::new(host.ip(), port);
        let listener = host.world().network.listen(at, ListenerOptions::default()).unwrap();
        let (name, is_web, arrived) = (name.to_owned(), by != By::Store, self.arrived.clone());
        let application = Application { name, port, is_web, arrived };
        drop(host.spawn(application.serve(host.world(), listener)));
    }

    /// Where `caller`, counted as [`CALLERS`] are, reaches what [`called`] has at `called`.
    fn listener(&self, caller: usize, called: usize) -> SocketAddr {
        SocketAddr::new(caller_ip(caller), 9001 + u16::try_from(called).unwrap())
    }

    /// The program of `caller`, and where it connects to reach what is at `index`.
    fn program(&self, caller: usize, index: usize) -> (World, SocketAddr) {
        let host = &self.callers[caller].host;
        match index.checked_sub(called(true).len()).map(|extra| &EXTRA[extra]) {
            Some(Extra::Address(ip, port)) => {
                (host.application(), SocketAddr::new(ip.parse().unwrap(), *port))
            }
            Some(Extra::Host(..)) | None => (host.world(), self.listener(caller, index)),
        }
    }

    /// A connection of `caller` to what is at `index`.
    pub(super) async fn connect(&self, caller: usize, index: usize) -> Box<dyn Stream> {
        let (world, at) = self.program(caller, index);
        world.network.connect(at).await.unwrap()
    }

    /// A client of HTTP/2, which has such a connection.
    pub(super) async fn client(&self, caller: usize, index: usize) -> http2::Client {
        let (world, at) = self.program(caller, index);
        http2::Client::connect(&world, at).await.unwrap()
    }

    /// What would become of what `caller` sends to `called`.
    pub(super) fn explain(&self, caller: usize, called: &Called, sent: &Sent) -> Explanation {
        let Side { configuration, identity, host, .. } = &self.callers[caller];
        let snapshot = Arc::clone(&configuration.load());
        let caller = Caller { snapshot, identity: identity.clone(), address: host.ip() };
        let server = |target: &TunnelTarget| match self.servers.get(&target.workload) {
            Some(side) => Arc::clone(&side.configuration.load()),
            None => Arc::default(),
        };
        explain(&caller, called, sent, &server)
    }

    /// The identity of `caller`.
    pub(super) fn identity(&self, caller: usize) -> &SpiffeId {
        &self.callers[caller].identity
    }

    /// Takes all that was recorded: first of what was sent, then of copies of it.
    pub(super) fn take(&self) -> (Recorded, Recorded) {
        let records = |side: &Side| std::mem::take(&mut *side.proxy.records.borrow_mut());
        let outbound = self.callers.iter().flat_map(records).collect();
        let inbound = self.servers.iter().flat_map(|(name, side)| {
            records(side).into_iter().map(|record| (name.to_string(), record))
        });
        let (copies, inbound) = inbound.partition(|(workload, _)| is_shadow(workload));
        let arrived = std::mem::take(&mut *self.arrived.borrow_mut()).into_iter();
        let (copied, arrived) = arrived.partition(|arrived: &Arrived| is_shadow(&arrived.workload));
        let mirrored = |side: &Side| std::mem::take(&mut *side.proxy.mirrored.borrow_mut());
        let mirrored = self.callers.iter().flat_map(mirrored).collect();
        let sent = Recorded { outbound, inbound, arrived, mirrored: Vec::new() };
        (sent, Recorded { outbound: Vec::new(), inbound: copies, arrived: copied, mirrored })
    }
}

/// Says where hosts are.
struct Names;

impl Resolver for Names {
    fn resolve(&self, host: &str) -> BoxFuture<'static, Resolution> {
        let place = ["api.pay.example", "x.eu.pay.example"].iter().position(|name| *name == host);
        let addresses = vec![OUTSIDE[place.unwrap_or(OUTSIDE.len() - 1)]];
        Box::pin(async { Resolution::Found { addresses, ttl: Duration::from_secs(60) } })
    }
}

/// What stands behind a port: whatever comes, it answers with its name.
#[derive(Clone)]
struct Application {
    name: String,
    port: u16,
    is_web: bool,
    arrived: Rc<RefCell<Vec<Arrived>>>,
}

/// What answers have beside the name of their application, so that filters find something.
pub(super) const ANSWER: [(&str, &str); 3] = [
    ("X-Canary", "app"),
    ("Access-Control-Allow-Origin", "http://app.example"),
    ("Vary", "Accept"),
];

/// The name of an application in its answers.
pub(super) const NAME: &str = "X-App";

impl Application {
    async fn serve(self, world: World, mut listener: Box<dyn Listener>) {
        while let Ok(accepted) = listener.accept().await {
            let (application, world) = (self.clone(), world.clone());
            drop(tokio::task::spawn_local(application.talk(world, accepted.stream)));
        }
    }

    fn arrive(&self, head: Option<&RequestHead>) {
        let (workload, port) = (self.name.clone(), self.port);
        self.arrived.borrow_mut().push(Arrived { workload, port, head: head.cloned() });
    }

    /// The fields of an answer.
    fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.append(NAME, self.name.as_bytes());
        ANSWER.iter().for_each(|(name, value)| fields.append(name, value.as_bytes()));
        fields
    }

    async fn talk(self, world: World, mut stream: Box<dyn Stream>) {
        let mut seen = Vec::new();
        let spoken = loop {
            if !self.is_web && !seen.is_empty() {
                break Spoken::Opaque;
            }
            if let Some(spoken) = of_bytes(&seen) {
                break spoken;
            }
            if !more(&mut *stream, &mut seen).await {
                return;
            }
        };
        match spoken {
            Spoken::Http1 => self.http1(stream, seen).await,
            Spoken::Http2 => {
                let stream = Box::new(Prefixed { stream, seen });
                let server = Server::new(stream, world.clock).within(HeadLimits::MESH);
                server::serve(server, pending(), move |incoming| self.clone().http2(incoming))
                    .await;
            }
            Spoken::Opaque => self.opaque(stream).await,
        }
    }

    async fn opaque(self, mut stream: Box<dyn Stream>) {
        self.arrive(None);
        if stream.write_all(self.name.as_bytes()).await.is_ok() {
            let _ended = poll_fn(|cx| stream.poll_close(cx)).await;
            while more(&mut *stream, &mut Vec::new()).await {}
        }
    }

    async fn http1(self, mut stream: Box<dyn Stream>, mut seen: Vec<u8>) {
        loop {
            let mut head = RequestHead::default();
            match request::parse_within(HeadLimits::MESH, &seen, &mut head) {
                Ok(Some(parsed)) => {
                    seen.drain(..parsed.bytes);
                    if !skip(parsed.size, &mut *stream, &mut seen).await {
                        return;
                    }
                }
                Ok(None) if more(&mut *stream, &mut seen).await => continue,
                Ok(None) => return,
                Err(_) => return self.opaque(stream).await,
            }
            self.arrive(Some(&head));
            let status = status(&head);
            let mut answer =
                format!("HTTP/1.1 {status} Such\r\nContent-Length: 0\r\n").into_bytes();
            self.fields().write(&mut answer);
            answer.extend_from_slice(b"\r\n");
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    async fn http2(self, incoming: Incoming) {
        let Incoming { head, mut stream, .. } = incoming;
        let Ok(_) = http2::read(&mut stream).await else { return };
        self.arrive(Some(&head));
        if head.path() == WAITING {
            return pending().await;
        }
        let mut answer = ResponseHead::with_status(status(&head));
        answer.fields = self.fields();
        let mut trailers = Fields::default();
        if is_call(&head) {
            answer.fields.append("Content-Type", b"application/grpc");
            trailers.append("Grpc-Status", b"0");
        }
        http2::answer(&mut stream, &answer, b"", &trailers).await;
    }
}

/// The status with which a request asks to be answered.
pub(super) fn status(head: &RequestHead) -> u16 {
    let asked = head.fields.get("x-status").and_then(|value| std::str::from_utf8(value).ok());
    asked.map_or(200, |status| status.parse().unwrap())
}

/// Reads a body to its end; false if that does not come.
async fn skip(size: BodySize, stream: &mut dyn Stream, seen: &mut Vec<u8>) -> bool {
    let (mut decoder, mut trailers) = (BodyDecoder::new(size, false), Fields::default());
    loop {
        match decoder.step(seen, &mut trailers) {
            Ok(Step::Skip(count)) => drop(seen.drain(..count)),
            Ok(Step::Data(count)) => {
                seen.drain(..count);
                decoder.consume(count);
            }
            Ok(Step::More) if more(stream, seen).await => {}
            Ok(Step::More) | Err(_) => return false,
            Ok(Step::End) => return true,
        }
    }
}

/// Reads what comes next; nothing if nothing more comes.
async fn more(stream: &mut dyn Stream, seen: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4_096];
    match stream.read(&mut buffer).await {
        Ok(count @ 1..) => {
            seen.extend_from_slice(&buffer[..count]);
            true
        }
        Ok(0) | Err(_) => false,
    }
}

/// A stream whose first bytes were read already.
struct Prefixed {
    stream: Box<dyn Stream>,
    seen: Vec<u8>,
}

impl Stream for Prefixed {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.seen.is_empty() {
            return self.stream.poll_read(cx, buffer);
        }
        let count = self.seen.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.seen[..count]);
        self.seen.drain(..count);
        Poll::Ready(Ok(count))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, buffers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_close(cx)
    }
}
