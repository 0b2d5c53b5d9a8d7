//! Workloads, valid and invalid.

use super::*;
use crate::resource::Resource;
use crate::testing::{check, valid};

const HEAD: &str = "apiVersion: weft.dev/v1alpha1\nkind: Workload\nmetadata: { name: cart-1, \
labels: { app: cart } }";

fn workload(spec: &str) -> Workload {
    match valid(&format!("{HEAD}\nspec: {spec}")).resource {
        Resource::Workload(workload) => workload,
        other => panic!("not a Workload: {other:?}"),
    }
}

#[test]
fn the_least() {
    let workload = workload("{addresses: [192.0.2.7]}");
    assert_eq!(workload.service_account, "default");
    assert_eq!(workload.metadata.labels["app"], "cart");
    assert_eq!((workload.ports.len(), workload.generation), (0, 0));
    assert_eq!((workload.locality, workload.tunnel_port), (None, None));
}

#[test]
fn a_whole_one() {
    let workload = workload(
        "
  serviceAccount: cart
  addresses: [192.0.2.7, '2001:db8::7']
  ports: [{ name: http, port: 8080, protocol: TCP, appProtocol: http }, { port: 9090 }]
  tunnelPort: 15008
  locality: { region: eu-north, zone: eu-north-1a }
  generation: 7",
    );
    assert_eq!(workload.service_account, "cart");
    assert_eq!(workload.addresses.len(), 2);
    assert_eq!(workload.ports[0].name.as_deref(), Some("http"));
    assert_eq!(workload.ports[0].app_protocol, Some(AppProtocol::Http));
    assert_eq!(workload.tunnel_port.map(Port::get), Some(15008));
    let zone = workload.locality.and_then(|locality| locality.zone);
    assert_eq!(zone.as_deref(), Some("eu-north-1a"));
    assert_eq!(workload.generation, 7);
}

#[test]
fn what_is_wrong() {
    check(
        HEAD,
        &[
            ("{}", &["error: spec.addresses: is required"]),
            (
                "{addresses: []}",
                &["error: spec.addresses: an empty list is not allowed: a workload is reached \
                     at some address"],
            ),
            (
                "{addresses: [cart.example, 0.0.0.0, 224.0.0.1]}",
                &[
                    "error: spec.addresses[0]: \"cart.example\" is not an address",
                    "error: spec.addresses[1]: 0.0.0.0 is not the address of one machine",
                    "error: spec.addresses[2]: 224.0.0.1 is not the address of one machine",
                ],
            ),
            (
                "{addresses: [192.0.2.7, 192.0.2.7]}",
                &["error: spec.addresses[1]: 192.0.2.7 is already listed as spec.addresses[0]"],
            ),
            (
                "{addresses: [192.0.2.7], ports: [{port: 1, name: a}, {port: 1, name: a}]}",
                &[
                    "error: spec.ports[1]: the name \"a\" is taken by spec.ports[0]",
                    "error: spec.ports[1]: port 1 is already listed as spec.ports[0]",
                ],
            ),
            (
                "{addresses: [192.0.2.7], locality: {zone: a}, healthCheck: {}, generation: -1}",
                &[
                    "error: spec.locality.region: is required",
                    "error: spec.healthCheck: not supported yet by this version",
                    "error: spec.generation: -1 is not allowed, the least is 0",
                ],
            ),
        ],
    );
}
