//! A6: whatever policies there are, at whatever levels, and in whatever order discovery tells a
//! proxy of them: nothing that all of them together deny is let through at any moment, and one more
//! that denies lets nothing more through.
//!
//! That the same holds of resources, in whatever order these are made, shows `weft-compile`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use weft_compile::{Change, Compiler, Options};
use weft_model::{ObjectName, SpiffeId};
use weft_proxy::config::{Inbound, InboundOwn, Listen, Outbound, OutboundTo};
use weft_proxy::snapshot::OwnWorkload;
use weft_sim::{Certificates, Random, Registry, SimProxy, port};
use weft_wire::{Object, SourceVersion};

use crate::shop::{shared, within};
use crate::talk::Line;
use crate::*;

const SEEDS: u64 = 60;

const MESH: &str = "
apiVersion: weft.dev/v1alpha1
kind: Mesh
metadata: { name: m }
spec: { trustDomain: weft.test }
---
apiVersion: v1
kind: Service
metadata: { name: pay, namespace: shop }
spec:
  selector: { app: pay }
  ports:
  - { name: web, port: 80, targetPort: 8080, appProtocol: http }
  - { name: admin, port: 81, targetPort: 8081, appProtocol: http }
  - { name: raw, port: 82, targetPort: 8082, appProtocol: tcp }
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: { name: pay-1, namespace: shop, labels: { app: pay } }
spec:
  addresses: [10.0.0.1]
  tunnelPort: 15008
  ports: [{ port: 8080 }, { port: 8081 }, { port: 8082 }]
";

/// Where a policy may be attached: in which namespace it is then, and which ports of the Service it
/// guards.
const TARGETS: [(&str, &str, &[u16]); 8] = [
    ("weft-system", "targetRefs: [{ group: weft.dev, kind: Mesh, name: m }]", &PORTS),
    ("shop", "targetRefs: [{ group: '', kind: Namespace, name: shop }]", &PORTS),
    ("shop", "targetRefs: [{ group: '', kind: Service, name: pay }]", &PORTS),
    ("shop", "targetRefs: [{ group: '', kind: Service, name: pay, sectionName: web }]", &[80]),
    ("shop", "targetRefs: [{ group: '', kind: Service, name: pay, sectionName: admin }]", &[81]),
    ("shop", "targetRefs: [{ group: '', kind: Service, name: pay, sectionName: raw }]", &[82]),
    ("shop", "selector: { matchLabels: { app: pay } }", &PORTS),
    ("shop", "selector: { matchLabels: { app: other } }", &[]),
];

const PORTS: [u16; 3] = [80, 81, 82];

/// Who calls: a namespace and a service account.
const CALLERS: [(&str, &str); 3] = [("a", "x"), ("b", "y"), ("shop", "z")];

/// What is asked for; nothing where bytes are sent.
const LINES: [(&str, &str); 3] = [("GET", "/a"), ("POST", "/d/e"), ("GET", "/d/f")];

/// Something that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    caller: usize,
    port: u16,
    /// Method and path, where HTTP is spoken.
    line: Option<(&'static str, &'static str)>,
}

/// What a rule asks for, in words of its own.
#[derive(Clone, Copy, Debug)]
struct Rule {
    text: &'static str,
    /// Whether who calls is one whom it means.
    from: fn(&str) -> bool,
    /// Whether it means this port.
    port: fn(u16) -> bool,
    /// Whether it means this method and path; none if it does not look at them.
    line: Option<fn(&str, &str) -> bool>,
}

const RULES: [Rule; 8] = [
    rule("{}", |_| true, |_| true, None),
    rule("{ from: [{ namespace: a }] }", |namespace| namespace == "a", |_| true, None),
    rule("{ from: [{ serviceAccount: b/y }] }", |namespace| namespace == "b", |_| true, None),
    rule("{ from: [{ notNamespaces: [b] }] }", |namespace| namespace != "b", |_| true, None),
    rule("{ to: [{ ports: [8081] }] }", |_| true, |port| port == 81, None),
    rule("{ to: [{ paths: [/a] }] }", |_| true, |_| true, Some(|_, path| path == "/a")),
    rule("{ to: [{ methods: [POST] }] }", |_| true, |_| true, Some(|method, _| method == "POST")),
    rule(
        "{ from: [{ namespace: a }], to: [{ paths: ['/d/*'] }] }",
        |namespace| namespace == "a",
        |_| true,
        Some(|_, path| path.starts_with("/d/")),
    ),
];

