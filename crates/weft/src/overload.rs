//! Watches how much memory there is left, so that a proxy refuses work before it is killed.

use std::sync::Arc;
use std::time::Duration;

use weft_net::MemoryLimit;
use weft_proxy::{Overload, Pressure};
use weft_telemetry::metrics::{Memory, Registry};
use weft_world::{Moment, World};

/// How often it is looked. At 1 GiB a second, 64 MiB are filled from 75 % on in 16 ms; at what a
/// proxy of one core carries, in some seconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How often memory that is no longer used is given back while there is little.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(1);

/// How far apart two lines about it are at least.
const SAY_INTERVAL: Duration = Duration::from_secs(10);

/// Tells `overload` for ever how short of memory this process is, and `registry` how much it uses;
/// never, if it has no limit.
pub async fn watch(world: World, overload: Overload, registry: Arc<Registry>) {
    let Some(limit) = MemoryLimit::find() else { return };
    overload.set_limit(limit.bytes());
    let (mut said, mut gave_back): (Option<Moment>, Option<Moment>) = (None, None);
    loop {
        world.clock.sleep(LOOK_INTERVAL).await;
        // What cannot be read any more says nothing; it was readable at the start.
        let Ok(used) = limit.used() else { continue };
        let now = Pressure::of(used, limit.bytes());
        overload.set(now);
        registry.memory(Memory { used, limit: limit.bytes(), pressure: now as u8 });
        let moment = world.clock.now();
        let is_time =
            |last: Option<Moment>, interval| last.is_none_or(|last| moment.since(last) >= interval);
        if now > Pressure::None && is_time(gave_back, GIVE_BACK_INTERVAL) {
            gave_back = Some(moment);
            // Only the allocator knows how much of what seems used is not.
            weft_net::give_back_memory();
        }
        if now > Pressure::None && is_time(said, SAY_INTERVAL) {
            said = Some(moment);
            let (used, most) = (used >> 20, limit.bytes() >> 20);
            weft_control::say!(
                "weft: {used} of {most} MiB of memory are used: new requests are refused"
            );
        }
    }
}
