//! Renews a proxy's certificate in time, at once when its root is to go, and whenever its dates
//! stop to hold by this machine's clock, which may jump.
//!
//! Whether a certificate still proves something is for the control plane to say, by its own clock:
//! so it is asked with the certificate first, whatever the clock here says.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use weft_control::{ClientError, JoinError, Joiner};
use weft_identity::{Credentials, MutualTls, Svid, SvidSlot, Validity, renew_at};
use weft_telemetry::metrics::Registry;
use weft_world::{UnixTime, World};

use super::saver::Saver;

/// The longest wait before a certificate is renewed whose root is to go.
const EARLY_RENEWAL: Duration = Duration::from_secs(5);

/// The pause before the control plane is told again of a new certificate.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// The longest pause between two looks at civil time, which may jump.
const LOOK_AT_TIME: Duration = Duration::from_secs(5);

/// Renews the certificate.
pub(super) struct Renewal {
    pub(super) world: World,
    pub(super) joiner: Joiner,
    pub(super) tls: Arc<MutualTls>,
    pub(super) saver: Rc<Saver>,
    pub(super) svid: Svid,
    pub(super) registry: Arc<Registry>,
    pub(super) trusted: Rc<Notify>,
    /// The number of the bundle for whose sake it was tried to renew early.
    pub(super) tried_under: Option<u64>,
    /// Whether the control plane knows that the certificate is in use.
    pub(super) is_known: bool,
}

impl Renewal {
    pub(super) async fn run(mut self) {
        let world = self.world.clone();
        let clock = &*world.clock;
        let mut failures = 0;
        let holds = Cell::new(true);
        loop {
            tokio::select! {
                biased;
                is_trusted = self.superseded() => {
                    if is_trusted {
                        // Not all proxies of a mesh at the same moment.
                        clock.sleep(EARLY_RENEWAL.mul_f64(world.entropy.fraction())).await;
                    }
                    self.tried_under = Some(self.tls.trust().load().bundle().sequence());
                    eprintln!("weft: the root of the certificate is being replaced, renewing it");
                }
                () = self.due(failures, &holds) => {}
                () = clock.sleep(TELL_AGAIN), if !self.is_known => {
                    self.tell().await;
                    continue;
                }
            }
            match self.renew().await {
                Ok(()) if self.svid.validity().contains(clock.wall()) => failures = 0,
                // It is of use to others, whose clocks are right. Here it is asked for no faster
                // than after a failure.
                Ok(()) => {
                    failures += 1;
                    let of_both = "the clock of this machine or of the control plane is wrong";
                    eprintln!("weft: {}: {of_both}", dates(self.svid.validity(), clock.wall()));
                }
                Err(error) => {
                    failures += 1;
                    eprintln!("weft: the certificate is not renewed, attempt {failures}: {error}");
                }
            }
        }
    }

    /// Ready when it is time to renew, after `failures` in a row. Says when the certificate stops
    /// to hold by this machine's clock, and when it holds again; `holds` is what was said.
    ///
    /// After a failure the wait is one of passing time: the clock may be set back meanwhile.
    async fn due(&self, failures: u32, holds: &Cell<bool>) {
        let (clock, fraction) = (&*self.world.clock, self.world.entropy.fraction());
        let validity = self.svid.validity();
        let began = clock.wall();
        let again = (failures > 0).then(|| {
            let at = renew_at(validity, failures, began, fraction);
            clock.now() + at.0.saturating_sub(began.0)
        });
        loop {
            let wall = clock.wall();
            if holds.replace(validity.contains(wall)) != validity.contains(wall) {
                say(validity, wall);
            }
            let left = match again {
                Some(again) => again.since(clock.now()),
                None => renew_at(validity, 0, wall, fraction).0.saturating_sub(wall.0),
            };
            if left.is_zero() {
                return;
            }
            clock.sleep(left.min(LOOK_AT_TIME)).await;
        }
    }

