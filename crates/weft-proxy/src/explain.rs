//! What the proxies of both sides would do with a request, said without sending it.
//!
//! It asks the functions that `outbound.rs`, `request.rs` and `inbound.rs` ask, in their order.
//! What only a running proxy knows is taken at its best: every endpoint can be reached and proves
//! its identity, no limit is reached, none is ejected, and the application answers.

mod endpoints;
mod judge;
mod stream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use weft_decide::authorize::{Audited, Decision};
use weft_decide::deadline::{self, Bound, Deadline};
use weft_decide::fault::is_for;
use weft_decide::filters::{self, Facts, OwnAnswer};
use weft_decide::grpc::is_call;
use weft_decide::locality;
use weft_decide::retry::{self, Next, Outcome, Tried};
use weft_decide::route;
use weft_http::http2::{self, Pseudo};
use weft_http::{GrammarError, RequestHead, request};
use weft_model::{
    ExternalService, Fault, HashOn, ObjectName, Port, Protocol, Retry, Route, RouteRule, SpiffeId,
};
use weft_telemetry::Protocol as Spoke;
use weft_wire::discovery::Lookup;

use crate::connection::Codec;
use crate::decision::{self, upstream_codec};
use crate::detect::{self, HelloError, Spoken};
use crate::error::{ProxyError, Verdict};
use crate::fault;
use crate::outbound::{Known, at_address, known, of_called, said};
use crate::outside::Outward;
use crate::snapshot::{Destination, EndpointSpec, Reach, Snapshot, TunnelTarget};
use crate::time;

use self::endpoints::{endpoints, key};
use self::judge::{judge, untrusted};
use self::stream::stream;

/// The longest wait for a tunnel to open, which no resource changes.
pub const HANDSHAKE_TIMEOUT: Duration = time::HANDSHAKE_TIMEOUT;

/// Who calls, and what its proxy knows.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What its proxy knows of the mesh, what is called included.
    pub snapshot: Arc<Snapshot>,
    /// The identity that its proxy proves.
    pub identity: SpiffeId,
    /// The address that servers see it at.
    pub address: IpAddr,
}

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// A port of a Service.
    Service(ObjectName, Port),
    /// An address.
    Address(SocketAddr),
    /// A host outside of the mesh, which an ExternalService has.
    Host(Arc<str>, Port),
}

impl Called {
    /// The host outside that it is, and the destination that has it.
    fn outside_host(&self, snapshot: &Snapshot) -> Option<(Arc<str>, Arc<ExternalService>)> {
        match self {
            Called::Host(host, port) => outward(host, *port).hosts(snapshot),
            Called::Service(..) | Called::Address(_) => None,
        }
    }
}

/// The ExternalService that has `host`, for whoever knows `snapshot`.
pub fn external_of(snapshot: &Snapshot, host: &str) -> Option<ObjectName> {
    snapshot.egress.of_host(host).map(|service| service.name.clone())
}

/// A connection to `port` of `host`, whatever address stands for it.
fn outward(host: &Arc<str>, port: Port) -> Outward {
    let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port.get());
    Outward::for_host(host.clone(), address)
}

/// What the caller sends, on a connection of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A request of HTTP/1.1 without a body: its head as it is on the wire.
    Http1(Vec<u8>),
    /// A request of HTTP/2, calls of gRPC among them.
    Http2 {
        /// Its `:method`.
        method: String,
        /// Its `:authority`.
        authority: String,
        /// Its `:path`; empty in `CONNECT`.
        path: String,
        /// Its fields, their names in lower case.
        fields: Vec<(String, String)>,
    },
    /// TLS of the application's own, for the server of this name if it says one.
    Tls(Option<String>),
    /// Bytes that are neither, or none before the server has spoken.
    Opaque,
}

impl Sent {
    /// What it is where it is looked into.
    fn spoken(&self) -> Option<Spoken> {
        match self {
            Sent::Http1(bytes) => detect::of_bytes(bytes),
            Sent::Http2 { .. } => Some(Spoken::Http2),
            Sent::Tls(_) | Sent::Opaque => Some(Spoken::Opaque),
        }
    }

    fn codec(&self) -> Codec {
        match self {
            Sent::Http1(_) | Sent::Tls(_) | Sent::Opaque => Codec::Http1,
            Sent::Http2 { .. } => Codec::Http2,
        }
    }

