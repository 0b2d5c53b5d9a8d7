//! Writes what a joined proxy keeps on disk, and what the disk did not take again until it does:
//! a proxy whose disk is full serves on, and says that a restart would cost it something.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::Notify;
use weft_identity::Credentials;
use weft_wire::discovery::Client;
use weft_world::{UnixTime, World};

use super::kept::Kept;

/// The pause before what the disk did not take is written again.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

/// What is kept for the next start, and what of it is not on the disk.
pub(super) struct Saver {
    /// Where. None: nothing is kept.
    kept: Option<Kept>,
    unsaved: RefCell<Unsaved>,
    failed: Notify,
}

/// The newest of each that the disk did not take.
#[derive(Default)]
struct Unsaved {
    credentials: Option<Credentials>,
    mesh: Option<Vec<u8>>,
}

impl Saver {
    /// Keeps everything in `kept`, if there is such a place.
    pub(super) fn new(kept: Option<Kept>) -> Saver {
        Saver { kept, unsaved: RefCell::default(), failed: Notify::new() }
    }

    /// Gives `client` what was kept of the mesh, and says when that was, if there was something.
    pub(super) fn restore(&self, world: &World, client: &mut Client) -> Option<UnixTime> {
        self.kept.as_ref()?.restore(world, client)
    }

    /// Keeps `credentials`, now or as soon as the disk takes them.
    pub(super) fn credentials(&self, world: &World, credentials: &Credentials) {
        let Some(kept) = &self.kept else { return };
        let saved = kept.save_credentials(&*world.files, credentials);
        let unsaved = saved.as_ref().err().map(|_| credentials.clone());
        let before = std::mem::replace(&mut self.unsaved.borrow_mut().credentials, unsaved);
        self.say("the certificate", before.is_some(), saved);
    }

    /// Keeps what `client` holds of the mesh, now or as soon as the disk takes it.
    pub(super) fn mesh(&self, world: &World, client: &Client) {
        if self.kept.is_some() {
            self.save_mesh(world, client.save());
        }
    }

    fn save_mesh(&self, world: &World, mesh: Vec<u8>) {
        let Some(kept) = &self.kept else { return };
        let saved = kept.save_mesh(&*world.files, &mesh);
        let unsaved = saved.is_err().then_some(mesh);
        let before = std::mem::replace(&mut self.unsaved.borrow_mut().mesh, unsaved);
        self.say("what is known of the mesh", before.is_some(), saved);
    }

    /// Says what changed.
    fn say(&self, what: &str, was_unsaved: bool, saved: Result<(), String>) {
        match saved {
            Ok(()) if was_unsaved => weft_control::say!("weft: {what} is kept on disk again"),
            Ok(()) => {}
            Err(error) => {
                if !was_unsaved {
                    weft_control::say!(
                        "weft: {what} is not kept on disk, so that a restart does not find it; \
                         this is tried again every {} s: {error}",
                        SAVE_AGAIN.as_secs()
                    );
                }
                self.failed.notify_one();
            }
        }
    }

    /// Tries again for ever.
    pub(super) async fn run(&self, world: &World) {
        loop {
            self.failed.notified().await;
            world.clock.sleep(SAVE_AGAIN).await;
            let (credentials, mesh) = {
                let unsaved = self.unsaved.borrow();
                (unsaved.credentials.clone(), unsaved.mesh.clone())
            };
            if let Some(credentials) = credentials {
                self.credentials(world, &credentials);
            }
            if let Some(mesh) = mesh {
                self.save_mesh(world, mesh);
            }
        }
    }
}
