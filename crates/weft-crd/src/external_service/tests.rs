//! ExternalServices, valid and invalid.

use super::*;
use crate::resource::Resource;
use crate::testing::{check, valid};

const HEAD: &str =
    "apiVersion: weft.dev/v1alpha1\nkind: ExternalService\nmetadata: { name: e, namespace: shop }";

fn external(spec: &str) -> ExternalService {
    match valid(&format!("{HEAD}\nspec: {spec}")).resource {
        Resource::ExternalService(external) => external,
        other => panic!("not an ExternalService: {other:?}"),
    }
}

#[test]
fn a_whole_one() {
    let whole = external(
        "
  hosts: [api.example.com, '*.example.org']
  cidrs: [203.0.113.0/24, 2001:db8::/32]
  ports:
  - { name: web, port: 443, appProtocol: https }
  - { name: db, port: 5432 }
  endpoints: [{ address: 192.0.2.1 }, { address: '2001:db8::1' }]",
    );
    assert_eq!(whole.hosts, ["api.example.com", "*.example.org"]);
    assert_eq!(whole.cidrs.len(), 2);
    let port = |name: &str, port, app_protocol| ExternalPort {
        tls: None,
        name: Some(name.to_owned()),
        port: Port::new(port).unwrap(),
        app_protocol,
    };
    assert_eq!(whole.ports, [port("web", 443, Some(AppProtocol::Tls)), port("db", 5432, None)]);
    let at = |text: &str| ExternalEndpoint { address: text.parse().unwrap(), port: None };
    assert_eq!(whole.endpoints, [at("192.0.2.1"), at("2001:db8::1")]);
    let moved = external(
        "{hosts: [a.b], ports: [{port: 80}], endpoints: [{address: 192.0.2.1, port: 8080}]}",
    );
    assert_eq!(moved.endpoints[0].port, Port::new(8080));
    let tls = external(
        "{hosts: [a.b], cidrs: [192.0.2.0/24], ports: [{port: 1}, \
         {port: 2, tls: {hostname: c.d, wellKnownCACertificates: System}}]}",
    );
    let [plain, by_tls] = &tls.ports[..] else { panic!() };
    assert_eq!(plain.tls, None);
    assert_eq!(by_tls.tls.as_ref().unwrap().hostname.as_deref(), Some("c.d"));
}

#[test]
fn its_certificates_are_few_enough_for_one_message() {
    let section = |byte: char| {
        let text = format!("{byte}AAA").repeat(16_000);
        format!("-----BEGIN CERTIFICATE-----\\n{text}\\n-----END CERTIFICATE-----\\n")
    };
    let bundle: String = "ABC".chars().map(section).collect();
    let port = |port: u16| format!("{{port: {port}, tls: {{caCertificates: \"{bundle}\"}}}}");
    let of = |count: u16| {
        let ports: Vec<_> = (1..=count).map(port).collect();
        format!("{{hosts: [a.b], ports: [{}]}}", ports.join(", "))
    };
    assert_eq!(external(&of(3)).ports.len(), 3);
    let expected = "error: spec.ports: 576000 bytes of certificates are not allowed, the most is \
                    524288 for all ports together";
    check(HEAD, &[(&of(4), &[expected])]);
}

#[test]
fn what_is_wrong_is_said() {
    let ports = "ports: [{port: 443}]";
    let host = |host: &str| format!("{{hosts: ['{host}'], {ports}}}");
    let block = |block: &str| format!("{{cidrs: ['{block}'], {ports}}}");
    check(
        HEAD,
        &[
            ("{ports: [{port: 443}]}", &["error: spec: at least one of hosts, cidrs is required"]),
            ("{hosts: [a.b]}", &["error: spec.ports: is required"]),
            (
                "{hosts: [a.b], ports: []}",
                &["error: spec.ports: an empty list is not allowed: a destination without a port \
                   cannot be called"],
            ),
            (
                "{hosts: [a.b, a.b], ports: [{port: 1, name: x}, {port: 1, name: x}]}",
                &[
                    "error: spec.hosts[1]: \"a.b\" is already listed as spec.hosts[0]",
                    "error: spec.ports[1].port: port 1 is already listed as spec.ports[0].port",
                    "error: spec.ports[1].name: the name \"x\" is taken by spec.ports[0].name",
                ],
            ),
            (
                "{hosts: [a.b], ports: [{port: 443, tls: {}}]}",
                &["error: spec.ports[0].tls: one of wellKnownCACertificates, caCertificates is \
                   required"],
            ),
            (
                "{hosts: [a.b], ports: [{port: 443, appProtocol: https, \
                 tls: {wellKnownCACertificates: System}}]}",
                &["error: spec.ports[0].tls: the program speaks TLS itself, as appProtocol says: \
                   TLS is not put into TLS"],
            ),
            (
                "{hosts: [a.b], cidrs: [192.0.2.0/24], \
                 ports: [{port: 1}, {port: 2, tls: {wellKnownCACertificates: System}}]}",
                &["error: spec.ports[1].tls: hostname is required where there are cidrs: an \
                   address has no name"],
            ),
            (
                "{cidrs: [192.0.2.0/24], ports: [{port: 1}], endpoints: [{address: 192.0.2.1}]}",
                &["error: spec.endpoints: is where hosts are, and there are none: an address is \
                   called itself"],
            ),
            (
                "{hosts: [a.b], ports: [{port: 1}, {port: 2}], \
                 endpoints: [{address: 192.0.2.1, port: 1}]}",
                &["error: spec.endpoints: a port of an endpoint is in the place of one port, and \
                   there are several"],
            ),
            (
                "{hosts: [a.b], ports: [{port: 1}], endpoints: [{address: 127.0.0.1}]}",
                &[
                    "error: spec.endpoints[0].address: \"127.0.0.1\" overlaps 127.0.0.0/8, which is \
                   not outside of the machine",
                ],
            ),
            (
                &block("0.0.0.0/0"),
                &[
                    "error: spec.cidrs[0]: \"0.0.0.0/0\" overlaps 0.0.0.0/8, which is not outside of \
                   the machine",
                ],
            ),
            (
                &block("::1"),
                &["error: spec.cidrs[0]: \"::1\" overlaps ::/127, which is not outside of the \
                   machine"],
            ),
            (
                &host("cart"),
                &["error: spec.hosts[0]: \"cart\" is what a Service of the own namespace is \
                   called: an outside host has a dot"],
            ),
            (
                &host("cart.shop.svc"),
                &["error: spec.hosts[0]: \"cart.shop.svc\" is a name of Services, which the mesh \
                   has"],
            ),
            (
                &host("*.localhost"),
                &["error: spec.hosts[0]: \"*.localhost\" is the workload itself"],
            ),
            (
                &host("a.*.b"),
                &[
                    "error: spec.hosts[0]: \"a.*.b\" has `*` elsewhere than as its whole first label",
                ],
            ),
            (
                &host("192.0.2.1"),
                &["error: spec.hosts[0]: \"192.0.2.1\" is an address, a host name is needed"],
            ),
        ],
    );
}
