//! A host: its tasks, its disk, its clock, and how it crashes.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle, LocalSet};
use weft_world::World;

use crate::clock::{SimClock, Skew};
use crate::entropy::{HostEntropy, Random};
use crate::files::Disk;
use crate::link::HostId;
use crate::network::{Capture, Power};
use crate::simulation::Kernel;
use crate::stream::SimNetwork;
use crate::trace::Happening;

/// How a host goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Its programs die: the system resets their connections and refuses new ones.
    Reset,
    /// Its power fails: nobody is told, and nobody answers.
    Silent,
}

pub(crate) struct HostState {
    id: HostId,
    name: Rc<str>,
    addresses: Vec<IpAddr>,
    entropy: Rc<HostEntropy>,
    disk: Disk,
    clock_origin: Duration,
    skew: Rc<Cell<Skew>>,
    pub(crate) tasks: RefCell<Option<(Rc<LocalSet>, AbortHandle)>>,
}

impl HostState {
    pub(crate) fn new(
        kernel: &Kernel,
        id: HostId,
        name: &str,
        addresses: Vec<IpAddr>,
    ) -> HostState {
        let name: Rc<str> = Rc::from(name);
        let mut random = Random::derive(kernel.seed, &format!("clock of {name}"));
        HostState {
            id,
            addresses,
            entropy: Rc::new(HostEntropy::new(kernel.seed, &name)),
            disk: Disk::new(Rc::clone(&name), kernel.trace.clone()),
            name,
            // As if it had been up for at most a month.
            clock_origin: random.duration(Duration::ZERO, Duration::from_secs(30 * 86_400)),
            skew: Rc::new(Cell::new(Skew::NONE)),
            tasks: RefCell::default(),
        }
    }
}

/// A simulated host. Cheap to clone: all clones are one host.
#[derive(Clone)]
pub struct Host {
    kernel: Rc<Kernel>,
    state: Rc<HostState>,
}

impl Host {
    pub(crate) fn new(kernel: Rc<Kernel>, state: Rc<HostState>) -> Host {
        Host { kernel, state }
    }

    pub(crate) fn id(&self) -> HostId {
        self.state.id
    }

    #[cfg(test)]
    pub(crate) fn timeline(&self) -> &crate::clock::Timeline {
        &self.kernel.timeline
    }

    pub(crate) fn name_shared(&self) -> &Rc<str> {
        &self.state.name
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Its addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.state.addresses
    }

    /// Its first address.
    ///
    /// # Panics
    /// If it has none.
    pub fn ip(&self) -> IpAddr {
        *self.state.addresses.first().expect("a host that is asked for its address has one")
    }

    /// The world as a program on this host sees it, whose connections go where it says.
    pub fn world(&self) -> World {
        self.world_of(false)
    }

    /// The world as the application on this host sees it, whose connections [`Host::capture`]
    /// diverts.
    pub fn application(&self) -> World {
        self.world_of(true)
    }

    fn world_of(&self, application: bool) -> World {
        let (kernel, state) = (&self.kernel, &self.state);
        World {
            clock: Rc::new(SimClock {
                timeline: Rc::clone(&kernel.timeline),
                origin: state.clock_origin,
                wall_start: kernel.options.wall_start,
                skew: Rc::clone(&state.skew),
            }),
            entropy: Rc::clone(&state.entropy) as Rc<_>,
            network: Rc::new(SimNetwork {
                net: Rc::clone(&kernel.net),
                host: state.id,
                application,
            }),
            files: Rc::new(state.disk.clone()),
        }
    }

    /// Its disk, which outlives crashes.
    pub fn disk(&self) -> &Disk {
        &self.state.disk
    }

    /// Lets its civil time be off from now on.
    pub fn set_skew(&self, skew: Skew) {
        self.state.skew.set(skew);
    }

    /// Diverts connections from now on, those of [`Host::application`] and those from other hosts.
    pub fn capture(&self, capture: Capture) {
        self.kernel.net.borrow_mut().host(self.state.id).capture = capture;
    }

    /// Puts a line on the trace.
    pub fn note(&self, text: impl Into<String>) {
        self.kernel.trace.add(&self.state.name, Happening::Note(text.into()));
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.state.tasks.borrow().is_some()
    }

    /// Runs `future` on this host, until it ends or the host crashes. What it starts by
    /// `tokio::task::spawn_local` belongs to the host as well.
    ///
    /// # Panics
    /// If the host is down.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let tasks = self.state.tasks.borrow().as_ref().map(|(tasks, _)| Rc::clone(tasks));
        let tasks = tasks.unwrap_or_else(|| panic!("host {} is down", self.state.name));
        tasks.spawn_local(future)
    }

    /// Takes the host away: its connections, its listeners, its tasks. Files stay.
    ///
    /// A task of the host itself that calls this goes on to its next await. Without effect if the
    /// host is down.
    pub fn crash(&self, how: Crash) {
        // First the network, so that tasks that are dropped cannot take leave.
        let Some((tasks, running)) = self.state.tasks.take() else { return };
        self.kernel.net.borrow_mut().crash(self.state.id, how == Crash::Silent);
        running.abort();
        drop(tasks);
    }

    /// Lets the host run again, without tasks. Without effect if it is up.
    pub fn restart(&self) {
        if !self.is_up() {
            self.kernel.net.borrow_mut().host(self.state.id).power = Power::On;
            self.kernel.trace.add(&self.state.name, Happening::Restarted);
            self.start();
        }
    }

    /// Gives the host a set of tasks, and lets it be run with the others.
    pub(crate) fn start(&self) {
        let Some(root) = self.kernel.root.upgrade() else { return };
        let tasks = Rc::new(LocalSet::new());
        let (kernel, set) = (Rc::clone(&self.kernel), Rc::clone(&tasks));
        let running = root.spawn_local(async move {
            let mut all = pin!(set.run_until(pending::<()>()));
            poll_fn(|cx| if kernel.step() { all.as_mut().poll(cx) } else { Poll::Pending }).await;
        });
        self.state.tasks.replace(Some((tasks, running.abort_handle())));
    }
}
