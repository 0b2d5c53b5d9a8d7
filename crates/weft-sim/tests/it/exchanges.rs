//! Requests and answers in raw bytes, through one proxy and through two.

use crate::talk::{Last, Talk, play};
use crate::*;

const GET: &str = "GET / HTTP/1.1\nHost: a\n\n";
const OK: &str = "HTTP/1.1 200 OK\nContent-Length: 2\n\nok";

#[test]
fn requests_and_answers_pass_unchanged() {
    play([
        Talk::new("a GET").sends(GET).app_gets(GET).app_sends(OK).gets(OK),
        Talk::new("order and case of fields are kept")
            .sends("GET /a?b HTTP/1.1\nhOST: a\nX-b: 1\nx-A: 2\nX-B: 3\n\n")
            .app_gets("GET /a?b HTTP/1.1\nhOST: a\nX-b: 1\nx-A: 2\nX-B: 3\n\n")
            .app_sends(
                "HTTP/1.1 200 Fine\nset-cookie: a\nX: 1\nSet-Cookie: b\ncontent-length: 0\n\n",
            )
            .gets("HTTP/1.1 200 Fine\nset-cookie: a\nX: 1\nSet-Cookie: b\ncontent-length: 0\n\n"),
        Talk::new("a body of stated length")
            .sends("POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello")
            .app_gets("POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello")
            .app_sends(OK)
            .gets(OK),
        Talk::new("an empty body of stated length")
            .sends("POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n")
            .app_gets("POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n")
            .app_sends("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
            .gets("HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        Talk::new("an empty chunked body with a trailer")
            .sends("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\nX-T: 1\n\n")
            .app_gets("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\nX-T: 1\n\n")
            .app_sends("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\nX-U: 2\n\n")
            .gets("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\nX-U: 2\n\n"),
        Talk::new("bytes above ASCII in a field")
            .sends("GET / HTTP/1.1\nHost: a\nX: \u{e9}\tb\n\n")
            .app_gets("GET / HTTP/1.1\nHost: a\nX: \u{e9}\tb\n\n")
            .app_sends("HTTP/1.1 200\nX: \u{e9}\nContent-Length: 0\n\n")
            .gets("HTTP/1.1 200 \nX: \u{e9}\nContent-Length: 0\n\n"),
        Talk::new("empty lines before a request")
            .sends(format!("\n\n{GET}"))
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK)
            .sends(format!("\n{GET}"))
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
    ]);
}

#[test]
fn connections_are_kept_and_used_again() {
    play([
        Talk::new("two requests, one connection")
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK)
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("another caller's request on the connection of the first")
            .sends("GET / HTTP/1.1\nHost: a\nConnection: close\n\n")
            .app_gets(GET)
            .app_sends(OK)
            .gets("HTTP/1.1 200 OK\nContent-Length: 2\nConnection: close\n\nok")
            .ended()
            .calls_again()
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("a server that closes gets a new connection")
            .sends(GET)
            .app_gets(GET)
            .app_sends("HTTP/1.1 200 OK\nContent-Length: 2\nConnection: close\n\nok")
            .gets(OK)
            .app_ended()
            .sends(GET)
            .app_accepts()
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("a server that closes an idle connection")
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK)
            .app_leaves()
            .pause(seconds(1))
            .sends("POST / HTTP/1.1\nHost: a\n\n")
            .app_gets("POST / HTTP/1.1\nHost: a\n\n")
            .app_sends(OK)
            .gets(OK),
        Talk::new("what must not be sent twice gets no connection that was idle for long")
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK)
            .pause(seconds(1))
            .sends("POST / HTTP/1.1\nHost: a\n\n")
            .app_accepts()
            .app_gets("POST / HTTP/1.1\nHost: a\n\n")
            .app_sends(OK)
            .gets(OK),
        Talk::new("what may be sent twice gets one")
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK)
            .pause(seconds(1))
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("a server that closes as the request arrives: what is idempotent is sent again")
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK)
            .sends(GET)
            .app_gets(GET)
            .app_leaves()
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("an empty chunked body is sent again, its end included")
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK)
            .sends("PUT / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\nX: 1\n\n")
            .app_gets("PUT / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\nX: 1\n\n")
            .app_leaves()
            .app_gets("PUT / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\nX: 1\n\n")
            .app_sends(OK)
            .gets(OK),
    ]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let ask = |number: u32| format!("GET /{number} HTTP/1.1\nHost: a\n\n");
    let answer = |number: u32| format!("HTTP/1.1 200 OK\nContent-Length: 1\n\n{number}");
    let post = "POST /1 HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody";
    let chunked = "POST /1 HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n4\nbody\n0\n\n";
    play([
        Talk::new("three at once")
            .sends([ask(1), ask(2), ask(3)].concat())
            .app_gets(ask(1))
            .app_sends(answer(1))
            .app_gets(ask(2))
            .app_sends(answer(2))
            .app_gets(ask(3))
            .app_sends(answer(3))
            .gets([answer(1), answer(2), answer(3)].concat()),
        Talk::new("behind a body of stated length")
            .sends(format!("{post}{}", ask(2)))
            .app_gets(post)
            .app_sends(answer(1))
            .app_gets(ask(2))
            .app_sends(answer(2))
            .gets([answer(1), answer(2)].concat()),
        Talk::new("behind a chunked body")
            .sends(format!("{chunked}{}", ask(2)))
            .app_gets("POST /1 HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n")
            .app_gets_chunks("body", "")
            .app_sends(answer(1))
            .app_gets(ask(2))
            .app_sends(answer(2))
            .gets([answer(1), answer(2)].concat()),
        Talk::new("the connection ends behind the first")
            .sends("GET /1 HTTP/1.1\nHost: a\nConnection: close\n\nGET /2 HTTP/1.1\nHost: a\n\n")
            .app_gets(ask(1))
            .app_sends(answer(1))
            .gets("HTTP/1.1 200 OK\nContent-Length: 1\nConnection: close\n\n1")
            .ended(),
        Talk::new("a refused one does not take the others along")
            .sends(format!("GET /%zz HTTP/1.1\nHost: a\n\n{}", ask(2)))
            .answered(400, "bad-path", Last::No)
            .app_gets(ask(2))
            .app_sends(answer(2))
            .gets(answer(2)),
    ]);
}

