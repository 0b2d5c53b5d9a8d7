//! With which endpoint clients stay, on the wire.

use prost::{Message, Oneof};
use weft_model::{CookieName, HeaderName, HttpPath, SessionCarrier, SessionPersistence, TimeBound};

use super::common::{needed, to_bound};
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionMessage {
    #[prost(oneof = "Carrier", tags = "1, 2")]
    carrier: Option<Carrier>,
    #[prost(optional, uint64, tag = "3")]
    absolute_ms: Option<u64>,
    #[prost(optional, uint64, tag = "4")]
    idle_ms: Option<u64>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Carrier {
    #[prost(message, tag = "1")]
    Cookie(CookieMessage),
    #[prost(string, tag = "2")]
    Header(String),
}

#[derive(Clone, PartialEq, Message)]
struct CookieMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    path: String,
    #[prost(bool, tag = "3")]
    is_permanent: bool,
}

impl From<&SessionPersistence> for SessionMessage {
    fn from(session: &SessionPersistence) -> SessionMessage {
        let SessionPersistence { carrier, absolute, idle } = session;
        let carrier = match carrier {
            SessionCarrier::Cookie { name, path, is_permanent } => Carrier::Cookie(CookieMessage {
                name: name.to_string(),
                path: path.to_string(),
                is_permanent: *is_permanent,
            }),
            SessionCarrier::Header(name) => Carrier::Header(name.to_string()),
        };
        let (absolute_ms, idle_ms) = (absolute.map(TimeBound::millis), idle.map(TimeBound::millis));
        SessionMessage { carrier: Some(carrier), absolute_ms, idle_ms }
    }
}

impl SessionMessage {
    pub(super) fn check(self) -> Result<SessionPersistence, FieldError> {
        let SessionMessage { carrier, absolute_ms, idle_ms } = self;
        let carrier = match needed("carrier", carrier)? {
            Carrier::Header(name) => SessionCarrier::Header(HeaderName::new(&name).at("header")?),
            Carrier::Cookie(CookieMessage { name, path, is_permanent }) => SessionCarrier::Cookie {
                name: CookieName::new(&name).at("cookie.name")?,
                path: HttpPath::new(&path).at("cookie.path")?,
                is_permanent,
            },
        };
        Ok(SessionPersistence {
            carrier,
            absolute: absolute_ms.map(to_bound).transpose().at("absolute_ms")?,
            idle: idle_ms.map(to_bound).transpose().at("idle_ms")?,
        })
    }
}
