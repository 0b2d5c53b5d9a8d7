//! Copies of requests.

use super::super::backend_ref::{self, BackendKind};
use crate::reader::{At, fields};

/// Where copies of requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What gets them, with what only that kind has.
    pub kind: BackendKind,
    /// Its namespace. Default: the route's own.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Of how many requests. Default: all.
    pub share: Share,
}

/// A part of all requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub numerator: u32,
    /// Of how many, at least 1.
    pub denominator: u32,
}

const ALL: Share = Share { numerator: 100, denominator: 100 };

/// The largest number of Gateway API's, which are of 32 bits with a sign.
const NUMBER_MAX: u32 = i32::MAX as u32;

pub(super) fn read(at: &At<'_>, own_namespace: &str) -> Option<Mirror> {
    let object = at.object(fields(&["backendRef", "percent", "fraction"]))?;
    let backend = object.need("backendRef", |at| backend_ref::read_plain(at, own_namespace));
    let percent = object.maybe("percent", At::percent);
    let fraction = object.maybe("fraction", read_fraction);
    if object.field("percent").is_some()
        && let Some(at) = object.field("fraction")
    {
        at.error::<()>("does not go with `percent`: one of them says how many");
    }
    let share = match (percent?, fraction?) {
        (Some(percent), _) => Share { numerator: percent.get().into(), denominator: 100 },
        (None, Some(fraction)) => fraction,
        (None, None) => ALL,
    };
    let (kind, namespace, name) = backend?;
    Some(Mirror { kind, namespace, name, share })
}

fn read_fraction(at: &At<'_>) -> Option<Share> {
    let object = at.object(fields(&["numerator", "denominator"]))?;
    let numerator = object.need("numerator", |at| at.number(0, NUMBER_MAX));
    let denominator = object.or("denominator", ALL.denominator, |at| at.number(1, NUMBER_MAX));
    let share = Share { numerator: numerator?, denominator: denominator? };
    if share.numerator > share.denominator {
        let Share { numerator, denominator } = share;
        return at.error(format!("{numerator} of {denominator} are more than all"));
    }
    Some(share)
}
