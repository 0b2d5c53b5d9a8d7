//! What comes back from a resolver.

use weft_dns::{Transport, id_of, set_id};

use crate::{A, AAAA, Reply, forwarded, query, with_edns};

/// An answer to `asked` with `id`, of `length` bytes in all.
fn answer(asked: &[u8], id: u16, length: usize) -> Vec<u8> {
    let mut message = asked.to_vec();
    set_id(&mut message, id);
    message[2] |= 0x80;
    message.resize(length.max(message.len()), 0);
    message
}

#[test]
fn only_an_answer_to_this_very_question_is_taken() {
    let asked = query("www.example.com", A);
    let pending = forwarded(&asked);
    let good = answer(&asked, 7, 0);
    assert!(pending.is_answered_by(&good, 7));
    assert!(!pending.is_answered_by(&good, 8), "another id");
    assert!(!pending.is_answered_by(&asked, 0x1234), "a question");
    assert!(!pending.is_answered_by(&answer(&query("www.example.com", AAAA), 7, 0), 7));
    assert!(!pending.is_answered_by(&answer(&query("www.example.org", A), 7, 0), 7));
    assert!(pending.is_answered_by(&answer(&query("WWW.example.com", A), 7, 0), 7));
    for end in 0..good.len() {
        assert!(!pending.is_answered_by(&good[..end], 7), "{end} bytes");
    }
}

#[test]
fn an_answer_gets_the_querys_id_and_its_bound() {
    let asked = query("www.example.com", A);
    let pending = forwarded(&asked);
    let relayed = pending.relayed(answer(&asked, 7, 512), Transport::Udp);
    assert_eq!((id_of(&relayed), relayed.len()), (Some(0x1234), 512));
    let cut = pending.relayed(answer(&asked, 7, 513), Transport::Udp);
    assert!(Reply::read(&cut).is_truncated());
    assert_eq!(pending.relayed(answer(&asked, 7, 5_000), Transport::Tcp).len(), 5_000);
    let extended = forwarded(&with_edns(asked.clone(), 1_232, 0));
    assert_eq!(extended.relayed(answer(&asked, 7, 1_232), Transport::Udp).len(), 1_232);
}

#[test]
fn a_query_that_nobody_answers_has_failed() {
    let pending = forwarded(&with_edns(query("www.example.com", A), 1_232, 0));
    assert_eq!(Reply::read(&pending.failed()).code(), 2);
}
