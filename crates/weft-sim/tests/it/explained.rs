//! For any configuration and any request, what an explanation says is what simulated proxies do.
//!
//! A seed draws a configuration of all kinds of resources, and what is sent to it. Each thing that
//! is sent is explained by what `weft explain` asks, then sent through the proxies of both sides,
//! and everything that anybody recorded or got is compared with what was said. The same resources
//! are drawn for real programs in `crates/weft/tests/mesh/explain`, of which there are few cases,
//! as those are slow.

mod agree;
mod called;
mod draw;
mod generated;
mod mesh;
mod seen;
mod send;
mod shown;

use std::time::Duration;

use weft_model::Health;

use self::agree::{Found, agree, stayed};
use self::generated::{Case, Drawing, case, resources};
use self::mesh::{Healths, Lab};
use self::seen::Seen;

/// How many seeds are tried, unless `WEFT_EXPLAIN_SEEDS` says it, and from which on, unless
/// `WEFT_EXPLAIN_SEED` does.
const SEEDS: u64 = 60;
const FIRST_SEED: u64 = 1;

/// How much is sent under each.
const CASES: usize = 50;

/// What a seed draws.
struct Drawn {
    seed: u64,
    /// What the Mesh says for all.
    defaults: String,
    resources: String,
    healths: Healths,
    cases: Vec<Case>,
}

impl Drawn {
    fn new(seed: u64) -> Drawn {
        let mut draw = Drawing::new(seed, true);
        let defaults = defaults(&mut draw);
        let resources = resources(&mut draw, 0);
        let cases = (0..CASES).map(|_| case(&mut draw)).collect();
        let healths: Healths = std::array::from_fn(|_| match draw.below(10) {
            0 => Health::Draining,
            1 | 2 => Health::Unhealthy,
            _ => Health::Healthy,
        });
        Drawn { seed, defaults, resources, healths, cases }
    }

    /// Sends all of `cases`, and counts in `seen` how they ended. The place of the first whose end
    /// was not as it was said, and why.
    fn play(&self, cases: &[&Case], seen: &mut Seen) -> Option<(usize, String)> {
        let lab = Lab::start(self.seed, &self.defaults, &self.resources, &self.healths);
        let played = lab.sim.run(async {
            // Until all of them listen.
            lab.sim.sleep(Duration::from_secs(1)).await;
            for (place, case) in cases.iter().enumerate() {
                let found = send::send(&lab, case).await;
                match agree(&lab, case, &found) {
                    Ok(ended) => seen.add(&found, &ended),
                    Err(what) => return Some((place, told(&what, case, &found))),
                }
                let Some(again) = send::send_again(&lab, case, &found).await else { continue };
                seen.again();
                if let Err(what) = stayed(&lab, case, &found, &again) {
                    return Some((place, told(&format!("again: {what}"), case, &again)));
                }
            }
            None
        });
        played.unwrap_or_else(|error| Some((0, error.to_string())))
    }

    /// Why a case does not end as it was said, with as few resources as show it.
    fn shrunk(mut self, place: usize, what: String) -> String {
        let alone = [&self.cases[place]];
        let few: Vec<&Case> = match self.play(&alone, &mut Seen::default()) {
            Some(_) => alone.into(),
            // What came before is part of it.
            None => self.cases[..=place].iter().collect(),
        };
        let mut what = what;
        let mut smaller = |resources: &str| {
            let (seed, healths) = (self.seed, self.healths);
            let (defaults, resources) = (self.defaults.clone(), resources.to_owned());
            let one = Drawn { seed, defaults, resources, healths, cases: vec![] };
            let found = if mesh::are_wrong(&one.defaults, &one.resources) {
                None
            } else {
                one.play(&few, &mut Seen::default())
            };
            found.map(|(_, now)| what = now).is_some()
        };
        // Whole documents first, then what is left of them.
        let documents = self.resources.split_inclusive('\n').fold(Vec::new(), |mut all, line| {
            match all.last_mut() {
                Some(last) if line != "---\n" => *last += line,
                _ => all.push(line.to_owned()),
            }
            all
        });
        let documents = reduced(documents, |left| smaller(&left.concat()));
        let lines = documents.concat().split_inclusive('\n').map(str::to_owned).collect();
        let lines = reduced(lines, |left| smaller(&left.concat()));
        self.resources = lines.concat();
        format!("seed {}, defaults {}: {what}\n{}", self.seed, self.defaults, self.resources)
    }
}

/// What is left of `all` when whatever may go while it `holds` is gone.
fn reduced(mut all: Vec<String>, mut holds: impl FnMut(&[String]) -> bool) -> Vec<String> {
    let mut place = 0;
    while place < all.len() {
        let mut left = all.clone();
        left.remove(place);
        match holds(&left) {
            true => all = left,
            false => place += 1,
        }
    }
    all
}

/// What a Mesh says for all.
fn defaults(draw: &mut Drawing) -> String {
    let outbound = draw.one(&["registered", "registered", "audit", "any"]);
    let authorization = draw.one(&["AllowMesh", "AllowMesh", "AllowMesh", "Audit", "Deny"]);
    format!("{{ outbound: {outbound}, authorization: {authorization} }}")
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// What was said and what was found, for who is to mend it.
fn told(what: &str, case: &Case, found: &Found) -> String {
    format!("{what} is not as it was said\n{case:#?}\n{found:#?}\n")
}

#[test]
fn what_is_explained_is_what_simulated_proxies_do() {
    let (first, count) =
        (number("WEFT_EXPLAIN_SEED", FIRST_SEED), number("WEFT_EXPLAIN_SEEDS", SEEDS));
    let mut seen = Seen::default();
    for seed in first..first + count {
        let drawn = Drawn::new(seed);
        let cases: Vec<_> = drawn.cases.iter().collect();
        seen.drawn(&drawn.defaults, &drawn.resources);
        if let Some((place, what)) = drawn.play(&cases, &mut seen) {
            panic!("{}", drawn.shrunk(place, what));
        }
    }
    println!("{seen}");
    assert_eq!(seen.odd_shares(), None, "backends are drawn by their shares");
    if count >= SEEDS {
        assert_eq!(seen.lacks(), [] as [String; 0], "it proves little of what is hardly drawn");
    }
}
