//! Policies for one port of a Service, as curl notices them at this port and not at the other one.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use crate::app::{App, Executed};
use crate::lab::{Lab, PortSpec, Process, Proxy, Spec, ask, succeeded, wait_until};

/// The ports of the Service, by name.
const PORTS: [(&str, u16, u16); 2] = [("web", 80, 8080), ("admin", 90, 9090)];

/// `shop/pay` with two ports, and callers of both: `shop/web` and `shop/rogue`.
struct Mesh {
    lab: Lab,
    callers: [Proxy; 2],
    _server: Proxy,
    _apps: [App; 2],
}

impl Mesh {
    fn start() -> Mesh {
        let lab = Lab::new();
        lab.apply(
            "
apiVersion: v1
kind: Service
metadata: { name: pay, namespace: shop }
spec:
  selector: { app: pay }
  ports:
  - { name: web, port: 80, targetPort: 8080, appProtocol: http }
  - { name: admin, port: 90, targetPort: 9090, appProtocol: http }
",
        );
        let apps = PORTS.map(|(name, ..)| App::start(name, &Executed::default()));
        let of = |(app, (_, service_port, port)): (&App, (_, u16, u16))| PortSpec {
            port,
            service_port,
            protocol: Some("http"),
            application: app.address,
        };
        let server = lab.proxy(&Spec {
            name: "pay-1",
            account: "shop/pay",
            services: &["shop/pay"],
            ports: apps.iter().zip(PORTS).map(of).collect(),
            ..Spec::default()
        });
        let callers = ["shop/web", "shop/rogue"].map(|account| {
            let name = account.replace('/', "-");
            let calls = &[("shop/pay", 80), ("shop/pay", 90)];
            lab.proxy(&Spec { name: &name, account, calls, ..Spec::default() })
        });
        let mesh = Mesh { lab, callers, _server: server, _apps: apps };
        for (caller, port) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            assert_eq!(mesh.status(caller, port, &[]), 200);
        }
        mesh
    }

    /// Where the caller calls the port.
    fn address(&self, caller: usize, port: usize) -> SocketAddr {
        self.callers[caller].addresses[port]
    }

    fn status(&self, caller: usize, port: usize, fields: &[&str]) -> u16 {
        ask(self.address(caller, port), "GET", "/", fields).status
    }

    /// Puts a policy of `kind` for the port `admin` in force.
    fn policy(&self, kind: &str, spec: &str) {
        let policy = format!(
            "
apiVersion: weft.dev/v1alpha1
kind: {kind}
metadata: {{ name: admin, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: pay, sectionName: admin }}]
  {spec}
"
        );
        succeeded(self.lab.apply_with(&["--wait"], &policy));
    }
}

#[test]
fn one_port_lets_others_in_than_another() {
    let mesh = Mesh::start();
    mesh.policy("AuthorizationPolicy", "allow: [{ from: [{ serviceAccount: shop/web }] }]");
    let seen = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(who, port)| mesh.status(who, port, &[]));
    assert_eq!(seen, [200, 200, 200, 403]);
    // What another policy closes for the whole Service, this one does not open at the other port.
    mesh.lab.apply(
        "
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: all, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: pay }]
  allow: []
",
    );
    wait_until("the whole Service is closed", || mesh.status(0, 0, &[]) == 403);
    assert_eq!(mesh.status(0, 1, &[]), 200);
    assert_eq!((mesh.status(1, 0, &[]), mesh.status(1, 1, &[])), (403, 403));
}

#[test]
fn one_port_has_its_own_faults_and_limits() {
    let mesh = Mesh::start();
    let drill = "match: { headers: [{ name: x-drill }] }\n  abort: { status: 418 }";
    mesh.policy("FaultPolicy", drill);
    let fields = &["X-Drill: 1"];
    assert_eq!((mesh.status(0, 0, fields), mesh.status(0, 1, fields)), (200, 418));
    assert_eq!(mesh.status(0, 1, &[]), 200);

    mesh.policy("BackendPolicy", "limits: { requests: 1 }");
    let out = |port: usize| mesh.lab.directory.join(format!("{port}.out"));
    let streams = [0, 1].map(|port| {
        let url = format!("http://{}/stream/one", mesh.address(0, port));
        let mut curl = Command::new("curl");
        curl.args(["-sSN", "--max-time", "120", "-o"]);
        curl.arg(out(port)).arg(url);
        Process::start(&mesh.lab.directory, &format!("curl-{port}"), &mut curl)
    });
    // Nothing else is asked before, which would be the one request itself.
    let has_begun = |port| fs::metadata(out(port)).is_ok_and(|found| found.len() > 0);
    wait_until("both streams have begun", || has_begun(0) && has_begun(1));
    assert_eq!(mesh.status(0, 0, &[]), 200);
    let refused = ask(mesh.address(0, 1), "GET", "/", &[]);
    assert_eq!((refused.status, refused.reason.as_str()), (503, "limit-requests"));
    // Of another caller it is another one.
    assert_eq!(mesh.status(1, 1, &[]), 200);
    drop(streams);
    wait_until("there is none any more", || mesh.status(0, 1, &[]) == 200);
}