    /// Reads it as a request, as the codec of HTTP that its first bytes lead to does.
    fn read(&self, head: &mut RequestHead) -> Result<(), GrammarError> {
        match self {
            Sent::Http1(bytes) => read_http1(bytes, head),
            Sent::Http2 { method, authority, path, fields } => {
                let pseudo =
                    Pseudo { method, scheme: Some("http"), authority: Some(authority), path };
                let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
                http2::read_request(&pseudo, fields, false, head).map(|_| ())
            }
            Sent::Tls(_) | Sent::Opaque => read_http1(b"\0\r\n\r\n", head),
        }
    }
}

fn read_http1(bytes: &[u8], head: &mut RequestHead) -> Result<(), GrammarError> {
    request::parse(bytes, head)?.map(|_| ()).ok_or(GrammarError::TooLarge)
}

/// What the proxies would do with a request, or with a connection.
#[derive(Debug)]
pub struct Explanation {
    /// The request with its path in one spelling; as far as it was read.
    pub head: RequestHead,
    /// What was called, if there is such a thing.
    pub called: Option<Arc<Destination>>,
    /// What is spoken, as records have it.
    pub protocol: Spoke,
    /// The server that a connection of TLS is for, if it says one.
    pub server_name: Option<String>,
    /// The rule that it falls under, if what was called has rules.
    pub rule: Option<Chosen>,
    /// The answer that a filter of the rule gives. Then it goes nowhere.
    pub own_answer: Option<OwnAnswer>,
    /// Where it may go, or why nowhere.
    pub ways: Result<Vec<Way>, Refused>,
}

impl Explanation {
    /// Whether HTTP is seen. If not, bytes are carried without a look into them.
    pub fn is_http(&self) -> bool {
        self.protocol.has_requests()
    }

    /// The statuses of HTTP and of gRPC with which `refused` is answered; neither where nothing is.
    pub fn statuses(&self, refused: &Refused) -> (Option<u16>, Option<u32>) {
        let status = refused.verdict.status;
        if refused.is_silent {
            (None, None)
        } else if is_call(&self.head) {
            // As gRPC has it, the call is answered, and the answer says that it failed.
            (Some(200), Some(refused.verdict.grpc_status))
        } else {
            (Some(status), None)
        }
    }
}

/// The rule that a request falls under.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The route.
    pub route: Arc<Route>,
    /// Which of its rules, counted from 0.
    pub rule_index: usize,
    /// Which of the rule's matches, counted from 0.
    pub match_index: usize,
    /// The port that was called.
    port: Port,
    /// The prefix that matched.
    prefix: String,
}

impl Chosen {
    /// The rule.
    pub fn rule(&self) -> &RouteRule {
        &self.route.rules[self.rule_index]
    }

    /// What its filters go by.
    pub fn facts(&self) -> Facts<'_> {
        Facts { port: self.port, prefix: &self.prefix }
    }
}

/// A backend that a request may go to.
#[derive(Debug, Default)]
pub struct Way {
    /// Its place among the backends of the rule, counted from 0; none without a rule, or where that
    /// leads nowhere.
    pub backend_index: Option<usize>,
    /// Its share of `total`.
    pub share: u64,
    /// The sum of all shares.
    pub total: u64,
    /// The backend, if it is there.
    pub backend: Option<Arc<Destination>>,
    /// The one that it takes over from, as things stand.
    pub instead_of: Option<Arc<Destination>>,
    /// Host and port, and path and query, with which the request is sent there.
    pub sent: Option<(String, String)>,
    /// What its endpoint is chosen by, where that is a hash and there is something to hash.
    pub hashed: Option<HashOn>,
    /// The labels by which its endpoints are chosen among, as `version=v2`; empty where any do.
    pub wanted: String,
    /// The fault that is put into some requests like this one on purpose.
    pub fault: Option<Fault>,
    /// Its endpoints, in the order of the backend's own.
    pub endpoints: Vec<Endpoint>,
    /// What the caller may get, each once.
    pub ends: Vec<End>,
    /// What its proxy says if an attempt takes longer than it may; none without a limit.
    pub late: Option<Refused>,
}

