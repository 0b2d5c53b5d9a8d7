//! What was drawn, and how it ended.

use std::collections::BTreeMap;
use std::fmt;

use super::agree::{Ended, Found};

/// How often something was drawn, or what was spoken ended how, as `PROTOCOL END`.
#[derive(Default)]
pub(super) struct Seen {
    times: BTreeMap<String, usize>,
    shares: Shares,
}

/// How often the first of several backends was drawn, and how often that was to be expected.
#[derive(Default)]
struct Shares {
    found: f64,
    expected: f64,
    variance: f64,
}

/// How far from what is to be expected it may be, in standard deviations: once in 15,000 times it
/// would be further by chance, and no seed of those that are always tried is.
const DEVIATIONS: f64 = 4.0;

/// What is looked for in resources, and what it is called.
const DRAWN: [(&str, &str); 41] = [
    ("kind: HTTPRoute", "HTTPRoute"),
    ("kind: GRPCRoute", "GRPCRoute"),
    ("kind: TCPRoute", "TCPRoute"),
    ("kind: TLSRoute", "TLSRoute"),
    ("kind: FaultPolicy", "FaultPolicy"),
    ("kind: ExternalService\n", "ExternalService"),
    ("kind: ExternalService, name: pay, port", "backend outside"),
    ("namespace: weft-system }\nspec:\n  hosts", "ExternalService for all"),
    ("type: Exact", "exact match"),
    ("type: PathPrefix", "prefix"),
    ("type: RegularExpression", "regular expression"),
    ("queryParams:", "parameter"),
    ("method: DELETE", "method"),
    ("type: RequestMirror", "mirror"),
    ("type: CORS", "CORS"),
    ("type: URLRewrite", "rewrite"),
    ("type: RequestRedirect", "redirect"),
    ("type: RequestHeaderModifier", "request headers"),
    ("type: ResponseHeaderModifier", "answer headers"),
    ("timeouts:", "timeouts"),
    ("retry:", "retry"),
    ("weight: 0", "no weight"),
    ("-gone", "backend that is not there"),
    ("algorithm: Maglev", "Maglev"),
    ("algorithm: RingHash", "ring"),
    ("algorithm: RoundRobin", "round robin"),
    ("subset:", "subset"),
    ("panicThresholdPercent", "panic threshold"),
    ("sessionPersistence:", "session"),
    ("failover:", "failover"),
    ("prefer:", "locality"),
    ("kind: Mesh, name", "policy of the mesh"),
    ("kind: Namespace, name: shop }]\n  mode", "policy of a namespace in audit"),
    ("selector: { matchLabels: { version", "policy by labels"),
    ("sectionName: main }]\n", "policy of a port"),
    ("mode: Audit", "policy in audit"),
    ("  allow:", "allow list"),
    ("  deny:", "deny list"),
    ("  audit:", "audit list"),
    ("authorization: Deny", "nobody by default"),
    ("outbound: registered", "nothing else outside"),
];