#[test]
fn answers_without_a_body_have_none_whatever_they_state() {
    let head = "HEAD / HTTP/1.1\nHost: a\n\n";
    let stated = "HTTP/1.1 200 OK\nContent-Length: 5000\n\n";
    let not_modified = "HTTP/1.1 304 Not Modified\nContent-Length: 5000\nETag: \"a\"\n\n";
    let empty = "HTTP/1.1 204 No Content\nX: 1\n\n";
    play([
        Talk::new("HEAD, with a length")
            .sends(head)
            .app_gets(head)
            .app_sends(stated)
            .gets(stated)
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("HEAD, chunked")
            .sends(head)
            .app_gets(head)
            .app_sends("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n")
            .gets("HTTP/1.1 200 OK\n\n")
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("HEAD, with nothing stated")
            .sends(head)
            .app_gets(head)
            .app_sends("HTTP/1.1 200 OK\n\n")
            .gets("HTTP/1.1 200 OK\n\n")
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("304")
            .sends(GET)
            .app_gets(GET)
            .app_sends(not_modified)
            .gets(not_modified)
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("204")
            .sends(GET)
            .app_gets(GET)
            .app_sends(empty)
            .gets(empty)
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("204 that states a body: its bytes are nobody's answer")
            .sends(GET)
            .app_gets(GET)
            .app_sends("HTTP/1.1 204 No Content\nContent-Length: 40\nX: 1\n\n")
            .gets(empty)
            .app_ended()
            .sends("GET /2 HTTP/1.1\nHost: a\n\n")
            .app_accepts()
            .app_gets("GET /2 HTTP/1.1\nHost: a\n\n")
            .app_sends(OK)
            .gets(OK),
        Talk::new("204 in chunks")
            .sends(GET)
            .app_gets(GET)
            .app_sends("HTTP/1.1 204 No Content\nTransfer-Encoding: chunked\nX: 1\n\n0\n\n")
            .gets(empty)
            .app_ended(),
        Talk::new("bytes behind an answer end the use of the connection")
            .sends(GET)
            .app_gets(GET)
            .app_sends(format!("{OK}HTTP/1.1 200 OK\nContent-Length: 4\n\nevil"))
            .gets(OK)
            .pause(seconds(2))
            .sends(GET)
            .app_accepts()
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
    ]);
}

