//! Failures, times and shares.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use weft_model::AgainstPeers;

use super::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn policy(failures: u32, ejected_max: u8) -> Ejection {
    Ejection {
        consecutive_failures: NonZeroU32::new(failures).unwrap(),
        base_time: TimeBound::from_millis(30_000).unwrap(),
        ejected_max: Percent::new(ejected_max).unwrap(),
        peers: AgainstPeers::default(),
    }
}

/// The endpoints of a backend, and the time.
struct Backend {
    roster: Arc<Roster>,
    endpoints: Vec<Ejector>,
    terms: Terms,
}

impl Backend {
    fn new(endpoints: usize, policy: Ejection) -> Backend {
        let roster = Arc::new(Roster::default());
        let ejector = |_| Ejector::new(Arc::clone(&roster));
        let policy = Bounds::from(&policy);
        let terms = Terms { policy, endpoints, now: seconds(1_000) };
        Backend { endpoints: (0..endpoints).map(ejector).collect(), roster, terms }
    }

    fn wait(&mut self, time: Duration) {
        self.terms.now += time;
    }

    fn standing(&self, index: usize) -> Standing {
        self.endpoints[index].standing(&self.terms)
    }

    /// Lets an attempt through and sees `seen` of it.
    fn meets(&self, index: usize, seen: Seen) -> Change {
        let ticket = self.endpoints[index].admit(&self.terms);
        self.endpoints[index].observe(ticket, seen, &self.terms)
    }

    fn fails(&self, index: usize, times: u32) -> Change {
        let change = |_, _| self.meets(index, Seen::Failure);
        (0..times).fold(Change::None, change)
    }
}

#[test]
fn answers_speak_for_or_against_an_endpoint() {
    for (status, grpc, expected) in [
        (200, None, Seen::Success),
        (404, None, Seen::Success),
        (403, None, Seen::Success),
        (429, None, Seen::Success),
        (500, None, Seen::Failure),
        (501, None, Seen::Success),
        (502, None, Seen::Failure),
        (503, None, Seen::Failure),
        (504, None, Seen::Failure),
        (505, None, Seen::Success),
        (503, Some(0), Seen::Failure),
    ] {
        assert_eq!(Seen::of_answer(status, grpc), expected, "{status} {grpc:?}");
    }
    let failures: Vec<_> =
        (0..=20).filter(|code| Seen::of_answer(200, Some(*code)) == Seen::Failure).collect();
    assert_eq!(failures, [2, 4, 13, 14, 15, 17, 18, 19, 20]);
}

#[test]
fn failures_in_a_row_eject() {
    let backend = Backend::new(4, policy(3, 50));
    assert_eq!(backend.fails(0, 2), Change::None);
    assert_eq!(backend.meets(0, Seen::Success), Change::None);
    assert_eq!(backend.fails(0, 2), Change::None);
    assert_eq!(backend.meets(0, Seen::Nothing), Change::None);
    assert_eq!(backend.standing(0), Standing::Ready);
    assert_eq!(backend.fails(0, 1), Change::Ejected { time: seconds(30), times: 1 });
    assert_eq!(backend.standing(0), Standing::Ejected);
    assert_eq!(backend.standing(1), Standing::Ready);
    assert_eq!(backend.roster.ejected(), 1);
}

#[test]
fn one_probe_is_let_in_and_decides() {
    let mut backend = Backend::new(4, policy(3, 50));
    backend.fails(0, 3);
    backend.wait(Duration::from_millis(29_900));
    assert_eq!(backend.standing(0), Standing::Ejected);
    backend.wait(Duration::from_millis(100));
    assert_eq!(backend.standing(0), Standing::Probe);
    let probe = backend.endpoints[0].admit(&backend.terms);
    assert_eq!(probe, Ticket::Probe);
    assert_eq!(backend.standing(0), Standing::Ejected);
    assert_eq!(backend.endpoints[0].admit(&backend.terms), Ticket::LastResort);
    let failed = backend.endpoints[0].observe(probe, Seen::Failure, &backend.terms);
    assert_eq!(failed, Change::Ejected { time: seconds(60), times: 2 });
    backend.wait(seconds(60));
    assert_eq!(backend.meets(0, Seen::Success), Change::Returned);
    assert_eq!(backend.standing(0), Standing::Ready);
    assert_eq!(backend.roster.ejected(), 0);
}

