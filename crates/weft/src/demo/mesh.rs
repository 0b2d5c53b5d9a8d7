//! The mesh of the demo: which workloads there are, and how they are started.

use std::cell::RefCell;
use std::fs::{self, DirBuilder};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, bail};
use weft_control::Client;
use weft_control::api::TokenRequest;
use weft_identity::AdminCredential;
use weft_world::World;

use super::processes::{Process, TakeRecord, end};
use super::records::Instances;
use super::resources;
use super::shop::Name;

/// The trust domain of the demo.
const TRUST_DOMAIN: &str = "weft.local";

/// Where the control plane keeps its files, within the demo's directory.
const DATA: &str = "weft-data";

/// A workload of the demo: a program, if it has one, and its proxy.
pub struct Workload {
    /// The name of the instance.
    pub name: &'static str,
    /// Its service account in the namespace `shop`.
    account: &'static str,
    /// Its Services; the first is the one that callers name.
    services: &'static [&'static str],
    /// What runs behind the proxy, in which version.
    program: Option<(Name, &'static str)>,
    protocol: &'static str,
    /// The port of its Services.
    port: u16,
    /// What it calls.
    calls: &'static [Name],
    /// The service account that is to call it.
    caller: &'static str,
}

impl Workload {
    /// The Service that callers name.
    pub fn service(&self) -> &'static str {
        self.services.first().copied().unwrap_or(self.name)
    }

    /// Whether `other` has the same Services, so that either can stand in for the other.
    pub fn is_like(&self, other: &Workload) -> bool {
        self.services == other.services && self.name != other.name
    }
}

const CART_V1: &[&str] = &["cart", "cart-v1"];

/// All workloads, those that are called before those that call.
pub const WORKLOADS: &[Workload] = &[
    cart("cart-v1-1", CART_V1, "v1"),
    cart("cart-v1-2", CART_V1, "v1"),
    cart("cart-v2-1", &["cart", "cart-v2"], "v2"),
    Workload {
        name: "catalog-1",
        account: "catalog",
        services: &["catalog"],
        program: Some((Name::Catalog, "v1")),
        protocol: "grpc",
        port: 80,
        calls: &[],
        caller: "web",
    },
    Workload {
        name: "motto-1",
        account: "motto",
        services: &["motto"],
        program: Some((Name::Motto, "v1")),
        protocol: "tcp",
        port: 7000,
        calls: &[],
        caller: "web",
    },
    Workload {
        name: "web-1",
        account: "web",
        services: &["web"],
        program: Some((Name::Web, "v1")),
        protocol: "http",
        port: 80,
        calls: &[Name::Cart, Name::Catalog, Name::Motto],
        caller: "visitor",
    },
    Workload {
        name: "visitor-1",
        account: "visitor",
        services: &[],
        program: None,
        protocol: "http",
        port: 80,
        calls: &[Name::Web],
        caller: "",
    },
];

const fn cart(
    name: &'static str,
    services: &'static [&'static str],
    version: &'static str,
) -> Workload {
    Workload {
        name,
        account: "cart",
        services,
        program: Some((Name::Cart, version)),
        protocol: "http",
        port: 80,
        calls: &[],
        caller: "web",
    }
}

/// The identity of a service account of the shop.
pub fn identity(account: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/shop/sa/{account}")
}

/// The identities of all workloads, in order, each once.
pub fn identities() -> Vec<String> {
    let mut identities: Vec<_> =
        WORKLOADS.iter().map(|workload| identity(workload.account)).collect();
    identities.sort();
    identities.dedup();
    identities
}

/// The processes of the demo, and their directory. Both end with this value.
pub struct Mesh {
    /// Declared before the directory: whoever writes there ends first.
    processes: RefCell<Vec<Process>>,
    /// Where the files of all processes are.
    pub directory: Directory,
    /// What the proxies' access logs say.
    pub instances: Instances,
}

/// A directory for its owner only, removed with this value.
pub struct Directory(pub PathBuf);

impl Directory {
    /// Makes one for this process.
    fn new() -> anyhow::Result<Directory> {
        let base = std::env::temp_dir();
        for attempt in 0..100 {
            // Another process of that number may have been killed, and its directory be left.
            let suffix = if attempt == 0 { String::new() } else { format!("-{attempt}") };
            let path = base.join(format!("weft-demo-{}{suffix}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Directory(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", path.display()));
                }
            }
        }
        bail!("{} holds a hundred directories of this name: remove them", base.display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("weft demo: cannot remove {}: {error}", self.0.display());
        }
    }
}

impl Mesh {
    /// A mesh without processes yet.
    pub fn new(world: &World) -> anyhow::Result<Mesh> {
        let directory = Directory::new()?;
        let instances = Instances::new(world.clock.clone());
        Ok(Mesh { processes: RefCell::default(), directory, instances })
    }

