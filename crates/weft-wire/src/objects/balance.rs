//! How an endpoint is chosen, on the wire.

use prost::Message;
use weft_model::{Balance, CookieName, HashOn, HeaderName};

use super::common::{list, numbered};
use crate::error::{At, FieldError};

/// The algorithms, without what they need.
#[derive(Clone, Copy)]
pub(super) enum Algorithm {
    PeakEwma,
    RoundRobin,
    LeastRequest,
    Random,
    RingHash,
    Maglev,
}

numbered!(from_algorithm, to_algorithm, Algorithm, {
    PeakEwma = 1, RoundRobin = 2, LeastRequest = 3, Random = 4, RingHash = 5, Maglev = 6,
});

/// What can be hashed, without its name.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Header,
    Cookie,
    SourceAddress,
}

numbered!(from_kind, to_kind, Kind, { Header = 1, Cookie = 2, SourceAddress = 3 });

#[derive(Clone, PartialEq, Message)]
pub(super) struct HashOnMessage {
    #[prost(int32, tag = "1")]
    kind: i32,
    /// Of a header or a cookie.
    #[prost(string, tag = "2")]
    name: String,
    /// Of a cookie.
    #[prost(optional, uint64, tag = "3")]
    ttl_s: Option<u64>,
}

/// The number of the algorithm, and what it hashes.
pub(super) fn from_balance(balance: &Balance) -> (i32, Vec<HashOnMessage>) {
    let algorithm = match balance {
        Balance::PeakEwma => Algorithm::PeakEwma,
        Balance::RoundRobin => Algorithm::RoundRobin,
        Balance::LeastRequest => Algorithm::LeastRequest,
        Balance::Random => Algorithm::Random,
        Balance::RingHash(_) => Algorithm::RingHash,
        Balance::Maglev(_) => Algorithm::Maglev,
    };
    let hash_on = balance.hash_on().iter().map(HashOnMessage::from).collect();
    (from_algorithm(algorithm), hash_on)
}

pub(super) fn to_balance(
    algorithm: i32,
    hash_on: Vec<HashOnMessage>,
) -> Result<Balance, FieldError> {
    let algorithm = to_algorithm(algorithm).at("balance")?;
    let hashes = matches!(algorithm, Algorithm::RingHash | Algorithm::Maglev);
    if hashes == hash_on.is_empty() {
        let problem = if hashes { "is missing" } else { "is for algorithms that hash" };
        return Err(FieldError::new(problem).within("hash_on"));
    }
    let hash_on = list("hash_on", hash_on, HashOnMessage::check);
    Ok(match algorithm {
        Algorithm::PeakEwma => Balance::PeakEwma,
        Algorithm::RoundRobin => Balance::RoundRobin,
        Algorithm::LeastRequest => Balance::LeastRequest,
        Algorithm::Random => Balance::Random,
        Algorithm::RingHash => Balance::RingHash(hash_on?),
        Algorithm::Maglev => Balance::Maglev(hash_on?),
    })
}

impl From<&HashOn> for HashOnMessage {
    fn from(hash_on: &HashOn) -> HashOnMessage {
        let (kind, name, ttl_s) = match hash_on {
            HashOn::Header(name) => (Kind::Header, name.to_string(), None),
            HashOn::Cookie { name, ttl_seconds } => (Kind::Cookie, name.to_string(), *ttl_seconds),
            HashOn::SourceAddress => (Kind::SourceAddress, String::new(), None),
        };
        HashOnMessage { kind: from_kind(kind), name, ttl_s }
    }
}

impl HashOnMessage {
    fn check(self) -> Result<HashOn, FieldError> {
        let HashOnMessage { kind, name, ttl_s } = self;
        Ok(match to_kind(kind).at("kind")? {
            Kind::Header => HashOn::Header(HeaderName::new(&name).at("name")?),
            Kind::Cookie => {
                let name = CookieName::new(&name).at("name")?;
                HashOn::Cookie { name, ttl_seconds: ttl_s }
            }
            Kind::SourceAddress => HashOn::SourceAddress,
        })
    }
}
