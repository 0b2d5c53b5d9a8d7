//! Clients that stay with the endpoint that first answered them.

use std::fmt;

use crate::hash_on::CookieName;
use crate::http::{HeaderName, HttpPath};
use crate::units::TimeBound;

/// How clients stay with the endpoint that first answered them: they are given a token, and send it
/// with what they ask from then on.
///
/// Source: Gateway API, GEP-1619.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionPersistence {
    /// What carries the token.
    pub carrier: SessionCarrier,
    /// After which time a session ends, in any case. Absent: never.
    pub absolute: Option<TimeBound>,
    /// After which time without a request it ends. Absent: never.
    pub idle: Option<TimeBound>,
}

/// What carries the token of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionCarrier {
    /// A cookie.
    Cookie {
        /// Its name.
        name: CookieName,
        /// Below which path it is sent.
        path: HttpPath,
        /// Whether the client keeps it for as long as the session may live. Else until it ends
        /// itself.
        is_permanent: bool,
    },
    /// A header of answers, which the client is to send as it came.
    Header(HeaderName),
}

impl fmt::Display for SessionCarrier {
    /// In words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionCarrier::Cookie { name, .. } => write!(f, "the cookie `{name}`"),
            SessionCarrier::Header(name) => write!(f, "the header `{name}`"),
        }
    }
}
