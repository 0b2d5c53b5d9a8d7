//! The proxy's side of discovery over the network: connects, registers, subscribes, and stays.
//!
//! What the proxy holds survives every loss of the connection, and so do those who wait for an
//! answer.

mod health;
mod link;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use weft_identity::SvidSlot;
use weft_wire::discovery::message::DeltaDiscoveryResponse;
use weft_wire::discovery::{Answered, Client, Lookup, Outcome, Subscription, Waiter};
use weft_wire::{Object, ObjectKey};
use weft_world::World;

use self::health::Fares;
use self::link::{Event, Own, Registration};
use crate::api::{InstanceRequest, RegisterRequest, RegisterResponse};
use crate::grpc::frame;
use crate::line::{ControlPlane, Line};

/// How long a subscription lasts that nobody asks for.
const UNUSED: Duration = Duration::from_secs(600);

/// How often it is looked whether anything is unused.
const LOOK: Duration = Duration::from_secs(30);

/// How many events of the connection wait at most.
const EVENTS_MAX: usize = 4;

/// Something that a [`Subscriber`] is asked for.
#[derive(Debug)]
pub enum Ask {
    /// What is known of something. The answer comes when it is known, never [`Lookup::Waiting`];
    /// however long that takes is the caller's to bound, by dropping the receiver.
    Look {
        /// What to look for.
        subscription: Subscription,
        /// Takes the answer.
        reply: oneshot::Sender<Lookup>,
    },
    /// To take the registration away, not to register again, and to have it known that the
    /// certificate is in use no more.
    Leave {
        /// Told when the control plane has done so, or why it has not.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// To have it known how the own application fares. Nobody waits for that; it is said again
    /// until the control plane has taken it, and to one that has just registered the workload.
    Fares {
        /// Whether it serves.
        is_healthy: bool,
    },
    /// To have it known that the workload is about to end: nothing new is to be sent there.
    Drain {
        /// Told when the control plane has done so, or why it has not.
        done: oneshot::Sender<Result<(), String>>,
    },
}

/// How it stands with the connection to the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// The stream is open, and the workload registered if it is to be.
    Connected,
    /// The stream is open, and the workload could not be registered. This is tried again.
    Unregistered {
        /// What the control plane has against it.
        reason: String,
    },
    /// There is no connection. This is tried again.
    Disconnected {
        /// What happened to the last one.
        reason: String,
    },
}

/// Sees what a [`Subscriber`] learns.
pub trait Observer {
    /// Whether `object` can be used, such as whether its regular expressions compile.
    ///
    /// # Errors
    /// Why it cannot: it is refused with these words, and the one before it stays.
    fn check(&self, object: &Object) -> Result<(), String>;

    /// A response was taken, or subscriptions have ended: `outcome` says what of it, and `client`
    /// has all that is held now.
    fn changed(&mut self, client: &Client, outcome: &Outcome);

    /// The connection came or went.
    fn connection(&mut self, state: ConnectionState);

    /// The workload was registered, for the first time or again.
    fn registered(&mut self, response: &RegisterResponse);
}

/// The proxy's side of discovery over the network.
pub struct Subscriber {
    world: World,
    control_plane: ControlPlane,
    svid: SvidSlot,
    register: Option<RegisterRequest>,
    client: Client,
}

impl Subscriber {
    /// A subscriber to `control_plane`, proved by what is in `svid`.
    ///
    /// With `register` it also registers its workload, whose name then is to be that of `client`.
    /// The latter is new, or restored from what an earlier one saved.
    pub fn new(
        world: World,
        control_plane: ControlPlane,
        svid: SvidSlot,
        register: Option<RegisterRequest>,
        client: Client,
    ) -> Subscriber {
        Subscriber { world, control_plane, svid, register, client }
    }

