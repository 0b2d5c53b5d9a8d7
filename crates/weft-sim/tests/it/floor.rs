//! Ejection keeps its floor: whichever endpoints fail, in whatever way and order, no more of them
//! are left out at a time than the policy allows, and never the last one.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;

use weft_model::{Balance, Percent, Protocol, Ratio, TimeBound};
use weft_sim::Random;

use crate::shop::{Plan, Shop, shared, together};
use crate::talk::Line;
use crate::*;

const SEEDS: u64 = 30;

/// How many ask at a time, and how long each waits between its requests.
const LINES: usize = 3;
const PAUSE: Duration = Duration::from_millis(60);

/// How long each replica stays as it is drawn to be, and how often that is drawn.
const PHASE: Duration = seconds(6);
const PHASES: usize = 4;

/// How an application answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Well,
    Fails,
    /// For every other request.
    FailsOften,
    Slowly,
    /// It ends the connection instead.
    Breaks,
}

const BAD: [Way; 4] = [Way::Fails, Way::FailsOften, Way::Slowly, Way::Breaks];

/// How the replicas answer now, by their numbers, and how many requests each has got.
type Ways = Rc<RefCell<Vec<Cell<(Way, usize)>>>>;

/// How many of so many endpoints may be left out: the share, rounded down, but one at least where
/// any may be, and never all. As docs say, and apart from the code.
fn allowed(replicas: usize, percent: u8) -> usize {
    match (percent, replicas * usize::from(percent) / 100) {
        (0, _) => 0,
        (_, 0) => 1.min(replicas - 1),
        (_, share) => share.min(replicas - 1),
    }
}

