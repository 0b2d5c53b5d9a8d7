//! Outcomes, policies and waits.

use proptest::collection::btree_set;
use proptest::option::of;
use proptest::prelude::*;
use weft_model::TimeBound;

use super::*;

fn tried(outcome: Outcome) -> Tried {
    Tried {
        retries: 0,
        outcome,
        is_replayable: true,
        is_idempotent: true,
        is_marked: false,
        has_budget: true,
        left: None,
    }
}

fn bound(millis: u64) -> TimeBound {
    TimeBound::from_millis(millis).unwrap()
}

fn policy() -> Retry {
    Retry {
        retries_max: 2,
        statuses: [RetryStatus::new(503).unwrap()].into(),
        backoff_base: bound(20),
        backoff_max: bound(50),
    }
}

fn goes_on(policy: Option<&Retry>, tried: Tried) -> bool {
    after(policy, &tried, 0.5) != Next::Stop
}

#[test]
fn without_a_policy_only_what_is_safe_is_sent_again() {
    let post = |outcome| Tried { is_idempotent: false, ..tried(outcome) };
    assert!(goes_on(None, tried(Outcome::Unprocessed)));
    assert!(goes_on(None, post(Outcome::Unprocessed)));
    assert!(goes_on(None, tried(Outcome::BrokeWhenReused)));
    assert!(!goes_on(None, post(Outcome::BrokeWhenReused)));
    assert!(!goes_on(None, tried(Outcome::Unknown)));
    assert!(!goes_on(None, tried(Outcome::Answered(503))));
    assert!(!goes_on(None, tried(Outcome::FailedBehind(502))));
    let thrice = Tried { retries: FREE_RETRIES_MAX, ..tried(Outcome::Unprocessed) };
    assert!(!goes_on(None, thrice));
    assert_eq!(after(None, &tried(Outcome::Unprocessed), 0.9), Next::RetryAfter(Duration::ZERO));
}

#[test]
fn a_policy_is_kept_to() {
    let policy = Some(policy());
    let policy = policy.as_ref();
    assert!(goes_on(policy, tried(Outcome::Answered(503))));
    assert!(!goes_on(policy, tried(Outcome::Answered(500))));
    assert!(!goes_on(policy, tried(Outcome::Answered(200))));
    assert!(!goes_on(policy, Tried { retries: 2, ..tried(Outcome::Answered(503)) }));
    assert!(goes_on(policy, tried(Outcome::Unknown)));
    let post = |outcome| Tried { is_idempotent: false, ..tried(outcome) };
    assert!(!goes_on(policy, post(Outcome::Unknown)));
    assert!(!goes_on(policy, tried(Outcome::Refused)));
    // It is a failure, whoever tells of it.
    assert!(goes_on(policy, tried(Outcome::FailedBehind(502))));
    assert!(!goes_on(policy, post(Outcome::FailedBehind(502))));
    // Who lists a status means all methods.
    assert!(goes_on(policy, post(Outcome::Answered(503))));
    assert!(goes_on(policy, post(Outcome::FailedBehind(503))));
    let never = Retry { retries_max: 0, ..self::policy() };
    assert!(!goes_on(Some(&never), tried(Outcome::Answered(503))));
    // "An explicit zero value MUST disable retries."
    assert!(!goes_on(Some(&never), tried(Outcome::Unprocessed)));
    assert!(!goes_on(policy, Tried { retries: 2, ..tried(Outcome::Unprocessed) }));
    assert!(goes_on(policy, Tried { retries: 1, ..tried(Outcome::Unprocessed) }));
}

#[test]
fn nothing_is_sent_again_that_was_already_or_has_no_budget() {
    for outcome in [Outcome::Answered(503), Outcome::Unprocessed, Outcome::Unknown] {
        for policy in [None, Some(&policy())] {
            assert!(!goes_on(policy, Tried { is_marked: true, ..tried(outcome) }));
            assert!(!goes_on(policy, Tried { has_budget: false, ..tried(outcome) }));
            assert!(!goes_on(policy, Tried { is_replayable: false, ..tried(outcome) }));
        }
    }
}

