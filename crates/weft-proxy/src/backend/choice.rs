//! Which endpoint of a backend is tried next.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use weft_decide::balance::{self, Key, Load, Source, slow_start};
use weft_decide::eject;
use weft_decide::locality::{self, Tally};
use weft_decide::session::{self, Session};
use weft_decide::subset::Wanted;
use weft_http::RequestHead;
use weft_model::{Balance, LocalityPreference};
use weft_world::{Entropy, Moment};

use super::{Backend, Endpoint};
use crate::Proxy;
use crate::decision;
use crate::error::ProxyError;
use crate::snapshot::{Destination, EndpointSpec};

/// What the endpoints of `destination` are called in sessions, if it has some.
pub(super) fn tokens(destination: &Destination) -> Box<[u64]> {
    if destination.traffic.session.is_none() {
        return Box::default();
    }
    let token = |spec: &EndpointSpec| session::endpoint(&spec.stable_identity());
    destination.endpoints.iter().map(token).collect()
}

impl Backend {
    /// What the request, or the connection from `downstream`, is told apart by, where that decides
    /// on its endpoint.
    pub(crate) fn key(
        &self,
        proxy: &Proxy,
        downstream: SocketAddr,
        head: Option<&RequestHead>,
    ) -> Option<Key<'_>> {
        let hash_on = self.destination.traffic.balance.hash_on();
        if hash_on.is_empty() {
            return None;
        }
        let snapshot = proxy.configuration.load();
        let workload = snapshot.own.as_ref().map(|own| &own.name);
        let source = Source { address: downstream.ip(), workload };
        balance::key(hash_on, head, source, || proxy.world.entropy.next())
    }

    /// The hash of what the request with `head` is told apart by, where that decides on its
    /// endpoint; and the cookie that its client is to be given.
    pub(crate) fn told_apart(
        &self,
        proxy: &Proxy,
        downstream: SocketAddr,
        head: &RequestHead,
    ) -> (Option<u64>, Option<Box<str>>) {
        let key = self.key(proxy, downstream, Some(head));
        let hash = key.as_ref().map(|key| key.hash);
        (hash, key.and_then(|key| key.set_cookie).map(String::into_boxed_str))
    }

    /// The session that the request is part of, if it is part of one.
    pub(crate) fn session(&self, proxy: &Proxy, head: &RequestHead) -> Option<Session> {
        let policy = self.destination.traffic.session.as_ref()?;
        session::asked(policy, head, proxy.world.clock.wall().0)
    }

    /// The field by which the client learns that its session, which was `before` until now, is with
    /// `endpoint`; none if it knows that already, or where there are no sessions.
    pub(crate) fn tell_session(
        &self,
        proxy: &Proxy,
        before: Option<Session>,
        endpoint: &Rc<Endpoint>,
    ) -> Option<(&str, String)> {
        let policy = self.destination.traffic.session.as_ref()?;
        let index = self.endpoints.iter().position(|one| Rc::ptr_eq(one, endpoint))?;
        session::told(policy, before, *self.tokens.get(index)?, proxy.world.clock.wall().0)
    }

    /// The endpoint to try next of those that the request, or a connection without `head`, is for:
    /// that of `session` if it may be called and has not failed, or else one by `key` if there is
    /// one; if one can be one that is not among `tried`, it is. It is counted as an attempt.
    ///
    /// # Errors
    /// [`ProxyError::NoEndpoint`], [`ProxyError::Limit`].
    pub(crate) fn pick(
        &self,
        proxy: &Proxy,
        head: Option<&RequestHead>,
        key: Option<u64>,
        session: Option<Session>,
        tried: &Tried,
    ) -> Result<&Rc<Endpoint>, ProxyError> {
        self.is_used.set(true);
        let mut wanted = decision::wanted(&self.destination, head);
        loop {
            let picked = self.pick_of(proxy, wanted, key, session, tried)?;
            match (picked, wanted.map(Wanted::fallback)) {
                (Some(endpoint), _) => return Ok(endpoint),
                (None, Some(Some(next))) => wanted = next,
                (None, None | Some(None)) => {
                    let first = decision::wanted(&self.destination, head);
                    return Err(decision::no_endpoint(&self.name, first));
                }
            }
        }
    }

    /// The same of those that are `wanted`, if there is one.
    ///
    /// # Errors
    /// [`ProxyError::Limit`].
    fn pick_of(
        &self,
        proxy: &Proxy,
        wanted: Option<Wanted<'_>>,
        key: Option<u64>,
        session: Option<Session>,
        tried: &Tried,
    ) -> Result<Option<&Rc<Endpoint>>, ProxyError> {
        let now = proxy.world.clock.now();
        let specs = &self.destination.endpoints;
        let is_wanted = |index: usize| wanted.is_none_or(|it| it.has(&specs[index].labels));
        let is_open = |index: usize| is_wanted(index) && !self.endpoints[index].is_draining(now);
        let health = |index: usize| specs[index].health;
        let is_new = |index: usize| !tried.has(&self.endpoints[index]);
        let limits = &self.destination.traffic.limits;
        let room = |index: usize| self.endpoints[index].room(limits);
        let mut reached = None;
        let kept = session
            .and_then(|session| self.tokens.iter().position(|token| *token == session.endpoint));
        let callable = self.callable.iter().find_map(|healths| {
            let is_callable = |index: usize| is_open(index) && healths.contains(&health(index));
            let has_room = |index: usize| is_callable(index) && room(index).is_ok();
            let terms = self.terms(proxy);
            let is_kept = |index: &usize| {
                let standing = self.endpoints[*index].standing(&terms);
                has_room(*index) && is_new(*index) && standing <= eject::worst_chosen([])
            };
            kept.filter(is_kept)
                .or_else(|| self.choose(proxy, key, |index| has_room(index) && is_new(index)))
                .or_else(|| self.choose(proxy, key, has_room))
                .map(Some)
                .or_else(|| {
                    // Where the healthy ones are full, others are not called instead.
                    let full = (0..self.endpoints.len()).find(|index| is_callable(*index))?;
                    reached = room(full).err();
                    Some(None)
                })
        });
        if let Some(reached) = reached {
            return Err(self.overflows(reached));
        }
        // The draining ones most likely refuse, and that costs nothing.
        let is_last = |index: usize| is_wanted(index) && !is_open(index) && is_new(index);
        let index = callable.flatten().or_else(|| self.choose(proxy, key, is_last));
        Ok(index
            .inspect(|index| {
                if !self.destination.name.is_own() {
                    self.counts.attempted(self.places[*index]);
                }
            })
            .map(|index| &self.endpoints[index]))
    }

    /// One of the endpoints that are usable, as the traffic policy says.
    fn choose(
        &self,
        proxy: &Proxy,
        key: Option<u64>,
        is_usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let count = self.endpoints.len();
        if count <= 1 {
            return (count == 1 && is_usable(0)).then_some(0);
        }
        let traffic = &self.destination.traffic;
        let terms = self.terms(proxy);
        let standing = |index: usize| self.endpoints[index].standing(&terms);
        let worst = eject::worst_chosen((0..count).filter(|i| is_usable(*i)).map(standing));
        let is_usable = |index: usize| is_usable(index) && standing(index) <= worst;
        if let (Some(table), Some(key)) = (&self.destination.table, key) {
            // A key means the same endpoint wherever it comes from, and however loaded that is.
            return (0..count).any(&is_usable).then(|| table.find(key, is_usable))?;
        }
        let reach = self.reach(&traffic.locality, is_usable);
        let is_near = |index: usize| is_usable(index) && self.distances[index] <= reach;
        if matches!(traffic.balance, Balance::RoundRobin) {
            return self.next_turn(proxy, is_near);
        }
        let admitted = self.admitted(proxy, is_near);
        let takes_part = |index: usize| is_near(index) && admitted.has(&self.endpoints[index]);
        let entropy = &*proxy.world.entropy;
        match &traffic.balance {
            Balance::PeakEwma | Balance::RoundRobin | Balance::RingHash(_) | Balance::Maglev(_) => {
                let now = proxy.now();
                let load =
                    |index: usize| takes_part(index).then(|| self.endpoints[index].load(now));
                lighter(entropy, count, balance::TOLERANCE, load)
            }
            Balance::LeastRequest => {
                let load = |index: usize| {
                    let under_way = || f64::from(self.endpoints[index].in_flight());
                    takes_part(index).then(|| Load(under_way() + 1.0))
                };
                lighter(entropy, count, balance::EXACT, load)
            }
            Balance::Random => balance::random(count, entropy.fraction(), takes_part),
        }
    }

    /// The endpoint whose turn it is.
    fn next_turn(&self, proxy: &Proxy, is_near: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.endpoints.len();
        let last = |index: usize| is_near(index).then(|| self.endpoints[index].turn.get());
        let index = balance::round_robin(count, last)?;
        self.turns.set(self.turns.get() + slow_start::STEP);
        let mut turn = self.turns.get();
        if let Some(Shares { window, now, most, .. }) = self.shares(proxy, &is_near) {
            let share = self.endpoints[index].share(window, now) / most;
            let near = (0..count).filter(|index| is_near(*index)).count();
            turn = slow_start::turn(turn, near, share, proxy.world.entropy.fraction());
        }
        self.endpoints[index].turn.set(turn);
        Some(index)
    }

    /// Which endpoints take part in one choice: all but some of those that warm up.
    fn admitted(&self, proxy: &Proxy, is_near: impl Fn(usize) -> bool) -> Admitted {
        let shares = self.shares(proxy, is_near).filter(|shares| shares.least < shares.most);
        Admitted(shares.map(|shares| {
            let from = slow_start::admitted_from(shares.most, proxy.world.entropy.fraction());
            (shares, from)
        }))
    }

    /// What the endpoints get of their parts, where new ones get theirs slowly.
    fn shares(&self, proxy: &Proxy, is_near: impl Fn(usize) -> bool) -> Option<Shares> {
        let window = self.destination.traffic.slow_start?.duration();
        let now = proxy.world.clock.now();
        let near = (0..self.endpoints.len()).filter(|index| is_near(*index));
        let shares = near.map(|index| self.endpoints[index].share(window, now));
        let (least, most) =
            shares.fold((1.0f64, 0.0f64), |(least, most), one| (least.min(one), most.max(one)));
        Some(Shares { window, now, least, most })
    }

    /// How far away endpoints are used.
    fn reach(
        &self,
        preference: &LocalityPreference,
        is_usable: impl Fn(usize) -> bool,
    ) -> locality::Reach {
        if !self.has_near {
            return locality::Reach::All;
        }
        let mut tally = Tally::default();
        for index in (0..self.endpoints.len()).filter(|index| is_usable(*index)) {
            tally.add(self.distances[index], self.endpoints[index].in_flight());
        }
        locality::reach(preference, &tally)
    }
}

