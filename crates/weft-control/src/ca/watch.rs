//! The one task that sees to it that a rotation goes on, and that nothing is kept for longer than
//! it is of use.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use weft_identity::{Fleet, LEAF_LIFETIME, Rotation};
use weft_store::LeaseState;
use weft_wire::{Object, ObjectKey};
use weft_world::World;

use super::kept::Kept;
use super::records::{Present, Seen};
use super::{Ca, CaError};
use crate::api::CaStatus;
use crate::discovery::Discovery;
use crate::routes::blocking;

/// The pause between two looks at the proxies while a root is being replaced.
const LOOK: Duration = Duration::from_millis(250);

/// The pause while none is.
const LOOK_STEADY: Duration = Duration::from_secs(10);

/// How long after a start nothing is forgotten, so that proxies can say what they hold.
const LISTEN_FIRST: Duration = Duration::from_secs(60);

/// How many published bundles are remembered.
const PUBLISHED_MAX: usize = 64;

/// The longest pause between two looks at civil time, which may jump.
const LOOK_AT_TIME: Duration = Duration::from_secs(60);

/// The pause before an intermediate is renewed that could not be.
const RENEW_AGAIN: Duration = Duration::from_secs(3600);

/// The shortest life of an intermediate before the next, should its root be about to end.
const RENEW_PAUSE: Duration = Duration::from_secs(60);

impl Ca {
    /// Sees to it for ever that an intermediate signs that holds, and says what it did. To be run
    /// once, beside [`crate::serve()`], which does.
    pub(crate) async fn keep_renewed(&self, world: &World) {
        loop {
            let wait = self.until_renewal();
            if !wait.is_zero() {
                world.clock.sleep(wait.min(LOOK_AT_TIME)).await;
                continue;
            }
            let end = self.authority().validity().not_after;
            let ca = self.clone();
            match blocking(move || ca.renew()).await {
                Ok(()) => {
                    let next_end = self.authority().validity().not_after;
                    crate::say!(
                        "weft control: a new intermediate signs from now on, which holds until \
                         {next_end}; the last one holds until {end}"
                    );
                    world.clock.sleep(RENEW_PAUSE).await;
                }
                Err(error) => {
                    crate::say!(
                        "weft control: the intermediate, which holds until {end}, is not renewed, \
                         and this is tried again in an hour: {error}"
                    );
                    world.clock.sleep(RENEW_AGAIN).await;
                }
            }
        }
    }

    /// How long it is until the intermediate that signs is to be renewed.
    ///
    /// A clock that jumps ahead does not bring that on, since the next one would hold by the wrong
    /// time only. But one that does not hold is of no use: it may have been made at such a time.
    pub(super) fn until_renewal(&self) -> Duration {
        let present = self.authority();
        if !present.validity().contains(self.0.clock.wall()) {
            return Duration::ZERO;
        }
        present.renew_at().0.saturating_sub(self.passed().0)
    }

    /// Sees to it for ever that a rotation goes on. To be run once, beside [`crate::serve()`],
    /// which does.
    pub(crate) async fn run(&self, world: &World, discovery: &Discovery) {
        let (mut complaint, mut refusal) = (String::new(), None);
        loop {
            let is_steady = matches!(self.core().kept.rotation, Rotation::Steady { .. });
            let pause = if is_steady { LOOK_STEADY } else { LOOK };
            tokio::select! {
                biased;
                () = world.clock.sleep(pause) => {}
                () = self.0.stirred.notified(), if is_steady => {}
            }
            let error = match self.look(discovery).await {
                Ok(()) => String::new(),
                Err(error) => error.to_string(),
            };
            if !error.is_empty() && error != complaint {
                crate::say!("weft control: the authority does not go on, trying again: {error}");
            }
            complaint = error;
            let refused = discovery.trust_refusal();
            if let Some(said) = refused.as_ref().filter(|_| refused != refusal) {
                crate::say!("weft control: {said}");
            }
            refusal = refused;
        }
    }

    /// Looks at the proxies once, and does what is due.
    async fn look(&self, discovery: &Discovery) -> Result<(), CaError> {
        self.observe(discovery);
        let before = self.core().kept.clone();
        if !matches!(before.rotation, Rotation::Steady { .. }) {
            let registered = registered_names(discovery)?;
            let fleet = self.fleet(&before, &registered);
            if before.rotation.waiting_for(&fleet).is_empty() {
                let ca = self.clone();
                blocking(move || ca.advance(&registered)).await?;
            }
        }
        let ca = self.clone();
        let wall = self.passed();
        if self.is_believed(discovery) && before.clone().prune(wall) {
            blocking(move || ca.change(|kept| Ok((kept.prune(wall), ())))).await?;
        }
        if self.core().kept.sequence != before.sequence {
            tell(discovery)?;
        }
        let ca = self.clone();
        blocking(move || ca.save().map_err(CaError::from).and_then(|()| ca.remember_now())).await
    }