    /// Starts everything, and gives the address at which visitors reach the shop.
    pub async fn start(&self, world: &World) -> anyhow::Result<SocketAddr> {
        let directory = &self.directory.0;
        // So that the commands to try are short.
        symlink(std::env::current_exe()?, directory.join("weft"))?;
        let data = directory.join(DATA);
        let arguments = ["control", "--listen", "127.0.0.1:0", "--trust-domain", TRUST_DOMAIN];
        let mut arguments: Vec<_> = arguments.map(str::to_owned).to_vec();
        arguments.extend(["--data".to_owned(), data.display().to_string()]);
        self.spawn("control", &arguments, None, None)?;
        self.ready(world, "control").await?;
        let credential = AdminCredential::read(&*world.files, &data.join("admin"))?;
        let client = Client::new(world.clone(), credential);

        resources::prepare(world, &client, directory).await?;

        let mut entry = None;
        for workload in WORKLOADS {
            let socket = workload.program.map(|_| listening_socket()).transpose()?;
            let application = socket.as_ref().map(TcpListener::local_addr).transpose()?;
            // Listeners for what is called come first, then the one for tunnels.
            let calls = self.proxy(world, &client, workload, application).await?;
            if let Some((name, version)) = workload.program {
                let mut arguments = vec!["demo-service".to_owned(), name.text().to_owned()];
                arguments.extend(["--instance".to_owned(), workload.name.to_owned()]);
                arguments.extend(["--version".to_owned(), version.to_owned()]);
                for (called, address) in workload.calls.iter().zip(&calls) {
                    arguments.extend(["--call".to_owned(), format!("{}={address}", called.text())]);
                }
                let socket = socket.map(Into::into);
                self.spawn(workload.name, &arguments, socket, None)?;
                self.ready(world, workload.name).await?;
            } else {
                entry = calls.first().copied();
            }
        }
        entry.context("no workload stands for the visitors")
    }

    /// Starts the proxy of `workload`, and gives where it listens.
    async fn proxy(
        &self,
        world: &World,
        client: &Client,
        workload: &'static Workload,
        application: Option<SocketAddr>,
    ) -> anyhow::Result<Vec<SocketAddr>> {
        let name = format!("{}-proxy", workload.name);
        let services: Vec<_> =
            workload.services.iter().map(|service| format!("shop/{service}")).collect();
        let request = TokenRequest {
            service_account: format!("shop/{}", workload.account),
            services: services.clone(),
            uses: 1,
            lifetime_seconds: 600,
        };
        let token = client.token(&request).await?.token;
        let directory = &self.directory.0;
        world.files.replace(&directory.join(format!("{name}.token")), token.as_bytes())?;
        let file = directory.join(format!("{name}.yaml"));
        let config = config(workload, application);
        world.files.replace(&file, config.as_bytes())?;
        let take = workload.program.map(|_| {
            let (name, service) = (workload.name, workload.service());
            let take = self.instances.add(name, service, identity(workload.caller));
            Rc::new(take) as TakeRecord
        });
        let log = ["--access-log", "all", "--access-log-format", "json"];
        let mut arguments = vec!["proxy".to_owned()];
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
        arguments.extend(log.map(str::to_owned));
        self.spawn(&name, &arguments, None, take)?;
        self.ready(world, &name).await
    }

    fn spawn(
        &self,
        name: &str,
        arguments: &[String],
        input: Option<std::os::fd::OwnedFd>,
        take: Option<TakeRecord>,
    ) -> anyhow::Result<()> {
        let process = Process::start(&self.directory.0, name, arguments, input, take)?;
        self.processes.borrow_mut().push(process);
        Ok(())
    }

    async fn ready(&self, world: &World, name: &str) -> anyhow::Result<Vec<SocketAddr>> {
        let said = {
            let processes = self.processes.borrow();
            let process = processes.iter().find(|process| process.name == name);
            process.context("it is started before")?.said()
        };
        said.ready(world, name).await
    }

    /// The process id of `name`, and how it ended if it has.
    pub fn process(&self, name: &str) -> Option<(u32, Option<String>)> {
        let mut processes = self.processes.borrow_mut();
        let process = processes.iter_mut().find(|process| process.name == name)?;
        Some((process.id(), process.ended()))
    }

    /// How many processes there are, and how many of them are proxies.
    pub fn processes(&self) -> (usize, usize) {
        let processes = self.processes.borrow();
        let is_proxy = |process: &&Process| process.name.ends_with("-proxy");
        (processes.len(), processes.iter().filter(is_proxy).count())
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

/// A socket of the loopback that listens already, for a program that is started later.
#[expect(clippy::disallowed_methods, reason = "a program of the demo accepts from it")]
fn listening_socket() -> anyhow::Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0").context("cannot listen on the loopback")
}

/// The file of the proxy of `workload`, whose program is at `application`.
fn config(workload: &Workload, application: Option<SocketAddr>) -> String {
    let Workload { name, account, services, protocol, port, calls, .. } = workload;
    let services: Vec<_> = services.iter().map(|service| format!("shop/{service}")).collect();
    let services = services.join(", ");
    let mut text = format!(
        "\
identity:
  joinToken: {name}-proxy.token
  serviceAccount: shop/{account}
  services: [{services}]
data: {name}-proxy.data
"
    );
    if let Some(application) = application {
        let target = if *protocol == "tcp" { *port } else { 8080 };
        text.push_str(&format!(
            "\
workload:
  name: shop/{name}
  services: [{services}]
  listen: 127.0.0.1:0
  ports:
  - {{ port: {target}, servicePort: {port}, protocol: {protocol}, application: '{application}' }}
"
        ));
    }
    if !calls.is_empty() {
        text.push_str("outbound:\n");
    }
    for called in *calls {
        let of = |workload: &&Workload| workload.service() == called.text();
        let port = WORKLOADS.iter().find(of).map_or(80, |workload| workload.port);
        let called = called.text();
        text.push_str(&format!(
            "- {{ listen: '127.0.0.1:0', service: shop/{called}, port: {port} }}\n"
        ));
    }
    text
}

/// `path` as a shell takes it as one word.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if text.bytes().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        assert_eq!(quoted(Path::new("/tmp/weft-demo-1")), "/tmp/weft-demo-1");
        assert_eq!(quoted(Path::new("/tmp/a b")), "'/tmp/a b'");
        assert_eq!(quoted(Path::new("/tmp/it's")), r"'/tmp/it'\''s'");
    }

    #[test]
    fn each_identity_is_there_once() {
        let accounts = ["cart", "catalog", "motto", "visitor", "web"];
        assert_eq!(identities(), accounts.map(identity));
    }
}
