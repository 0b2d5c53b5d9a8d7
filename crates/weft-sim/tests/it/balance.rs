//! Which endpoints a caller's proxy calls: by turns, by load or by a hash, and the near ones first.

use std::cell::RefCell;
use std::rc::Rc;

use weft_http::{BodySize, Fields};
use weft_model::{
    Balance, CookieName, HashOn, HeaderName, Health, Locality, LocalityPreference, PanicThreshold,
    Percent, Prefer, Protocol, Ratio, TimeBound, Workload,
};
use weft_sim::{Crash, http2};

use crate::shop::{Plan, Shop, shared, together};
use crate::talk::Line;
use crate::*;

/// How many requests each replica has got.
type Counts = Rc<RefCell<Vec<usize>>>;

/// Lets the applications of all replicas answer each request after `delay`, in HTTP/1.1 and in
/// HTTP/2.
fn serve(shop: &Shop, protocol: Protocol, delay: Duration) -> Counts {
    let counts: Counts = shared();
    counts.borrow_mut().resize(shop.hosts.len(), 0);
    for number in 0..shop.hosts.len() {
        serve_one(shop, number, protocol, delay, &counts);
    }
    counts
}

fn serve_one(shop: &Shop, number: usize, protocol: Protocol, delay: Duration, counts: &Counts) {
    let (mut listener, world) = (shop.application(number), shop.hosts[number].world());
    let counts = counts.clone();
    if protocol == Protocol::Http {
        return drop(shop.hosts[number].spawn(async move {
            while let Ok(accepted) = listener.accept().await {
                let (world, counts) = (world.clone(), counts.clone());
                drop(tokio::task::spawn_local(async move {
                    let mut line = Line::new(world.clone(), accepted.stream);
                    while line.request().await.is_some() {
                        counts.borrow_mut()[number] += 1;
                        world.clock.sleep(delay).await;
                        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        if line.send(ok).await.is_err() {
                            return;
                        }
                    }
                }));
            }
        }));
    }
    let clock = world.clock.clone();
    drop(shop.hosts[number].spawn(http2::serve(listener, world, move |incoming| {
        counts.borrow_mut()[number] += 1;
        let waiting = clock.sleep(delay);
        async move {
            let mut stream = incoming.stream;
            waiting.await;
            let ok = weft_http::ResponseHead::with_status(200);
            http2::answer(&mut stream, &ok, b"", &Fields::default()).await;
        }
    })));
}

