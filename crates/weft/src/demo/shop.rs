//! The shop of the demo: ordinary programs that know nothing of the mesh.
//!
//! Each is a process of its own, `weft demo-service NAME`. It calls the others at the addresses it
//! is given, as any program would; that a proxy listens there is not its business.

mod cart;
mod catalog;
mod grpc;
mod http;
mod motto;
mod web;

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use weft_world::{Clock, World};

/// The longest wait for another service of the shop.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The most connections at once. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 256;

/// How long the listener waits after an error of its own, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The arguments of `weft demo-service`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Which service.
    #[arg(value_enum)]
    name: Name,

    /// Where to listen. Default: standard input is a socket that listens already.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,

    /// The name by which this instance is told from others.
    #[arg(long, default_value = "1")]
    instance: String,

    /// The version that it plays.
    #[arg(long, default_value = "v1")]
    version: String,

    /// Where another service is called; may be repeated.
    #[arg(long = "call", value_name = "NAME=IP:PORT", value_parser = call)]
    calls: Vec<(Name, SocketAddr)>,

    /// Which share of the requests fails while it is broken, 0.0 to 1.0. SIGUSR1 breaks it, and
    /// mends it.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    fail_share: f64,
}

/// The services of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// The page, over HTTP.
    Web,
    /// What is in the cart, over HTTP.
    Cart,
    /// What there is to buy, over gRPC.
    Catalog,
    /// A line of text, over a protocol of its own, in which the server speaks first.
    Motto,
}

impl Name {
    /// The name as it is written on the command line.
    pub fn text(self) -> &'static str {
        match self {
            Name::Web => "web",
            Name::Cart => "cart",
            Name::Catalog => "catalog",
            Name::Motto => "motto",
        }
    }
}

fn call(text: &str) -> Result<(Name, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("it is not of the form NAME=IP:PORT")?;
    let name = <Name as clap::ValueEnum>::from_str(name, false)?;
    Ok((name, address.parse().map_err(|error| format!("{address}: {error}"))?))
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("it is not from 0 to 1".to_owned()) }
}

/// What a service knows of itself and of the others.
struct Shop {
    name: Name,
    instance: String,
    version: String,
    calls: Vec<(Name, SocketAddr)>,
    faults: Faults,
    world: World,
}

impl Shop {
    /// Where `name` is called.
    fn address(&self, name: Name) -> anyhow::Result<SocketAddr> {
        let found = self.calls.iter().find(|(called, _)| *called == name);
        let (_, address) = found.with_context(|| {
            format!("{} calls {}: add --call {1}=IP:PORT", self.name.text(), name.text())
        })?;
        Ok(*address)
    }

    /// What `future` gives, or an error if that takes too long.
    async fn in_time<T>(
        &self,
        future: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            biased;
            result = future => result,
            () = self.world.clock.sleep(CALL_TIMEOUT) => bail!("no answer within 5 s"),
        }
    }

    /// Writes a line to the log.
    fn say(&self, what: impl std::fmt::Display) {
        weft_control::say!("weft demo-service: {} {}: {what}", self.name.text(), self.instance);
    }
}

/// Whether the service is broken, and which requests fail then.
struct Faults {
    is_broken: Cell<bool>,
    share: f64,
    asked: Cell<u64>,
}

impl Faults {
    fn new(share: f64) -> Faults {
        Faults { is_broken: Cell::new(false), share, asked: Cell::new(0) }
    }

    /// Whether the next request is to fail. The share is kept evenly, not by chance.
    fn fails(&self) -> bool {
        if !self.is_broken.get() {
            return false;
        }
        let before = self.asked.get();
        self.asked.set(before + 1);
        let failures = |asked: u64| (asked as f64 * self.share).floor();
        failures(before + 1) > failures(before)
    }
}