/// What endpoints get of their parts now.
struct Shares {
    /// Over which time that grows.
    window: Duration,
    now: Moment,
    least: f64,
    most: f64,
}

/// Which endpoints take part in one choice: all, or those with a share that is large enough.
struct Admitted(Option<(Shares, f64)>);

impl Admitted {
    fn has(&self, endpoint: &Endpoint) -> bool {
        let Admitted(Some((shares, from))) = self else { return true };
        endpoint.share(shares.window, shares.now) >= *from
    }
}

/// The one of two drawn endpoints that has the lower load.
fn lighter(
    entropy: &dyn Entropy,
    count: usize,
    tolerance: f64,
    load: impl Fn(usize) -> Option<Load>,
) -> Option<usize> {
    let (one, other) = (entropy.fraction(), entropy.fraction());
    balance::pick(count, one, other, tolerance, load).map(|picked| picked.index)
}

/// The endpoints that a request was sent to already.
#[derive(Default)]
pub(crate) struct Tried {
    /// The first one costs no memory: most requests have no second.
    first: Option<Rc<Endpoint>>,
    rest: Vec<Rc<Endpoint>>,
}

impl Tried {
    /// Notes that it is sent to `endpoint`.
    pub(crate) fn add(&mut self, endpoint: &Rc<Endpoint>) {
        if self.first.is_none() {
            self.first = Some(endpoint.clone());
        } else if !self.has(endpoint) {
            self.rest.push(endpoint.clone());
        }
    }

    pub(super) fn has(&self, endpoint: &Rc<Endpoint>) -> bool {
        self.first.iter().chain(&self.rest).any(|tried| Rc::ptr_eq(tried, endpoint))
    }
}
