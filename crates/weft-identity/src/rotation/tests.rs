//! Rotations that go on, wait, are aborted and resumed.

use super::*;

fn root(number: u8) -> KeyHash {
    KeyHash::from([number; 32])
}

fn fleet(proxies: &[(&str, Option<(u64, u8)>)]) -> Fleet {
    let acknowledged = |(sequence, number)| Acknowledged { sequence, root: root(number) };
    let entry = |&(name, state): &(&str, Option<_>)| (name.to_owned(), state.map(acknowledged));
    proxies.iter().map(entry).collect()
}

fn names(waiting: &[Waiting]) -> Vec<String> {
    waiting.iter().map(ToString::to_string).collect()
}

#[test]
fn a_rotation_goes_through_each_state_once_all_are_ready() {
    let steady = Rotation::Steady { root: root(1) };
    assert_eq!((steady.trusted(), steady.signing()), (vec![root(1)], root(1)));

    let distributing = steady.start(root(2), 8).unwrap();
    assert_eq!(distributing, Rotation::Distributing { old: root(1), new: root(2), sequence: 8 });
    assert_eq!(distributing.trusted(), [root(1), root(2)]);
    assert_eq!((distributing.signing(), distributing.sequence()), (root(1), Some(8)));

    let signing = distributing.advance(&fleet(&[("a", Some((8, 1))), ("b", Some((9, 1)))]), 9);
    assert_eq!(signing, Rotation::Signing { old: root(1), new: root(2), sequence: 8 });
    assert_eq!(signing.trusted(), [root(1), root(2)]);
    assert_eq!((signing.signing(), signing.sequence()), (root(2), Some(8)));

    let withdrawing = signing.advance(&fleet(&[("a", Some((8, 2))), ("b", Some((9, 2)))]), 10);
    assert_eq!((withdrawing.trusted(), withdrawing.signing()), (vec![root(2)], root(2)));
    assert_eq!(withdrawing.sequence(), Some(10));

    let end = withdrawing.advance(&fleet(&[("a", Some((10, 2))), ("b", Some((11, 2)))]), 12);
    assert_eq!(end, Rotation::Steady { root: root(2) });
    assert_eq!(end.advance(&Fleet::new(), 13), end);
}

#[test]
fn it_names_whom_it_waits_for_and_stays() {
    let old = root(1);
    let (new, sequence) = (root(2), 8);
    let fleet =
        fleet(&[("a", Some((8, 1))), ("b", Some((7, 1))), ("c", None), ("d", Some((8, 2)))]);
    let table = [
        (Rotation::Steady { root: old }, vec![]),
        (
            Rotation::Distributing { old, new, sequence },
            vec!["b holds trust bundle 7, and 8 is wanted", "c has not been heard of"],
        ),
        (
            Rotation::Withdrawing { kept: new, withdrawn: old, sequence },
            vec!["b holds trust bundle 7, and 8 is wanted", "c has not been heard of"],
        ),
    ];
    for (state, expected) in table {
        assert_eq!(names(&state.waiting_for(&fleet)), expected, "{state:?}");
        assert_eq!(state.advance(&fleet, 9), state);
    }
    let signing = Rotation::Signing { old, new, sequence };
    let waiting = signing.waiting_for(&fleet);
    let below_old = format!("a has a certificate below the old root {old}");
    let expected =
        [&below_old, "b holds trust bundle 7, and 8 is wanted", "c has not been heard of"];
    assert_eq!(names(&waiting), expected);
    assert_eq!(signing.advance(&fleet, 9), signing);
}

#[test]
fn it_can_be_aborted_until_signing_begins() {
    let steady = Rotation::Steady { root: root(1) };
    let distributing = steady.start(root(2), 8).unwrap();
    let withdrawing = distributing.abort(9).unwrap();
    assert_eq!((withdrawing.trusted(), withdrawing.signing()), (vec![root(1)], root(1)));
    let end = withdrawing.advance(&fleet(&[("a", Some((9, 1)))]), 10);
    assert_eq!(end, steady);

    assert_eq!(steady.abort(9), Err(RotationError::Idle));
    let signing = Rotation::Signing { old: root(1), new: root(2), sequence: 8 };
    assert_eq!(signing.abort(9), Err(RotationError::TooLate { new: root(2) }));
    assert_eq!(withdrawing.abort(9), Err(RotationError::TooLate { new: root(1) }));
}

#[test]
fn one_rotation_at_a_time() {
    let steady = Rotation::Steady { root: root(1) };
    assert_eq!(steady.start(root(1), 8), Err(RotationError::SameRoot(root(1))));
    let distributing = steady.start(root(2), 8).unwrap();
    for state in [
        distributing.clone(),
        Rotation::Signing { old: root(1), new: root(2), sequence: 8 },
        Rotation::Withdrawing { kept: root(2), withdrawn: root(1), sequence: 9 },
    ] {
        let error = state.start(root(3), 10).unwrap_err();
        assert_eq!(error, RotationError::UnderWay { old: root(1), new: root(2) });
    }
}

#[test]
fn each_state_is_resumed_from_its_serialised_form() {
    let (old, new, sequence) = (root(1), root(2), 8);
    for state in [
        Rotation::Steady { root: old },
        Rotation::Distributing { old, new, sequence },
        Rotation::Signing { old, new, sequence },
        Rotation::Withdrawing { kept: new, withdrawn: old, sequence },
    ] {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<Rotation>(&text).unwrap(), state, "{text}");
    }
    let hash = "01".repeat(32);
    let text = format!(r#"{{"state":"steady","root":"{hash}"}}"#);
    assert_eq!(serde_json::from_str::<Rotation>(&text).unwrap(), Rotation::Steady { root: old });
    for wrong in [
        r#"{"state":"steady"}"#.to_owned(),
        r#"{"state":"steady","root":"01"}"#.to_owned(),
        format!(r#"{{"state":"unknown","root":"{hash}"}}"#),
        format!(r#"{{"state":"steady","root":"{hash}","more":1}}"#),
    ] {
        assert!(serde_json::from_str::<Rotation>(&wrong).is_err(), "{wrong}");
    }
}

proptest::proptest! {
    /// Whatever proxies report, in whatever order: what signs is trusted by all, and nothing is
    /// withdrawn that somebody's certificate still needs.
    #[test]
    fn nobody_is_left_behind(
        reports in proptest::collection::vec((0usize..4, 0u64..20, 1u8..3), 0..80),
    ) {
        let mut state = Rotation::Steady { root: root(1) }.start(root(2), 8).unwrap();
        let mut fleet = fleet(&[("a", None), ("b", None), ("c", None), ("d", None)]);
        let mut next_sequence = 9;
        for (proxy, sequence, issuer) in reports {
            let name = ["a", "b", "c", "d"][proxy].to_owned();
            fleet.insert(name, Some(Acknowledged { sequence, root: root(issuer) }));
            let next = state.advance(&fleet, next_sequence);
            let all = |is: &dyn Fn(Acknowledged) -> bool| fleet.values().all(|a| a.is_some_and(is));
            if next.signing() != state.signing() {
                proptest::prop_assert!(all(&|a| a.sequence >= 8));
            }
            if next.trusted().len() < state.trusted().len() {
                proptest::prop_assert!(all(&|a| a.root == next.signing()));
            }
            proptest::prop_assert!(next.trusted().contains(&next.signing()));
            next_sequence += u64::from(next != state);
            state = next;
        }
    }
}
