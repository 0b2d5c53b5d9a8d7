//! What an application says about the trace that it takes part in reaches the next one.

use crate::talk::{Talk, play};

#[test]
fn contexts_of_both_kinds_pass_unchanged() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let w3c = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\ntracestate: a=b,c=d\n");
    let single = format!("b3: {trace}-00f067aa0ba902b7-1-05e3ac9a4f6e3b90\n");
    let several = format!(
        "x-b3-traceid: {trace}\nx-b3-spanid: 00f067aa0ba902b7\n\
         x-b3-parentspanid: 05e3ac9a4f6e3b90\nx-b3-sampled: 1\nx-b3-flags: 1\n"
    );
    let ok = "HTTP/1.1 200 OK\nContent-Length: 2\n\nok";
    let talk = |name, fields: &str| {
        let get = format!("GET / HTTP/1.1\nHost: a\n{fields}\n");
        Talk::new(name).sends(&get).app_gets(&get).app_sends(ok).gets(ok)
    };
    play([
        talk("W3C", &w3c),
        talk("B3 in one field", &single),
        talk("B3 in several fields", &several),
        talk("both", &(w3c + &single)),
    ]);
}