    /// Whether no proxy holds a later bundle, as far as they had the time to say so: if all that is
    /// kept here is an older copy, the next bundle makes them forget what they know better, and
    /// that is for somebody to decide. A proxy that is not honest holds nothing up for longer than
    /// a day.
    fn is_believed(&self, discovery: &Discovery) -> bool {
        let open_for = self.0.clock.now().since(self.0.opened.0);
        let is_refused = open_for < LEAF_LIFETIME && discovery.trust_refusal().is_some();
        open_for >= LISTEN_FIRST && !is_refused
    }

    /// Sees which proxies are connected, with which certificates, and what they hold.
    fn observe(&self, discovery: &Discovery) {
        let key = ObjectKey::Trust(self.0.trust_domain.clone());
        let mut published = self.0.published.lock().unwrap_or_else(PoisonError::into_inner);
        let state = discovery.state();
        if let Some(object) = state.world.get(&key)
            && let Object::Trust(trust) = object.object()
        {
            published.insert(object.version(), trust.sequence);
            if published.len() > PUBLISHED_MAX {
                let least = published.values().min().copied();
                published.retain(|_, sequence| Some(*sequence) != least);
            }
        }
        let streams = state.proxies.iter().map(|(seat, proxy)| {
            let held = proxy.stream.held(&key);
            Seen {
                seat: *seat,
                facts: proxy.facts.clone(),
                workload: proxy.own.as_ref().map(ToString::to_string),
                sequence: held.and_then(|version| published.get(&version)).copied().unwrap_or(0),
            }
        });
        let streams: Vec<_> = streams.collect();
        drop(state);
        self.records().see(&streams);
    }

    /// Whom a rotation waits for that stands as `kept` says.
    pub(super) fn fleet(&self, kept: &Kept, registered: &BTreeSet<String>) -> Fleet {
        let present = Present {
            registered,
            revoked: &kept.revocations(),
            is_withdrawing: matches!(kept.rotation, Rotation::Withdrawing { .. }),
            now: self.passed(),
            listening_since: self.0.opened.1,
        };
        self.records().fleet(&present)
    }

    /// Takes the next step, unless somebody turned up meanwhile who is to be waited for. Waits for
    /// the disk.
    pub(super) fn advance(&self, registered: &BTreeSet<String>) -> Result<(), CaError> {
        let _turn = self.0.gate.write().unwrap_or_else(PoisonError::into_inner);
        let core = self.core();
        let sequence = self.next_sequence(&core.kept)?;
        let rotation = {
            let fleet = self.fleet(&core.kept, registered);
            core.kept.rotation.advance(&fleet, sequence)
        };
        if rotation == core.kept.rotation {
            return Ok(());
        }
        let mut kept = Kept { rotation, ..core.kept.clone() };
        if let Rotation::Steady { root } = kept.rotation {
            // Before it is forgotten whose they are. What is trusted does not change any more.
            let gone: Vec<_> = kept.generations.iter().filter(|(_, key)| **key != root).collect();
            for (generation, _) in gone {
                let generation = *generation;
                let destroyed = self.0.keys.destroy(generation);
                destroyed.map_err(|source| CaError::Authority { generation, source })?;
            }
            kept.generations.retain(|_, key| *key == root);
        } else {
            kept.sequence = sequence;
        }
        if let Rotation::Withdrawing { withdrawn, .. } = kept.rotation
            && let Some(authority) = core.authorities.get(&withdrawn)
        {
            kept.withdraw(authority, self.at_latest());
        }
        let said = match &kept.rotation {
            Rotation::Steady { root } => format!("the root {root} is the only one"),
            Rotation::Distributing { new, .. } => format!("the root {new} is published"),
            Rotation::Signing { new, .. } => {
                format!("certificates are signed below the root {new}")
            }
            Rotation::Withdrawing { withdrawn, .. } => {
                format!("the root {withdrawn} is withdrawn")
            }
        };
        self.put(&core, kept)?;
        crate::say!("weft control: {said}");
        Ok(())
    }
}

/// Tells all proxies what is trusted now.
pub(crate) fn tell(discovery: &Discovery) -> Result<(), CaError> {
    discovery.renew_trust().map_err(|error| CaError::Told(error.to_string()))
}

/// How it stands with the authority.
pub(crate) fn described(ca: &Ca, discovery: &Discovery) -> Result<CaStatus, CaError> {
    ca.observe(discovery);
    Ok(ca.status(&registered_names(discovery)?))
}

/// The workloads that are registered.
fn registered_names(discovery: &Discovery) -> Result<BTreeSet<String>, CaError> {
    let now = discovery.clock().now();
    let leases = discovery.store().leases()?;
    let live = leases.iter().filter(|lease| lease.state(now) != LeaseState::Expired);
    Ok(live.map(|lease| lease.registration.name.clone()).collect())
}