    /// Ready when the root above the certificate is to go, or is not trusted any more; once for
    /// each bundle that says so. Says whether it is trusted.
    async fn superseded(&self) -> bool {
        loop {
            let (sequence, is_trusted, is_superseded) = {
                let trust = self.tls.trust().load();
                let now = self.world.clock.wall();
                let holds = self.svid.validity().contains(now);
                let root = trust.facts(self.svid.chain(), now);
                let root = root.ok().map(|facts| facts.issuer.root);
                let wanted = trust.bundle().renew_below();
                let is_superseded = match root {
                    Some(root) => wanted.is_some_and(|wanted| wanted != root),
                    None => holds,
                };
                (trust.bundle().sequence(), root.is_some(), is_superseded)
            };
            if is_superseded && self.tried_under != Some(sequence) {
                return is_trusted;
            }
            self.trusted.notified().await;
        }
    }

    async fn renew(&mut self) -> Result<(), String> {
        let clock = self.world.clock.clone();
        let before = self.svid.validity();
        let holds = before.contains(clock.wall());
        let credentials = renewed_or_joined(&mut self.joiner, self.tls.svid(), holds).await?;
        let validity = credentials.svid.validity();
        let wall = clock.wall();
        if before.contains(wall) && !validity.contains(wall) {
            let dates = dates(validity, wall);
            return Err(format!("{dates}: set the clocks of both machines right"));
        }
        // Whoever is below a new root is to be believed by whom this side calls, and the other way.
        if credentials.bundle.sequence() > self.tls.trust().load().bundle().sequence() {
            let taken = self.tls.replace_trust(credentials.bundle.clone());
            taken.map_err(|error| error.to_string())?;
        }
        self.tls.replace_svid(&credentials.svid).map_err(|error| error.to_string())?;
        self.svid = credentials.svid.clone();
        self.registry.certificate_expires(self.svid.validity().not_after);
        self.saver.credentials(&self.world, &credentials);
        self.is_known = false;
        self.tell().await;
        Ok(())
    }

    /// Tells the control plane that the new certificate is in use: it waits for that before it
    /// withdraws the root of the one before.
    async fn tell(&mut self) {
        match self.joiner.installed(self.tls.svid()).await {
            Ok(()) => self.is_known = true,
            Err(error) => {
                eprintln!("weft: the control plane is not told of the new certificate: {error}");
            }
        }
    }
}

/// New credentials for those in `svid`; by the join token if they prove nothing any more. `holds`:
/// their dates hold by the clock here, so that only the control plane can be wrong about them.
pub(super) async fn renewed_or_joined(
    joiner: &mut Joiner,
    svid: &SvidSlot,
    holds: bool,
) -> Result<Credentials, String> {
    let unproved = match joiner.renew(svid).await {
        Ok(credentials) => return Ok(credentials),
        Err(error @ JoinError::Client(_)) if !holds => error,
        Err(error) => return Err(error.to_string()),
    };
    match joiner.join().await {
        Ok(credentials) => Ok(credentials),
        // Then that was why the certificate was of no use.
        Err(error @ JoinError::Client(ClientError::Connect { .. })) => Err(error.to_string()),
        Err(error) => Err(format!(
            "the certificate proves nothing any more ({unproved}), and by the token: {error}"
        )),
    }
}

/// Says that the certificate stopped to hold, or holds again.
fn say(validity: Validity, wall: UnixTime) {
    if validity.contains(wall) {
        eprintln!("weft: by this machine's clock, {wall}, the certificate holds again");
        return;
    }
    eprintln!(
        "weft: {}: a new one is asked for; if the clock is wrong, set it right, since until then \
         the certificates of others are refused here",
        dates(validity, wall)
    );
}

fn dates(validity: Validity, wall: UnixTime) -> String {
    let Validity { not_before, not_after } = validity;
    format!(
        "the certificate holds from {not_before} to {not_after}, and by this machine's clock it is \
         {wall}"
    )
}