#[test]
fn unavailable_without_a_message_is_503() {
    let outcome = Outcome::of_answer(200, Some(14));
    assert_eq!(outcome, Outcome::Answered(503));
    assert!(goes_on(Some(&policy()), tried(outcome)));
    assert!(!goes_on(None, tried(outcome)));
    assert_eq!(Outcome::of_answer(200, Some(13)), Outcome::Answered(200));
    assert_eq!(Outcome::of_answer(200, None), Outcome::Answered(200));
    assert_eq!(Outcome::of_answer(404, Some(14)), Outcome::Answered(404));
}

#[test]
fn waits_double_up_to_a_limit_and_end_before_the_deadline() {
    let wait = |retries, left| {
        let policy = Retry { retries_max: 9, ..policy() };
        after(Some(&policy), &Tried { retries, left, ..tried(Outcome::Answered(503)) }, 0.5)
    };
    assert_eq!(wait(0, None), Next::RetryAfter(Duration::from_millis(10)));
    assert_eq!(wait(1, None), Next::RetryAfter(Duration::from_millis(20)));
    assert_eq!(wait(8, None), Next::RetryAfter(Duration::from_millis(25)));
    assert_eq!(
        wait(0, Some(Duration::from_millis(11))),
        Next::RetryAfter(Duration::from_millis(10))
    );
    assert_eq!(wait(0, Some(Duration::from_millis(10))), Next::Stop);
    let over = Tried { left: Some(Duration::ZERO), ..tried(Outcome::Unprocessed) };
    assert_eq!(after(None, &over, 0.0), Next::Stop);
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (200..600u16).prop_map(Outcome::Answered),
        (500..600u16).prop_map(Outcome::FailedBehind),
        Just(Outcome::Answered(503)),
        Just(Outcome::Unprocessed),
        Just(Outcome::Refused),
        Just(Outcome::BrokeWhenReused),
        Just(Outcome::Unknown),
    ]
}

prop_compose! {
    fn facts()(
        retries in 0..6u32,
        outcome in outcomes(),
        flags: [bool; 4],
        left in of(0..100u64),
    ) -> Tried {
        let [is_replayable, is_idempotent, is_marked, has_budget] = flags;
        let left = left.map(Duration::from_millis);
        Tried { retries, outcome, is_replayable, is_idempotent, is_marked, has_budget, left }
    }
}

prop_compose! {
    fn policies()(
        retries_max in 0..5u32,
        statuses in btree_set(prop_oneof![Just(503u16), 400..600u16], 0..4),
        base in prop_oneof![1..100u64, Just(u64::MAX)],
        max in prop_oneof![1..500u64, Just(u64::MAX)],
    ) -> Retry {
        let statuses = statuses.into_iter().map(|code| RetryStatus::new(code).unwrap()).collect();
        Retry { retries_max, statuses, backoff_base: bound(base), backoff_max: bound(max) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1024, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn what_may_have_been_processed_needs_a_policy(
        policy in of(policies()),
        tried in facts(),
        jitter in 0.0..1.0f64,
    ) {
        let Next::RetryAfter(delay) = after(policy.as_ref(), &tried, jitter) else { return Ok(()) };
        prop_assert!(tried.is_replayable && tried.has_budget && !tried.is_marked);
        prop_assert!(tried.left.is_none_or(|left| delay < left));
        let (retries_max, longest) =
            policy.as_ref().map_or((0, Duration::ZERO), |policy| {
                (policy.retries_max, policy.backoff_max.duration())
            });
        prop_assert!(delay <= longest);
        let most = policy.as_ref().map_or(FREE_RETRIES_MAX, |policy| policy.retries_max);
        prop_assert!(tried.retries < most);
        match tried.outcome {
            Outcome::Unprocessed => {}
            Outcome::Refused => unreachable!("it is refused the next time too"),
            Outcome::BrokeWhenReused => prop_assert!(tried.is_idempotent),
            Outcome::Unknown => {
                prop_assert!(tried.is_idempotent && tried.retries < retries_max);
            }
            Outcome::FailedBehind(status) => {
                let policy = policy.expect("without one no answer is refused");
                let mut statuses = policy.statuses.iter();
                let is_listed = statuses.any(|listed| listed.get() == status);
                prop_assert!(is_listed || tried.is_idempotent);
                prop_assert!(tried.retries < retries_max);
            }
            Outcome::Answered(status) => {
                let policy = policy.expect("without one no answer is refused");
                prop_assert!(policy.statuses.iter().any(|listed| listed.get() == status));
                prop_assert!(tried.retries < retries_max);
            }
        }
    }
}
