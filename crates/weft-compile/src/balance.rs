//! How an endpoint is chosen, from what a BackendPolicy says.

use weft_crd as crd;
use weft_model::{Balance, CookieName, HashOn, HeaderName};

/// What `written` means; none if it holds what cannot be, which no checked one does.
pub(crate) fn to_balance(written: &crd::LoadBalancing) -> Option<Balance> {
    let crd::LoadBalancing { algorithm, hash_on } = written;
    let hash_on = || hash_on.iter().map(to_hash_on).collect::<Option<_>>();
    Some(match algorithm {
        crd::Algorithm::PeakEwma => Balance::PeakEwma,
        crd::Algorithm::RoundRobin => Balance::RoundRobin,
        crd::Algorithm::LeastRequest => Balance::LeastRequest,
        crd::Algorithm::Random => Balance::Random,
        crd::Algorithm::RingHash => Balance::RingHash(hash_on()?),
        crd::Algorithm::Maglev => Balance::Maglev(hash_on()?),
    })
}

fn to_hash_on(written: &crd::HashOn) -> Option<HashOn> {
    Some(match written {
        crd::HashOn::Header(name) => {
            HashOn::Header(HeaderName::new(&name.to_ascii_lowercase()).ok()?)
        }
        crd::HashOn::Cookie { name, ttl } => HashOn::Cookie {
            name: CookieName::new(name).ok()?,
            ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
        },
        crd::HashOn::SourceAddress => HashOn::SourceAddress,
    })
}
