//! The mesh that is explained: servers of HTTP and of Redis behind their proxies, and two callers'
//! proxies, all of whose records are kept.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};

use serde_json::Value;
use weft_control::Client;
use weft_control::api::StatusResponse;
use weft_identity::AdminCredential;

use super::called::{By, CALLERS, Called, TARGET_OFFSET, VERSIONS, called, services};
use super::clients::{Grpcio, name_redis};
use crate::app::{App, Executed, run_local};
use crate::grpcio;
use crate::lab::{self, PATIENCE, PortSpec, Spec, WEFT, now, output, since};
use crate::redis::Redis;

/// A proxy whose records are read from its standard error. It is killed with this value.
struct Proxy(Child);

/// Records by the trace that the caller gave, each with the name of the process that wrote it.
#[derive(Default)]
pub struct Records {
    by_trace: Mutex<BTreeMap<String, Vec<(String, Value)>>>,
    news: Condvar,
}

impl Records {
    /// Takes the records of `trace`, which is empty for what says none, once there are `count`.
    pub fn take(&self, trace: &str, count: usize) -> Vec<(String, Value)> {
        let kept = self.by_trace.lock().unwrap();
        let lacks =
            |kept: &mut BTreeMap<String, Vec<_>>| kept.get(trace).map_or(0, Vec::len) < count;
        let (mut kept, waited) = self.news.wait_timeout_while(kept, PATIENCE, lacks).unwrap();
        assert!(!waited.timed_out(), "there are not {count} records of `{trace}`: {kept:#?}");
        kept.remove(trace).unwrap_or_default()
    }

    /// Takes the only record of `trace`, once it is there.
    pub fn take_one(&self, trace: &str) -> Value {
        let mut records = self.take(trace, 1);
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0).1
    }

    /// All that nobody has taken.
    pub fn left(&self) -> Vec<Value> {
        let left = std::mem::take(&mut *self.by_trace.lock().unwrap());
        left.into_values().flatten().map(|(_, record)| record).collect()
    }
}

impl Proxy {
    /// Starts the proxy that `spec` describes, and waits until it says that it is ready, and where.
    /// Its records go to `records`.
    fn start(lab: &lab::Lab, spec: &Spec<'_>, records: &Arc<Records>) -> (Proxy, Vec<SocketAddr>) {
        lab.token(spec.name, spec.account, spec.services);
        let config = lab.file(&format!("{}.yaml", spec.name), &spec.text());
        let mut command = Command::new(WEFT);
        command.args(["proxy", "--access-log", "all", "--access-log-format", "json", "--config"]);
        command.arg(config).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let errors = child.stderr.take().unwrap();
        let (tell, told) = mpsc::sync_channel(1);
        let (name, records) = (format!("shop/{}", spec.name), records.clone());
        std::thread::spawn(move || read(errors, &name, &records, &tell));
        let proxy = Proxy(child);
        let ready = told.recv_timeout(PATIENCE).expect("it says that it is ready");
        let addresses = ready.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        (proxy, addresses)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(errors: ChildStderr, name: &str, records: &Records, tell: &mpsc::SyncSender<String>) {
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        if let Ok(record) = serde_json::from_str::<Value>(&line) {
            let trace = record["trace_id"].as_str().unwrap_or_default().to_owned();
            let mut kept = records.by_trace.lock().unwrap();
            kept.entry(trace).or_default().push((name.to_owned(), record));
            records.news.notify_all();
        } else if line.contains(": ready") {
            let _ = tell.try_send(line);
        }
    }
}

/// The mesh.
pub struct Lab {
    callers: Vec<(Proxy, Vec<SocketAddr>)>,
    servers: Vec<Proxy>,
    /// What callers' proxies recorded.
    pub outbound: Arc<Records>,
    /// What the proxies of the servers of HTTP recorded.
    pub web: Arc<Records>,
    /// What those of Redis recorded.
    pub store: Arc<Records>,
    /// The client of gRPC.
    pub grpcio: Grpcio,
    apps: Vec<App>,
    redis: Vec<Redis>,
    mesh: lab::Lab,
}

impl Lab {
    /// Starts everything.
    pub fn start() -> Lab {
        let mesh = lab::Lab::new();
        mesh.apply(&services(false));
        let python = grpcio::environment().join("bin/python");
        let script = mesh.file("calls.py", include_str!("../python/calls.py"));
        let grpcio = Grpcio::start(&python, &script);
        let (callers, servers, outbound, web, store, apps, redis) = Default::default();
        let mut lab = Lab { callers, servers, outbound, web, store, grpcio, apps, redis, mesh };
        for version in VERSIONS {
            let name = format!("server-{version}");
            let app = App::start(&format!("shop/{name}"), &Executed::default());
            lab.server(&name, version, app.address, By::Web);
            lab.apps.push(app);
            let name = format!("store-{version}");
            let redis = Redis::start(&lab.mesh, Ipv4Addr::LOCALHOST.into());
            name_redis(redis.address, &format!("shop/{name}"));
            lab.server(&name, version, redis.address, By::Store);
            lab.redis.push(redis);
        }
        let calls: Vec<_> = called(false)
            .iter()
            .map(|called| (format!("shop/{}", called.name), called.port))
            .collect();
        let calls: Vec<_> = calls.iter().map(|(name, port)| (name.as_str(), *port)).collect();
        for account in CALLERS {
            let name = &account.replace('/', "-");
            let spec = Spec { name, account, calls: &calls, ..Spec::default() };
            let caller = Proxy::start(&lab.mesh, &spec, &lab.outbound);
            lab.callers.push(caller);
        }
        lab
    }