#[test]
fn informational_answers_pass() {
    let expecting = "POST / HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 4\n\n";
    let go_on = "HTTP/1.1 100 Continue\n\n";
    let hint = "HTTP/1.1 103 Early Hints\nLink: </a.css>\n\n";
    let eight = hint.repeat(8);
    play([
        Talk::new("100, then the body")
            .sends(expecting)
            .app_gets(expecting)
            .app_sends(go_on)
            .gets(go_on)
            .sends("body")
            .app_gets("body")
            .app_sends(OK)
            .gets(OK)
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("a final answer in place of 100: the server goes on reading")
            .sends(expecting)
            .app_gets(expecting)
            .app_sends("HTTP/1.1 401 Unauthorized\nContent-Length: 0\n\n")
            .gets("HTTP/1.1 401 Unauthorized\nContent-Length: 0\n\n")
            .pause(seconds(5))
            .sends(format!("body{GET}"))
            .app_gets("body")
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("a final answer in place of 100, and the end")
            .sends(expecting)
            .app_gets(expecting)
            .app_sends("HTTP/1.1 417 No\nContent-Length: 0\nConnection: close\n\n")
            .app_ends()
            .gets("HTTP/1.1 417 No\nContent-Length: 0\nConnection: close\n\n")
            .ended(),
        Talk::new("hints before an answer")
            .sends(GET)
            .app_gets(GET)
            .app_sends(hint)
            .gets(hint)
            .app_sends(format!("{go_on}{OK}"))
            .gets(format!("{go_on}{OK}")),
        Talk::new("the ninth is left out")
            .sends(GET)
            .app_gets(GET)
            .app_sends(format!("{eight}{hint}{OK}"))
            .gets(format!("{eight}{OK}")),
        Talk::new("callers of HTTP/1.0 do not know them")
            .sends("GET / HTTP/1.0\nHost: a\n\n")
            .app_gets(GET)
            .app_sends(format!("{hint}{OK}"))
            .gets("HTTP/1.1 200 OK\nContent-Length: 2\nConnection: close\n\nok")
            .ended(),
        Talk::new("one that states a body is no answer at all")
            .sends(GET)
            .app_gets(GET)
            .app_sends("HTTP/1.1 103 Early Hints\nContent-Length: 5\n\nhello")
            .answered(502, "upstream-malformed", Last::No),
    ]);
}

#[test]
fn answers_may_come_before_the_request_is_complete() {
    let post = "POST / HTTP/1.1\nHost: a\nContent-Length: 10\n\n";
    let chunked = "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n";
    let closing = "HTTP/1.1 413 No\nContent-Length: 2\nConnection: close\n\nno";
    play([
        Talk::new("the rest of the body still arrives, and the connection is kept")
            .sends(format!("{post}12345"))
            .app_gets(format!("{post}12345"))
            .app_sends(OK)
            .gets(OK)
            .pause(seconds(1))
            .sends("67890")
            .app_gets("67890")
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("both bodies flow at the same time")
            .sends(format!("{chunked}1\na\n"))
            .app_gets(format!("{chunked}1\na\n"))
            .app_sends("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\nA\n")
            .gets("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\nA\n")
            .sends("1\nb\n")
            .app_gets("1\nb\n")
            .app_sends("1\nB\n")
            .gets("1\nB\n")
            .sends("0\n\n")
            .app_gets("0\n\n")
            .app_sends("0\n\n")
            .gets("0\n\n")
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("a server that closes says so, and the caller is told")
            .sends(format!("{post}12345"))
            .app_gets(format!("{post}12345"))
            .app_sends(closing)
            .app_ends()
            .gets(closing)
            .ended(),
        Talk::new("a server that answers and leaves the rest unread")
            .sends(format!("{post}12345"))
            .app_gets(format!("{post}1234"))
            .app_sends(closing)
            .app_leaves()
            .gets(closing)
            .ended(),
        Talk::new("a server that closes without a word")
            .sends(format!("{post}12345"))
            .app_gets(format!("{post}12345"))
            .app_sends(OK)
            .gets(OK)
            .app_leaves()
            .ended(),
        Talk::new("a caller that leaves before its body is complete")
            .sends(format!("{post}12345"))
            .app_gets(format!("{post}12345"))
            .leaves()
            .app_ended(),
        Talk::new("Weft's own answer while the body is on its way says that it is the last")
            .sends("POST /%zz HTTP/1.1\nHost: a\nContent-Length: 10\n\n12345")
            .answered(400, "bad-path", Last::Yes)
            .ended(),
        Talk::new("Weft's own answer to what only says that it is gRPC, which is not spoken here")
            .sends("POST /%zz HTTP/1.1\nHost: a\nContent-Type: application/grpc\n")
            .sends("Content-Length: 0\n\n")
            .answered(400, "bad-path", Last::No),
        Talk::new("Weft's own answer to one that waits for 100")
            .sends("POST /%zz HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 10\n\n")
            .answered(400, "bad-path", Last::Yes)
            .ended(),
    ]);
}

