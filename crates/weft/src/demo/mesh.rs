//! The mesh of the demo: its processes, how they are started, and started anew.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use weft_control::Client;
use weft_control::api::TokenRequest;
use weft_identity::AdminCredential;
use weft_world::{Moment, World};

use super::directory::{Directory, quoted};
use super::processes::{Process, Said, TakeRecord, end};
use super::records::Instances;
use super::workloads::{TRUST_DOMAIN, WORKLOADS, Workload, config, identity};
use super::{metrics, resources};

/// Where the control plane keeps its files, within the demo's directory.
const DATA: &str = "weft-data";

/// How long a program that has ended rests before it is started anew: long enough to see that it
/// is not there.
const RESTART_PAUSE: Duration = Duration::from_secs(10);

/// How often it is looked which programs have ended.
const RESTART_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The processes of the demo, and their directory. Both end with this value.
pub struct Mesh {
    /// Declared before the directory: whoever writes there ends first.
    processes: RefCell<Vec<Process>>,
    /// The programs behind the proxies.
    programs: RefCell<Vec<Program>>,
    /// Where the files of all processes are.
    pub directory: Directory,
    /// What the proxies' access logs say.
    pub instances: Instances,
}

/// How the program of a workload is started.
struct Program {
    workload: &'static Workload,
    arguments: Vec<String>,
    /// Where its proxy expects it.
    address: SocketAddr,
    /// Since when it is known to have ended.
    ended: Option<Moment>,
}

/// What a mesh that runs is used by.
pub struct Started {
    /// Where visitors reach the shop.
    pub entry: SocketAddr,
    /// Calls the control plane.
    pub client: Client,
}

impl Mesh {
    /// A mesh without processes yet.
    pub fn new(world: &World) -> anyhow::Result<Mesh> {
        let directory = Directory::new()?;
        let instances = Instances::new(world.clock.clone());
        let (processes, programs) = (RefCell::default(), RefCell::default());
        Ok(Mesh { processes, programs, directory, instances })
    }

    /// Starts everything.
    pub async fn start(&self, world: &World) -> anyhow::Result<Started> {
        let directory = &self.directory.path;
        let data = directory.join(DATA);
        write_script(&directory.join("weft"), &data.join("admin"))?;
        let arguments = ["control", "--listen", "127.0.0.1:0", "--trust-domain", TRUST_DOMAIN];
        let mut arguments: Vec<_> = arguments.map(str::to_owned).to_vec();
        arguments.extend(["--data".to_owned(), data.display().to_string()]);
        self.spawn("control", &arguments, None, None)?;
        self.said("control")?.ready(world, "control").await?;
        let credential = AdminCredential::read(&*world.files, &data.join("admin"))?;
        let client = Client::new(world.clone(), credential);

        resources::prepare(world, &client, directory).await?;

        let (mut entry, mut targets) = (None, Vec::new());
        for workload in WORKLOADS {
            let socket = workload.program.map(|_| listening_socket(None)).transpose()?;
            let application = socket.as_ref().map(TcpListener::local_addr).transpose()?;
            // Listeners for what is called come first, then the one for tunnels.
            let calls = self.proxy(world, &client, workload, application).await?;
            let shown = self.said(&proxy_name(workload))?.metrics.get();
            targets.push((workload.name, shown.context("a proxy says where its metrics are")?));
            match (socket, application) {
                (Some(socket), Some(address)) => {
                    let arguments = workload.arguments(&calls);
                    self.spawn(workload.name, &arguments, Some(socket.into()), None)?;
                    self.said(workload.name)?.ready(world, workload.name).await?;
                    let program = Program { workload, arguments, address, ended: None };
                    self.programs.borrow_mut().push(program);
                }
                _ => entry = calls.first().copied(),
            }
        }
        let file = directory.join(metrics::FILE);
        world.files.replace(&file, metrics::file(&targets).as_bytes())?;
        Ok(Started { entry: entry.context("no workload stands for the visitors")?, client })
    }

    /// Starts programs anew that have ended, for ever. An orchestrator would do it.
    pub async fn keep(&self, world: &World) {
        loop {
            world.clock.sleep(RESTART_LOOK_INTERVAL).await;
            let now = world.clock.now();
            for program in self.programs.borrow_mut().iter_mut() {
                let name = program.workload.name;
                if self.process(name).is_none_or(|(_, ended)| ended.is_none()) {
                    continue;
                }
                let ended = *program.ended.get_or_insert(now);
                if now.since(ended) >= RESTART_PAUSE {
                    // What is in the way, as another program at its port, may go away.
                    program.ended = Some(now);
                    if self.start_anew(program).is_ok() {
                        program.ended = None;
                    }
                }
            }
        }
    }

