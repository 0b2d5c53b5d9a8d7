//! Bytes that are no query, or hardly one.

use proptest::prelude::*;
use weft_dns::{Malformed, Query, Response, Transport, respond};

use crate::{A, ask, lookup, query, reply, with_edns, zones};

fn code(message: &[u8]) -> u16 {
    reply(message).code()
}

#[test]
fn what_cannot_be_answered_is_ignored() {
    let whole = query("cart", A);
    for end in 0..12 {
        assert_eq!(ask(&whole[..end]), Response::Ignore);
    }
    let mut answer = whole;
    answer[2] |= 0x80;
    assert_eq!(ask(&answer), Response::Ignore, "two servers would answer each other for ever");
}

#[test]
fn what_is_not_well_formed_is_said_to_be() {
    let whole = query("cart", A);
    for end in 12..whole.len() {
        assert_eq!(code(&whole[..end]), 1, "{end} bytes");
    }
    let with = |at: usize, byte: u8| {
        let mut message = query("cart", A);
        message[at] = byte;
        message
    };
    assert_eq!(code(&[&whole[..], b"x"].concat()), 1, "a byte too many");
    assert_eq!(code(&with(5, 0)), 1, "no question");
    assert_eq!(code(&with(5, 2)), 1, "two questions");
    assert_eq!(code(&with(4, 1)), 1, "257 questions");
    assert_eq!(code(&with(7, 1)), 1, "an answer");
    assert_eq!(code(&with(9, 1)), 1, "an authority");
    assert_eq!(code(&with(11, 1)), 1, "an extension that is not there");
    assert_eq!(code(&with(2, 0x03)), 1, "truncated");
    assert_eq!(code(&with(12, 0xc0)), 1, "a pointer");
    assert_eq!(code(&with(12, 0x44)), 1, "a label of no known kind");
    assert_eq!(code(&with(2, 0x11)), 4, "an inverse query");
    assert_eq!(code(&with(2, 0x29)), 4, "an update");
    assert_eq!(code(&with(whole.len() - 1, 3)), 5, "the class CHAOS");
}

#[test]
fn a_dot_within_a_label_makes_no_two_of_it() {
    let mut message = query("cart-shop", A);
    message[17] = b'.';
    assert_eq!(code(&message), 3);
}

#[test]
fn a_broken_extension_is_not_passed_over() {
    let whole = with_edns(query("www.example.com", A), 1232, 0);
    assert!(matches!(ask(&whole), Response::Forward(_)));
    let at = whole.len() - 11;
    for (place, byte) in [(at, 1), (at + 2, 16), (at + 10, 1), (11, 2)] {
        let mut broken = whole.clone();
        broken[place] = byte;
        assert_eq!(code(&broken), 1, "byte {place}");
    }
    assert_eq!(code(&[&whole[..], &whole[at..]].concat()), 1, "two of them");
    let mut options = whole.clone();
    options[at + 10] = 4;
    options.extend_from_slice(&[0, 10, 0, 0]);
    assert!(matches!(ask(&options), Response::Forward(_)), "options are tolerated");
}

/// Whatever comes, an answer is bounded, well formed and of the right id, and only a query that was
/// read in full is handed on.
fn holds(message: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        match respond(message, &zones(), transport, lookup) {
            Response::Ignore => assert!(message.len() < 12 || message[2] & 0x80 != 0),
            Response::Forward(query) => {
                assert_eq!(query.message(), message);
                assert_eq!(Query::parse(query.message()), Ok(query.clone()));
                assert!(query.failed()[2] & 0x80 != 0);
            }
            Response::Reply(answer) => {
                assert!(answer.len() >= 12 && answer[..2] == message[..2]);
                assert!(answer[2] & 0x80 != 0);
                assert!(transport == Transport::Tcp || answer.len() <= 4096);
                // An answer must not look like a query to be answered.
                assert_eq!(Query::parse(&answer), Err(Malformed::Ignored));
            }
        }
    }
}

#[test]
fn changed_bytes_do_no_harm() {
    let seeds = [
        query("cart", A),
        query("cart.shop.svc.cluster.local", 28),
        with_edns(query("www.example.com", A), 1232, 0),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % end
    };
    for _ in 0..60_000 {
        let mut message = seeds[below(seeds.len())].clone();
        for _ in 0..=below(4) {
            let place = below(message.len());
            match below(4) {
                0 => message[place] = u8::try_from(below(256)).unwrap(),
                1 => message[place] ^= 1 << below(8),
                2 => message.truncate(place.max(1)),
                _ => message.insert(place, u8::try_from(below(256)).unwrap()),
            }
        }
        holds(&message);
    }
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(message in prop::collection::vec(any::<u8>(), 0..600)) {
        holds(&message);
    }

    #[test]
    fn any_question_does_no_harm(
        labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..63), 0..6),
        kind: u16,
        class: u16,
    ) {
        let mut message = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
        for label in &labels {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label);
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&class.to_be_bytes());
        holds(&message);
        // All names that are not too long are read.
        prop_assert_eq!(Query::parse(&message).is_ok(), message.len() - 12 - 4 <= 255);
    }
}
