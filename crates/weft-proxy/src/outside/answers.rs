//! Where hosts outside are: what DNS said last, for as long as it says, and longer while it is
//! silent.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weft_decide::egress::{self, STALE_MAX};
use weft_telemetry::{Event, Recorder};
use weft_world::{Clock, Moment};

use super::{Resolution, Resolver};
use crate::Proxy;
use crate::error::ProxyError;

/// Of how many hosts it is kept where they are. Beyond them the one that was called longest ago is
/// forgotten.
const HOSTS_MAX: usize = 4_096;

/// How long it holds that there is no such host, and how long after a failure DNS is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How many addresses of one host are called.
const ADDRESSES_MAX: usize = 64;

/// What is known of hosts.
pub(super) struct Answers(Rc<Shared>);

struct Shared {
    clock: Rc<dyn Clock>,
    recorder: Rc<dyn Recorder>,
    resolver: Option<Rc<dyn Resolver>>,
    hosts: RefCell<BTreeMap<Arc<str>, Host>>,
}

/// What is known of a host.
struct Host {
    /// In their order, so that the same ones are equal.
    addresses: Rc<[IpAddr]>,
    /// Until when these hold.
    until: Moment,
    /// Why there are none, or no newer ones, and until when nobody is asked about that.
    lacking: Option<(Lack, Moment)>,
    used: Moment,
    /// Tells of the end of the question that is being asked, if one is.
    asking: Option<watch::Receiver<()>>,
}

#[derive(Clone)]
enum Lack {
    /// There is no such host.
    Absent,
    /// It is not known.
    Failed(String),
}

/// What to do about a host that is to be called.
enum Next {
    Go,
    /// It goes by what is known; it is asked for what is now.
    GoAndAsk,
    Ask,
    Wait(watch::Receiver<()>),
    Refuse(Lack),
}

impl Answers {
    pub(super) fn new(
        clock: Rc<dyn Clock>,
        recorder: Rc<dyn Recorder>,
        resolver: Option<Rc<dyn Resolver>>,
    ) -> Answers {
        Answers(Rc::new(Shared { clock, recorder, resolver, hosts: RefCell::default() }))
    }

    /// Where `host` is, as far as is known.
    pub(super) fn of(&self, host: &str) -> Rc<[IpAddr]> {
        let hosts = self.0.hosts.borrow();
        hosts.get(host).map(|known| known.addresses.clone()).unwrap_or_default()
    }

    /// The host that is at `address` by an answer that holds, of those that are `known`.
    pub(super) fn host_at(
        &self,
        address: IpAddr,
        now: Moment,
        is_known: impl Fn(&str) -> bool,
    ) -> Option<Arc<str>> {
        let hosts = self.0.hosts.borrow();
        let mut holding = hosts.iter().filter(|(_, known)| now < known.until);
        let is_it = |host: &Arc<str>, known: &Host| {
            known.addresses.binary_search(&address).is_ok() && is_known(host)
        };
        holding.find(|(host, known)| is_it(host, known)).map(|(host, _)| host.clone())
    }

    /// Waits until it is known where `host` is.
    ///
    /// # Errors
    /// [`ProxyError::HostUnknown`], [`ProxyError::LookupFailed`].
    pub(super) async fn wait_for(&self, proxy: &Proxy, host: &Arc<str>) -> Result<(), ProxyError> {
        loop {
            match self.0.next(host) {
                Next::Go => return Ok(()),
                Next::GoAndAsk => {
                    drop(self.ask(proxy, host));
                    return Ok(());
                }
                Next::Ask => wait(self.ask(proxy, host)).await,
                Next::Wait(asking) => wait(asking).await,
                Next::Refuse(Lack::Absent) => {
                    return Err(ProxyError::HostUnknown { host: host.to_string() });
                }
                Next::Refuse(Lack::Failed(why)) => {
                    return Err(ProxyError::LookupFailed { host: host.to_string(), why });
                }
            }
        }
    }

    /// Has DNS asked about `host` if that is due, without waiting.
    pub(super) fn prepare(&self, proxy: &Proxy, host: &Arc<str>) {
        if matches!(self.0.next(host), Next::Ask | Next::GoAndAsk) {
            drop(self.ask(proxy, host));
        }
    }

