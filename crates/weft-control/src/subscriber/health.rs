//! Has the control plane know how the own application fares.

use std::time::Duration;

use hyper::Method;
use tokio::sync::watch;

use super::instance;
use super::link::Registration;
use crate::api::HealthRequest;
use crate::line::Line;

/// The pause before something is said again that the control plane did not take, give or take a
/// half.
const AGAIN: Duration = Duration::from_secs(5);

/// What is to be known of the own application.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fares {
    /// Whether it serves. None while nobody has said so.
    pub(super) is_healthy: Option<bool>,
    /// How often it was registered: what was said before may be lost then.
    pub(super) registrations: u64,
}

/// Says each change of `fares` to the control plane, on connections of their own and one after the
/// other, so that the last one stays.
pub(super) async fn tell(
    line: Line,
    registration: Registration,
    mut fares: watch::Receiver<Fares>,
) {
    while fares.changed().await.is_ok() {
        let Some(healthy) = fares.borrow_and_update().is_healthy else { continue };
        let Some(instance) = registration.borrow().clone().map(instance) else { continue };
        let request = HealthRequest { instance, healthy };
        let said = async {
            let body = serde_json::to_vec(&request).map_err(|error| line.broken(&error))?;
            line.call::<serde_json::Value>(Method::POST, "/api/v1/health", body).await
        };
        if said.await.is_err() {
            fares.mark_changed();
            let jitter = line.world.entropy.fraction();
            line.world.clock.sleep(AGAIN.mul_f64(0.5 + jitter)).await;
        }
    }
}
