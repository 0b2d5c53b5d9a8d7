//! Where something runs, and how far away a client may look.

use std::sync::Arc;

use crate::error::ValueError;
use crate::units::Ratio;

/// A place, from wide to narrow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    region: Arc<str>,
    zone: Option<Arc<str>>,
}

impl Locality {
    /// The place called `zone` in `region`, or the whole region.
    ///
    /// # Errors
    /// If a name is not the value of a Kubernetes label, or is empty.
    pub fn new(region: &str, zone: Option<&str>) -> Result<Locality, ValueError> {
        let check = |name: &str| {
            let allowed = "1 to 63 letters, digits and inner `-`, `_` and `.`";
            let is_edge = |c: char| c.is_ascii_alphanumeric();
            let is_inside = |c: char| is_edge(c) || "-_.".contains(c);
            let is_fine = (1..=63).contains(&name.len())
                && name.chars().all(is_inside)
                && name.starts_with(is_edge)
                && name.ends_with(is_edge);
            if is_fine { Ok(name.into()) } else { Err(ValueError::new(name, "a place", allowed)) }
        };
        Ok(Locality { region: check(region)?, zone: zone.map(check).transpose()? })
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The zone in it.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }
}

/// Whether near endpoints are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalityPreference {
    /// How near. Default: `Zone`, since traffic between zones costs time and money.
    pub prefer: Prefer,
    /// How loaded the near endpoints must be, compared with the average of all, before farther ones
    /// are used. Default: 1.3, so that a zone with too few endpoints sheds a quarter of its load
    /// before it is in trouble, and small differences move nothing.
    pub spill_at_load_ratio: Ratio,
}

impl Default for LocalityPreference {
    fn default() -> LocalityPreference {
        const SPILL: Ratio = Ratio::from_thousandths(1300).expect("more than a thousand");
        LocalityPreference { prefer: Prefer::Zone, spill_at_load_ratio: SPILL }
    }
}

/// How near an endpoint is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefer {
    /// Those of the same zone, then of the same region.
    Zone,
    /// Those of the same region.
    Region,
    /// No preference.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_label_values() {
        let place = Locality::new("eu", Some("eu-1.a_b")).unwrap();
        assert_eq!((place.region(), place.zone()), ("eu", Some("eu-1.a_b")));
        for wrong in ["", "-eu", "eu-", "e u", &"a".repeat(64)] {
            assert!(Locality::new(wrong, None).is_err(), "{wrong}");
            assert!(Locality::new("eu", Some(wrong)).is_err(), "{wrong}");
        }
    }
}