const fn rule(
    text: &'static str,
    from: fn(&str) -> bool,
    port: fn(u16) -> bool,
    line: Option<fn(&str, &str) -> bool>,
) -> Rule {
    Rule { text, from, port, line }
}

impl Rule {
    /// Whether it means the probe; `unread` is what it is where it asks for what cannot be seen.
    fn means(&self, probe: &Probe, unread: bool) -> bool {
        let (namespace, _) = CALLERS[probe.caller];
        let is_line = match (self.line, probe.line) {
            (None, _) => true,
            (Some(_), None) => unread,
            (Some(means), Some((method, path))) => means(method, path),
        };
        (self.from)(namespace) && (self.port)(probe.port) && is_line
    }
}

/// A policy.
#[derive(Clone, Debug)]
struct Policy {
    target: usize,
    is_enforced: bool,
    allow: Option<Vec<usize>>,
    deny: Vec<usize>,
}

impl Policy {
    fn drawn(random: &mut Random) -> Policy {
        let some = |random: &mut Random, least: usize, most: usize| -> Vec<usize> {
            let count = random.size(least, most);
            (0..count).map(|_| random.size(0, RULES.len() - 1)).collect()
        };
        let allow = random.chance(0.4).then(|| some(random, 1, 3));
        // One that says nothing is refused.
        let least = usize::from(allow.is_none());
        let deny = some(random, least, 1);
        Policy {
            target: random.size(0, TARGETS.len() - 1),
            is_enforced: random.chance(0.75),
            allow,
            deny,
        }
    }

    fn text(&self, name: &str) -> String {
        let (namespace, target, _) = TARGETS[self.target];
        let list = |name: &str, rules: &[usize]| {
            let rules: Vec<_> = rules.iter().map(|rule| RULES[*rule].text).collect();
            format!("  {name}: [{}]\n", rules.join(", "))
        };
        let allow = self.allow.iter().map(|rules| list("allow", rules)).collect::<String>();
        let deny = if self.deny.is_empty() { String::new() } else { list("deny", &self.deny) };
        let mode = if self.is_enforced { "Enforce" } else { "Audit" };
        format!(
            "---\napiVersion: weft.dev/v1alpha1\nkind: AuthorizationPolicy\n\
             metadata: {{ name: {name}, namespace: {namespace} }}\n\
             spec:\n  {target}\n  mode: {mode}\n{allow}{deny}"
        )
    }
}

/// Whether all policies together let the probe through.
fn is_let_through(policies: &[Policy], probe: &Probe) -> bool {
    let is_for =
        |policy: &&Policy| policy.is_enforced && TARGETS[policy.target].2.contains(&probe.port);
    let its: Vec<_> = policies.iter().filter(is_for).collect();
    let means = |rules: &[usize], unread| rules.iter().any(|it| RULES[*it].means(probe, unread));
    let is_denied = its.iter().any(|policy| means(&policy.deny, true));
    let mut lists = its.iter().filter_map(|policy| policy.allow.as_ref()).peekable();
    let is_allowed = lists.peek().is_none() || lists.any(|rules| means(rules, false));
    !is_denied && is_allowed
}

/// All that is to be sent.
fn probes() -> Vec<Probe> {
    let of = |caller| {
        let http = [80, 81].into_iter().flat_map(move |port| {
            LINES.into_iter().map(move |line| Probe { caller, port, line: Some(line) })
        });
        http.chain([Probe { caller, port: 82, line: None }])
    };
    (0..CALLERS.len()).flat_map(of).collect()
}

/// What discovery tells of the mesh with these policies, each object after what it refers to.
fn objects(policies: &[Policy]) -> Vec<Object> {
    let policies = policies.iter().enumerate();
    let text: String = policies.map(|(index, one)| one.text(&format!("p{index}"))).collect();
    let text = format!("{MESH}{text}");
    let parsed = weft_crd::parse("it.yaml", text.as_bytes(), &weft_crd::Options::default());
    assert!(!parsed.has_errors(), "{text}\n{}", parsed.render());
    let mut compiler = Compiler::new(Options::default());
    let put = parsed.objects.into_iter().map(|object| Change::Put(Arc::new(object)));
    let update = compiler.update(put, SourceVersion { epoch: 1, revision: 1 });
    update.changed.iter().map(|object| object.object().clone()).collect()
}

