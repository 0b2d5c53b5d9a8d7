//! Services, valid and invalid.

use super::*;
use crate::resource::Resource;
use crate::testing::{check, parsed, valid, valid_in_kubernetes};

const HEAD: &str = "apiVersion: v1\nkind: Service\nmetadata: { name: cart }";

fn service(spec: &str) -> Service {
    match valid(&format!("{HEAD}\nspec: {spec}")).resource {
        Resource::Service(service) => service,
        other => panic!("not a Service: {other:?}"),
    }
}

#[test]
fn a_whole_one() {
    let service = service(
        "
  selector: { app: cart }
  type: ClusterIP
  sessionAffinity: None
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4]
  ports:
  - { name: http, port: 80, targetPort: 8080, appProtocol: http }
  - { name: grpc, port: 81, targetPort: rpc, protocol: TCP, appProtocol: kubernetes.io/h2c }
  - { name: db, port: 3306 }",
    );
    assert_eq!(service.selector["app"], "cart");
    assert_eq!(service.cluster_ip, ClusterIp::Unassigned);
    let port = |number| Port::new(number).unwrap();
    let [http, grpc, db] = service.ports.as_slice() else { panic!("{:?}", service.ports) };
    assert_eq!((http.port, &http.target_port), (port(80), &TargetPort::Number(port(8080))));
    assert_eq!(http.app_protocol, Some(AppProtocol::Http));
    assert_eq!(grpc.target_port, TargetPort::Name("rpc".to_owned()));
    assert_eq!(grpc.app_protocol, Some(AppProtocol::Http2));
    assert_eq!((&db.target_port, db.protocol), (&TargetPort::Number(port(3306)), Protocol::Tcp));
    assert_eq!(db.app_protocol, None);
}

#[test]
fn what_is_wrong() {
    check(
        HEAD,
        &[
            ("{selector: {a: b}}", &["error: spec.ports: is required"]),
            (
                "{selector: {a: b}, ports: []}",
                &["error: spec.ports: an empty list is not allowed: a service without a port \
                     cannot be called"],
            ),
            (
                "{selector: {a: b}, ports: [{port: 0}]}",
                &["error: spec.ports[0].port: 0 is not allowed, the least is 1"],
            ),
            (
                "{selector: {a: b}, ports: [{port: 65536, targetPort: '80'}]}",
                &[
                    "error: spec.ports[0].port: 65536 is not allowed, the most is 65535",
                    "error: spec.ports[0].targetPort: \"80\" is a string, so it would be the \
                     name of a port",
                ],
            ),
            (
                "{selector: {a: b}, ports: [{port: 80}, {port: 81, name: x}]}",
                &["error: spec.ports[0].name: of several ports each needs a name"],
            ),
            (
                "{selector: {a: b}, ports: [{port: 80, name: x}, {port: 80, name: x}]}",
                &[
                    "error: spec.ports[1]: port 80 is already listed as spec.ports[0]",
                    "error: spec.ports[1].name: the name \"x\" is taken by spec.ports[0].name",
                ],
            ),
            (
                "{selector: {a: b}, ports: [{port: 53, protocol: UDP}]}",
                &["error: spec.ports[0].protocol: \"UDP\" is not supported yet by this version"],
            ),
            (
                "{selector: {a: b}, ports: [{port: 80}], sessionAffinity: ClientIP}",
                &["error: spec.sessionAffinity: \"ClientIP\" is not supported yet by this version"],
            ),
            (
                "{type: ExternalName, externalName: example.com, ports: [{port: 80}]}",
                &[
                    "warning: spec: no selector: no workload will ever belong to this service",
                    "error: spec.type: \"ExternalName\" is not supported yet by this version",
                    "error: spec.externalName: not supported yet by this version",
                ],
            ),
            (
                "{selector: {a: b}, ports: [{port: 80}], publishNotReadyAddresses: true}",
                &["error: spec.publishNotReadyAddresses: true is not supported yet by this \
                     version"],
            ),
            (
                "{selector: {a: b}, ports: [{port: 80}], clusterIP: None}",
                &["error: spec.clusterIP: a headless service (\"None\") is not supported yet \
                     by this version"],
            ),
        ],
    );
}

#[test]
fn what_has_no_effect_outside_kubernetes() {
    check(
        HEAD,
        &[
            (
                "{selector: {a: b}, ports: [{port: 80}], clusterIP: 10.0.0.1, clusterIPs: \
                 [10.0.0.1]}",
                &["warning: spec.clusterIP: has no effect outside Kubernetes: the mesh gives a \
                     service its addresses"],
            ),
            (
                "{selector: {a: b}, ports: [{port: 80, nodePort: 30080}], type: NodePort}",
                &[
                    "warning: spec.ports[0].nodePort: has no effect outside Kubernetes",
                    "warning: spec.type: has no effect outside Kubernetes: the service is \
                     reached from the mesh only",
                ],
            ),
            (
                "{selector: {a: b}, ports: [{port: 80, appProtocol: example.com/x}]}",
                &["warning: spec.ports[0].appProtocol: \"example.com/x\" is not known here: \
                     the first bytes decide"],
            ),
            (
                "{ports: [{port: 80}]}",
                &["warning: spec: no selector: no workload will ever belong to this service"],
            ),
        ],
    );
}

#[test]
fn in_kubernetes_its_addresses_count() {
    let service = |spec: &str| match valid_in_kubernetes(&format!("{HEAD}\nspec: {spec}")).resource
    {
        Resource::Service(service) => service,
        other => panic!("not a Service: {other:?}"),
    };
    let both = service(
        "{clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 'fd00::1'], type: LoadBalancer, \
                        ports: [{port: 53, protocol: UDP, nodePort: 30053}]}",
    );
    assert_eq!(
        both.cluster_ip,
        ClusterIp::Assigned(vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()])
    );
    let headless = service("{clusterIP: None, clusterIPs: [None], selector: {a: b}}");
    assert_eq!((headless.cluster_ip, headless.ports.len()), (ClusterIp::Headless, 0));
}

#[test]
fn its_name_is_one_label() {
    let yaml = "{apiVersion: v1, kind: Service, metadata: {name: a.b}, spec: {selector: {a: b}, \
    ports: [{port: 1}]}}";
    assert!(parsed(yaml).has_errors());
}
