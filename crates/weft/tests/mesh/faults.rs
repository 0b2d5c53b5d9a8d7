//! Faults that a FaultPolicy puts in, as curl and grpcio see them.

use std::process::Command;
use std::time::Duration;

use crate::app::{App, Executed, ID};
use crate::grpc::Server;
use crate::grpcio;
use crate::lab::{
    Lab, PortSpec, Proxy, Spec, ask, now, output, since, succeeded, wait_until, wait_within,
};

/// The FaultPolicy `drill` for these targets, with the rest of its spec.
fn policy(targets: &str, spec: &str) -> String {
    format!(
        "
apiVersion: weft.dev/v1alpha1
kind: FaultPolicy
metadata: {{ name: drill, namespace: shop }}
spec:
  targetRefs: [{targets}]
{spec}"
    )
}

const SERVICE: &str = "{ group: '', kind: Service, name: cart }";

/// A caller of `shop/cart`, which one application serves.
struct Shop {
    lab: Lab,
    executed: Executed,
    caller: Proxy,
    _server: Proxy,
    _app: App,
}

impl Shop {
    fn start() -> Shop {
        let lab = Lab::new();
        let executed = Executed::default();
        let app = App::start("cart-1", &executed);
        let server = lab.replica("cart-1", Some("http"), &app);
        let caller = lab.caller("web");
        let shop = Shop { lab, executed, caller, _server: server, _app: app };
        assert_eq!(shop.ask("/", &[]), (200, String::new()));
        shop
    }

    /// The status and the reason of what curl is answered.
    fn ask(&self, path: &str, fields: &[&str]) -> (u16, String) {
        let answer = ask(self.caller.addresses[0], "GET", path, fields);
        (answer.status, answer.reason)
    }

    /// Applies `policy`, and waits until the caller goes by it, which `is_so` says.
    fn apply(&self, policy: &str, is_so: impl FnMut() -> bool) {
        self.lab.apply(policy);
        wait_until("the policy is in force", is_so);
    }

    /// The value of the metric of this fault of the policy `drill`.
    fn count(&self, fault: &str) -> u64 {
        let series = format!("weft_faults_total{{policy=\"fault/shop/drill\",fault=\"{fault}\"}} ");
        let metrics = self.caller.shown("/metrics");
        let found = metrics.lines().find_map(|line| line.strip_prefix(&series));
        found.map_or(0, |value| value.parse().unwrap())
    }
}

fn injected(status: u16) -> (u16, String) {
    (status, "fault-injected".to_owned())
}

#[test]
fn curl_is_answered_as_the_policy_says_and_the_application_sees_nothing() {
    let shop = Shop::start();
    let spec = "  match: { headers: [{ name: x-drill, value: '1' }] }\n  abort: { status: 418 }\n";
    let drill = ["x-drill: 1"];
    shop.apply(&policy(SERVICE, spec), || shop.ask("/", &drill) == injected(418));
    let id = format!("{ID}: drilled");
    assert_eq!(shop.ask("/", &["x-drill: 1", &id]), injected(418));
    assert_eq!(shop.executed.of("drilled"), 0, "the application was asked");
    for other in [&[][..], &["x-drill: 2"]] {
        assert_eq!(shop.ask("/", other), (200, String::new()), "{other:?}");
    }
    let line = shop.caller.log();
    let line = line.lines().rev().find(|line| line.contains("status=418")).unwrap();
    for part in ["reason=fault-injected", "fault=\"fault/shop/drill spec.abort\"", "attempts=0"] {
        assert!(line.contains(part), "{line} lacks {part}");
    }
    let before = shop.count("abort");
    shop.ask("/", &drill);
    wait_until("it is counted", || shop.count("abort") == before + 1);

    // A share is a share. 300 requests lie within these bounds but once in a million runs.
    let spec = "  abort: { status: 503, percent: 50 }\n";
    shop.apply(&policy(SERVICE, spec), || shop.ask("/", &[]) == injected(503));
    let failed = (0..300).filter(|_| shop.ask("/", &[]) == injected(503)).count();
    assert!((107..=193).contains(&failed), "{failed} of 300 failed");
}

#[test]
fn a_drill_does_not_look_like_an_outage() {
    let shop = Shop::start();
    let spec = "  match: { headers: [{ name: x-drill }] }\n  abort: { status: 503 }\n";
    let drill = ["x-drill: 1"];
    shop.apply(&policy(SERVICE, spec), || shop.ask("/", &drill) == injected(503));
    // More than enough failures in a row for an ejection, if they counted.
    (0..20).for_each(|_| assert_eq!(shop.ask("/", &drill), injected(503)));
    assert_eq!(shop.ask("/", &[]), (200, String::new()));
    let metrics = shop.caller.shown("/metrics");
    assert!(!metrics.contains("weft_ejections_total{"), "{metrics}");
    let refusal = "weft_refusals_total{direction=\"outbound\",reason=\"fault-injected\"}";
    assert!(metrics.contains(refusal), "{metrics}");
}