fn identity((namespace, account): (&str, &str)) -> SpiffeId {
    format!("spiffe://weft.test/ns/{namespace}/sa/{account}").parse().unwrap()
}

/// Callers that know everything, and a server whose proxy is told bit by bit.
struct Lab {
    sim: Simulation,
    callers: Vec<Host>,
    told: Registry,
    server: SimProxy,
    /// How much the application got.
    arrived: Rc<RefCell<usize>>,
}

impl Lab {
    fn new(seed: u64) -> Lab {
        let sim = Simulation::new(seed, patient());
        let (all, told) = (Registry::empty("weft.test"), Registry::empty("weft.test"));
        all.apply(objects(&[]), []);
        let certificates = Certificates::default();
        let service: ObjectName = "shop/pay".parse().unwrap();
        let caller = |number: usize| {
            let ip = IpAddr::from([10, 0, 1, u8::try_from(number).unwrap() + 1]);
            let host = sim.host(&format!("caller-{number}"), [ip]);
            let outbound = |number: u16| Outbound {
                listen: Listen::At(SocketAddr::new(ip, 9000 + number)),
                to: OutboundTo::Service(service.clone(), port(number)),
            };
            let configuration = all.subscribe(None, std::slice::from_ref(&service));
            let (identity, outbound) = (identity(CALLERS[number]), PORTS.map(outbound).into());
            SimProxy::start(&host, identity, &certificates, configuration, outbound, vec![]);
            host
        };
        let callers = (0..CALLERS.len()).map(caller).collect();

        let host = sim.host("pay-1", [IpAddr::from([10, 0, 0, 1])]);
        let at = |number: u16| SocketAddr::new(host.ip(), number);
        let own = OwnWorkload {
            name: "shop/pay-1".parse().unwrap(),
            generation: 0,
            applications: BTreeMap::from([8080, 8081, 8082].map(|it| (port(it), at(it)))),
        };
        let configuration = told.subscribe(Some(own), &[]);
        let inbound = Inbound { listen: Listen::At(at(15008)), own: InboundOwn::Discovered };
        let identity = identity(("shop", "default"));
        let server =
            SimProxy::start(&host, identity, &certificates, configuration, vec![], vec![inbound]);
        let arrived = shared();
        for number in [8080, 8081, 8082] {
            serve(&host, at(number), &arrived);
        }
        Lab { sim, callers, told, server, arrived }
    }

    /// Whether the application gets the probe.
    async fn gets(&self, probe: &Probe) -> bool {
        let before = *self.arrived.borrow();
        let host = &self.callers[probe.caller];
        let at = SocketAddr::new(host.ip(), 9000 + probe.port);
        let stream = host.world().network.connect(at).await.unwrap();
        let mut line = Line::new(host.world(), stream);
        let bytes = match probe.line {
            Some((method, path)) => format!("{method} {path} HTTP/1.1\r\nHost: pay\r\n\r\n"),
            None => "hello".to_owned(),
        };
        line.send(bytes.as_bytes()).await.unwrap();
        let answered = async {
            match probe.line {
                Some(_) => drop(line.answer().await),
                None => drop(line.rest().await),
            }
        };
        within(&self.sim, seconds(60), answered).await.unwrap();
        *self.arrived.borrow() > before
    }
}

/// Answers whatever comes, and counts it.
fn serve(host: &Host, at: SocketAddr, arrived: &Rc<RefCell<usize>>) {
    let world = host.world();
    let mut listener = world.network.listen(at, ListenerOptions::default()).unwrap();
    let arrived = arrived.clone();
    drop(host.spawn(async move {
        while let Ok(mut accepted) = listener.accept().await {
            let arrived = arrived.clone();
            drop(tokio::task::spawn_local(async move {
                let mut buffer = [0; 4_096];
                while let Ok(1..) = accepted.stream.read(&mut buffer).await {
                    *arrived.borrow_mut() += 1;
                    let answer =
                        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    let _gone = accepted.stream.write_all(answer).await;
                    let _ended = accepted.stream.close().await;
                }
            }));
        }
    }));
}

