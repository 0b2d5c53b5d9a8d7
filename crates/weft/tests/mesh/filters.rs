//! The filters of HTTPRoutes, seen by programs that nobody here wrote.

mod calls;
mod cors;
mod headers;
mod mirror;
mod redirect;

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::lab::{
    Lab, PortSpec, Process, Proxy, Spec, output, ready_addresses, succeeded, wait_until,
};

/// How curl speaks: what is said of each is proved of both.
const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// A caller of `shop/web`, of which two versions run, by Python's own server.
struct Shop {
    lab: Lab,
    caller: Proxy,
    servers: Vec<(Process, Proxy)>,
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// Names in lower case, and values.
    fields: Vec<(String, String)>,
    body: String,
}

impl Answer {
    /// The values of the field `name`, joined as readers of HTTP do.
    fn field(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.fields.iter().filter(|(found, _)| found == name).map(|(_, v)| &**v).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// What the application says that it was asked.
    fn asked(&self) -> Asked {
        Asked(serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}")))
    }
}

/// What an application was asked.
#[derive(Debug)]
struct Asked(Value);

impl Asked {
    fn path(&self) -> &str {
        self.0["path"].as_str().unwrap()
    }

    /// The fields called `name`, one by one.
    fn fields(&self, name: &str) -> Vec<&str> {
        let fields = self.0["headers"].as_array().unwrap().iter();
        fields.filter(|field| field[0] == name).map(|field| field[1].as_str().unwrap()).collect()
    }
}

impl Shop {
    /// Starts it, with a route for `shop/web` whose rules these are.
    fn start(rules: &str) -> Shop {
        let lab = Lab::new();
        // All that is asked of it goes where the route says.
        lab.apply(
            "{ apiVersion: v1, kind: Service, metadata: { name: web, namespace: shop },
               spec: { selector: { app: nobody }, ports: [{ port: 80, appProtocol: http }] } }",
        );
        let servers = ["v1", "v2"].map(|version| {
            let name = format!("web-{version}");
            let script = lab.file("echo.py", include_str!("python/echo.py"));
            let mut python = Command::new("python3");
            let app = Process::start(
                &lab.directory,
                &format!("echo-{version}"),
                python.arg(script).arg(&name),
            );
            let address = ready_addresses(&app, "listening at ")[0];
            let service = format!("shop/{name}");
            let services = &[&*service];
            let ports = vec![PortSpec::web(Some("http"), address)];
            let spec = Spec { name: &name, account: &service, services, ports, ..Spec::default() };
            (app, lab.proxy(&spec))
        });
        let calls = &[("shop/web", 80)];
        let spec = Spec { name: "caller", account: "shop/caller", calls, ..Spec::default() };
        let caller = lab.proxy(&spec);
        let shop = Shop { lab, caller, servers: servers.into() };
        shop.route(rules);
        shop
    }

    /// Makes `rules` those of the route, and waits until they are in force.
    fn route(&self, rules: &str) {
        self.lab.apply(&format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: web, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: web }}]
  rules:
{rules}"
        ));
        wait_until("the route is in force", || {
            let table = succeeded(self.lab.weft(&["get", "httproute", "web", "-n", "shop"]));
            table.lines().nth(1).is_some_and(|row| row.contains(" yes ") && row.contains("1/1"))
        });
    }

    fn address(&self) -> SocketAddr {
        self.caller.addresses[0]
    }

    /// What curl is answered to a request for `target`, with further arguments.
    fn ask(&self, version: &str, target: &str, arguments: &[&str]) -> Answer {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "--max-time", "20", "--path-as-is", version]).args(arguments);
        curl.args(["--connect-to", &format!("::{}", self.address())]);
        let said = succeeded(output(curl.arg(format!("http://web{target}"))));
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.trim().to_owned())
        };
        Answer { status, fields: lines.map(field).collect(), body: body.to_owned() }
    }
}
