//! What the lab itself must do, so that what is tested in it means something.

use std::collections::BTreeSet;

use crate::images::{self, WEFT, WEFT_NAME};
use crate::lab::Cluster;
use crate::nginx;
use crate::processes::wait_until;

/// Programs for pods, by Debian.
pub const TOOLS: &str = "weft.test/tools:1";

pub const NGINX: &str = "/usr/sbin/nginx";

pub const CURL: &str = "/usr/bin/curl";

/// The namespace `shop`, and what nginx in pods there is told: to answer with the pod's name.
pub fn nginx_of_pods() -> String {
    let server = "server { listen 8080; location / { return 200 \"$hostname\\n\"; } }";
    let config = nginx::config("/tmp".as_ref(), server).replace('\n', "\n    ");
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{ name: shop }}
---
apiVersion: v1
kind: ConfigMap
metadata: {{ name: nginx, namespace: shop }}
data:
  nginx.conf: |
    {config}
"
    )
}

/// A pod that does nothing until it is told to, and one of nginx on each node behind a Service.
fn shop() -> String {
    let of_nginx = nginx_of_pods();
    format!(
        r#"{of_nginx}---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web, namespace: shop }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {{ matchLabels: {{ app: web }} }}
      containers:
      - name: web
        image: {TOOLS}
        command: [{NGINX}, -e, stderr, -c, /config/nginx.conf]
        ports: [{{ name: http, containerPort: 8080 }}]
        readinessProbe: {{ httpGet: {{ path: /, port: http }}, periodSeconds: 1 }}
        volumeMounts:
        - {{ name: config, mountPath: /config }}
        - {{ name: tmp, mountPath: /tmp }}
      volumes:
      - {{ name: config, configMap: {{ name: nginx }} }}
      - {{ name: tmp, emptyDir: {{}} }}
---
apiVersion: v1
kind: Service
metadata: {{ name: web, namespace: shop }}
spec: {{ selector: {{ app: web }}, ports: [{{ port: 80, targetPort: http }}] }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: client, namespace: shop, labels: {{ app: client }} }}
spec:
  containers: [{{ name: client, image: "{TOOLS}", command: [/usr/bin/sleep, "3600"] }}]
"#
    )
}

const CLOSED: &str = r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: closed, namespace: shop }
spec: { podSelector: { matchLabels: { app: web } }, policyTypes: [Ingress] }
";

/// Asks the Service `count` times, by a connection each: kube-proxy chooses for connections.
fn ask(cluster: &Cluster, count: u8) -> (bool, String) {
    let url = format!("http://web.shop/?[1-{count}]");
    let ask = [CURL, "-sS", "--max-time", "2", "-H", "Connection: close", &url];
    cluster.exec("shop", "client", &ask)
}

#[test]
fn pods_reach_services_by_name_on_both_nodes_until_a_policy_forbids_it() {
    let cluster = Cluster::up(2);
    let tools = [NGINX, CURL, "/usr/bin/sleep", "/usr/bin/getent"];
    cluster.load(&images::of_programs(&cluster.directory, TOOLS, &tools));
    cluster.apply(&shop());
    cluster.wait_for_pods("shop", "app in (web,client)");

    // That both are ready reaches kube-proxy a moment after it reaches kubectl.
    wait_until("both pods answer", || {
        let (ok, said) = ask(&cluster, 20);
        let answered: BTreeSet<_> = said.lines().collect();
        ok && answered.len() == 2 && answered.iter().all(|line| line.starts_with("web-"))
    });

    // Names outside of the cluster are this machine's.
    let outside = ["/usr/bin/getent", "hosts", "pay.outside.test"];
    let (ok, said) = cluster.exec("shop", "client", &outside);
    assert!(ok && said.starts_with("198.18.0.1 "), "{said}");

    cluster.apply(CLOSED);
    // It is looked at once a second.
    let is_closed = || !ask(&cluster, 1).0;
    wait_until("the policy is enforced", is_closed);
    let (_, said) = ask(&cluster, 1);
    assert!(said.contains("timed out"), "dropped, and not refused: {said}");
    cluster.kubectl(&["delete", "networkpolicy", "-n", "shop", "closed"]);
    wait_until("the policy is enforced no more", || ask(&cluster, 1).0);
}

#[test]
fn the_image_of_weft_runs_without_anything_else_in_it() {
    let cluster = Cluster::up(1);
    cluster.load(WEFT.as_ref());
    cluster.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{ name: weft, namespace: default, labels: {{ app: weft }} }}
spec:
  restartPolicy: Never
  securityContext: {{ runAsNonRoot: true, seccompProfile: {{ type: RuntimeDefault }} }}
  containers:
  - name: weft
    image: {WEFT_NAME}
    args: [--version]
    securityContext:
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {{ drop: [ALL] }}
"
    ));
    let wait = ["wait", "pod/weft", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"];
    cluster.kubectl(&wait);
    let said = cluster.kubectl(&["logs", "weft"]);
    assert_eq!(said.trim_end(), concat!("weft ", env!("CARGO_PKG_VERSION")));
}