/// How often each must have been seen under as many seeds as are always tried: half as often as it
/// was when this was written.
const FLOORS: &[(&str, usize)] = &[
    ("again in a session", 35),
    ("drawn CORS", 145),
    ("drawn ExternalService", 23),
    ("drawn ExternalService for all", 7),
    ("drawn FaultPolicy", 120),
    ("drawn GRPCRoute", 77),
    ("drawn HTTPRoute", 271),
    ("drawn Maglev", 44),
    ("drawn TCPRoute", 60),
    ("drawn TLSRoute", 60),
    ("drawn allow list", 39),
    ("drawn answer headers", 203),
    ("drawn audit list", 182),
    ("drawn backend outside", 35),
    ("drawn backend that is not there", 260),
    ("drawn deny list", 61),
    ("drawn exact match", 226),
    ("drawn failover", 111),
    ("drawn locality", 78),
    ("drawn method", 35),
    ("drawn mirror", 101),
    ("drawn no weight", 254),
    ("drawn nobody by default", 6),
    ("drawn nothing else outside", 13),
    ("drawn panic threshold", 56),
    ("drawn parameter", 135),
    ("drawn policy by labels", 5),
    ("drawn policy in audit", 21),
    ("drawn policy of a port", 56),
    ("drawn policy of the mesh", 6),
    ("drawn prefix", 114),
    ("drawn redirect", 37),
    ("drawn regular expression", 260),
    ("drawn request headers", 213),
    ("drawn retry", 224),
    ("drawn rewrite", 328),
    ("drawn ring", 54),
    ("drawn round robin", 26),
    ("drawn session", 50),
    ("drawn subset", 81),
    ("drawn timeouts", 168),
    ("grpc answered", 43),
    ("grpc audited inbound", 27),
    ("grpc bad-timeout", 10),
    ("grpc by GRPCRoute", 58),
    ("grpc by HTTPRoute", 67),
    ("grpc by hash", 14),
    ("grpc by no rule", 80),
    ("grpc caller-timeout", 16),
    ("grpc copy answered", 2),
    ("grpc deny-rule", 12),
    ("grpc fault spec.abort", 26),
    ("grpc fault spec.delay", 6),
    ("grpc fault-injected", 26),
    ("grpc in a session", 9),
    ("grpc near", 26),
    ("grpc no-allow-rule", 7),
    ("grpc no-backend", 14),
    ("grpc no-endpoint", 9),
    ("grpc no-route", 33),
    ("grpc no-weight", 9),
    ("grpc not callable", 49),
    ("grpc of a subset", 3),
    ("grpc outside", 3),
    ("grpc request-timeout", 10),
    ("grpc taken over", 4),
    ("grpc unguarded-deny", 15),
    ("http/1.1 answered", 113),
    ("http/1.1 audited inbound", 38),
    ("http/1.1 bad-path", 14),
    ("http/1.1 bad-request", 20),
    ("http/1.1 by HTTPRoute", 164),
    ("http/1.1 by hash", 12),
    ("http/1.1 by no rule", 175),
    ("http/1.1 connect-method", 2),
    ("http/1.1 copy answered", 5),
    ("http/1.1 cors-preflight", 4),
    ("http/1.1 deny-rule", 10),
    ("http/1.1 fault spec.abort", 7),
    ("http/1.1 fault spec.delay", 7),
    ("http/1.1 fault-injected", 7),
    ("http/1.1 in a session", 15),
    ("http/1.1 near", 28),
    ("http/1.1 no-allow-rule", 12),
    ("http/1.1 no-backend", 33),
    ("http/1.1 no-endpoint", 8),
    ("http/1.1 no-route", 62),
    ("http/1.1 no-weight", 12),
    ("http/1.1 not callable", 57),
    ("http/1.1 of a subset", 9),
    ("http/1.1 outside", 19),
    ("http/1.1 redirect", 16),
    ("http/1.1 tried again", 15),
    ("http/1.1 unguarded-deny", 19),
    ("http/1.1 wrong-host", 2),
    ("http/2 answered", 88),
    ("http/2 audited inbound", 28),
    ("http/2 bad-path", 17),
    ("http/2 by HTTPRoute", 135),
    ("http/2 by hash", 13),
    ("http/2 by no rule", 138),
    ("http/2 copy answered", 5),
    ("http/2 cors-preflight", 4),
    ("http/2 deny-rule", 8),
    ("http/2 fault spec.abort", 7),
    ("http/2 fault spec.delay", 3),
    ("http/2 fault-injected", 7),
    ("http/2 in a session", 12),
    ("http/2 near", 21),
    ("http/2 no-allow-rule", 11),
    ("http/2 no-backend", 19),
    ("http/2 no-endpoint", 8),
    ("http/2 no-route", 57),
    ("http/2 no-weight", 18),
    ("http/2 not callable", 48),
    ("http/2 of a subset", 10),
    ("http/2 outside", 15),
    ("http/2 redirect", 13),
    ("http/2 tried again", 11),
    ("http/2 unguarded-deny", 16),
    ("http/2 wrong-host", 4),
    ("tcp answered", 273),
    ("tcp audited inbound", 69),
    ("tcp audited outbound", 52),
    ("tcp bad-hello", 75),
    ("tcp by TCPRoute", 113),
    ("tcp by TLSRoute", 67),
    ("tcp by hash", 4),
    ("tcp by no rule", 406),
    ("tcp in a session", 22),
    ("tcp near", 19),
    ("tcp no-backend", 31),
    ("tcp no-endpoint", 16),
    ("tcp no-route", 56),
    ("tcp no-weight", 36),
    ("tcp not callable", 71),
    ("tcp of a subset", 16),
    ("tcp outside", 128),
    ("tcp taken over", 4),
    ("tcp tunnel-refused (cannot-evaluate)", 41),
    ("tcp tunnel-refused (deny-rule)", 2),
    ("tcp tunnel-refused (no-allow-rule)", 6),
    ("tcp tunnel-refused (unguarded-deny)", 41),
    ("tcp wrong-server-name", 8),
    ("unknown by no rule", 94),
    ("unknown no-service-port", 28),
    ("unknown outside-refused", 66),
];

impl Seen {
    /// Counts what was drawn.
    pub(super) fn drawn(&mut self, defaults: &str, resources: &str) {
        for (text, what) in DRAWN {
            let count = defaults.matches(text).count() + resources.matches(text).count();
            *self.times.entry(format!("drawn {what}")).or_default() += count;
        }
    }

    /// Counts how something ended.
    pub(super) fn add(&mut self, found: &Found, ended: &Ended) {
        let protocol = found.said.protocol.name();
        let whats = [&ended.how].into_iter().chain(&ended.notes);
        for what in whats {
            *self.times.entry(format!("{protocol} {what}")).or_default() += 1;
        }
        if let Some((is_first, share)) = ended.first {
            let Shares { found, expected, variance } = &mut self.shares;
            *found += if is_first { 1.0 } else { 0.0 };
            *expected += share;
            *variance += share * (1.0 - share);
        }
    }

    /// Counts what was sent once more, as part of a session.
    pub(super) fn again(&mut self) {
        *self.times.entry("again in a session".to_owned()).or_default() += 1;
    }

    /// How far backends were from being drawn by their shares, if too far.
    pub(super) fn odd_shares(&self) -> Option<String> {
        let Shares { found, expected, variance } = self.shares;
        let is_odd = (found - expected).abs() > DEVIATIONS * variance.sqrt();
        is_odd.then(|| format!("{found} times the first, {expected:.1} were to be expected"))
    }

    /// What was seen less often than it must be.
    pub(super) fn lacks(&self) -> Vec<String> {
        let times = |name: &str| self.times.get(name).copied().unwrap_or(0);
        let few = FLOORS.iter().filter(|(name, least)| times(name) < *least);
        few.map(|(name, least)| format!("{name}: {} of {least}", times(name))).collect()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.times.iter().try_for_each(|(name, times)| writeln!(f, "{times:>6} {name}"))?;
        let Shares { found, expected, variance } = self.shares;
        let deviation = variance.sqrt();
        write!(f, "{found} times the first backend, expected {expected:.1} +- {deviation:.1}")
    }
}