/// An endpoint of a backend, and what becomes of a request there.
#[derive(Debug)]
pub struct Endpoint {
    /// The endpoint.
    pub spec: EndpointSpec,
    /// How far away it is.
    pub distance: locality::Reach,
    /// Whether it may be called, as far as its health goes.
    pub is_callable: bool,
    /// Whether it is among those that are used as long as none of them is overloaded; where a hash
    /// decides that can be told beforehand, the one that is called.
    pub is_preferred: bool,
    /// What its proxy decides about the caller, if it has one that comes to decide.
    pub decision: Option<Decision>,
    /// What in audit at its proxy would refuse the caller.
    pub audits: Vec<Audited>,
    /// What the caller gets if it is called.
    pub end: End,
}

/// What a caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The answer of an application, whatever that is.
    Application,
    /// The answer of the server's proxy, which the caller's proxy passes on.
    Server(Refused),
    /// The answer of its own proxy.
    Caller {
        /// What that says.
        refused: Refused,
        /// What the server's proxy said to it, where that was the reason.
        server: Option<Refused>,
    },
}

impl End {
    /// Where no HTTP is spoken nothing is answered.
    fn silence(&mut self) {
        if let End::Caller { refused, .. } = self {
            refused.is_silent = true;
        }
    }
}

/// What a proxy says that does not carry a request on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// All that follows, the stable code of the reason among it.
    pub verdict: Verdict,
    /// The reason in words.
    pub detail: String,
    /// Whether nothing is answered: the connection is closed.
    pub is_silent: bool,
}

impl Refused {
    /// What follows from `error` where HTTP is spoken.
    fn new(error: &ProxyError) -> Refused {
        Refused { verdict: error.verdict(), detail: error.to_string(), is_silent: false }
    }

    fn silent(error: &ProxyError) -> Refused {
        Refused { is_silent: true, ..Refused::new(error) }
    }
}

/// What the proxies would do with `sent`. `server` gives what the proxy of an endpoint knows.
pub fn explain(
    caller: &Caller,
    called: &Called,
    sent: &Sent,
    server: &dyn Fn(&TunnelTarget) -> Arc<Snapshot>,
) -> Explanation {
    let mut told = Explanation {
        head: RequestHead::default(),
        called: None,
        protocol: Spoke::Unknown,
        server_name: None,
        rule: None,
        own_answer: None,
        ways: Ok(Vec::new()),
    };
    let Caller { snapshot, .. } = caller;
    let destination = match lead(snapshot, called) {
        Ok(destination) => told.called.insert(destination).clone(),
        Err(error) => {
            told.ways = Err(Refused::silent(&error));
            return told;
        }
    };
    let is_http = match destination.spoken() {
        declared if declared.is_http() => true,
        Protocol::Detect => sent.spoken().is_some_and(|spoken| spoken != Spoken::Opaque),
        _ => false,
    };
    if !is_http {
        told.protocol = Spoke::Tcp;
        let checked = check_server_name(snapshot, called, &destination, sent, &mut told);
        if let Err(error) = checked {
            told.ways = Err(Refused::silent(&error));
            return told;
        }
        let ways = stream(caller, &destination, sent, server, &mut told);
        told.ways = ways.map_err(|error| Refused::silent(&error));
        return told;
    }
    let read = sent.read(&mut told.head).map_err(ProxyError::BadRequest);
    told.protocol = match sent.codec() {
        Codec::Http1 => Spoke::Http1,
        Codec::Http2 if is_call(&told.head) => Spoke::Grpc,
        Codec::Http2 => Spoke::Http2,
    };
    let ways =
        read.and_then(|()| request(caller, called, sent.codec(), &destination, server, &mut told));
    told.ways = ways.map_err(|error| Refused::new(&error));
    told
}

/// Whether what is `sent` is for the host that is called, as far as it says.
fn check_server_name(
    snapshot: &Snapshot,
    called: &Called,
    destination: &Destination,
    sent: &Sent,
    told: &mut Explanation,
) -> Result<(), ProxyError> {
    let Some((host, service)) = called.outside_host(snapshot) else { return Ok(()) };
    match (sent, destination.spoken()) {
        (Sent::Tls(name), declared @ (Protocol::Tls | Protocol::Detect)) => {
            told.server_name.clone_from(name);
            decision::check_server_name(name.as_deref(), declared, &host, &service)
        }
        (_, Protocol::Tls) => Err(ProxyError::BadHello(HelloError::NotTls)),
        _ => Ok(()),
    }
}

