//! How far a client looks for an endpoint.

use weft_model::{Locality, LocalityPreference, Prefer};

/// How far away an endpoint is, or up to where endpoints are used; the nearer before the farther.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// In the same zone of the same region.
    Zone,
    /// In the same region.
    Region,
    /// Anywhere.
    All,
}

/// How far away `other` is from `own`. An unknown place is far from any.
pub fn distance(own: Option<&Locality>, other: Option<&Locality>) -> Reach {
    let (Some(own), Some(other)) = (own, other) else { return Reach::All };
    if own.region() != other.region() {
        return Reach::All;
    }
    // Of two regions without zones nobody knows whether it is the same zone.
    if own.zone().is_some() && own.zone() == other.zone() { Reach::Zone } else { Reach::Region }
}

/// The endpoints that may be called, counted by how far away they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [Count; 3],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    endpoints: u64,
    in_flight: u64,
}

impl Tally {
    /// Counts an endpoint that may be called, with the requests that are under way there.
    pub fn add(&mut self, distance: Reach, in_flight: u32) {
        let count = &mut self.counts[distance as usize];
        count.endpoints += 1;
        count.in_flight += u64::from(in_flight);
    }

    /// All endpoints that are no farther away than `reach`.
    fn within(&self, reach: Reach) -> Count {
        let counts = &self.counts[..=reach as usize];
        let endpoints = counts.iter().map(|count| count.endpoints).sum();
        let in_flight = counts.iter().map(|count| count.in_flight).sum();
        Count { endpoints, in_flight }
    }
}

/// Up to where endpoints are used for the next request: the narrowest reach that `preference` asks
/// for, that holds an endpoint, and whose endpoints are not overloaded.
///
/// They are overloaded if the mean of requests under way at each of them is more than
/// `spill_at_load_ratio` times the mean at each of all endpoints, wherever they are, which is taken
/// to be one at least. So with few requests traffic stays near, and a near endpoint is left alone
/// once it has more than its ratio of the share that its number would give it. Where the farther
/// ones take a part, the near ones take part as well, each by its load.
///
/// Nothing is remembered: once the near ones are below the ratio again, they are used alone.
pub fn reach(preference: &LocalityPreference, tally: &Tally) -> Reach {
    let preferred: &[Reach] = match preference.prefer {
        Prefer::Zone => &[Reach::Zone, Reach::Region],
        Prefer::Region => &[Reach::Region],
        Prefer::None => &[],
    };
    let all = tally.within(Reach::All);
    let ratio = u128::from(preference.spill_at_load_ratio.thousandths());
    let is_fine = |reach: &Reach| {
        let near = tally.within(*reach);
        // near.in_flight / near.endpoints <= ratio * max(all.in_flight, all.endpoints)
        //     / all.endpoints, without division.
        let share = u128::from(near.in_flight) * u128::from(all.endpoints) * 1000;
        let allowed =
            u128::from(all.in_flight.max(all.endpoints)) * u128::from(near.endpoints) * ratio;
        near.endpoints > 0 && share <= allowed
    };
    preferred.iter().copied().find(is_fine).unwrap_or(Reach::All)
}

#[cfg(test)]
mod tests;
