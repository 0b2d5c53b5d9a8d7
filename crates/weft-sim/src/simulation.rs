//! One simulated world: its hosts, its network, its time, and the run that drives it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use weft_world::UnixTime;

use crate::clock::{Event, Timeline};
use crate::driver::{Quiet, drive};
use crate::error::SimError;
use crate::host::{Crash, Host, HostState};
use crate::link::LinkOptions;
use crate::network::{Net, NetworkOptions};
use crate::panics::Watch;
use crate::trace::{Happening, Trace};

/// How a simulated world behaves.
#[derive(Clone, Debug)]
pub struct SimulationOptions {
    /// The network.
    pub network: NetworkOptions,
    /// Simulated time after which a run has failed, from the start of the simulation.
    pub time_limit: Duration,
    /// Events and turns of hosts after which a run has failed.
    pub steps_max: u64,
    /// The civil time at the start.
    pub wall_start: UnixTime,
}

impl Default for SimulationOptions {
    fn default() -> SimulationOptions {
        SimulationOptions {
            network: NetworkOptions::default(),
            time_limit: Duration::from_secs(3_600),
            steps_max: 10_000_000,
            wall_start: UnixTime(Duration::from_secs(1_767_225_600)), // 2026-01-01T00:00:00Z
        }
    }
}

/// What all parts of a simulation share.
pub(crate) struct Kernel {
    pub(crate) seed: u64,
    pub(crate) options: SimulationOptions,
    pub(crate) timeline: Rc<Timeline>,
    pub(crate) trace: Trace,
    pub(crate) net: Rc<RefCell<Net>>,
    pub(crate) hosts: RefCell<Vec<Rc<HostState>>>,
    /// Where hosts and the driver run. Weak: its tasks hold this.
    pub(crate) root: Weak<LocalSet>,
    steps: Cell<u64>,
    failure: RefCell<Option<SimError>>,
    halted: Cell<bool>,
    main: RefCell<Option<Waker>>,
}

impl Kernel {
    /// Ends the run, for the first reason given.
    pub(crate) fn halt(&self, reason: SimError) {
        if !self.halted.replace(true) {
            self.failure.replace(Some(reason));
        }
        if let Some(waker) = self.main.take() {
            waker.wake();
        }
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.get()
    }

    /// Counts one step; false if there may be no more.
    pub(crate) fn step(&self) -> bool {
        self.steps.set(self.steps.get() + 1);
        let steps_max = self.options.steps_max;
        if self.steps.get() > steps_max {
            self.halt(SimError::StepLimit { steps_max, at: self.timeline.now() });
        }
        !self.is_halted()
    }
}

/// A simulated world, which is a function of its seed.
///
/// It lives on one thread. What is to be simulated must not use `tokio::spawn` (such a task
/// survives the crash of its host; `tokio::task::spawn_local` is right), nor an unbiased `select!`.
pub struct Simulation {
    kernel: Rc<Kernel>,
    root: Option<Rc<LocalSet>>,
    runtime: Runtime,
}

impl Simulation {
    /// A world without hosts, at time zero.
    ///
    /// # Panics
    /// If the system gives no resources for a runtime.
    pub fn new(seed: u64, options: SimulationOptions) -> Simulation {
        let quiet = Quiet::default();
        let hook = quiet.clone();
        // Not a `LocalRuntime`: there, `spawn_local` on a host would bypass the host's own set of
        // tasks, and its tasks would survive a crash.
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .on_thread_park(move || hook.reached())
            .build()
            .expect("a runtime without I/O needs nothing that can run out but memory");
        let timeline = Rc::new(Timeline::new(runtime.handle().clone()));
        let trace = Trace::new(Rc::clone(&timeline));
        timeline.schedule(options.time_limit, Event::TimeLimit);
        let net = Net::new(seed, options.network.clone(), Rc::clone(&timeline), trace.clone());
        let root = Rc::new(LocalSet::new());
        let kernel = Rc::new(Kernel {
            seed,
            options,
            timeline,
            trace,
            net: Rc::new(RefCell::new(net)),
            hosts: RefCell::default(),
            root: Rc::downgrade(&root),
            steps: Cell::default(),
            failure: RefCell::default(),
            halted: Cell::default(),
            main: RefCell::default(),
        });
        root.spawn_local(drive(Rc::clone(&kernel), quiet));
        Simulation { kernel, root: Some(root), runtime }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.kernel.seed
    }

