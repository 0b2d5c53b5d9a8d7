//! Renews a proxy's certificate in time, at once when its root is to go, and whenever its dates
//! stop to hold by this machine's clock, which may jump.
//!
//! Whether a certificate still proves something is for the control plane to say, by its own clock:
//! so it is asked with the certificate first, whatever the clock here says.

mod schedule;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use weft_control::{ClientError, JoinError, Joiner};
use weft_identity::{Credentials, MutualTls, Svid, SvidSlot, Validity};
use weft_telemetry::metrics::Registry;
use weft_world::World;

use self::schedule::{Schedule, Wake, dates, is_taken};
use super::saver::Saver;

/// The longest wait before a certificate is renewed whose root is to go.
const EARLY_RENEWAL: Duration = Duration::from_secs(5);

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
    /// The next credentials, where the certificate does not hold by this machine's clock yet.
    pub(super) aside: Option<Credentials>,
}

/// What became of new credentials.
enum Renewed {
    /// They are in use.
    Taken,
    /// Their certificate has these dates and does not hold here, and the one of before does.
    Kept(Validity),
}

impl Renewal {
    pub(super) async fn run(mut self) {
        let world = self.world.clone();
        let clock = &*world.clock;
        let (dating, entropy) = (world.clock.clone(), world.entropy.clone());
        let mut schedule = Schedule::new(dating, entropy, self.svid.validity());
        // In a row: attempts that failed, and those that brought what does not hold here.
        let (mut failures, mut unheld) = (0, 0);
        loop {
            tokio::select! {
                biased;
                is_trusted = self.superseded() => {
                    if is_trusted {
                        // Not all proxies of a mesh at the same moment.
                        clock.sleep(EARLY_RENEWAL.mul_f64(world.entropy.fraction())).await;
                    }
                    self.aside = None;
                    self.tried_under = Some(self.tls.trust().load().bundle().sequence());
                    weft_control::say!("weft: the root of the certificate is being replaced, renewing it");
                }
                wake = schedule.wake(self.svid.validity(), !self.is_known) => match wake {
                    Wake::Renew => {}
                    Wake::Tell => {
                        self.tell().await;
                        continue;
                    }
                }
            }
            let renewed = self.renew().await;
            failures = if renewed.is_err() { failures + 1 } else { 0 };
            let (validity, wall) = (self.svid.validity(), clock.wall());
            match renewed {
                Ok(Renewed::Taken) if validity.contains(wall) => {
                    unheld = 0;
                    schedule.plan(validity, 0);
                }
                // It is of use to others, whose clocks are right.
                Ok(Renewed::Taken) => {
                    unheld += 1;
                    let of_both = "the clock of this machine or of the control plane is wrong";
                    weft_control::say!("weft: {}: {of_both}", dates(validity, wall));
                    schedule.plan_unheld(unheld);
                }
                Ok(Renewed::Kept(new)) => {
                    unheld += 1;
                    weft_control::say!(
                        "weft: the new certificate is not used yet, {}: set the clocks of this \
                         machine and of the control plane right",
                        dates(new, wall)
                    );
                    schedule.plan_kept(validity, new, unheld);
                }
                Err(error) => {
                    weft_control::say!(
                        "weft: the certificate is not renewed, attempt {failures}: {error}"
                    );
                    schedule.plan(validity, failures);
                }
            }
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

    async fn renew(&mut self) -> Result<Renewed, String> {
        let clock = self.world.clock.clone();
        let present = self.svid.validity();
        let holds = present.contains(clock.wall());
        let aside = self.aside.take();
        let credentials = match aside {
            Some(aside) if aside.svid.validity().contains(clock.wall()) => aside,
            aside => {
                let asked = renewed_or_joined(&mut self.joiner, self.tls.svid(), holds).await;
                match (asked, aside) {
                    (Ok(new), _) if !is_taken(present, new.svid.validity(), clock.wall()) => {
                        let validity = new.svid.validity();
                        self.aside = (clock.wall() < validity.not_before).then_some(new);
                        return Ok(Renewed::Kept(validity));
                    }
                    (Ok(new), _) => new,
                    // By the clock of the control plane, the one in use is about to end.
                    (Err(_), Some(aside)) => aside,
                    (Err(error), None) => return Err(error),
                }
            }
        };
        self.take(credentials).await?;
        Ok(Renewed::Taken)
    }

    /// Puts `credentials` to use.
    async fn take(&mut self, credentials: Credentials) -> Result<(), String> {
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
                weft_control::say!(
                    "weft: the control plane is not told of the new certificate: {error}"
                );
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