    /// Starts the proxy of the server `name`, whose application is at `application`.
    fn server(&mut self, name: &str, version: &str, application: SocketAddr, by: By) {
        let its = || called(false).iter().filter(|called| called.by == by);
        let names = |called: &Called| {
            [format!("shop/{}", called.name), format!("shop/{}-{version}", called.name)]
        };
        let services: Vec<_> = its().flat_map(names).collect();
        let services: Vec<_> = services.iter().map(String::as_str).collect();
        let port = |called: &Called| PortSpec {
            port: TARGET_OFFSET + called.port,
            service_port: called.port,
            protocol: called.protocol,
            application,
        };
        let account = &format!("shop/{name}");
        let ports = its().map(port).collect();
        let spec = Spec { name, account, services: &services, ports, ..Spec::default() };
        let records = match by {
            By::Web | By::Shadow => &self.web,
            By::Store => &self.store,
        };
        let (proxy, _) = Proxy::start(&self.mesh, &spec, records);
        self.servers.push(proxy);
    }

    /// Makes resources, and waits until every proxy has all of them in force.
    pub fn apply(&self, text: &str) {
        self.mesh.apply(text);
        run_local(async {
            let world = weft_net::world();
            let credential = AdminCredential::read(&*world.files, &self.mesh.credential()).unwrap();
            let client = Client::new(world, credential);
            // A list is answered once everything before it was compiled and told.
            client.list(None, None).await.unwrap();
            let began = now();
            let wanted = self.callers.len() + self.servers.len();
            loop {
                let StatusResponse { proxies, .. } = client.status().await.unwrap();
                assert!(proxies.iter().all(|proxy| proxy.refused.is_empty()), "{proxies:#?}");
                let is_settled = proxies.iter().all(|proxy| proxy.pending == 0);
                if is_settled && proxies.len() == wanted {
                    return;
                }
                assert!(since(began) < PATIENCE, "not in force everywhere: {proxies:#?}");
            }
        });
    }

    /// Where `caller`, counted as [`CALLERS`] are, reaches what [`called`] has at `called`.
    pub fn listener(&self, caller: usize, called: usize) -> SocketAddr {
        self.callers[caller].1[called]
    }

    /// What `weft explain` says, `arguments` behind it, about the running mesh.
    pub fn explain(&self, arguments: &[String]) -> Output {
        let mut command = Command::new(WEFT);
        command.arg("explain").args(arguments);
        output(command.env("WEFT_CREDENTIAL", self.mesh.credential()))
    }
}
