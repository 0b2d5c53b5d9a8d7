//! Notices a peer that is gone without a word.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::{Ping, PingPong};
use weft_world::{Clock, Timer};

use super::io::Link;

/// How often it is looked whether anything has come. After one such time of silence a ping is sent,
/// after another the peer is taken for dead: 45 s at the most.
pub(super) const INTERVAL: Duration = Duration::from_secs(15);

/// Asks for signs of life while exchanges are open.
///
/// Whatever the peer sends is one, and what it takes that had to wait. An idle connection is left
/// alone, so that it costs nothing.
pub(super) struct Keepalive {
    pings: Option<PingPong>,
    timer: Option<Box<dyn Timer>>,
    signs: u64,
    has_asked: bool,
}

impl Keepalive {
    /// Asks by `pings`; never, if there are none.
    pub(super) fn new(pings: Option<PingPong>) -> Keepalive {
        Keepalive { pings, timer: None, signs: 0, has_asked: false }
    }

    /// Ready once the peer is taken for dead. `is_busy` says whether exchanges are open.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        clock: &dyn Clock,
        link: &Link,
        is_busy: bool,
    ) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        if !is_busy {
            self.timer = None;
            self.has_asked = false;
            return Poll::Pending;
        }
        loop {
            let timer = self.timer.get_or_insert_with(|| {
                self.signs = link.signs();
                clock.sleep(INTERVAL)
            });
            ready!(Pin::new(&mut *timer).poll(cx));
            timer.reset(clock.now() + INTERVAL);
            let has_heard = std::mem::replace(&mut self.signs, link.signs()) != link.signs();
            if !has_heard && self.has_asked {
                return Poll::Ready(());
            }
            if !has_heard {
                // The answer to the last one is taken; if none came, that ping is still under way.
                let _ = pings.poll_pong(cx);
                let _ = pings.send_ping(Ping::opaque());
            }
            self.has_asked = !has_heard;
        }
    }
}