/// What was seen, so that it does not prove nothing.
#[derive(Debug, Default)]
struct Seen {
    /// Refused while not all was told, although in the end it is let through.
    pending: usize,
    through: usize,
    denied: usize,
    /// Denied by the one more policy alone.
    denied_more: usize,
    reasons: BTreeMap<&'static str, usize>,
}

/// Tells the server's proxy all of `objects`, one after the other in a drawn order. Nothing that
/// `is_denied` gets through meanwhile.
async fn tell(
    lab: &Lab,
    random: &mut Random,
    mut objects: Vec<Object>,
    is_denied: impl Fn(&Probe) -> bool,
    seen: &mut Seen,
) -> Result<(), String> {
    let all = probes();
    while !objects.is_empty() {
        let next = objects.swap_remove(random.size(0, objects.len() - 1));
        lab.told.apply([next], []);
        for _ in 0..2 {
            let probe = *random.pick(&all);
            let gets = lab.gets(&probe).await;
            if gets && is_denied(&probe) {
                return Err(format!("{probe:?} got through while {objects:#?} were not told"));
            }
            seen.pending += usize::from(!gets && !is_denied(&probe));
        }
    }
    Ok(())
}

async fn play(lab: &Lab, random: &mut Random, seen: &mut Seen) -> Result<(), String> {
    let mut policies: Vec<_> = (0..random.size(0, 4)).map(|_| Policy::drawn(random)).collect();
    let before = policies.clone();
    let shown = |policies: &[Policy]| -> String {
        policies.iter().enumerate().map(|(index, one)| one.text(&format!("p{index}"))).collect()
    };
    let is_denied = |probe: &Probe| !is_let_through(&before, probe);
    let failed = |what: String| format!("{what}\n{}", shown(&before));
    tell(lab, random, objects(&before), is_denied, seen).await.map_err(failed)?;
    for probe in probes() {
        let expected = is_let_through(&before, &probe);
        if lab.gets(&probe).await != expected {
            return Err(format!("{probe:?} is not let through: {expected}\n{}", shown(&before)));
        }
        *(if expected { &mut seen.through } else { &mut seen.denied }) += 1;
    }
    // One more that denies.
    let target = random.size(0, TARGETS.len() - 1);
    let deny = vec![random.size(0, RULES.len() - 1)];
    policies.push(Policy { target, is_enforced: true, allow: None, deny });
    let failed = |what: String| format!("{what}\n{}", shown(&policies));
    tell(lab, random, objects(&policies), is_denied, seen).await.map_err(failed)?;
    for probe in probes() {
        let expected = is_let_through(&policies, &probe);
        if lab.gets(&probe).await != expected {
            return Err(format!("{probe:?} is not let through: {expected}\n{}", shown(&policies)));
        }
        seen.denied_more += usize::from(!expected && is_let_through(&before, &probe));
    }
    Ok(())
}

#[test]
fn nothing_that_all_policies_deny_is_let_through_while_a_proxy_is_told_of_them() {
    let mut seen = Seen::default();
    for seed in 1..=SEEDS {
        let lab = Lab::new(seed);
        let mut random = Random::derive(seed, "policies");
        let played = lab.sim.run(async {
            // Until all of them listen.
            lab.sim.sleep(seconds(1)).await;
            play(&lab, &mut random, &mut seen).await
        });
        if let Err(what) = played.unwrap() {
            panic!("seed {seed}: {what}");
        }
        for record in lab.server.records.borrow().iter() {
            *seen.reasons.entry(record.reason.unwrap_or("let through")).or_default() += 1;
        }
    }
    println!("{seen:?}");
    let Seen { pending, through, denied, denied_more, reasons } = seen;
    assert!(pending > 300 && through > 400 && denied > 200 && denied_more > 100);
    for reason in ["let through", "deny-rule", "no-allow-rule", "cannot-evaluate", "policy-pending"]
    {
        assert!(reasons.get(reason).is_some_and(|times| *times > 20), "{reason}: {reasons:?}");
    }
}