/// Asks so often, with so many requests at a time, all of which are to be answered.
async fn ask(shop: &Shop, protocol: Protocol, rounds: usize, at_a_time: usize) {
    for _ in 0..rounds {
        let asked = (0..at_a_time).map(|_| async {
            if protocol == Protocol::Http {
                let mut line = shop.call().await;
                line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                return line.answer().await.unwrap().0;
            }
            let head = match protocol {
                Protocol::Grpc => http2::call_head("/a", ""),
                _ => http2::head("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
            };
            let (size, trailers) = (BodySize::Unknown, Fields::default());
            let client = shop.client().await;
            client.ask_with(&head, size, b"", &trailers).await.unwrap().head.status
        });
        assert_eq!(together(asked).await, vec![200; at_a_time]);
    }
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Http, Protocol::Http2, Protocol::Grpc];

#[test]
fn each_endpoint_has_its_turn() {
    for protocol in PROTOCOLS {
        let shop = Shop::new(1, Plan::of(3, protocol));
        let counts = shop.sim.run(async {
            let counts = serve(&shop, protocol, Duration::from_millis(5));
            ask(&shop, protocol, 30, 1).await;
            assert_eq!(*counts.borrow(), [10; 3], "{protocol:?}");
            ask(&shop, protocol, 5, 30).await;
            counts
        });
        assert_eq!(*counts.unwrap().borrow(), [60; 3], "{protocol:?}");
    }
}

#[test]
fn turns_go_on_without_an_endpoint_that_has_ended_and_with_it_once_it_is_back() {
    for protocol in PROTOCOLS {
        for is_told in [false, true] {
            let case = format!("{protocol:?}, told: {is_told}");
            let shop = Shop::new(1, Plan::of(3, protocol));
            let done = shop.sim.run(async {
                let counts = serve(&shop, protocol, Duration::from_millis(5));
                ask(&shop, protocol, 3, 1).await;
                shop.replica(1).drain().await;
                if is_told {
                    let draining = Workload { health: Health::Draining, ..shop.workload(1, 1) };
                    shop.registry.add_workload(draining);
                }
                shop.sim.crash(&shop.hosts[1], Crash::Reset);
                ask(&shop, protocol, 60, 1).await;
                let [first, 1, third] = counts.borrow()[..] else { panic!("{case}: {counts:?}") };
                assert_eq!(first + third, 62, "{case}");
                // Whoever finds out that it has ended takes one more turn.
                assert!(first.abs_diff(third) <= if is_told { 0 } else { 4 }, "{case}: {counts:?}");
                counts.borrow_mut().fill(0);
                shop.restart(1, 2);
                serve_one(&shop, 1, protocol, Duration::from_millis(5), &counts);
                ask(&shop, protocol, 30, 1).await;
                counts
            });
            assert_eq!(*done.unwrap().borrow(), [10; 3], "{case}");
        }
    }
}

fn at(region: &str, zone: &str) -> Locality {
    Locality::new(region, Some(zone)).unwrap()
}

/// A caller in the zone `eu-1`, and replicas in its zone, in another one of its region, and in
/// another region, so many of each.
fn spread(numbers: [usize; 3], preference: LocalityPreference) -> Shop {
    let places = [at("eu", "eu-1"), at("eu", "eu-2"), at("us", "us-1")];
    let places: Vec<_> = places
        .iter()
        .zip(numbers)
        .flat_map(|(place, number)| std::iter::repeat_n(place.clone(), number))
        .collect();
    let mut plan = Plan::of(places.len(), Protocol::Http2);
    (plan.caller, plan.localities) = (Some(at("eu", "eu-1")), places);
    plan.traffic.locality = preference;
    Shop::new(1, plan)
}

fn preference(prefer: Prefer, thousandths: u32) -> LocalityPreference {
    let spill_at_load_ratio = Ratio::from_thousandths(thousandths).unwrap();
    LocalityPreference { prefer, spill_at_load_ratio }
}

/// Has so many requests under way, one after the other, and returns which replicas have got how
/// many of them.
fn under_way(shop: &Shop, number: usize) -> Vec<usize> {
    let counts = shop.sim.run(async {
        let counts = serve(shop, Protocol::Http2, seconds(20));
        let asking = (0..number).map(|number| async move {
            shop.sim.sleep(Duration::from_millis(number as u64 * 50)).await;
            ask(shop, Protocol::Http2, 1, 1).await;
        });
        together(asking).await;
        counts.take()
    });
    counts.unwrap()
}

#[test]
fn traffic_stays_near_without_load() {
    for (prefer, expected) in [
        (Prefer::Zone, [15, 15, 0, 0, 0, 0]),
        (Prefer::Region, [10, 10, 10, 0, 0, 0]),
        (Prefer::None, [5; 6]),
    ] {
        let shop = spread([2, 1, 3], preference(prefer, 1_300));
        let counts = shop.sim.run(async {
            let counts = serve(&shop, Protocol::Http2, Duration::from_millis(5));
            ask(&shop, Protocol::Http2, 30, 1).await;
            counts.take()
        });
        assert_eq!(counts.unwrap(), expected, "{prefer:?}");
    }
}

#[test]
fn traffic_goes_further_once_the_near_ones_have_more_than_their_ratio() {
    // Two of four are near. The mean of all counts as one at least, so that with a ratio of 1.3 the
    // near ones take three, of which the third makes 1.5 each.
    let near = |counts: &[usize]| counts[0] + counts[1];
    for (thousandths, alone) in [(1_000, 3), (1_300, 3), (1_500, 4), (1_900, 4)] {
        let of = |number| {
            let counts =
                under_way(&spread([2, 0, 2], preference(Prefer::Zone, thousandths)), number);
            assert_eq!(counts.iter().sum::<usize>(), number);
            counts
        };
        assert_eq!(near(&of(alone)), alone, "{thousandths}");
        // The next ones are shared by all, until the near ones are below their ratio again.
        let more = of(alone + 4);
        assert!(near(&more) < alone + 4, "{thousandths}: {more:?}");
    }
    // Half of the endpoints cannot have more than twice the mean of all.
    let counts = under_way(&spread([2, 0, 2], preference(Prefer::Zone, 2_000)), 30);
    assert_eq!(near(&counts), 30);
    // With more under way, the near ones have their ratio of their share.
    let counts = under_way(&spread([2, 0, 2], preference(Prefer::Zone, 1_300)), 100);
    assert!((62..=66).contains(&near(&counts)), "{counts:?}");
    assert!(counts[0].abs_diff(counts[1]) <= 2 && counts[2].abs_diff(counts[3]) <= 2, "{counts:?}");
}

#[test]
fn a_zone_that_is_too_small_spills_into_its_region_first() {
    let counts = under_way(&spread([1, 3, 4], preference(Prefer::Zone, 1_300)), 60);
    let (zone, region, others) =
        (counts[0], counts[1..4].iter().sum::<usize>(), counts[4..].iter().sum::<usize>());
    // Of eight endpoints, one has 1.3 eighths, and four have 1.3 halves.
    assert!((9..=11).contains(&zone), "{counts:?}");
    assert!((37..=41).contains(&(zone + region)), "{counts:?}");
    assert_eq!(zone + region + others, 60);
}

#[test]
fn traffic_is_near_again_once_the_load_is_gone_and_far_only_while_nobody_near_is_there() {
    let shop = spread([2, 0, 2], preference(Prefer::Zone, 1_300));
    let done = shop.sim.run(async {
        let counts = serve(&shop, Protocol::Http2, Duration::from_millis(500));
        ask(&shop, Protocol::Http2, 1, 40).await;
        assert!(counts.borrow()[2] > 0, "{counts:?}");
        counts.borrow_mut().fill(0);
        ask(&shop, Protocol::Http2, 20, 1).await;
        assert_eq!(*counts.borrow(), [10, 10, 0, 0]);
        counts.borrow_mut().fill(0);
        for number in 0..2 {
            shop.replica(number).drain().await;
            let draining = Workload { health: Health::Draining, ..shop.workload(number, 1) };
            shop.registry.add_workload(draining);
            shop.sim.crash(&shop.hosts[number], Crash::Reset);
        }
        ask(&shop, Protocol::Http2, 20, 1).await;
        assert_eq!(*counts.borrow(), [0, 0, 10, 10]);
        counts.borrow_mut().fill(0);
        shop.restart(1, 2);
        serve_one(&shop, 1, Protocol::Http2, Duration::from_millis(500), &counts);
        ask(&shop, Protocol::Http2, 20, 1).await;
        counts.take()
    });
    assert_eq!(done.unwrap(), [0, 20, 0, 0]);
}

/// Four replicas, chosen from by `balance`.
fn balanced(balance: Balance, protocol: Protocol) -> Shop {
    let mut plan = Plan::of(4, protocol);
    plan.traffic.balance = balance;
    Shop::new(1, plan)
}

#[test]
fn those_with_fewer_requests_under_way_are_called() {
    // All of them are under way at the same time: of four, none has many more than another.
    let counts = under_way(&balanced(Balance::LeastRequest, Protocol::Http2), 100);
    assert!(counts.iter().all(|count| (22..=28).contains(count)), "{counts:?}");
    // With an answer before each request, no load tells them apart.
    for protocol in PROTOCOLS {
        let shop = balanced(Balance::LeastRequest, protocol);
        let counts = shop.sim.run(async {
            let counts = serve(&shop, protocol, Duration::from_millis(5));
            ask(&shop, protocol, 200, 1).await;
            counts.take()
        });
        let counts = counts.unwrap();
        assert!(counts.iter().all(|count| (30..=70).contains(count)), "{protocol:?}: {counts:?}");
    }
}

#[test]
fn chance_alone_looks_at_no_load() {
    let counts = under_way(&balanced(Balance::Random, Protocol::Http2), 400);
    // The deviation of each is 8.7: that all are within two of the mean is out of reach.
    assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
    assert!(counts.iter().any(|count| !(98..=102).contains(count)), "{counts:?}");
}

/// How many streams of bytes each replica has of `number` that were opened one after the other, and
/// stay.
fn streams(balance: Balance, number: usize) -> Vec<usize> {
    let shop = balanced(balance, Protocol::Opaque);
    let counts = shop.sim.run(async {
        let counts: Counts = shared();
        counts.borrow_mut().resize(shop.hosts.len(), 0);
        for (number, host) in shop.hosts.iter().enumerate() {
            let (mut listener, counts) = (shop.application(number), counts.clone());
            drop(host.spawn(async move {
                let mut open = Vec::new();
                while let Ok(mut accepted) = listener.accept().await {
                    counts.borrow_mut()[number] += 1;
                    accepted.stream.write_all(b"hello").await.unwrap();
                    open.push(accepted.stream);
                }
            }));
        }
        let mut open = Vec::new();
        for _ in 0..number {
            let mut line = shop.call().await;
            assert_eq!(line.expect(b"hello").await, Ok(()));
            open.push(line);
        }
        counts.take()
    });
    counts.unwrap()
}

#[test]
fn streams_of_bytes_count_as_under_way_as_long_as_they_live() {
    for balance in [Balance::LeastRequest, Balance::PeakEwma] {
        let counts = streams(balance.clone(), 60);
        assert!(counts.iter().all(|count| (12..=18).contains(count)), "{balance:?}: {counts:?}");
    }
}

/// The algorithms that hash, on `hash_on`.
fn hashing(hash_on: &[HashOn]) -> [Balance; 2] {
    [Balance::RingHash(hash_on.into()), Balance::Maglev(hash_on.into())]
}

fn by_user() -> HashOn {
    HashOn::Header(HeaderName::new("x-user").unwrap())
}

const USERS: usize = 40;

/// Which replica gets the requests of each user, twice each.
async fn owners(shop: &Shop, protocol: Protocol, counts: &Counts) -> Vec<usize> {
    let mut owners = Vec::new();
    for user in 0..USERS {
        counts.borrow_mut().fill(0);
        for _ in 0..2 {
            let fields = format!("Host: a\r\nX-User: user-{user}\r\n\r\n");
            if protocol == Protocol::Http {
                let mut line = shop.call().await;
                line.send(format!("GET /a HTTP/1.1\r\n{fields}").as_bytes()).await.unwrap();
                assert_eq!(line.answer().await.unwrap().0, 200);
                continue;
            }
            let mut head = http2::head(&format!("GET /a HTTP/1.1\r\n{fields}"));
            if protocol == Protocol::Grpc {
                head = http2::call_head("/a", "");
                head.fields.append("x-user", format!("user-{user}").as_bytes());
            }
            let (size, trailers) = (BodySize::Unknown, Fields::default());
            let client = shop.client().await;
            let answer = client.ask_with(&head, size, b"", &trailers).await.unwrap();
            assert_eq!(answer.head.status, 200);
        }
        let counts = counts.borrow();
        owners.push(counts.iter().position(|count| *count >= 2).unwrap_or(usize::MAX));
    }
    owners
}

#[test]
fn a_key_keeps_its_endpoint_while_others_come_and_go() {
    for protocol in PROTOCOLS {
        for balance in hashing(&[by_user()]) {
            let case = format!("{protocol:?} {balance}");
            let shop = balanced(balance, protocol);
            let done = shop.sim.run(async {
                let counts = serve(&shop, protocol, Duration::from_millis(5));
                let before = owners(&shop, protocol, &counts).await;
                let share = |number| before.iter().filter(|owner| **owner == number).count();
                assert!((0..4).all(|number| share(number) >= 3), "{case}: {before:?}");
                // One is gone, of which nobody is told: only its users are asked elsewhere.
                shop.sim.crash(&shop.hosts[1], Crash::Reset);
                let without = owners(&shop, protocol, &counts).await;
                for (before, without) in before.iter().zip(&without) {
                    assert!(before == without || *before == 1, "{case}: {without:?}");
                    assert_ne!(*without, 1, "{case}");
                }
                // Once it is back it has them again, as the next instance of its name.
                shop.restart(1, 2);
                serve_one(&shop, 1, protocol, Duration::from_millis(5), &counts);
                shop.sim.sleep(seconds(40)).await;
                assert_eq!(owners(&shop, protocol, &counts).await, before, "{case}");
            });
            done.unwrap();
        }
    }
}

#[test]
fn what_has_nothing_to_hash_goes_by_load() {
    for balance in hashing(&[by_user()]) {
        let counts = under_way(&balanced(balance.clone(), Protocol::Http2), 100);
        assert!(counts.iter().all(|count| (15..=35).contains(count)), "{balance}: {counts:?}");
        // Bytes that nobody looks into have no header.
        let counts = streams(balance.clone(), 60);
        assert!(counts.iter().all(|count| (12..=18).contains(count)), "{balance}: {counts:?}");
    }
    for balance in hashing(&[by_user(), HashOn::SourceAddress]) {
        let counts = streams(balance.clone(), 20);
        assert_eq!(counts.iter().max(), Some(&20), "{balance}: {counts:?}");
    }
}

#[test]
fn who_has_no_cookie_is_given_one_and_kept_by_it() {
    let name = CookieName::new("cart").unwrap();
    for balance in hashing(&[by_user(), HashOn::Cookie { name, ttl_seconds: Some(60) }]) {
        let shop = balanced(balance, Protocol::Http2);
        let done = shop.sim.run(async {
            let counts = serve(&shop, Protocol::Http2, Duration::from_millis(5));
            let ask = async |fields: &str| {
                let head = http2::head(&format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
                let (size, trailers) = (BodySize::Unknown, Fields::default());
                let client = shop.client().await;
                let answer = client.ask_with(&head, size, b"", &trailers).await.unwrap();
                let given = answer.head.fields.get("set-cookie");
                given.map(|given| String::from_utf8(given.to_vec()).unwrap())
            };
            let mut owners = Vec::new();
            for _ in 0..20 {
                counts.borrow_mut().fill(0);
                let given = ask("").await.unwrap();
                let (cookie, rest) = given.split_once("; ").unwrap();
                assert_eq!(rest, "Path=/; Max-Age=60; HttpOnly; SameSite=Lax");
                for _ in 0..3 {
                    assert_eq!(ask(&format!("Cookie: a=b; {cookie}\r\n")).await, None);
                }
                let counts = counts.borrow();
                owners.push(counts.iter().position(|count| *count == 4).unwrap());
            }
            assert!((0..4).all(|number| owners.contains(&number)), "{owners:?}");
            assert_eq!(ask("X-User: alice\r\n").await, None);
        });
        done.unwrap();
    }
}

#[test]
fn one_that_is_new_or_back_gets_its_part_slowly() {
    for balance in [Balance::RoundRobin, Balance::LeastRequest, Balance::PeakEwma, Balance::Random]
    {
        for is_slow in [true, false] {
            let case = format!("{balance}, slowly: {is_slow}");
            let mut plan = Plan::of(4, Protocol::Http2);
            plan.traffic.balance = balance.clone();
            plan.traffic.slow_start = is_slow.then(|| TimeBound::new(seconds(100)).unwrap());
            let shop = Shop::new(1, plan);
            let done = shop.sim.run(async {
                let counts = serve(&shop, Protocol::Http2, Duration::from_millis(5));
                // Those that are there at the start get their parts at once.
                ask(&shop, Protocol::Http2, 100, 1).await;
                assert!(counts.borrow().iter().all(|count| *count >= 15), "{case}: {counts:?}");
                shop.replica(3).drain().await;
                let draining = Workload { health: Health::Draining, ..shop.workload(3, 1) };
                shop.registry.add_workload(draining);
                shop.sim.crash(&shop.hosts[3], Crash::Reset);
                ask(&shop, Protocol::Http2, 10, 1).await;
                shop.restart(3, 2);
                serve_one(&shop, 3, Protocol::Http2, Duration::from_millis(5), &counts);
                let part = async || {
                    counts.borrow_mut().fill(0);
                    ask(&shop, Protocol::Http2, 200, 1).await;
                    counts.borrow()[3]
                };
                // A quarter would be 50.
                let early = part().await;
                assert_eq!(early < 25, is_slow, "{case}: {early}");
                assert!(early > 0, "{case}");
                shop.sim.sleep(seconds(100)).await;
                let later = part().await;
                assert!((35..=65).contains(&later), "{case}: {later}");
            });
            done.unwrap();
        }
    }
}

#[test]
fn where_few_are_healthy_all_are_called() {
    for (threshold, unhealthy, expected) in
        [(50, 2, 2), (50, 3, 4), (100, 1, 4), (0, 3, 1), (50, 4, 4)]
    {
        let case = format!("{unhealthy} of 4 are unhealthy, at {threshold} %");
        let mut plan = Plan::of(4, Protocol::Http2);
        plan.traffic.panic_threshold = PanicThreshold(Percent::new(threshold).unwrap());
        let shop = Shop::new(1, plan);
        let counts = shop.sim.run(async {
            let counts = serve(&shop, Protocol::Http2, Duration::from_millis(5));
            ask(&shop, Protocol::Http2, 4, 1).await;
            for number in 0..unhealthy {
                let health = Health::Unhealthy;
                shop.registry.add_workload(Workload { health, ..shop.workload(number, 1) });
            }
            counts.borrow_mut().fill(0);
            ask(&shop, Protocol::Http2, 40, 1).await;
            counts.take()
        });
        let called = counts.unwrap().into_iter().filter(|count| *count > 0).count();
        assert_eq!(called, expected, "{case}");
    }
}

#[test]
fn in_panic_those_that_are_gone_cost_no_answer() {
    let shop = Shop::new(1, Plan::of(4, Protocol::Http2));
    let counts = shop.sim.run(async {
        let counts = serve(&shop, Protocol::Http2, Duration::from_millis(5));
        for number in 0..3 {
            shop.sim.crash(&shop.hosts[number], Crash::Reset);
            let health = Health::Unhealthy;
            shop.registry.add_workload(Workload { health, ..shop.workload(number, 1) });
        }
        // All of them are answered.
        ask(&shop, Protocol::Http2, 100, 2).await;
        counts.take()
    });
    assert_eq!(counts.unwrap(), [0, 0, 0, 200]);
}
