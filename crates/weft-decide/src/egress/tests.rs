//! Which destination a name or an address is, and what stands for a name.

use weft_model::{ExternalPort, Protocol, TrafficPolicy};

use super::*;

fn service(name: &str, hosts: &[&str], cidrs: &[&str]) -> Arc<ExternalService> {
    let cidr = |text: &&str| {
        let (first, prefix) = text.split_once('/').unwrap();
        Cidr::new(first.parse().unwrap(), prefix.parse().unwrap()).unwrap()
    };
    let port = ExternalPort { name: None, protocol: Protocol::Detect, tls: None, traffic: None };
    Arc::new(ExternalService {
        name: name.parse().unwrap(),
        is_for_mesh: name.starts_with("weft-system/"),
        hosts: hosts.iter().map(|host| HostPattern::new(host).unwrap()).collect(),
        cidrs: cidrs.iter().map(cidr).collect(),
        ports: [(Port::new(443).unwrap(), port)].into(),
        endpoints: [].into(),
        traffic: TrafficPolicy::default(),
        routes: Default::default(),
    })
}

fn named(found: Option<&Arc<ExternalService>>) -> String {
    found.map_or("none".to_owned(), |service| service.name.to_string())
}

#[test]
fn the_own_namespace_comes_first_and_then_what_says_more() {
    let services = [
        service("shop/deep", &["*.b.example.com"], &["203.0.113.0/25"]),
        service("shop/all", &["*.example.com"], &["203.0.113.0/24"]),
        service("shop/one", &["a.b.example.com"], &[]),
        service("other/one", &["x.example.org"], &["198.51.100.0/24"]),
        service("weft-system/one", &["c.example.com", "x.example.org"], &["203.0.113.1/32"]),
        service("weft-system/all", &["*.example.org"], &["192.0.2.0/24"]),
    ];
    let shop = Namespace::new("shop").unwrap();
    let egress = Egress::new(&services, Some(&shop));
    for (host, expected) in [
        ("a.b.example.com", "shop/one"),
        ("x.b.example.com", "shop/deep"),
        ("b.example.com", "shop/all"),
        ("c.example.com", "shop/all"),
        ("example.com", "none"),
        ("x.example.org", "weft-system/one"),
        ("y.x.example.org", "weft-system/all"),
        ("com", "none"),
    ] {
        assert_eq!(named(egress.of_host(host)), expected, "{host}");
    }
    for (ip, expected) in [
        ("203.0.113.1", "shop/deep"),
        ("203.0.113.200", "shop/all"),
        ("192.0.2.1", "weft-system/all"),
        ("198.51.100.1", "none"),
        ("::ffff:192.0.2.1", "none"),
    ] {
        assert_eq!(named(egress.of_address(ip.parse().unwrap())), expected, "{ip}");
    }
    assert_eq!(named(Egress::new(&services, None).of_host("a.b.example.com")), "none");
}

#[test]
fn what_is_not_named_passes_as_the_mesh_says() {
    use OutboundPolicy::{Any, Audit, Registered};
    let service = service("shop/one", &["example.com"], &[]);
    let (named, other) = (Port::new(443).unwrap(), Port::new(80).unwrap());
    for policy in [Any, Audit, Registered] {
        assert_eq!(judge(policy, Some(&service), named), Verdict::To(&service));
    }
    for found in [None, Some(&service)] {
        assert_eq!(judge(Any, found, other), Verdict::Passes { is_audited: false });
        assert_eq!(judge(Audit, found, other), Verdict::Passes { is_audited: true });
        assert_eq!(judge(Registered, found, other), Verdict::Refused);
    }
}

#[test]
fn a_place_has_two_addresses_and_each_of_them_the_place() {
    let place = places("api.example.com").next().unwrap();
    assert_eq!(Some(place), places("api.example.com").next());
    assert_ne!(Some(place), places("api.example.org").next());
    for place in places("api.example.com").take(1000).chain([1, 0xff_fffe]) {
        let (v4, v6) = addresses(place);
        assert_eq!(v4.octets()[0], 241);
        assert_eq!(place_of(v4.into()), Some(place));
        assert_eq!(place_of(v6.into()), Some(place));
    }
    for other in ["240.255.255.255", "242.0.0.0", "fd77:6566:7400::1", "fd77:6566:7401:1::"] {
        assert_eq!(place_of(other.parse().unwrap()), None, "{other}");
    }
}

#[test]
fn what_dns_says_is_outside_or_nothing() {
    let is_outside = |text: &str| may_be_outside(text.parse().unwrap(), None);
    for outside in ["192.0.2.1", "10.0.0.1", "169.254.169.254", "2001:db8::1", "fd00::1"] {
        assert!(is_outside(outside), "{outside}");
    }
    for inside in [
        "127.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "241.0.0.1",
    ] {
        assert!(!is_outside(inside), "{inside}");
    }
}

#[test]
fn a_host_is_told_from_its_port() {
    for (authority, host) in [
        ("API.example.com", "api.example.com"),
        ("api.example.com:8080", "api.example.com"),
        ("api.example.com.:80", "api.example.com"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("", ""),
    ] {
        assert_eq!(host_of(authority), host);
    }
}

#[test]
fn an_answer_lasts_within_bounds() {
    let secs = Duration::from_secs;
    assert_eq!([0, 30, 86_400].map(|ttl| lasts(secs(ttl))), [1, 30, 300].map(secs));
}