#[test]
fn old_callers_are_spoken_to_in_their_way() {
    play([
        Talk::new("no keep-alive unless asked for")
            .sends("GET / HTTP/1.0\nHost: a\n\n")
            .app_gets(GET)
            .app_sends(OK)
            .gets("HTTP/1.1 200 OK\nContent-Length: 2\nConnection: close\n\nok")
            .ended(),
        Talk::new("keep-alive is confirmed")
            .sends("GET / HTTP/1.0\nHost: a\nConnection: Keep-Alive\n\n")
            .app_gets(GET)
            .app_sends(OK)
            .gets("HTTP/1.1 200 OK\nContent-Length: 2\nConnection: keep-alive\n\nok")
            .sends("GET / HTTP/1.0\nHost: a\n\n")
            .app_gets(GET)
            .app_sends(OK)
            .gets("HTTP/1.1 200 OK\nContent-Length: 2\nConnection: close\n\nok")
            .ended(),
        Talk::new("chunks are taken off, and the end of the connection ends the body")
            .sends("GET / HTTP/1.0\nHost: a\nConnection: keep-alive\n\n")
            .app_gets(GET)
            .app_sends("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\nX: 1\n\n")
            .gets("HTTP/1.1 200 OK\nConnection: close\n\nok")
            .ended(),
        Talk::new("no Host")
            .sends("GET / HTTP/1.0\n\n")
            .app_gets("GET / HTTP/1.1\nHost: 10.0.0.2:9001\n\n")
            .app_sends(OK)
            .gets("HTTP/1.1 200 OK\nContent-Length: 2\nConnection: close\n\nok")
            .ended(),
        Talk::new("an old server: its end is the body's")
            .sends(GET)
            .app_gets(GET)
            .app_sends("HTTP/1.0 200 OK\nX: 1\n\nhello")
            .gets("HTTP/1.1 200 OK\nX: 1\nTransfer-Encoding: chunked\n\n")
            .app_ends()
            .gets_chunks("hello", ""),
        Talk::new("an old server that keeps connections")
            .sends(GET)
            .app_gets(GET)
            .app_sends("HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 2\n\nok")
            .gets(OK)
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
    ]);
}

#[test]
fn broken_answers_are_told_from_whole_ones() {
    let half = "HTTP/1.1 200 OK\nContent-Length: 10\n\nhello";
    play([
        Talk::new("closed within a body")
            .sends(GET)
            .app_gets(GET)
            .app_sends(half)
            .gets(half)
            .app_ends()
            .broken(),
        Talk::new("closed before an answer")
            .sends(GET)
            .app_gets(GET)
            .app_ends()
            .answered(502, "upstream-closed", Last::No)
            .sends(GET)
            .app_accepts()
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("closed within a head")
            .sends(GET)
            .app_gets(GET)
            .app_sends("HTTP/1.1 200 OK\nContent-")
            .app_ends()
            .answered(502, "upstream-closed", Last::No),
        Talk::new("bytes that are no answer")
            .sends(GET)
            .app_gets(GET)
            .app_sends("SSH-2.0-OpenSSH_9.2\n")
            .answered(502, "upstream-malformed", Last::No),
        Talk::new("a malformed chunk within an answer")
            .sends(GET)
            .app_gets(GET)
            .app_sends("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n")
            .gets("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n")
            .app_sends("xyz\n")
            .broken(),
        Talk::new("a caller that leaves takes its request along")
            .sends(GET)
            .app_gets(GET)
            .leaves()
            .app_ended(),
        Talk::new("a caller that leaves within an answer")
            .sends(GET)
            .app_gets(GET)
            .app_sends(half)
            .gets(half)
            .leaves()
            .app_ended(),
    ]);
}

