//! What a real Kubernetes API server says of the objects that Weft reads.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[expect(dead_code, reason = "what Weft says is for the other test")]
mod corpus;
mod server;

use corpus::{Case, Verdict};
use server::{Answer, Channel, Server};

/// Whether `answer` is what is said of `case`.
fn agrees(case: &Case, channel: Channel, answer: &Answer) -> bool {
    let is_taken = match case.verdict {
        Verdict::Right | Verdict::Stricter => true,
        Verdict::Wrong => false,
        Verdict::Experimental => channel == Channel::Experimental,
        Verdict::Standard => channel == Channel::Standard,
    };
    match answer {
        Answer::Taken => is_taken,
        Answer::Refused { .. } if is_taken => false,
        Answer::Refused { fields, .. } => {
            // Where the channels differ, Weft names no field.
            case.verdict != Verdict::Wrong || *fields == [case.kubernetes.as_str()]
        }
    }
}

fn check(channel: Channel) {
    let cases = corpus::cases();
    let answers = Server::start(channel).create(&cases);
    assert_eq!(answers.len(), cases.len());
    let mut differ = Vec::new();
    for (case, answer) in cases.iter().zip(&answers) {
        if !agrees(case, channel, answer) {
            let Case { name, verdict, kubernetes, yaml, .. } = case;
            differ.push(format!("{verdict:?} {name} at {kubernetes}: {answer:?}\n{yaml}"));
        }
    }
    assert!(differ.is_empty(), "{} cases differ:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn the_standard_channel_says_the_same() {
    check(Channel::Standard);
}

#[test]
fn the_experimental_channel_says_the_same() {
    check(Channel::Experimental);
}
