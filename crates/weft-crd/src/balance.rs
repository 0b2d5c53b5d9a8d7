//! `loadBalancing` of a BackendPolicy: how an endpoint is chosen.

use std::time::Duration;

use crate::names;
use crate::reader::{At, fields};
use crate::subset::{self, Subset};
use crate::units::Percent;

/// What is written of how an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Written {
    pub(crate) load_balancing: Option<LoadBalancing>,
    pub(crate) panic_threshold: Option<Percent>,
    pub(crate) subset: Option<Subset>,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadBalancing {
    /// By which algorithm.
    pub algorithm: Algorithm,
    /// What of a request is hashed, in the order in which it is looked for: something with an
    /// algorithm that hashes, nothing with others.
    pub hash_on: Vec<HashOn>,
}

/// By which algorithm an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Of two drawn at random, the one that answers sooner by a decaying average of its peaks.
    PeakEwma,
    /// One after the other.
    RoundRobin,
    /// Of two drawn at random, the one with fewer requests under way.
    LeastRequest,
    /// One drawn at random.
    Random,
    /// The one to which a hash of the request belongs, on a ring.
    RingHash,
    /// The same by a table, in which all shares are equal.
    Maglev,
}

/// Something of a request that may be hashed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashOn {
    /// The value of the header of this name.
    Header(String),
    /// The value of a cookie.
    Cookie {
        /// Its name.
        name: String,
        /// For how long a client is to keep the one that it is given where it has none, in whole
        /// seconds; 0 is until the client ends. None: it is given none.
        ttl: Option<Duration>,
    },
    /// The address that the request comes from.
    SourceAddress,
}

/// More things to look for than this is no key but a puzzle.
const HASH_ON_MAX: usize = 8;

pub(crate) fn read(at: &At<'_>) -> Option<Written> {
    let object = at.object(fields(&["algorithm", "hashOn", "panicThresholdPercent", "subset"]))?;
    let panic_threshold = object.maybe("panicThresholdPercent", At::percent);
    let subset = object.maybe("subset", subset::read);
    let known = [
        ("PeakEwma", Algorithm::PeakEwma),
        ("RoundRobin", Algorithm::RoundRobin),
        ("LeastRequest", Algorithm::LeastRequest),
        ("Random", Algorithm::Random),
        ("RingHash", Algorithm::RingHash),
        ("Maglev", Algorithm::Maglev),
    ];
    let algorithm = object.maybe("algorithm", |at| at.choice(&known, &[]))?;
    let hashes = matches!(algorithm, Some(Algorithm::RingHash | Algorithm::Maglev));
    let read_all = |at: &At<'_>| at.filled_list(HASH_ON_MAX, "something is hashed", read_hash_on);
    let hash_on = match object.field("hashOn") {
        Some(at) if !hashes => return at.error("is for the algorithms RingHash and Maglev only"),
        Some(at) => {
            let hash_on = read_all(&at)?;
            check_reached(&at, &hash_on)?;
            hash_on
        }
        None if hashes => object.need("hashOn", read_all)?,
        None => vec![],
    };
    let load_balancing = algorithm.map(|algorithm| LoadBalancing { algorithm, hash_on });
    Some(Written { load_balancing, panic_threshold: panic_threshold?, subset: subset? })
}

fn read_hash_on(at: &At<'_>) -> Option<HashOn> {
    #[derive(Clone, Copy, PartialEq)]
    enum Type {
        Header,
        Cookie,
        SourceAddress,
    }
    let object = at.object(fields(&["type", "name", "ttl"]))?;
    let known = [
        ("Header", Type::Header),
        ("Cookie", Type::Cookie),
        ("SourceAddress", Type::SourceAddress),
    ];
    let of_type = object.need("type", |at| at.choice(&known, &[]))?;
    if let Some(at) = object.field("ttl").filter(|_| of_type != Type::Cookie) {
        return at.error("is for cookies only");
    }
    let name = |check: fn(&str) -> Result<(), String>| {
        object.need("name", |at| at.parsed(|text| check(text).map(|()| text.to_owned())))
    };
    match of_type {
        Type::Header => name(names::matched_header).map(HashOn::Header),
        Type::Cookie => {
            let (name, ttl) = (name(names::cookie), object.maybe("ttl", read_ttl));
            Some(HashOn::Cookie { name: name?, ttl: ttl? })
        }
        Type::SourceAddress => match object.field("name") {
            Some(at) => at.error("is for headers and cookies only"),
            None => Some(HashOn::SourceAddress),
        },
    }
}

fn read_ttl(at: &At<'_>) -> Option<Duration> {
    let ttl = at.duration()?;
    match ttl.subsec_nanos() {
        0 => Some(ttl),
        _ => at.error("cookies live for whole seconds"),
    }
}

/// What stands behind something that every request has is never looked for.
fn check_reached(at: &At<'_>, hash_on: &[HashOn]) -> Option<()> {
    let always = hash_on.iter().position(|one| *one == HashOn::SourceAddress);
    let items = at.items(HASH_ON_MAX)?;
    match always.and_then(|always| items.get(always + 1)) {
        Some(at) => at.error("is never looked for: all have a source address"),
        None => Some(()),
    }
}

#[cfg(test)]
mod tests;