    /// Adds a host that is up.
    ///
    /// # Panics
    /// If its name or one of the addresses is taken.
    pub fn host(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Host {
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        let id = self.kernel.net.borrow_mut().add_host(name, &addresses);
        let state = Rc::new(HostState::new(&self.kernel, id, name, addresses));
        self.kernel.hosts.borrow_mut().push(Rc::clone(&state));
        let host = Host::new(Rc::clone(&self.kernel), state);
        host.start();
        host
    }

    /// Drives the world until `future` ends, and returns what it ended with. May be called again:
    /// time then goes on from where it stood.
    ///
    /// # Errors
    /// When a limit is reached, or anything panics on this thread meanwhile.
    pub fn run<F: Future>(&self, future: F) -> Result<F::Output, SimError> {
        let root = self.root.as_ref().expect("only dropping takes it");
        let _watch = Watch::new();
        let ended = self.runtime.block_on(root.run_until(async {
            let mut future = pin!(future);
            poll_fn(|cx| {
                self.kernel.main.replace(Some(cx.waker().clone()));
                if !self.kernel.step() {
                    return Poll::Ready(None);
                }
                future.as_mut().poll(cx).map(Some)
            })
            .await
        }));
        if let Some(message) = crate::panics::take() {
            self.kernel.halt(SimError::Panicked { message });
        }
        match (self.kernel.failure.take(), ended) {
            (Some(failure), _) => Err(failure),
            (None, Some(output)) => Ok(output),
            // An earlier run failed and its reason was given then.
            (None, None) => {
                let promise = "nothing runs after a run that failed".to_owned();
                Err(SimError::Broken { promise })
            }
        }
    }

    /// Simulated time since the start.
    pub fn now(&self) -> Duration {
        self.kernel.timeline.now()
    }

    /// Waits in simulated time.
    pub async fn sleep(&self, duration: Duration) {
        self.kernel.timeline.sleep(duration).await;
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.kernel.steps.get()
    }

    /// What has happened.
    pub fn trace(&self) -> &Trace {
        &self.kernel.trace
    }

    /// Sets the link between two hosts, in both directions; with the same host twice its loopback.
    pub fn link(&self, a: &Host, b: &Host, options: &LinkOptions) {
        self.kernel.net.borrow_mut().links.set(a.id(), b.id(), options);
    }

    /// Cuts the network between two hosts: nothing passes, and nobody is told.
    pub fn partition(&self, a: &Host, b: &Host) {
        self.set_cut(a, b, true);
        self.kernel
            .trace
            .add(a.name_shared(), Happening::Partitioned { peer: b.name_shared().clone() });
    }

    /// Mends the network between two hosts: what was lost arrives when it is next sent again.
    pub fn heal(&self, a: &Host, b: &Host) {
        self.set_cut(a, b, false);
        self.kernel.trace.add(a.name_shared(), Happening::Healed { peer: b.name_shared().clone() });
    }

    fn set_cut(&self, a: &Host, b: &Host, cut: bool) {
        self.kernel.net.borrow_mut().links.set_cut(a.id(), b.id(), cut);
    }

    /// Breaks all connections between two hosts, as a middlebox would: both ends get a reset.
    pub fn reset_connections(&self, a: &Host, b: &Host) {
        self.kernel.net.borrow_mut().reset_between(a.id(), b.id());
    }

    /// As [`Host::crash`].
    pub fn crash(&self, host: &Host, how: Crash) {
        host.crash(how);
    }
}

impl Drop for Simulation {
    /// Drops all tasks. Hosts and worlds that are still held are dead from here on.
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        self.kernel.halted.set(true);
        for host in self.kernel.hosts.take() {
            drop(host.tasks.take());
        }
        drop(self.root.take());
        self.kernel.timeline.clear();
    }
}