    /// Subscribes for ever, within the current `LocalRuntime` or `LocalSet`.
    ///
    /// `self` is subscribed to from the start. What else is asked for expires when it was not asked
    /// for again in ten minutes. If nobody can ask any more, this goes on without.
    pub async fn run(self, mut asks: mpsc::Receiver<Ask>, observer: &mut dyn Observer) {
        let Subscriber { world, control_plane, svid, register, mut client } = self;
        client.subscribe(&Subscription::SelfWorkload, world.clock.now(), None);
        let ControlPlane { addresses, control_key } = control_plane;
        let line = Line { world: world.clone(), addresses, control_key, bearer: None, svid };
        let registration = Rc::new(RefCell::new(register));
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        // They end with this future.
        let mut tasks = JoinSet::new();
        let (own, found) = watch::channel(Own::Ours);
        tasks.spawn_local(link::keep(line.clone(), registration.clone(), sender, found));
        let (fares, told) = watch::channel(Fares::default());
        tasks.spawn_local(health::tell(line.clone(), registration.clone(), told));
        let mut core = Core {
            world,
            client,
            waiters: Waiters::default(),
            observer,
            registration: registration.clone(),
            own,
            fares,
            requests: None,
            refused: None,
        };
        let mut look = core.world.clock.sleep(LOOK);
        let mut may_ask = true;
        loop {
            let is_full = core.say();
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => core.on_event(event),
                    None => unreachable!("the link ends only after this future"),
                },
                ask = asks.recv(), if may_ask => match ask {
                    Some(Ask::Look { subscription, reply }) => core.look(subscription, reply),
                    Some(Ask::Leave { done }) => {
                        let line = line.clone();
                        match registration.take().map(instance) {
                            Some(instance) => {
                                tasks.spawn_local(call(line, "/api/v1/leave", instance, done));
                            }
                            None => {
                                tasks.spawn_local(call(line, "/api/v1/ended", (), done));
                            }
                        }
                    }
                    Some(Ask::Fares { is_healthy }) => core.fares(is_healthy),
                    Some(Ask::Drain { done }) => {
                        let instance = registration.borrow().clone().map(instance);
                        let Some(instance) = instance else {
                            // Of none there is nothing to say.
                            drop(done.send(Ok(())));
                            continue;
                        };
                        tasks.spawn_local(call(line.clone(), "/api/v1/drain", instance, done));
                    }
                    None => may_ask = false,
                },
                () = core.has_room(), if is_full => {}
                () = &mut look => {
                    core.tidy();
                    look = core.world.clock.sleep(LOOK);
                }
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

fn instance(request: RegisterRequest) -> InstanceRequest {
    let RegisterRequest { workload, generation, .. } = request;
    InstanceRequest { workload, generation }
}

/// Says something of `whom` on a connection of its own.
async fn call(
    line: Line,
    path: &'static str,
    whom: impl Serialize,
    done: oneshot::Sender<Result<(), String>>,
) {
    let called = async {
        let body = serde_json::to_vec(&whom).map_err(|error| line.broken(&error))?;
        line.call::<serde_json::Value>(Method::POST, path, body).await
    };
    let called = called.await.map(drop).map_err(|error| error.to_string());
    // Whoever asked may not care any more.
    drop(done.send(called));
}

/// Those who wait for answers.
#[derive(Default)]
struct Waiters {
    waiting: BTreeMap<Waiter, (Subscription, oneshot::Sender<Lookup>)>,
    count: u64,
}

/// What is held, who waits, and what is to be said.
struct Core<'o> {
    world: World,
    client: Client,
    waiters: Waiters,
    observer: &'o mut dyn Observer,
    registration: Registration,
    /// Told what the own Workload is found to be.
    own: watch::Sender<Own>,
    /// Told what is to be known of the own application.
    fares: watch::Sender<Fares>,
    /// Takes what is to be said, while there is a stream.
    requests: Option<mpsc::Sender<Bytes>>,
    /// Why the workload is not registered, if it was refused.
    refused: Option<String>,
}

impl Core<'_> {
    /// Says what is to be said, as far as there is room. True if there is no room.
    fn say(&mut self) -> bool {
        let Some(requests) = &self.requests else { return false };
        loop {
            match requests.try_reserve() {
                Ok(permit) => match self.client.next_request() {
                    Some(request) => permit.send(frame(&request)),
                    None => return false,
                },
                Err(mpsc::error::TrySendError::Full(())) => return true,
                // The link will say what happened.
                Err(mpsc::error::TrySendError::Closed(())) => return false,
            }
        }
    }

