//! With which endpoint a client stays.
//!
//! The token that a client is given names its endpoint by a hash of the name, so that it means
//! nothing outside of the mesh, and leads nowhere but to an endpoint of the same Service. It is
//! neither signed nor secret: who writes one of its own chooses among the endpoints that it might
//! have been given, and no more.
//!
//! Source: Gateway API, GEP-1619.

use std::time::Duration;

use weft_http::RequestHead;
use weft_model::{SessionCarrier, SessionPersistence, TimeBound};

use crate::balance::{cookie, hash};

/// A session, as the token of a request says it. Times are those since the Unix epoch, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The hash of its endpoint's name.
    pub endpoint: u64,
    began: u64,
    used: u64,
}

/// What an endpoint is called in tokens; `identity` is its name, or its address if it has none.
pub fn endpoint(identity: &str) -> u64 {
    hash(identity.as_bytes())
}

/// The session that the request is part of, if it is part of one that has not ended by `now`.
pub fn asked(policy: &SessionPersistence, head: &RequestHead, now: Duration) -> Option<Session> {
    let token = match &policy.carrier {
        SessionCarrier::Cookie { name, .. } => cookie(head, name)?,
        SessionCarrier::Header(name) => head.fields.get(name.as_str())?,
    };
    let session = Session::read(token)?;
    let now = now.as_secs();
    // Who wrote it may have had a clock that is ahead.
    let is_over = |since: u64, bound: Option<TimeBound>| {
        bound.is_some_and(|bound| now.saturating_sub(since) >= seconds(bound))
    };
    let has_ended = is_over(session.began, policy.absolute) || is_over(session.used, policy.idle);
    (!has_ended).then_some(session)
}

/// The field by which the client is told that its session is with `endpoint`, which has answered;
/// none if it knows that already. `before` is the session that its request was part of.
pub fn told(
    policy: &SessionPersistence,
    before: Option<Session>,
    endpoint: u64,
    now: Duration,
) -> Option<(&str, String)> {
    let now = now.as_secs();
    let before = before.filter(|before| before.endpoint == endpoint);
    let began = match before {
        Some(Session { began, used, .. }) => {
            // Its use counts, at most once in a second.
            if policy.idle.is_none() || used >= now {
                return None;
            }
            // Whoever wrote it: no session ends later than one that begins now.
            began.min(now)
        }
        None => now,
    };
    let session = Session { endpoint, began, used: now };
    Some(match &policy.carrier {
        SessionCarrier::Header(name) => (name.as_str(), session.written()),
        SessionCarrier::Cookie { name, path, is_permanent } => {
            let mut cookie = format!("{name}={}; Path={path}", session.written());
            if let Some(absolute) = policy.absolute.filter(|_| *is_permanent) {
                let left = seconds(absolute).saturating_sub(now - began);
                cookie.push_str(&format!("; Max-Age={left}"));
            }
            cookie.push_str("; HttpOnly; SameSite=Lax");
            ("Set-Cookie", cookie)
        }
    })
}

/// Parts of a second count as whole ones, so that no session lasts for none.
fn seconds(bound: TimeBound) -> u64 {
    bound.millis().div_ceil(1000)
}

impl Session {
    /// The token.
    fn written(self) -> String {
        let Session { endpoint, began, used } = self;
        format!("{endpoint:016x}-{began:x}-{used:x}")
    }

    /// What a token says, if it is one.
    fn read(token: &[u8]) -> Option<Session> {
        const LENGTH_MAX: usize = 16 * 3 + 2;
        let text = std::str::from_utf8(token).ok().filter(|text| text.len() <= LENGTH_MAX)?;
        let mut parts = text.split('-').map(number);
        let session =
            Session { endpoint: parts.next()??, began: parts.next()??, used: parts.next()?? };
        parts.next().is_none().then_some(session)
    }
}

