//! A proxy that does what it is to do only when the test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::mpsc;
use weft_control::api::RegisterResponse;
use weft_control::{ConnectionState, Joiner, Observer, Subscriber};
use weft_identity::{JoinToken, SvidSlot};
use weft_wire::discovery::{Client, Outcome};
use weft_wire::{Object, Release};

use crate::mesh::{Mesh, block_on};

/// A proxy that takes new trust and new certificates only when the test says so.
pub struct Slow {
    /// Whether it refuses whatever is new about trust.
    pub refuses: Arc<AtomicBool>,
    joiner: std::cell::RefCell<Joiner>,
    slot: SvidSlot,
}

impl Slow {
    /// Joins as `account`, and follows as the workload `name`; waits until it trusts somebody.
    pub fn start(mesh: &Mesh, account: &str, name: &str) -> Slow {
        let token = JoinToken::parse(&mesh.token(account)).unwrap();
        let account = account.parse().unwrap();
        let joiner = Joiner::new(weft_net::world(), token, account, Vec::new());
        let credentials = block_on(joiner.join()).unwrap();
        let slot = SvidSlot::with(&credentials.svid);
        let refuses = Arc::<AtomicBool>::default();
        let (told, trusts): (SyncSender<()>, Receiver<()>) = sync_channel(1);
        let (control_plane, svid) = (joiner.control_plane(), slot.clone());
        let (name, flag) = (name.to_owned(), refuses.clone());
        // It ends with the test's process.
        std::thread::spawn(move || {
            block_on(async move {
                let client = Client::new(&name, Release::this());
                let world = weft_net::world();
                let subscriber = Subscriber::new(world, control_plane, svid, None, client);
                let (_asks, receiver) = mpsc::channel(1);
                subscriber.run(receiver, &mut Watcher { refuses: flag, told }).await;
            });
        });
        trusts.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        Slow { refuses, joiner: joiner.into(), slot }
    }

    /// Gets a new certificate, and has it known that it is in use.
    pub fn renew(&self) {
        let mut joiner = self.joiner.borrow_mut();
        let renewed = block_on(joiner.renew(&self.slot)).unwrap();
        self.slot.set(&renewed.svid);
        block_on(joiner.installed(&self.slot)).unwrap();
    }
}

struct Watcher {
    refuses: Arc<AtomicBool>,
    told: SyncSender<()>,
}

impl Observer for Watcher {
    fn check(&self, object: &Object) -> Result<(), String> {
        match object {
            Object::Trust(_) if self.refuses.load(Ordering::Relaxed) => {
                Err("not yet, says the test".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn changed(&mut self, client: &Client, _: &Outcome) {
        if client.objects().any(|object| matches!(object.object(), Object::Trust(_))) {
            let _ = self.told.try_send(());
        }
    }

    fn connection(&mut self, _: ConnectionState) {}

    fn registered(&mut self, _: &RegisterResponse) {}
}