#[test]
fn curl_waits_as_the_policy_says_and_no_more_than_so_many_are_held() {
    let shop = Shop::start();
    let delay = Duration::from_millis(1500);
    let spec = "  match: { headers: [{ name: x-drill }] }\n  delay: { duration: 1500ms }\n  \
                maxActive: 1\n";
    let drill = ["x-drill: 1"];
    shop.apply(&policy(SERVICE, spec), || {
        shop.ask("/", &drill);
        shop.count("delay") > 0
    });
    let began = now();
    assert_eq!(shop.ask("/", &drill), (200, String::new()));
    assert!(since(began) >= delay, "it took {:?}", since(began));
    wait_until("the log tells of it", || {
        shop.caller.log().contains("fault=\"fault/shop/drill spec.delay\"")
    });

    // While one is held, another one goes on at once.
    let held = shop.count("delay");
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(shop.ask("/", &drill), (200, String::new())));
        wait_within(delay, "it is held", || shop.count("delay") == held + 1);
        assert_eq!(shop.ask("/", &drill), (200, String::new()));
        assert_eq!((shop.count("delay"), shop.count("skipped")), (held + 1, 1));
    });
}

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: cart, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: cart }]
  rules:
  - name: items
    matches: [{ path: { value: /items } }]
    backendRefs: [{ name: cart, port: 80 }]
    timeouts: { request: 300ms }
    retry: { attempts: 3, codes: [502] }
  - name: moved
    matches: [{ path: { value: /moved } }]
    filters: [{ type: RequestRedirect, requestRedirect: { hostname: elsewhere.example } }]
  - backendRefs: [{ name: cart, port: 80 }]
";

#[test]
fn a_rule_has_a_fault_of_its_own_and_what_weft_answers_itself_has_none() {
    let shop = Shop::start();
    let route = "group: gateway.networking.k8s.io, kind: HTTPRoute, name: cart";
    let whole = policy(&format!("{{ {route} }}"), "  abort: { status: 502 }\n");
    let whole = whole.replace("drill", "whole");
    let rule = policy(
        &format!("{{ {route}, sectionName: items }}"),
        "  match: { headers: [{ name: x-drill }] }\n  delay: { duration: 10s }\n",
    );
    shop.lab.apply(ROUTE);
    shop.apply(&format!("{whole}---{rule}"), || {
        shop.ask("/", &[]) == injected(502)
            && shop.ask("/items", &["x-drill: 1"]) == (504, "request-timeout".to_owned())
    });
    // It is not tried again, whatever the rule says: nobody was asked.
    let began = now();
    assert_eq!(shop.ask("/items", &[]), injected(502));
    assert!(shop.caller.log().lines().rev().any(|line| {
        line.contains("path=/items")
            && line.contains("reason=fault-injected")
            && line.contains("attempts=0")
    }));
    // The time that it is held counts.
    assert_eq!(shop.ask("/items", &["x-drill: 1"]), (504, "request-timeout".to_owned()));
    assert!(since(began) < Duration::from_secs(8), "it was held for {:?}", since(began));
    assert_eq!(shop.ask("/moved", &[]), (302, "redirect".to_owned()));
}

#[test]
fn grpcio_is_told_a_status_of_grpc() {
    let lab = Lab::new();
    let python = grpcio::environment().join("bin/python");
    let server = Server::start(&lab, &python);
    let ports = vec![PortSpec::web(Some("grpc"), server.address())];
    let services = &["shop/calls"];
    let spec = Spec { name: "calls-1", account: "shop/calls", services, ports, ..Spec::default() };
    let _server = lab.proxy(&spec);
    let calls = &[("shop/calls", 80)];
    let caller = lab.proxy(&Spec { name: "web", account: "shop/web", calls, ..Spec::default() });
    let script = lab.file("refused.py", include_str!("python/refused.py"));
    let said = || {
        let mut client = Command::new(&python);
        succeeded(output(client.arg(&script).arg(caller.addresses[0].to_string())))
    };
    assert_eq!(said(), "OK\n".repeat(4));
    let calls = "{ group: '', kind: Service, name: calls }";
    let all = |status: &str| {
        let line =
            format!("{status} fault-injected FaultPolicy shop/drill has it fail, on purpose");
        format!("{line}\n").repeat(4)
    };
    for (abort, status) in [("grpcStatus: 8", "RESOURCE_EXHAUSTED"), ("status: 503", "UNAVAILABLE")]
    {
        lab.apply(&policy(calls, &format!("  abort: {{ {abort} }}\n")));
        let all = all(status);
        wait_until("the policy is in force", || said() == all);
    }
    // To who does not speak gRPC its status says nothing, and so there is no fault.
    lab.apply(&policy(calls, "  abort: { grpcStatus: 10 }\n"));
    let all = all("ABORTED");
    wait_until("the policy is in force", || said() == all);
    let answer = ask(caller.addresses[0], "GET", "/", &[]);
    assert_ne!(answer.reason, "fault-injected");
}