fn serve(shop: &Shop, number: usize, ways: &Ways) {
    let (mut listener, world) = (shop.application(number), shop.hosts[number].world());
    let ways = ways.clone();
    drop(shop.hosts[number].spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let mut line = Line::new(world.clone(), accepted.stream);
            let (world, ways) = (world.clone(), ways.clone());
            drop(tokio::task::spawn_local(async move {
                while line.request().await.is_some() {
                    let (way, count) = ways.borrow()[number].get();
                    ways.borrow()[number].set((way, count + 1));
                    let status = match way {
                        Way::Breaks => return,
                        Way::Fails => 503,
                        Way::FailsOften if count % 2 == 0 => 500,
                        Way::Well | Way::FailsOften | Way::Slowly => 200,
                    };
                    let time = if way == Way::Slowly { 120 } else { 2 };
                    world.clock.sleep(Duration::from_millis(time)).await;
                    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                    if line.send(head.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }));
}

/// Asks for `time`; each request is answered by someone.
async fn ask(shop: &Shop, time: Duration) {
    let clock = shop.client.world().clock;
    let until = clock.now() + time;
    together((0..LINES).map(|_| async {
        let mut line = shop.call().await;
        while clock.now() < until {
            line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            line.answer().await.expect("someone answers");
            shop.sim.sleep(PAUSE).await;
        }
    }))
    .await;
}

struct Drawn {
    replicas: usize,
    percent: u8,
    /// How likely each replica is bad in a phase.
    bad: f64,
    plan: Plan,
}

fn drawn(random: &mut Random) -> Drawn {
    let replicas = random.size(1, 9);
    let percent = *random.pick(&[0, 1, 10, 25, 34, 50, 50, 67, 99, 100]);
    let bad = *random.pick(&[0.2, 0.5, 0.9, 1.0]);
    let mut plan = Plan::of(replicas, Protocol::Http);
    plan.traffic.balance =
        random.pick(&[Balance::RoundRobin, Balance::Random, Balance::PeakEwma]).clone();
    let ejection = &mut plan.traffic.ejection;
    ejection.ejected_max = Percent::new(percent).unwrap();
    let failures = *random.pick(&[1, 2, 5]);
    ejection.consecutive_failures = NonZeroU32::new(failures).unwrap();
    ejection.base_time = TimeBound::from_millis(*random.pick(&[1_000, 5_000, 30_000])).unwrap();
    if random.chance(0.7) {
        ejection.peers.interval = TimeBound::from_millis(2_000).unwrap();
        ejection.peers.requests_min = NonZeroU32::new(5).unwrap();
        ejection.peers.latency = Ratio::from_thousandths(2_000);
    }
    Drawn { replicas, percent, bad, plan }
}

/// How many of the runs have left out so many as they may, and how often any did at all.
#[derive(Debug, Default)]
struct Seen {
    full: usize,
    times: usize,
    silent: usize,
}

fn play(seed: u64, seen: &mut Seen) {
    let mut random = Random::derive(seed, "floor");
    let Drawn { replicas, percent, bad, plan } = drawn(&mut random);
    let allowed = allowed(replicas, percent);
    let told = format!("seed {seed}: {allowed} of {replicas}: {:?}", plan.traffic);
    let is_in_turn = plan.traffic.balance == Balance::RoundRobin;
    let shop = Shop::new(seed, plan);
    let ways: Ways = shared();
    ways.borrow_mut().resize(replicas, Cell::new((Way::Well, 0)));
    (0..replicas).for_each(|number| serve(&shop, number, &ways));
    let turn = |ways: &Ways, draw: &mut dyn FnMut() -> Way| {
        ways.borrow().iter().for_each(|way| way.set((draw(), 0)));
    };
    let silent = shop.sim.run(async {
        for _ in 0..PHASES {
            turn(&ways, &mut || match random.chance(bad) {
                true => *random.pick(&BAD),
                false => Way::Well,
            });
            ask(&shop, PHASE).await;
        }
        // Where all fail all the time, as many as may be are left out, and the others are called.
        turn(&ways, &mut || Way::Fails);
        ask(&shop, PHASE).await;
        turn(&ways, &mut || Way::Fails);
        ask(&shop, seconds(3)).await;
        ways.borrow().iter().filter(|way| way.get().1 == 0).count()
    });
    let silent = silent.unwrap();
    let ejected = shop.caller.ejected.get();
    assert!(ejected.most <= allowed, "{} are left out at a time, {told}", ejected.most);
    if is_in_turn {
        assert!(silent <= allowed, "{silent} get nothing, {told}");
        seen.silent += silent;
    }
    let records = shop.records();
    assert!(records.iter().all(|record| record.upstream.is_some()), "all go somewhere, {told}");
    seen.full += usize::from(ejected.most == allowed && allowed > 0);
    seen.times += ejected.times;
}

#[test]
fn no_more_are_left_out_than_may_be_whichever_fail() {
    let mut seen = Seen::default();
    (1..=SEEDS).for_each(|seed| play(seed, &mut seen));
    println!("{seen:?}");
    let Seen { full, times, silent } = seen;
    assert!(full >= 15 && times >= 60 && silent >= 6, "it proves little if hardly any fails");
}

/// The threshold of panic counts who is unhealthy, and not who is left out: it brings nobody back
/// who has failed, however few are left.
#[test]
fn panic_calls_the_unhealthy_and_not_those_that_are_left_out() {
    let mut plan = Plan::of(4, Protocol::Http);
    plan.traffic.ejection.consecutive_failures = NonZeroU32::MIN;
    plan.traffic.ejection.ejected_max = Percent::new(75).unwrap();
    let shop = Shop::new(1, plan);
    let ways: Ways = shared();
    ways.borrow_mut().resize(4, Cell::new((Way::Well, 0)));
    (0..4).for_each(|number| serve(&shop, number, &ways));
    let counts = || ways.borrow().iter().map(|way| way.replace((way.get().0, 0)).1).collect();
    let (few, panic): (Vec<_>, Vec<_>) = shop
        .sim
        .run(async {
            // One of four is left, which is less than half.
            ways.borrow()[..3].iter().for_each(|way| way.set((Way::Fails, 0)));
            ask(&shop, seconds(5)).await;
            let _before: Vec<usize> = counts();
            ask(&shop, seconds(5)).await;
            let few = counts();
            // It is unhealthy as well: all four are called by their health, of which three are out.
            for number in 1..4 {
                let health = weft_model::Health::Unhealthy;
                let workload = shop.workload(number, 1);
                shop.registry.add_workload(weft_model::Workload { health, ..workload });
            }
            ask(&shop, seconds(5)).await;
            (few, counts())
        })
        .unwrap();
    assert!(few[..3] == [0; 3] && few[3] > 100, "{few:?}");
    assert!(panic[..3] == [0; 3] && panic[3] > 100, "{panic:?}");
}