/// What `called` is.
fn lead(snapshot: &Snapshot, called: &Called) -> Result<Arc<Destination>, ProxyError> {
    match called {
        Called::Service(name, port) => of_called(snapshot, name, *port),
        Called::Host(host, port) => outward(host, *port).destination(snapshot),
        Called::Address(address) => match known(snapshot, address.ip()) {
            Some(Known::Outside) => Outward::at(*address).destination(snapshot),
            Some(Known::InMesh) => at_address(snapshot, *address),
            None => {
                let why = said(Some(Lookup::Absent));
                Err(ProxyError::AddressUnknown { address: *address, why })
            }
        },
    }
}

/// What becomes of the request whose head `told` has, written by `codec`.
fn request(
    caller: &Caller,
    called: &Called,
    codec: Codec,
    destination: &Arc<Destination>,
    server: &dyn Fn(&TunnelTarget) -> Arc<Snapshot>,
    told: &mut Explanation,
) -> Result<Vec<Way>, ProxyError> {
    let Explanation { head, rule, own_answer, .. } = told;
    let address = match called {
        Called::Address(address) => *address,
        Called::Service(_, port) | Called::Host(_, port) => {
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port.get())
        }
    };
    let outside = called.outside_host(&caller.snapshot);
    if let Some((host, _)) = outside.as_ref().filter(|_| head.authority().is_empty()) {
        head.set_authority(host);
    }
    decision::prepare(head, address, false)?;
    if let Some((host, service)) = outside {
        decision::check_host(head, &host, &service)?;
    }
    let Some(matched) = decision::rule(destination, head)? else {
        let mut way = Way::new(None, 1, 1);
        way.go(caller, (destination, destination), (head, codec), None, server);
        return Ok(vec![way]);
    };
    let selected = matched.selected;
    let (route, rule_index, match_index) =
        (selected.route.clone(), selected.rule_index, matched.match_index);
    let facts = matched.facts;
    let (port, prefix) = (facts.port, facts.prefix.to_owned());
    *rule = Some(Chosen { route, rule_index, match_index, port, prefix });
    *own_answer = filters::answer(&selected.rule.filters, &facts, head);
    if own_answer.is_some() {
        return Ok(Vec::new());
    }
    let all = route::destinations(selected.rule);
    let total = all.iter().map(|(_, share)| share).sum();
    let way = |(to, share): (route::Destination<'_>, u64)| {
        let mut way = Way::new(place(selected.rule, to), share, total);
        match decision::backend(&caller.snapshot, destination, selected, to) {
            Ok(backend) => {
                let mut head = head.clone();
                filters::on_request(&selected.rule.filters, &facts, &mut head);
                decision::on_way(to, &facts, &mut head);
                let (rule, backend) = (Some(selected.rule), &backend);
                way.go(caller, (destination, backend), (&head, codec), rule, server);
            }
            Err(error) => way.end(&error),
        }
        way
    };
    Ok(all.into_iter().map(way).collect())
}

/// The place of the backend that `to` is among those of `rule`, if it is one.
fn place(rule: &RouteRule, to: route::Destination<'_>) -> Option<usize> {
    match to {
        route::Destination::Backend(backend) => {
            rule.backends.iter().position(|one| std::ptr::eq(one, backend))
        }
        route::Destination::NoBackend | route::Destination::NoWeight => None,
    }
}

impl Way {
    fn new(backend_index: Option<usize>, share: u64, total: u64) -> Way {
        Way { backend_index, share, total, ..Way::default() }
    }

    /// What takes over from `backend`, as things stand, or that one itself.
    fn taken_over(&mut self, caller: &Caller, backend: Arc<Destination>) -> Arc<Destination> {
        let other = decision::other_by_health(&caller.snapshot, &backend);
        let used = other.clone().unwrap_or_else(|| backend.clone());
        self.instead_of = other.map(|_| backend);
        self.backend = Some(used.clone());
        used
    }

    fn end(&mut self, error: &ProxyError) {
        self.ends.push(End::Caller { refused: Refused::new(error), server: None });
    }

