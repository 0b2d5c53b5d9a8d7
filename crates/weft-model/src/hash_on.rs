//! What of a request is hashed to choose its endpoint.

use std::fmt;
use std::sync::Arc;

use crate::error::ValueError;
use crate::http::{HeaderName, is_token};

/// Something of a request, or of its connection, that may be hashed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashOn {
    /// The value of a header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie {
        /// Its name.
        name: CookieName,
        /// For how many seconds a client is to keep the one that it is given where it has none; 0
        /// is until the client ends. None: it is given none.
        ttl_seconds: Option<u64>,
    },
    /// The address that the request comes from.
    SourceAddress,
}

impl fmt::Display for HashOn {
    /// In words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashOn::Header(name) => write!(f, "the header `{name}`"),
            HashOn::Cookie { name, .. } => write!(f, "the cookie `{name}`"),
            HashOn::SourceAddress => f.write_str("the source address"),
        }
    }
}

/// The name of a cookie; told apart by case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CookieName(Arc<str>);

impl CookieName {
    /// The name `text`.
    ///
    /// # Errors
    /// If it is not a token of at most 256 bytes.
    pub fn new(text: &str) -> Result<CookieName, ValueError> {
        if !is_token(text) || text.len() > 256 {
            let allowed = "at most 256 characters of a token";
            return Err(ValueError::new(text, "the name of a cookie", allowed));
        }
        Ok(CookieName(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CookieName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_a_token_for_a_name() {
        assert_eq!(CookieName::new("Cart_1").unwrap().as_str(), "Cart_1");
        for wrong in ["", "a b", "a=b", "a;b", &"a".repeat(257)] {
            assert!(CookieName::new(wrong).is_err(), "{wrong}");
        }
    }
}
