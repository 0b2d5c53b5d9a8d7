//! A control plane beside a cluster, whose resources are those of its API server: Services, pods
//! and Gateway API's routes, written by kubectl.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use crate::images;
use crate::lab::Cluster;
use crate::pods::{CURL, NGINX, TOOLS, nginx_of_pods};
use crate::processes::{Process, WEFT, run, wait_until};

/// Two versions of a Service, of two pods and one, which answer with their own names.
fn versions() -> String {
    let mut text = nginx_of_pods();
    for (version, replicas) in [("v1", 2), ("v2", 1)] {
        text += &format!(
            "---
apiVersion: v1
kind: Service
metadata: {{ name: cart-{version}, namespace: shop }}
spec:
  selector: {{ app: cart, version: {version} }}
  ports: [{{ port: 80, targetPort: http, appProtocol: http }}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: cart-{version}, namespace: shop }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: cart, version: {version} }} }}
  template:
    metadata: {{ labels: {{ app: cart, version: {version} }} }}
    spec:
      containers:
      - name: cart
        image: {TOOLS}
        command: [{NGINX}, -e, stderr, -c, /config/nginx.conf]
        lifecycle: {{ preStop: {{ sleep: {{ seconds: 2 }} }} }}
        ports: [{{ name: http, containerPort: 8080 }}]
        readinessProbe: {{ httpGet: {{ path: /, port: http }}, periodSeconds: 1 }}
        volumeMounts: [{{ name: config, mountPath: /config }}, {{ name: tmp, mountPath: /tmp }}]
      volumes: [{{ name: config, configMap: {{ name: nginx }} }}, {{ name: tmp, emptyDir: {{}} }}]
"
        );
    }
    text + "---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec:
  selector: { app: cart }
  ports: [{ name: web, port: 80, targetPort: http, appProtocol: http }]
  sessionAffinity: ClientIP
---
apiVersion: v1
kind: Service
metadata: { name: elsewhere, namespace: shop }
spec: { type: ExternalName, externalName: pay.outside.test }
"
}

fn route(v1: u32, v2: u32) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: cart, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: cart, port: 80 }}]
  rules:
  - backendRefs:
    - {{ name: cart-v1, port: 80, weight: {v1} }}
    - {{ name: cart-v2, port: 80, weight: {v2} }}
"
    )
}

/// How many of `count` requests the pods of each version answered.
fn shares(address: SocketAddr, count: u32) -> BTreeMap<String, u32> {
    let url = format!("http://{address}/?[1-{count}]");
    let (ok, said) = run(Command::new(CURL).args(["-sS", "--fail", "--max-time", "10", &url]));
    assert!(ok, "{said}");
    let mut shares = BTreeMap::new();
    for line in said.lines() {
        let version = line.get(..7).unwrap_or(line);
        *shares.entry(version.to_owned()).or_default() += 1;
    }
    shares
}