    /// The request for `called` goes to `backend`.
    fn go(
        &mut self,
        caller: &Caller,
        (called, backend): (&Arc<Destination>, &Arc<Destination>),
        (head, codec): (&RequestHead, Codec),
        rule: Option<&RouteRule>,
        server: &dyn Fn(&TunnelTarget) -> Arc<Snapshot>,
    ) {
        let timeouts = rule.map(|rule| rule.timeouts).unwrap_or_default();
        let fault = fault::of(rule, called, backend, head);
        let backend = &self.taken_over(caller, Arc::clone(backend));
        self.sent = Some((head.authority().to_owned(), head.target().to_owned()));
        let asked = match deadline::asked(head) {
            Ok(asked) => asked,
            Err(error) => return self.end(&ProxyError::BadTimeout(error)),
        };
        let codec = upstream_codec(backend.protocol, head, codec);
        let bound = Deadline::new(&timeouts, asked, Duration::ZERO).attempt(Duration::ZERO);
        self.late = bound
            .map(|Bound { whole, limit, .. }| Refused::new(&ProxyError::Timeout { limit, whole }));
        let judge = |spec: &EndpointSpec| {
            let mut head = head.clone();
            let is_secured = matches!(spec.reach, Reach::Tunnel(_));
            deadline::carry(&mut head, bound.map(|bound| bound.left), is_secured);
            judge(caller, spec, Some((&mut head, codec)), server)
        };
        let wanted = decision::wanted(backend, Some(head));
        self.wanted = wanted.map(|wanted| wanted.to_string()).unwrap_or_default();
        let key = key(caller, backend, Some(head));
        self.hashed = key.as_ref().map(|key| key.by.clone());
        self.endpoints = endpoints(caller, backend, Some(head), key.as_ref(), judge);
        let retry = rule.and_then(|rule| rule.retry.as_ref());
        self.ends = ends(&self.endpoints, backend, retry, Some(head));
        if let Some(fault) = fault {
            self.put_in(fault, head);
        }
    }
}

impl Way {
    /// `fault` is put into requests like that with `head`.
    fn put_in(&mut self, fault: &Fault, head: &RequestHead) {
        self.fault = Some(fault.clone());
        let Some(abort) = fault.abort.filter(|abort| is_for(abort.with, head)) else { return };
        if abort.percent.get() == 100 && fault.delay.is_none() {
            self.ends.clear();
        }
        let policy = fault.policy.to_string();
        self.end(&ProxyError::FaultInjected { policy, with: abort.with });
    }
}

/// What the caller may get in the end, since another endpoint is tried where one has not processed
/// the request.
fn ends(
    endpoints: &[Endpoint],
    destination: &Destination,
    policy: Option<&Retry>,
    head: Option<&RequestHead>,
) -> Vec<End> {
    let callable: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.is_callable).collect();
    if let Some(outside) = &destination.outside
        && outside.resolved.is_some()
    {
        // Where it is, DNS says to the proxy when it is called.
        let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), outside.port.get());
        let refused = destination.tls().and_then(|settings| untrusted(settings, address));
        return vec![match refused {
            None => End::Application,
            Some(error) => End::Caller { refused: Refused::new(&error), server: None },
        }];
    }
    if callable.is_empty() {
        let wanted = decision::wanted(destination, head);
        let error = decision::no_endpoint(&destination.name.without_port(), wanted);
        return vec![End::Caller { refused: Refused::new(&error), server: None }];
    }
    let is_tried_again = |end: &End| match end {
        End::Caller { refused, .. } => refused.verdict.outcome == Outcome::Unprocessed,
        End::Application | End::Server(_) => false,
    };
    let failing = callable.iter().filter(|endpoint| is_tried_again(&endpoint.end)).count();
    let tried = |retries: usize| Tried {
        retries: u32::try_from(retries).unwrap_or(u32::MAX),
        outcome: Outcome::Unprocessed,
        is_replayable: true,
        is_idempotent: head.is_some_and(RequestHead::is_idempotent),
        is_marked: false,
        has_budget: true,
        left: None,
    };
    // At the worst all of them are tried before one that does not fail.
    let is_over = |failed: usize| retry::after(policy, &tried(failed - 1), 0.0) == Next::Stop;
    let may_fail = failing == callable.len() || (failing > 0 && is_over(failing));
    let mut ends: Vec<End> = Vec::new();
    for Endpoint { end, .. } in callable {
        if (may_fail || !is_tried_again(end)) && !ends.contains(end) {
            ends.push(end.clone());
        }
    }
    ends
}