    /// Has DNS asked about `host`.
    fn ask(&self, proxy: &Proxy, host: &Arc<str>) -> watch::Receiver<()> {
        let (asking, told) = watch::channel(());
        let now = self.0.clock.now();
        let mut hosts = self.0.hosts.borrow_mut();
        if hosts.len() >= HOSTS_MAX && !hosts.contains_key(host) {
            let idle = hosts.iter().filter(|(_, known)| known.asking.is_none());
            let oldest = idle.min_by_key(|(_, known)| known.used).map(|(host, _)| host.clone());
            oldest.iter().for_each(|host| drop(hosts.remove(host)));
        }
        let fresh = || Host {
            addresses: Rc::default(),
            until: now,
            lacking: None,
            used: now,
            asking: None,
        };
        hosts.entry(host.clone()).or_insert_with(fresh).asking = Some(told.clone());
        let mesh = proxy.configuration.load().mesh.clone();
        let (shared, host) = (self.0.clone(), host.clone());
        proxy.spawn(async move {
            let resolution = match &shared.resolver {
                Some(resolver) => resolver.resolve(&host).await,
                None => Resolution::Failed("this proxy has no name server to ask".to_owned()),
            };
            let is_outside = |ip: &IpAddr| egress::may_be_outside(*ip, mesh.as_deref());
            shared.take(&host, resolution, is_outside);
            // Whoever waits sees that it is gone.
            drop(asking);
        });
        told
    }
}

async fn wait(mut asking: watch::Receiver<()>) {
    // Nothing is ever sent: that there is an end is all.
    while asking.changed().await.is_ok() {}
}

impl Shared {
    fn next(&self, host: &str) -> Next {
        let now = self.clock.now();
        let mut hosts = self.hosts.borrow_mut();
        let Some(known) = hosts.get_mut(host) else { return Next::Ask };
        known.used = now;
        if now < known.until {
            return Next::Go;
        }
        let is_usable = !known.addresses.is_empty() && now.since(known.until) < STALE_MAX;
        // A question whose end nobody will tell is none.
        let asking = known.asking.as_ref().filter(|asking| asking.has_changed().is_ok());
        match (&known.lacking, asking) {
            (Some((Lack::Failed(_), _)), Some(_)) if is_usable => Next::Go,
            (_, Some(asking)) => Next::Wait(asking.clone()),
            (Some((Lack::Failed(_), until)), None) if is_usable => match now < *until {
                true => Next::Go,
                false => Next::GoAndAsk,
            },
            (Some((lack, until)), None) if now < *until => Next::Refuse(lack.clone()),
            _ => Next::Ask,
        }
    }

    /// Takes what DNS says of `host`.
    fn take(&self, host: &str, resolution: Resolution, is_outside: impl Fn(&IpAddr) -> bool) {
        let now = self.clock.now();
        let mut hosts = self.hosts.borrow_mut();
        let Some(known) = hosts.get_mut(host) else { return };
        known.asking = None;
        let lack = match resolution {
            Resolution::Found { mut addresses, ttl } => {
                addresses.retain(is_outside);
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                match addresses.is_empty() {
                    true => Lack::Failed(
                        "none of its addresses is outside of the mesh and this machine".to_owned(),
                    ),
                    false => {
                        known.addresses = addresses.into();
                        known.until = now + egress::lasts(ttl);
                        known.lacking = None;
                        return self.recorder.note(Event::LookedUp("found"));
                    }
                }
            }
            Resolution::Absent => Lack::Absent,
            Resolution::Failed(why) => Lack::Failed(why),
        };
        let outcome = match &lack {
            Lack::Absent => {
                // That is an answer too, and a newer one.
                known.addresses = Rc::default();
                "absent"
            }
            Lack::Failed(_) => "failed",
        };
        known.lacking = Some((lack, now + ASK_AGAIN_AFTER));
        self.recorder.note(Event::LookedUp(outcome));
    }
}

#[cfg(test)]
mod tests {
    use weft_telemetry::Record;

    use super::*;
    use crate::testing::{self, TestClock};

    /// Takes nothing down.
    struct Nobody;

    impl Recorder for Nobody {
        fn finish(&self, _: &Record) {}
    }

    const HOST: &str = "api.example.com";

    struct Lab {
        clock: Rc<TestClock>,
        shared: Shared,
    }

    impl Lab {
        fn new() -> Lab {
            let (clock, seen) = testing::clock();
            let (recorder, hosts) = (Rc::new(Nobody), RefCell::default());
            let shared = Shared { clock: seen, recorder, resolver: None, hosts };
            let lab = Lab { clock, shared };
            assert_eq!(lab.next(), "ask");
            lab.asked();
            lab
        }