#[test]
fn upgrades_join_both_sides() {
    let ask = "GET /ws HTTP/1.1\nHost: a\nUpgrade: websocket\nConnection: Upgrade\n\n";
    let yes = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\n";
    play([
        Talk::new("both ways, and the server ends it")
            .sends(ask)
            .app_gets(ask)
            .app_sends(format!("{yes}first"))
            .gets(format!("{yes}first"))
            .sends("hello")
            .app_gets("hello")
            .app_sends("bye")
            .app_ends()
            .gets("bye")
            .ended(),
        Talk::new("the caller ends its direction, the server still answers")
            .sends(ask)
            .app_gets(ask)
            .app_sends(yes)
            .gets(yes)
            .sends("last words")
            .ends()
            .app_gets("last words")
            .app_ended()
            .app_sends("and the answer")
            .app_ends()
            .gets("and the answer")
            .ended(),
        Talk::new("the caller leaves")
            .sends(ask)
            .app_gets(ask)
            .app_sends(yes)
            .gets(yes)
            .leaves()
            .app_ended(),
        Talk::new("the server says no, and the connection goes on")
            .sends(ask)
            .app_gets(ask)
            .app_sends(OK)
            .gets(OK)
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("what the caller sends ahead arrives")
            .sends(format!("{ask}early"))
            .app_gets(ask)
            .app_sends(yes)
            .gets(yes)
            .app_gets("early")
            .app_ends()
            .ended(),
    ]);
}

#[test]
fn slow_peers_are_waited_for() {
    // One byte a second, in both directions; the head must be there within a minute.
    let head = "GET / HTTP/1.1\nHost: a\n\n".replace('\n', "\r\n");
    let mut talk = Talk::new("byte by byte");
    for byte in head.bytes() {
        talk = talk.sends_raw([byte]).pause(seconds(1));
    }
    talk = talk.app_gets(GET);
    for byte in OK.replace('\n', "\r\n").into_bytes() {
        talk = talk.app_sends_raw([byte]).pause(seconds(1));
    }
    let stalled = |name, begun: &str| {
        let talk = Talk::new(name).sends(begun).pause(seconds(61));
        talk.answered(408, "head-timeout", Last::Yes).ended()
    };
    play([
        talk.gets(OK),
        stalled("a head that is not complete within a minute", "GET / HTTP/1.1\nHost:"),
        stalled("not even its first line", "GE"),
        // Each word of HTTP/2 is waited for as long.
        Talk::new("what may become either version")
            .sends("P")
            .pause(seconds(121))
            .answered(408, "head-timeout", Last::Yes)
            .ended(),
    ]);
}

#[test]
fn large_heads_and_many_fields_pass() {
    let value = "v".repeat(60_000);
    let large = format!("GET / HTTP/1.1\nHost: a\nX: {value}\n\n");
    let large_answer = format!("HTTP/1.1 200 OK\nX: {value}\nContent-Length: 2\n\nok");
    let fields = |count: usize| {
        (0..count).map(|number| format!("X-{number}: {number}\n")).collect::<String>()
    };
    let many = format!("GET / HTTP/1.1\nHost: a\n{}\n", fields(127));
    let tight = format!("HTTP/1.1 200 OK\n{}Content-Length: 0\n\n", "a:b\n".repeat(127));
    let wide = format!("HTTP/1.1 200 OK\n{}Content-Length: 0\n\n", "a: b\n".repeat(127));
    let hints = format!("HTTP/1.1 103 Hints\nX: {}\n\n", "h".repeat(47_000));
    play([
        Talk::new("60 kB each way, twice")
            .sends(&large)
            .app_gets(&large)
            .app_sends(&large_answer)
            .gets(&large_answer)
            .sends(&large)
            .app_gets(&large)
            .app_sends(&large_answer)
            .gets(&large_answer),
        Talk::new("128 fields").sends(&many).app_gets(&many).app_sends(&tight).gets(&wide),
        Talk::new("129 fields")
            .sends(format!("GET / HTTP/1.1\nHost: a\n{}\n", fields(128)))
            .answered(431, "head-too-large", Last::Yes)
            .ended(),
        Talk::new("more than 64 KiB")
            .sends(format!("GET / HTTP/1.1\nHost: a\nX: {}\n\n", "v".repeat(65_536)))
            .answered(431, "head-too-large", Last::Yes)
            .ended(),
        Talk::new("an answer of more than 64 KiB")
            .sends(GET)
            .app_gets(GET)
            .app_sends(format!("HTTP/1.1 200 OK\nX: {}\n\n", "v".repeat(65_536)))
            .answered(502, "upstream-malformed", Last::No),
        Talk::new("large hints and a large answer")
            .sends(GET)
            .app_gets(GET)
            .app_sends(format!("{hints}{large_answer}"))
            .gets(format!("{hints}{large_answer}")),
    ]);
}