    async fn has_room(&self) {
        if let Some(requests) = &self.requests {
            drop(requests.reserve().await);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Registered(response) => {
                self.fares.send_modify(|fares| fares.registrations += 1);
                self.observer.registered(&response);
                if self.refused.take().is_some() && self.requests.is_some() {
                    self.observer.connection(ConnectionState::Connected);
                }
            }
            Event::Unregistered(reason) => {
                // Said with the stream, or here if it is open already and the reason is another.
                if self.requests.is_some() && self.refused.as_ref() != Some(&reason) {
                    let reason = reason.clone();
                    self.observer.connection(ConnectionState::Unregistered { reason });
                }
                self.refused = Some(reason);
            }
            Event::Open(requests) => {
                self.client.connected();
                self.requests = Some(requests);
                self.observer.connection(match self.refused.clone() {
                    None => ConnectionState::Connected,
                    Some(reason) => ConnectionState::Unregistered { reason },
                });
            }
            Event::Response(response) => self.on_response(response),
            Event::Closed(reason) => {
                self.client.disconnected();
                self.requests = None;
                self.refused = None;
                self.observer.connection(ConnectionState::Disconnected { reason });
            }
        }
    }

    fn on_response(&mut self, response: DeltaDiscoveryResponse) {
        if self.requests.is_none() {
            return; // The stream was given up, and this was on its way.
        }
        let observer = &*self.observer;
        match self.client.on_response(response, &|object| observer.check(object)) {
            Ok(outcome) => {
                // Before those who waited look for what they were told to be there.
                self.observer.changed(&self.client, &outcome);
                self.look_after_own(&outcome);
                for Answered { lookup, waiters, .. } in outcome.answered {
                    for waiter in waiters {
                        self.waiters.answer(waiter, &lookup);
                    }
                }
            }
            Err(error) => {
                // Without requests the stream ends; the link then makes another.
                self.client.disconnected();
                self.requests = None;
                let reason = error.to_string();
                self.observer.connection(ConnectionState::Disconnected { reason });
            }
        }
    }

    fn fares(&self, is_healthy: bool) {
        self.fares.send_if_modified(|fares| {
            let before = fares.is_healthy.replace(is_healthy);
            before != fares.is_healthy
        });
    }

    /// Tells what became of the own Workload, if it is registered from here and `outcome` says so.
    fn look_after_own(&self, outcome: &Outcome) {
        let registration = self.registration.borrow();
        let Some(RegisterRequest { workload, generation, .. }) = &*registration else { return };
        let Ok(key) = workload.parse().map(ObjectKey::Workload) else { return };
        if outcome.removed.contains(&key) {
            self.own.send_replace(Own::Gone);
        } else if outcome.changed.contains(&key)
            && let Some(Object::Workload(found)) = self.client.get(&key).map(|it| it.object())
        {
            let is_ours = found.generation == *generation;
            self.own.send_replace(if is_ours { Own::Ours } else { Own::Taken });
        }
    }

    fn look(&mut self, subscription: Subscription, reply: oneshot::Sender<Lookup>) {
        let now = self.world.clock.now();
        let waiter = self.waiters.next();
        let mut lookup = self.client.subscribe(&subscription, now, Some(waiter));
        if matches!(lookup, Lookup::Refused(_)) {
            // Those who do not wait any more make room.
            self.waiters.prune(&mut self.client);
            lookup = self.client.subscribe(&subscription, now, Some(waiter));
        }
        match lookup {
            Lookup::Waiting => drop(self.waiters.waiting.insert(waiter, (subscription, reply))),
            lookup => drop(reply.send(lookup)),
        }
    }

    /// Ends what nobody uses, and forgets who does not wait.
    fn tidy(&mut self) {
        self.waiters.prune(&mut self.client);
        let outcome = self.client.expire(self.world.clock.now(), UNUSED);
        if !outcome.ended.is_empty() {
            self.observer.changed(&self.client, &outcome);
        }
    }
}

impl Waiters {
    fn next(&mut self) -> Waiter {
        self.count += 1;
        Waiter(self.count)
    }

    fn answer(&mut self, waiter: Waiter, lookup: &Lookup) {
        if let Some((_, reply)) = self.waiting.remove(&waiter) {
            drop(reply.send(lookup.clone()));
        }
    }

    fn prune(&mut self, client: &mut Client) {
        self.waiting.retain(|waiter, (subscription, reply)| {
            if reply.is_closed() {
                client.give_up(subscription, *waiter);
            }
            !reply.is_closed()
        });
    }
}