/// Runs one of the services until SIGTERM or SIGINT.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { name, listen, instance, version, calls, fail_share } = arguments;
    let listener = listener(*listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let shop = Rc::new(Shop {
            name: *name,
            instance: instance.clone(),
            version: version.clone(),
            calls: calls.clone(),
            faults: Faults::new(*fail_share),
            world: weft_net::world(),
        });
        listener.set_nonblocking(true).context("the listening socket")?;
        let address = listener.local_addr().context("the listening socket")?;
        let listener = TokioListener::from_std(listener).context("the listening socket")?;
        let breaking = break_on_signal(shop.clone());
        shop.say(format_args!("ready at {address}"));
        tokio::select! {
            biased;
            signal = weft_net::terminated() => {
                signal.context("cannot wait for signals")?;
                Ok(())
            }
            result = breaking => result,
            result = serve(shop.clone(), listener) => result,
        }
    })
}

#[expect(clippy::disallowed_types, reason = "it plays an application, which has its own sockets")]
type TokioListener = tokio::net::TcpListener;

#[expect(clippy::disallowed_types, reason = "it plays an application, which has its own sockets")]
type TokioStream = tokio::net::TcpStream;

async fn serve(shop: Rc<Shop>, listener: TokioListener) -> anyhow::Result<()> {
    match shop.name {
        Name::Web => web::serve(shop, listener).await,
        Name::Cart => cart::serve(shop, listener).await,
        Name::Catalog => catalog::serve(shop, listener).await,
        Name::Motto => motto::serve(shop, listener).await,
    }
}

/// The socket to accept from: a new one, or standard input, as inetd hands it over.
#[expect(
    clippy::disallowed_methods,
    reason = "it plays an application, which has sockets of its own"
)]
fn listener(listen: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    let Some(address) = listen else {
        let inherited = std::io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
        let listener = TcpListener::from(inherited);
        let listens = rustix::net::sockopt::socket_acceptconn(&listener).unwrap_or(false);
        ensure!(listens, "standard input is not a listening socket: give an address by --listen");
        return Ok(listener);
    };
    TcpListener::bind(address).with_context(|| format!("cannot listen at {address}"))
}

/// Breaks the service, and mends it, at each SIGUSR1.
async fn break_on_signal(shop: Rc<Shop>) -> anyhow::Result<()> {
    let mut signals = signal(SignalKind::user_defined1()).context("cannot wait for signals")?;
    while signals.recv().await.is_some() {
        let broken = !shop.faults.is_broken.get();
        shop.faults.is_broken.set(broken);
        shop.say(if broken { "broken by SIGUSR1" } else { "mended by SIGUSR1" });
    }
    bail!("the system delivers no signals any more")
}

/// Accepts connections for ever, each served by a task of its own.
async fn accept<F>(
    shop: &Shop,
    listener: TokioListener,
    mut serve: impl FnMut(TokioStream) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = ()> + 'static,
{
    let clock: &dyn Clock = &*shop.world.clock;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    // Small answers are not to wait for more.
                    let _ = stream.set_nodelay(true);
                    connections.spawn_local(serve(stream));
                }
                Err(error) => {
                    shop.say(format_args!("cannot accept: {error}"));
                    clock.sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_service_fails_for_the_share_given_and_evenly() {
        let failures = |share: f64, broken: bool| {
            let faults = Faults::new(share);
            faults.is_broken.set(broken);
            (0..100).filter(|_| faults.fails()).count()
        };
        assert_eq!(failures(1.0, false), 0);
        assert_eq!(failures(1.0, true), 100);
        assert_eq!(failures(0.25, true), 25);
        assert_eq!(failures(0.0, true), 0);
    }

    #[test]
    fn what_to_call_is_a_name_and_an_address() {
        assert_eq!(call("cart=127.0.0.1:80"), Ok((Name::Cart, "127.0.0.1:80".parse().unwrap())));
        for wrong in ["cart", "=127.0.0.1:80", "till=127.0.0.1:80", "cart=80", "cart=localhost:80"]
        {
            assert!(call(wrong).is_err(), "{wrong}");
        }
        assert!(share("1.01").is_err() && share("-0.1").is_err() && share("NaN").is_err());
    }
}