    fn start_anew(&self, program: &Program) -> anyhow::Result<()> {
        let Program { workload, arguments, address, .. } = program;
        let socket = listening_socket(Some(*address))?;
        let directory = &self.directory.path;
        let anew = Process::start(directory, workload.name, arguments, Some(socket.into()), None)?;
        let mut processes = self.processes.borrow_mut();
        let old = processes.iter_mut().find(|process| process.name == workload.name);
        *old.context("it was started before")? = anew;
        Ok(())
    }

    /// Starts the proxy of `workload`, and gives where it listens.
    async fn proxy(
        &self,
        world: &World,
        client: &Client,
        workload: &'static Workload,
        application: Option<SocketAddr>,
    ) -> anyhow::Result<Vec<SocketAddr>> {
        let name = proxy_name(workload);
        let services: Vec<_> =
            workload.services.iter().map(|service| format!("shop/{service}")).collect();
        let request = TokenRequest {
            service_account: format!("shop/{}", workload.account),
            services: services.clone(),
            uses: 1,
            lifetime_seconds: 600,
        };
        let token = client.token(&request).await?.token;
        let directory = &self.directory.path;
        world.files.replace(&directory.join(format!("{name}.token")), token.as_bytes())?;
        let file = directory.join(format!("{name}.yaml"));
        let config = config(workload, application);
        world.files.replace(&file, config.as_bytes())?;
        let take = workload.program.map(|_| {
            let (name, service) = (workload.name, workload.service());
            let take = self.instances.add(name, service, identity(workload.caller));
            Rc::new(take) as TakeRecord
        });
        let options =
            ["--metrics", "127.0.0.1:0", "--access-log", "all", "--access-log-format", "json"];
        let mut arguments = vec!["proxy".to_owned()];
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
        arguments.extend(options.map(str::to_owned));
        self.spawn(&name, &arguments, None, take)?;
        self.said(&name)?.ready(world, &name).await
    }

    fn spawn(
        &self,
        name: &str,
        arguments: &[String],
        input: Option<std::os::fd::OwnedFd>,
        take: Option<TakeRecord>,
    ) -> anyhow::Result<()> {
        let process = Process::start(&self.directory.path, name, arguments, input, take)?;
        self.processes.borrow_mut().push(process);
        Ok(())
    }

    /// What the process `name` says.
    fn said(&self, name: &str) -> anyhow::Result<Rc<Said>> {
        let processes = self.processes.borrow();
        let process = processes.iter().find(|process| process.name == name);
        Ok(process.context("it is started before")?.said())
    }

    /// The process id of `name`, and how it ended if it has.
    pub fn process(&self, name: &str) -> Option<(u32, Option<String>)> {
        let mut processes = self.processes.borrow_mut();
        let process = processes.iter_mut().find(|process| process.name == name)?;
        Some((process.id(), process.ended()))
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.processes.borrow().len()
    }

    /// How many proxies there are that run.
    pub fn proxies(&self) -> usize {
        let mut processes = self.processes.borrow_mut();
        let proxies = processes.iter_mut().filter(|process| process.name.ends_with("-proxy"));
        proxies.filter_map(|process| process.ended().is_none().then_some(())).count()
    }

    /// The processes that have ended, each with how.
    pub fn ended(&self) -> Vec<(String, String)> {
        let mut processes = self.processes.borrow_mut();
        let how = |process: &mut Process| Some((process.name.clone(), process.ended()?));
        processes.iter_mut().filter_map(how).collect()
    }

    /// Ends all processes in order.
    pub async fn end(&self, world: &World) {
        let mut others = self.processes.take();
        let first = others.len().min(1);
        let rest = others.split_off(first);
        end(world, rest).await;
        end(world, others).await; // The control plane last, since proxies take leave of it.
    }
}

/// What the proxy of `workload` is called.
fn proxy_name(workload: &Workload) -> String {
    format!("{}-proxy", workload.name)
}

/// So that the commands to try are short, and mean this mesh whatever the shell has exported.
fn write_script(path: &Path, credential: &Path) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let (credential, program) = (quoted(credential), quoted(&program));
    let text = format!("#!/bin/sh\nWEFT_CREDENTIAL={credential} exec {program} \"$@\"\n");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// A socket of the loopback that listens already, for a program that is started later.
#[expect(clippy::disallowed_methods, reason = "a program of the demo accepts from it")]
fn listening_socket(address: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    let address = address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    TcpListener::bind(address).with_context(|| format!("cannot listen at {address}"))
}