        /// It is asked for, as [`Answers::ask`] notes it.
        fn asked(&self) {
            let now = self.shared.clock.now();
            let fresh = || Host {
                addresses: Rc::default(),
                until: now,
                lacking: None,
                used: now,
                asking: None,
            };
            let mut hosts = self.shared.hosts.borrow_mut();
            hosts.entry(HOST.into()).or_insert_with(fresh);
        }

        fn next(&self) -> &'static str {
            match self.shared.next(HOST) {
                Next::Go => "go",
                Next::GoAndAsk => "go and ask",
                Next::Ask => "ask",
                Next::Wait(_) => "wait",
                Next::Refuse(Lack::Absent) => "absent",
                Next::Refuse(Lack::Failed(_)) => "failed",
            }
        }

        fn found(&self, addresses: &[&str], ttl: u64) {
            let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
            let ttl = Duration::from_secs(ttl);
            self.said(Resolution::Found { addresses, ttl });
        }

        fn said(&self, resolution: Resolution) {
            self.shared.take(HOST, resolution, |ip| egress::may_be_outside(*ip, None));
        }

        fn failed(&self) {
            self.said(Resolution::Failed("broken".to_owned()));
        }

        fn addresses(&self) -> String {
            let hosts = self.shared.hosts.borrow();
            let texts: Vec<_> = hosts[HOST].addresses.iter().map(ToString::to_string).collect();
            texts.join(" ")
        }

        fn pass(&self, seconds: u64) {
            self.clock.advance(Duration::from_secs(seconds));
        }
    }

    #[test]
    fn an_answer_holds_for_its_time_and_no_longer() {
        let lab = Lab::new();
        lab.found(&["192.0.2.2", "192.0.2.1", "192.0.2.2"], 30);
        assert_eq!((lab.next(), lab.addresses()), ("go", "192.0.2.1 192.0.2.2".to_owned()));
        lab.pass(29);
        assert_eq!(lab.next(), "go");
        lab.pass(1);
        assert_eq!(lab.next(), "ask");
        lab.found(&["192.0.2.3"], 86_400);
        lab.pass(299);
        assert_eq!((lab.next(), lab.addresses()), ("go", "192.0.2.3".to_owned()));
        lab.pass(1);
        assert_eq!(lab.next(), "ask");
    }

    #[test]
    fn the_last_answer_serves_for_an_hour_while_there_is_no_other() {
        let lab = Lab::new();
        lab.failed();
        assert_eq!(lab.next(), "failed");
        lab.pass(5);
        assert_eq!(lab.next(), "ask");
        lab.found(&["192.0.2.1"], 1);
        lab.pass(1);
        lab.failed();
        assert_eq!(lab.next(), "go");
        lab.pass(5);
        assert_eq!(lab.next(), "go and ask");
        lab.failed();
        lab.pass(3_595);
        assert_eq!(lab.next(), "ask");
        lab.failed();
        assert_eq!(lab.next(), "failed");
        lab.found(&["192.0.2.1"], 1);
        assert_eq!(lab.next(), "go");
    }

    #[test]
    fn that_there_is_no_host_is_an_answer_and_so_is_one_that_leads_inside() {
        let lab = Lab::new();
        lab.found(&["192.0.2.1"], 1);
        lab.pass(1);
        lab.said(Resolution::Absent);
        assert_eq!((lab.next(), lab.addresses()), ("absent", String::new()));
        lab.pass(5);
        assert_eq!(lab.next(), "ask");
        lab.found(&["127.0.0.1", "192.0.2.1", "::1"], 1);
        assert_eq!((lab.next(), lab.addresses()), ("go", "192.0.2.1".to_owned()));
        lab.pass(1);
        lab.found(&["127.0.0.1"], 1);
        assert_eq!((lab.next(), lab.addresses()), ("go", "192.0.2.1".to_owned()), "the last");
    }

    #[test]
    fn one_question_is_asked_at_a_time() {
        let lab = Lab::new();
        let (asking, told) = watch::channel(());
        lab.shared.hosts.borrow_mut().get_mut(HOST).unwrap().asking = Some(told);
        assert_eq!(lab.next(), "wait");
        // Who asked is gone, and has not said what came of it.
        drop(asking);
        assert_eq!(lab.next(), "ask");
    }
}