#[test]
fn times_grow_to_a_limit_and_shrink_while_all_is_well() {
    let mut backend = Backend::new(4, policy(1, 50));
    let mut times = Vec::new();
    for _ in 0..300 {
        let Change::Ejected { time, .. } = backend.fails(0, 1) else { panic!("not ejected") };
        times.push(time.as_secs());
        backend.wait(time);
    }
    assert_eq!(times[..12], [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
    assert_eq!(times[299], 300);

    let mut backend = Backend::new(4, policy(1, 50));
    for (time, times) in [(30, 1), (60, 2), (90, 3)] {
        assert_eq!(backend.fails(0, 1), Change::Ejected { time: seconds(time), times });
        backend.wait(seconds(time));
    }
    assert_eq!(backend.meets(0, Seen::Success), Change::Returned);
    // Well for the 90 s that it was out, then for 60 s: two ejections less weigh on it.
    backend.wait(seconds(90));
    backend.meets(0, Seen::Success);
    backend.wait(seconds(60));
    backend.meets(0, Seen::Success);
    assert_eq!(backend.fails(0, 1), Change::Ejected { time: seconds(60), times: 2 });
}

#[test]
fn a_probe_that_nobody_hears_of_is_followed_by_another() {
    let mut backend = Backend::new(4, policy(1, 50));
    backend.fails(0, 1);
    backend.wait(seconds(30));
    assert_eq!(backend.endpoints[0].admit(&backend.terms), Ticket::Probe);
    backend.wait(PROBE_MAX);
    assert_eq!(backend.standing(0), Standing::Probe);
    // A caller that went away says nothing, and the next request may be the probe.
    assert_eq!(backend.meets(0, Seen::Nothing), Change::None);
    assert_eq!(backend.standing(0), Standing::Probe);
    assert_eq!(backend.roster.ejected(), 1);
    assert_eq!(backend.meets(0, Seen::Success), Change::Returned);
}

#[test]
fn what_began_before_says_nothing_any_more() {
    let backend = Backend::new(4, policy(1, 50));
    let early = backend.endpoints[0].admit(&backend.terms);
    backend.fails(0, 1);
    for seen in [Seen::Success, Seen::Failure, Seen::DialFailed, Seen::Nothing] {
        assert_eq!(backend.endpoints[0].observe(early, seen, &backend.terms), Change::None);
        assert_eq!(backend.standing(0), Standing::Ejected);
    }
}

#[test]
fn a_failed_dial_keeps_others_away_at_once_and_for_longer_each_time() {
    let mut backend = Backend::new(2, policy(100, 50));
    let early = backend.endpoints[0].admit(&backend.terms);
    for time in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(backend.meets(0, Seen::DialFailed), Change::Avoided(seconds(time)));
        assert_eq!(backend.standing(0), Standing::Avoided);
        // Dials that were under way already do not count.
        let again = backend.endpoints[0].observe(early, Seen::DialFailed, &backend.terms);
        assert_eq!(again, Change::None);
        backend.wait(seconds(time));
        assert_eq!(backend.standing(0), Standing::Probe);
    }
    assert_eq!(backend.roster.ejected(), 0);
    assert_eq!(backend.meets(0, Seen::Success), Change::Returned);
    assert_eq!(backend.meets(0, Seen::DialFailed), Change::Avoided(seconds(1)));
    // A probe whose connection came about: the way is free, though the answer is a failure.
    backend.wait(seconds(1));
    assert_eq!(backend.meets(0, Seen::Failure), Change::Returned);
}

#[test]
fn failed_dials_are_failures_too() {
    let mut backend = Backend::new(2, policy(2, 50));
    assert_eq!(backend.meets(0, Seen::DialFailed), Change::Avoided(seconds(1)));
    backend.wait(seconds(1));
    assert_eq!(backend.meets(0, Seen::DialFailed), Change::Ejected { time: seconds(30), times: 1 });
}

#[test]
fn a_last_resort_that_works_is_back() {
    let backend = Backend::new(2, policy(5, 50));
    backend.meets(0, Seen::DialFailed);
    backend.meets(1, Seen::DialFailed);
    let worst = worst_chosen((0..2).map(|index| backend.standing(index)));
    assert_eq!(worst, Standing::Avoided);
    assert_eq!(backend.meets(0, Seen::DialFailed), Change::None);
    assert_eq!(backend.meets(0, Seen::Success), Change::Returned);
    assert_eq!(backend.standing(0), Standing::Ready);
}

#[test]
fn the_better_are_chosen_from() {
    use Standing::{Avoided, Ejected, Probe, Ready};
    for (standings, expected) in [
        (&[Ready, Ejected][..], Probe),
        (&[Probe, Avoided], Probe),
        (&[Avoided, Ejected], Avoided),
        (&[Ejected], Ejected),
        (&[], Probe),
    ] {
        assert_eq!(worst_chosen(standings.iter().copied()), expected, "{standings:?}");
    }
}

#[test]
fn no_more_than_the_share_are_ejected_and_never_the_last() {
    for (endpoints, percent, expected) in
        [(1, 50, 0), (1, 100, 0), (2, 50, 1), (2, 100, 1), (5, 50, 2), (5, 10, 1), (5, 0, 0)]
    {
        let backend = Backend::new(endpoints, policy(1, percent));
        let changes = (0..endpoints).map(|index| backend.fails(index, 1));
        let ejected = changes.filter(|change| matches!(change, Change::Ejected { .. })).count();
        assert_eq!(ejected, expected, "{percent} % of {endpoints}");
        assert_eq!(backend.roster.ejected(), expected);
    }
    // It is told once, and as soon as there is a place the next failure ejects.
    let backend = Backend::new(2, policy(2, 50));
    backend.fails(0, 2);
    assert_eq!(backend.fails(1, 1), Change::None);
    assert_eq!(backend.fails(1, 1), Change::Spared);
    assert_eq!(backend.fails(1, 1), Change::None);
    let mut backend = backend;
    backend.wait(seconds(30));
    assert_eq!(backend.meets(0, Seen::Success), Change::Returned);
    assert!(matches!(backend.fails(1, 1), Change::Ejected { .. }));
}

#[test]
fn one_that_is_worse_than_its_peers_is_out_as_one_that_fails() {
    let mut backend = Backend::new(3, policy(5, 50));
    let out = |backend: &Backend, index: usize| backend.endpoints[index].eject(&backend.terms);
    assert_eq!(out(&backend, 0), Change::Ejected { time: seconds(30), times: 1 });
    assert_eq!(backend.standing(0), Standing::Ejected);
    assert_eq!(out(&backend, 0), Change::None, "it is out already");
    assert_eq!(out(&backend, 1), Change::Spared, "one of three is as many as may be");
    backend.wait(seconds(30));
    assert_eq!(backend.meets(0, Seen::Success), Change::Returned);
    assert_eq!(out(&backend, 0), Change::Ejected { time: seconds(60), times: 2 });
    assert_eq!(backend.roster.ejected(), 1);
}

#[test]
fn where_endpoints_go_away_the_ejected_are_called_again() {
    let mut backend = Backend::new(4, policy(2, 50));
    backend.fails(0, 2);
    backend.fails(1, 2);
    backend.endpoints.truncate(2);
    backend.terms.endpoints = 2;
    assert_eq!([backend.standing(0), backend.standing(1)], [Standing::Probe; 2]);
    // It still fails, and is one too many.
    assert_eq!(backend.meets(0, Seen::Failure), Change::Returned);
    assert_eq!(backend.standing(0), Standing::Ready);
    assert_eq!(backend.standing(1), Standing::Ejected);
    assert_eq!(backend.roster.ejected(), 1);
    backend.endpoints.pop();
    assert_eq!(backend.roster.ejected(), 0);
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Meets(usize, Seen),
    /// An attempt begins whose end is seen much later.
    Begins(usize),
    Ends(Seen),
    /// It is found to be worse than its peers.
    IsWorse(usize),
    Waits(u64),
}

fn events() -> impl Strategy<Value = Event> {
    let seen = || select(vec![Seen::Success, Seen::Failure, Seen::Failure, Seen::DialFailed]);
    prop_oneof![
        8 => (0..6usize, seen()).prop_map(|(index, seen)| Event::Meets(index, seen)),
        1 => (0..6usize).prop_map(Event::Begins),
        1 => seen().prop_map(Event::Ends),
        1 => Just(Event::Ends(Seen::Nothing)),
        2 => (0..6usize).prop_map(Event::IsWorse),
        2 => (0..40_000u64).prop_map(Event::Waits),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_share_is_kept_and_everybody_returns(
        count in 1..6usize,
        failures in 1..4u32,
        percent in 0..=100u8,
        events in vec(events(), 1..200),
    ) {
        let mut backend = Backend::new(count, policy(failures, percent));
        let mut open = Vec::new();
        for event in events {
            match event {
                Event::Meets(index, seen) => { backend.meets(index % count, seen); }
                Event::Begins(index) => {
                    let index = index % count;
                    open.push((index, backend.endpoints[index].admit(&backend.terms)));
                }
                Event::Ends(seen) => if let Some((index, ticket)) = open.pop() {
                    backend.endpoints[index].observe(ticket, seen, &backend.terms);
                },
                Event::IsWorse(index) => {
                    backend.endpoints[index % count].eject(&backend.terms);
                }
                Event::Waits(millis) => backend.wait(Duration::from_millis(millis)),
            }
            let is_out = |ejector: &&Ejector| ejector.state().phase.is_ejected();
            let ejected = backend.endpoints.iter().filter(is_out).count();
            prop_assert_eq!(backend.roster.ejected(), ejected);
            prop_assert!(ejected <= backend.terms.ejected_max() && ejected < count);
            let worst = worst_chosen((0..count).map(|index| backend.standing(index)));
            prop_assert!((0..count).any(|index| backend.standing(index) <= worst));
        }
        // Whatever happened: once they work they are back after the longest time.
        backend.wait(EJECTED_MAX);
        for index in 0..count {
            backend.meets(index, Seen::Success);
            prop_assert_eq!(backend.standing(index), Standing::Ready);
        }
        prop_assert_eq!(backend.roster.ejected(), 0);
    }

    #[test]
    fn a_state_survives_its_bits(
        phase in 0..5u64,
        until: u32,
        failures: u16,
        times: u8,
        dials in 0..32u64,
    ) {
        let bits = u64::from(until)
            | u64::from(failures) << 32
            | u64::from(times) << 48
            | dials << 56
            | phase << 61;
        prop_assert_eq!(State::from_bits(bits).to_bits(), bits);
    }
}

#[test]
fn threads_keep_the_share_too() {
    let backend = Arc::new(Backend::new(8, policy(1, 50)));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let backend = Arc::clone(&backend);
            std::thread::spawn(move || {
                for round in 0..500 {
                    backend.meets((thread + round) % 8, Seen::Failure);
                    assert!(backend.roster.ejected() <= 4);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(backend.roster.ejected(), 4);
    let is_out = |ejector: &&Ejector| ejector.state().phase.is_ejected();
    assert_eq!(backend.endpoints.iter().filter(is_out).count(), 4);
}

#[test]
fn a_place_that_was_taken_in_vain_is_given_back() {
    let backend = Backend::new(2, policy(1, 50));
    let ejector = &backend.endpoints[0];
    let mut turns = 0;
    ejector.update(|state| {
        turns += 1;
        if turns == 2 {
            return None;
        }
        // Meanwhile, in another thread.
        let mut other = State::default();
        other.phase = Phase::Avoided;
        ejector.state.store(other.to_bits(), Ordering::Release);
        assert!(backend.roster.take(1));
        Some(state.after(Ticket::Regular, Seen::Failure, &backend.terms).0)
    });
    assert_eq!(turns, 2);
    assert_eq!(backend.standing(0), Standing::Probe);
    assert_eq!(backend.roster.ejected(), 0);
}

#[test]
fn of_many_at_once_one_is_the_probe() {
    let mut backend = Backend::new(2, policy(1, 50));
    backend.fails(0, 1);
    backend.wait(seconds(30));
    let backend = Arc::new(backend);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let backend = Arc::clone(&backend);
            std::thread::spawn(move || {
                let tickets = (0..100).map(|_| backend.endpoints[0].admit(&backend.terms));
                tickets.filter(|ticket| *ticket == Ticket::Probe).count()
            })
        })
        .collect();
    let probes: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(probes, 1);
}