#[test]
fn a_control_plane_follows_what_kubernetes_has() {
    let cluster = Cluster::up(1);
    cluster.install_gateway_api();
    cluster.load(&images::of_programs(&cluster.directory, TOOLS, &[NGINX]));
    cluster.apply(&(versions() + "---" + &route(3, 1)));

    let directory = &cluster.directory;
    let kubeconfig = cluster.kubeconfig();
    let arguments = ["control", "--listen", "127.0.0.1:0", "--data", "control", "--kubernetes"];
    let by = ["--kubeconfig", kubeconfig.to_str().unwrap()];
    let mut control = Process::weft(directory, "control", &[&arguments[..], &by].concat());
    control.address("weft control: ready at ");
    let log = control.log();
    assert!(log.contains("resources come from Kubernetes v1.34"), "{log}");
    let weft = |arguments: &[&str]| {
        let mut command = Command::new(WEFT);
        run(command.args(arguments).env("WEFT_CREDENTIAL", directory.join("control/admin")))
    };

    // A program of this machine calls the Service, and its proxy follows the route.
    let (ok, said) = weft(&["token", "--service-account", "shop/desk"]);
    let token = said.lines().find(|line| line.starts_with("weft-join.")).unwrap_or_default();
    assert!(ok && !token.is_empty(), "{said}");
    std::fs::write(directory.join("desk.token"), token).unwrap();
    std::fs::write(
        directory.join("desk.yaml"),
        "identity: { joinToken: desk.token, serviceAccount: shop/desk }
data: desk
outbound: [{ listen: 127.0.0.1:0, service: shop/cart, port: 80 }]
",
    )
    .unwrap();
    let mut desk = Process::weft(directory, "desk", &["proxy", "--config", "desk.yaml"]);
    let address = desk.address("listening at ");
    cluster.wait_for_pods("shop", "app=cart");
    // It is ready only once it knows all there was.
    let (ok, said) = weft(&["get", "services", "-n", "shop"]);
    assert!(ok && said.matches("cart").count() >= 3, "{said}");
    let (ok, said) = weft(&["get", "pods"]);
    assert!(ok && said.matches("cart-v").count() == 3, "{said}");
    // That they are ready reaches the proxy a moment after it reaches kubectl.
    let once = |count: u32| {
        let url = format!("http://{address}/?[1-{count}]");
        run(Command::new(CURL).args(["-sS", "--fail", "--max-time", "10", &url])).0
    };
    wait_until("pods are called", || once(20));
    let split = |wanted: fn(u32, u32) -> bool| {
        wait_until("the shares are those of the route", || {
            let shares = shares(address, 200);
            let of = |version: &str| shares.get(version).copied().unwrap_or(0);
            assert_eq!(of("cart-v1") + of("cart-v2"), 200, "{shares:?}");
            wanted(of("cart-v1"), of("cart-v2"))
        });
    };
    split(|v1, v2| v1 > 110 && v2 > 20);

    // kubectl changes where requests go, and nothing else does.
    cluster.apply(&route(0, 1));
    split(|v1, v2| v1 == 0 && v2 == 200);
    let file = directory.join("applied.yaml");
    let (ok, said) = weft(&["apply", "-f", file.to_str().unwrap()]);
    assert!(!ok && said.contains("are in Kubernetes: change them there"), "{said}");

    // Pods come and go, and no request fails.
    cluster.apply(&route(1, 1));
    split(|v1, v2| v1 > 60 && v2 > 60);
    cluster.kubectl(&[
        "rollout",
        "restart",
        "-n",
        "shop",
        "deployment/cart-v1",
        "deployment/cart-v2",
    ]);
    let is_over = || {
        shares(address, 50);
        let status = ["rollout", "status", "--watch=false", "-n", "shop"];
        ["deployment/cart-v1", "deployment/cart-v2"].iter().all(|deployment| {
            cluster.kubectl(&[&status[..], &[deployment]].concat()).contains("successfully")
        })
    };
    wait_until("the pods are replaced", is_over);
    split(|v1, v2| v1 > 60 && v2 > 60);

    let log = control.log();
    assert!(log.contains("it does not know BackendPolicy of weft.dev/v1alpha1"), "{log}");
    assert!(!log.contains("cannot be read"), "{log}");
}

#[test]
fn who_cannot_ask_kubernetes_says_why() {
    let cluster = Cluster::up(0);
    let refused = |kubeconfig: &str, more: &[&str]| {
        let data = cluster.directory.join("control");
        let mut command = Command::new(WEFT);
        command.args(["control", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
        let (ok, said) = run(command.args(["--kubernetes", "--kubeconfig", kubeconfig]).args(more));
        assert!(!ok, "{said}");
        said
    };
    let admin = cluster.kubeconfig();
    let admin = admin.to_str().unwrap();
    let said = refused("no-such-file", &[]);
    assert!(said.contains("no-such-file cannot be used: "), "{said}");
    let said = refused(admin, &["--context", "other"]);
    assert!(said.contains("cannot be used: ") && said.contains("other"), "{said}");
    let text = std::fs::read_to_string(admin).unwrap();
    let wrong = cluster.directory.join("wrong.conf");
    std::fs::write(&wrong, text.replace(":6443", ":6444")).unwrap();
    let said = refused(wrong.to_str().unwrap(), &[]);
    assert!(said.contains("the API server at https://198.18.0.2:6444/ does not answer"), "{said}");
    assert!(said.contains("refused"), "{said}");

    // Who may not read something is not ready, and hears what it is.
    let proxy = admin.replace("admin.conf", "proxy.conf");
    let arguments = ["control", "--listen", "127.0.0.1:0", "--data", "control", "--kubernetes"];
    let by = ["--kubeconfig", &proxy];
    let control = Process::weft(&cluster.directory, "control", &[&arguments[..], &by].concat());
    wait_until("what may not be read is named", || {
        let log = control.log();
        log.contains("Kubernetes: ConfigMap: ") && log.contains("configmaps is forbidden")
    });
    assert!(!control.log().contains("ready at"), "{}", control.log());
}