/// A hexadecimal number without a sign.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_plain { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_model::{CookieName, HeaderName, HttpPath};

    use super::*;

    fn cookies(absolute: Option<u64>, idle: Option<u64>, is_permanent: bool) -> SessionPersistence {
        let bound = |seconds: Option<u64>| seconds.and_then(|s| TimeBound::from_millis(s * 1000));
        let (name, path) = (CookieName::new("s").unwrap(), HttpPath::new("/a").unwrap());
        SessionPersistence {
            carrier: SessionCarrier::Cookie { name, path, is_permanent },
            absolute: bound(absolute),
            idle: bound(idle),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_800_000_000 + seconds)
    }

    /// The session of a client that sends back what it was `told`.
    fn back(policy: &SessionPersistence, told: &str, now: Duration) -> Option<Session> {
        let mut head = RequestHead::default();
        let pair = told.split(';').next().unwrap();
        head.fields.append("cookie", format!("other=1; {pair}; x=2").as_bytes());
        asked(policy, &head, now)
    }

    #[test]
    fn who_was_told_stays() {
        let policy = cookies(None, None, false);
        let (name, told_first) = told(&policy, None, 7, at(0)).unwrap();
        let token = "0000000000000007-6b49d200-6b49d200";
        let expected = format!("s={token}; Path=/a; HttpOnly; SameSite=Lax");
        assert_eq!((name, &*told_first), ("Set-Cookie", &*expected));
        let session = back(&policy, &told_first, at(1_000_000)).unwrap();
        assert_eq!(session.endpoint, 7);
        assert_eq!(told(&policy, Some(session), 7, at(1_000_000)), None, "it knows");
        let (_, moved) = told(&policy, Some(session), 8, at(9)).unwrap();
        assert_eq!(back(&policy, &moved, at(9)).unwrap().endpoint, 8);
    }

    #[test]
    fn sessions_end() {
        let policy = cookies(Some(100), Some(10), true);
        let (_, first) = told(&policy, None, 7, at(0)).unwrap();
        assert!(first.contains("; Max-Age=100;"), "{first}");
        assert!(back(&policy, &first, at(9)).is_some());
        assert!(back(&policy, &first, at(10)).is_none(), "it was idle");
        let session = back(&policy, &first, at(9)).unwrap();
        let (_, used) = told(&policy, Some(session), 7, at(9)).unwrap();
        assert!(used.contains("; Max-Age=91;"), "its use does not make it longer: {used}");
        assert!(back(&policy, &used, at(18)).is_some());
        let mut last = used;
        for second in (18..100).step_by(9) {
            let session = back(&policy, &last, at(second)).unwrap();
            last = told(&policy, Some(session), 7, at(second)).unwrap().1;
        }
        assert!(back(&policy, &last, at(99)).is_some());
        assert!(back(&policy, &last, at(100)).is_none(), "it has lasted for long enough");
        assert!(back(&policy, &last, at(0)).is_some(), "a clock that is behind ends nothing");
    }

    #[test]
    fn a_token_from_the_future_lasts_no_longer() {
        let policy = cookies(Some(100), Some(10), true);
        for began in [u64::MAX, at(50).as_secs()] {
            let token = format!("s={:016x}-{began:x}-0", 7);
            let mut head = RequestHead::default();
            head.fields.append("cookie", token.as_bytes());
            let asked = asked(&policy, &head, at(0));
            assert_eq!(asked, None, "it was not used for long");
            let session = Session { endpoint: 7, began, used: at(0).as_secs() };
            let (_, told) = told(&policy, Some(session), 7, at(5)).unwrap();
            assert!(told.contains("; Max-Age=100;"), "{told}");
        }
    }

    #[test]
    fn headers_carry_the_same() {
        let name = HeaderName::new("x-session").unwrap();
        let policy = SessionPersistence {
            carrier: SessionCarrier::Header(name),
            absolute: None,
            idle: None,
        };
        let (name, token) = told(&policy, None, 7, at(0)).unwrap();
        let mut head = RequestHead::default();
        head.fields.append(name, token.as_bytes());
        assert_eq!(asked(&policy, &head, at(1)).unwrap().endpoint, 7);
    }

    #[test]
    fn what_is_no_token_is_no_session() {
        for wrong in [
            "",
            "7",
            "7-1",
            "7-1-1-1",
            "-1-1",
            "+7-1-1",
            "g-1-1",
            "7-1-1 ",
            "10000000000000000-1-1",
        ] {
            assert_eq!(Session::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(token: Vec<u8>) {
            if let Some(session) = Session::read(&token) {
                prop_assert_eq!(Session::read(session.written().as_bytes()), Some(session));
            }
        }
    }
}
