//! Whether an application serves, by what checks of it have come to.

use std::time::Duration;

use weft_model::{HealthCheck, Probe};

/// What is known of an application by one check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fares {
    is_healthy: Option<bool>,
    /// Results in a row that say otherwise.
    against: u32,
}

impl Fares {
    /// Whether it serves, as far as anybody knows: what was not checked yet is taken to.
    pub fn is_healthy(&self) -> bool {
        self.is_healthy.unwrap_or(true)
    }

    /// Takes in whether it has passed `check`, and says whether it fares otherwise from now on.
    ///
    /// The first result decides alone, since there is nothing that it could be weighed against: a
    /// program that is still starting is not called.
    pub fn observe(&mut self, check: &HealthCheck, has_passed: bool) -> bool {
        if self.is_healthy == Some(has_passed) {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        let needed = if has_passed { check.successes } else { check.failures };
        let is_new = self.is_healthy.is_none() || self.against >= needed.get();
        if is_new {
            let before = self.is_healthy();
            *self = Fares { is_healthy: Some(has_passed), against: 0 };
            return before != has_passed;
        }
        false
    }
}

/// How long after a check the next one begins, a tenth more or less: programs that were started
/// together are not asked together for ever. `jitter` is drawn by the caller from `0.0..1.0`.
pub fn pause(check: &HealthCheck, jitter: f64) -> Duration {
    debug_assert!((0.0..1.0).contains(&jitter));
    check.interval.duration().mul_f64(0.9 + jitter / 5.0)
}

/// What a probe was answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// That of gRPC, if there is one.
    pub grpc_status: Option<u32>,
    /// The body, of a long one a part.
    pub body: Vec<u8>,
}

/// Whether `answer` to `probe` means health.
///
/// # Errors
/// What is wrong with it, for people.
pub fn judge(probe: &Probe, answer: &Answer) -> Result<(), String> {
    let Answer { status, grpc_status, body } = answer;
    let is_expected = match probe {
        Probe::Http { statuses, .. } if !statuses.is_empty() => statuses.contains(status),
        Probe::Http { .. } => (200..300).contains(status),
        Probe::Grpc { .. } => *status == 200,
        Probe::Tcp => true,
    };
    if !is_expected {
        return Err(format!("it answers {status}"));
    }
    match (probe, grpc_status) {
        (Probe::Http { .. } | Probe::Tcp, _) => Ok(()),
        (Probe::Grpc { .. }, Some(0)) if body.starts_with(SERVING) => Ok(()),
        (Probe::Grpc { .. }, Some(0)) => Err("it answers that it does not serve".to_owned()),
        (Probe::Grpc { .. }, Some(status)) => Err(format!("it answers the gRPC status {status}")),
        (Probe::Grpc { .. }, None) => Err("it answers without a gRPC status".to_owned()),
    }
}

/// A message of two bytes, which says that the first field, `status`, is 1: SERVING. The bytes
/// before it are gRPC's: not compressed, and the length.
///
/// Source: gRPC's `health.proto` (`grpc.health.v1`), and "gRPC over HTTP2".
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 1];

/// The message that asks how `service` fares, the same way: the first field is its name.
pub fn grpc_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    // A field that is empty is left out.
    if !service.is_empty() {
        message.push(0x0a);
        push_varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

/// Seven bits to a byte, the low ones first; the highest bit says that more follow.
fn push_varint(mut number: usize, to: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return to.push(low);
        }
        to.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use weft_model::{HttpPath, Port, TimeBound};

    use super::*;

    fn check(failures: u32, successes: u32) -> HealthCheck {
        HealthCheck {
            port: Port::new(80).unwrap(),
            probe: Probe::Tcp,
            interval: TimeBound::from_millis(10_000).unwrap(),
            timeout: TimeBound::from_millis(1_000).unwrap(),
            failures: NonZeroU32::new(failures).unwrap(),
            successes: NonZeroU32::new(successes).unwrap(),
        }
    }

    /// What is known after each of some results, and when that was new.
    fn after(check: &HealthCheck, results: &[bool]) -> Vec<(bool, bool)> {
        let mut fares = Fares::default();
        assert!(fares.is_healthy());
        let observe = |passed: &bool| (fares.observe(check, *passed), fares.is_healthy());
        results.iter().map(observe).collect()
    }

    #[test]
    fn several_in_a_row_are_needed_but_for_the_first() {
        const NEW: bool = true;
        assert_eq!(after(&check(3, 1), &[false]), [(NEW, false)]);
        assert_eq!(after(&check(3, 2), &[true]), [(!NEW, true)]);
        let results = [true, false, false, true, false, false, false, false, true];
        let found: Vec<_> = after(&check(3, 1), &results).into_iter().map(|it| it.1).collect();
        assert_eq!(found, [true, true, true, true, true, true, false, false, true]);
        let (old, new) = ((!NEW, false), (NEW, true));
        assert_eq!(
            after(&check(1, 3), &[false, true, true, false, true, true, true]),
            [(NEW, false), old, old, old, old, old, new]
        );
    }

    #[test]
    fn what_an_answer_means() {
        let http = |statuses: &[u16], status| {
            let statuses = statuses.iter().copied().collect();
            let probe = Probe::Http { path: HttpPath::new("/").unwrap(), statuses };
            judge(&probe, &Answer { status, ..Answer::default() }).is_ok()
        };
        assert!(http(&[], 200) && http(&[], 204) && !http(&[], 302) && !http(&[], 503));
        assert!(http(&[302, 503], 503) && !http(&[302, 503], 200));
        let grpc = |grpc_status, body: &[u8]| {
            let answer = Answer { status: 200, grpc_status, body: body.to_vec() };
            judge(&Probe::Grpc { service: "".into() }, &answer)
        };
        assert_eq!(grpc(Some(0), SERVING), Ok(()));
        // NOT_SERVING, and UNKNOWN, which is left out as it is 0.
        for body in [&[0, 0, 0, 0, 2, 0x08, 2][..], &[0, 0, 0, 0, 0], &[]] {
            assert!(grpc(Some(0), body).is_err(), "{body:?}");
        }
        assert_eq!(grpc(Some(12), SERVING), Err("it answers the gRPC status 12".to_owned()));
        assert!(grpc(None, SERVING).is_err());
    }

    #[test]
    fn a_question_of_grpc_has_its_length_and_the_name() {
        assert_eq!(grpc_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(grpc_request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = grpc_request(&"a".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
        assert_eq!(long.len(), 208);
    }

    #[test]
    fn pauses_are_spread_around_the_interval() {
        let check = check(1, 1);
        assert_eq!(pause(&check, 0.0), Duration::from_secs(9));
        assert_eq!(pause(&check, 0.5), Duration::from_secs(10));
        assert!(pause(&check, 0.999) < Duration::from_secs(11));
    }
}
