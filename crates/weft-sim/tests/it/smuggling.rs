//! Messages with more than one reading: what is refused, and what is said in one way only.

use crate::talk::{Last, Talk, play};

const GET: &str = "GET / HTTP/1.1\nHost: a\n\n";
const OK: &str = "HTTP/1.1 200 OK\nContent-Length: 2\n\nok";

/// What a second reader might take for a request of its own.
const HIDDEN: &str = "GET /hidden HTTP/1.1\nHost: a\n\n";

fn refused(name: &'static str, status: u16, reason: &'static str, request: &str) -> Talk {
    Talk::new(name).sends(format!("{request}{HIDDEN}")).answered(status, reason, Last::Yes).ended()
}

#[test]
fn heads_with_two_readings_are_refused() {
    let bad = |name, request: &str| refused(name, 400, "bad-request", request);
    let coding = |name, request: &str| refused(name, 501, "transfer-encoding", request);
    play([
        bad(
            "length, then chunks",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 6\nTransfer-Encoding: chunked\n\n0\n\n",
        ),
        bad(
            "chunks, then length",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nContent-Length: 6\n\n0\n\n",
        ),
        bad(
            "two lengths",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 6\nContent-Length: 5\n\n123456",
        ),
        bad(
            "one length twice",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 6\nContent-Length: 6\n\n123456",
        ),
        bad("a list of lengths", "POST / HTTP/1.1\nHost: a\nContent-Length: 6, 6\n\n123456"),
        bad("a signed length", "POST / HTTP/1.1\nHost: a\nContent-Length: +6\n\n123456"),
        bad("a hexadecimal length", "POST / HTTP/1.1\nHost: a\nContent-Length: 0x6\n\n123456"),
        bad(
            "a length with a space in it",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 6 0\n\n123456",
        ),
        bad(
            "a length beyond 64 bits",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 18446744073709551622\n\n123456",
        ),
        bad("a space before the colon", "POST / HTTP/1.1\nHost: a\nContent-Length : 6\n\n123456"),
        bad("a folded field", "POST / HTTP/1.1\nHost: a\nX: 1\n Content-Length: 6\n\n123456"),
        bad("chunks in HTTP/1.0", "POST / HTTP/1.0\nHost: a\nTransfer-Encoding: chunked\n\n0\n\n"),
        bad("two hosts", "GET / HTTP/1.1\nHost: a\nHost: b\n\n"),
        bad("no host", "GET / HTTP/1.1\nX: a\n\n"),
        bad("a host with a path", "GET / HTTP/1.1\nHost: a/b\n\n"),
        bad("a host with a user", "GET / HTTP/1.1\nHost: a@b\n\n"),
        bad("an impossible port", "GET / HTTP/1.1\nHost: a:65536\n\n"),
        bad("a target that is no path", "GET a HTTP/1.1\nHost: a\n\n"),
        bad("a fragment", "GET /#a HTTP/1.1\nHost: a\n\n"),
        refused("a space in the target", 505, "http-version", "GET /a b HTTP/1.1\nHost: a\n\n"),
        bad("a first field behind a space", "GET / HTTP/1.1\n Host: a\n\n"),
        coding(
            "an unknown coding",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: xchunked\n\n0\n\n",
        ),
        coding("identity", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: identity\n\n"),
        coding(
            "two codings",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked\n\n0\n\n",
        ),
        coding(
            "chunked twice",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, chunked\n\n0\n\n",
        ),
        coding(
            "two fields",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nTransfer-Encoding: identity\n\
                \n0\n\n",
        ),
        bad("a vertical tab", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: \x0bchunked\n\n0\n\n"),
        Talk::new("a carriage return alone")
            .sends_raw("GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n")
            .answered(400, "bad-request", Last::Yes)
            .ended(),
        Talk::new("NUL")
            .sends_raw("GET / HTTP/1.1\r\nHost: a\r\nX: 1\0\r\n\r\n")
            .answered(400, "bad-request", Last::Yes)
            .ended(),
        refused("another version", 505, "http-version", "GET / HTTP/1.2\nHost: a\n\n"),
    ]);
}

#[test]
fn what_is_read_in_one_way_is_said_in_one_way() {
    play([
        Talk::new("bare line feeds become whole line ends")
            .sends_raw("GET / HTTP/1.1\nHost: a\nX: 1\n\n")
            .app_gets("GET / HTTP/1.1\nHost: a\nX: 1\n\n")
            .app_sends(OK)
            .gets(OK),
        Talk::new("an absolute target wins over the Host field")
            .sends("GET http://good/a HTTP/1.1\nHost: evil\n\n")
            .app_gets("GET /a HTTP/1.1\nHost: good\n\n")
            .app_sends(OK)
            .gets(OK),
        Talk::new("OPTIONS of a whole server by its URL")
            .sends("OPTIONS http://good HTTP/1.1\nHost: evil\n\n")
            .app_gets("OPTIONS * HTTP/1.1\nHost: good\n\n")
            .app_sends(OK)
            .gets(OK),
        Talk::new("dots are resolved")
            .sends("GET /a/../b/./%63 HTTP/1.1\nHost: a\n\n")
            .app_gets("GET /b/c HTTP/1.1\nHost: a\n\n")
            .app_sends(OK)
            .gets(OK),
        Talk::new("fields of one connection stay there, both ways")
            .sends(
                "GET / HTTP/1.1\nHost: a\nConnection: x-a, keep-alive\nX-A: 1\nKeep-Alive: 5\n\
                Proxy-Connection: x\nTE: gzip\n\n",
            )
            .app_gets(GET)
            .app_sends(
                "HTTP/1.1 200 OK\nConnection: x-b\nX-B: 1\nKeep-Alive: 5\nUpgrade: h2c\n\
                Content-Length: 2\n\nok",
            )
            .gets(OK),
        Talk::new("what frames a message cannot be named away")
            .sends(
                "POST / HTTP/1.1\nHost: a\n\
                Connection: content-length, host, transfer-encoding\nContent-Length: 4\n\nbody",
            )
            .app_gets("POST / HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody")
            .app_sends(OK)
            .gets(OK),
        Talk::new("what only the mesh may say is not taken from outsiders")
            .sends("GET / HTTP/1.1\nHost: a\nWeft-Not-Processed: 1\nweft-x: 2\n\n")
            .app_gets(GET)
            .app_sends("HTTP/1.1 200 OK\nWeft-Not-Processed: 1\nContent-Length: 2\n\nok")
            .gets(OK),
        Talk::new("trailers do not say what only heads can")
            .sends(
                "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\n\
                Content-Length: 5\nHost: b\nX: 1\n\n",
            )
            .app_gets("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\nX: 1\n\n")
            .app_sends(OK)
            .gets(OK),
        Talk::new("h2c is not offered on")
            .sends(
                "GET / HTTP/1.1\nHost: a\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\n\
                HTTP2-Settings: A\n\n",
            )
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::new("not beside websocket either")
            .sends(
                "GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n\
                Upgrade: h2c\n\n",
            )
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
    ]);
}

#[test]
fn bodies_with_two_readings_are_refused() {
    let chunked = "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n";
    let bodies = [
        ("a bare line feed behind a size", "1\nb\r\n0\r\n\r\n"),
        ("a bare line feed behind a chunk", "1\r\nb\n0\r\n\r\n"),
        ("a bare line feed in an extension", "1;a\nb\r\n0\r\n\r\n"),
        ("a bare carriage return in an extension", "1;a\rb\r\nb\r\n0\r\n\r\n"),
        ("a prefixed size", "0x1\r\nb\r\n0\r\n\r\n"),
        ("a signed size", "+1\r\nb\r\n0\r\n\r\n"),
        ("a size behind a space", " 1\r\nb\r\n0\r\n\r\n"),
        ("two sizes", "1 0\r\nb\r\n0\r\n\r\n"),
        ("a size with a dot", "1.0\r\nb\r\n0\r\n\r\n"),
        ("no size", "\r\nb\r\n0\r\n\r\n"),
        ("a size beyond 64 bits", "10000000000000001\r\nb\r\n0\r\n\r\n"),
        ("a chunk longer than its size", "1\r\nbb\r\n0\r\n\r\n"),
        ("a bare line feed behind the last chunk", "0\n\r\n"),
        ("a bare line feed at the end", "0\r\n\n"),
        ("a bare line feed behind a trailer", "0\r\nX: 1\n\r\n"),
        ("a bare line feed behind the trailers", "0\r\nX: 1\r\n\n"),
        ("a space before a trailer's colon", "0\r\nX : 1\r\n\r\n"),
        ("a folded trailer", "0\r\nX: 1\r\n Y: 1\r\n\r\n"),
    ];
    play(bodies.map(|(name, body)| {
        let head = chunked.replace('\n', "\r\n");
        Talk::new(name)
            .sends_raw(format!("{head}{body}GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"))
            .answered(400, "bad-body", Last::Yes)
            .ended()
            .app_gets_no_whole("hidden")
    }));
}

#[test]
fn answers_with_two_readings_are_refused() {
    let answers = [
        "HTTP/1.1 200 OK\nContent-Length: 2\nTransfer-Encoding: chunked\n\n0\n\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 3\n\nabc",
        "HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\n\n0\n\n",
        "HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n0\n\n",
        "HTTP/1.1 200 OK\nA : 1\n\n",
        "HTTP/1.1 200 OK\nA: 1\n folded\n\n",
        "HTTP/1.1 099 OK\n\n",
    ];
    play(answers.map(|answer| {
        Talk::new("an answer with two readings")
            .sends(GET)
            .app_gets(GET)
            .app_sends(answer)
            .answered(502, "upstream-malformed", Last::No)
            .app_ended()
    }));
}

#[test]
fn nobody_is_joined_to_a_server_unasked() {
    let yes = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\n";
    let post =
        "POST / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\nContent-Length: 4\n\n";
    play([
        // What follows would pass by all rules.
        Talk::new("101 though nothing was asked")
            .sends(format!("{GET}{HIDDEN}"))
            .app_gets(GET)
            .app_sends(yes)
            .answered(502, "upstream-malformed", Last::No)
            .app_ended()
            .app_accepts()
            .app_gets(HIDDEN)
            .app_sends(OK)
            .gets(OK),
        Talk::new("an upgrade of a request with a body is not asked for")
            .sends(post)
            .app_gets("POST / HTTP/1.1\nHost: a\nContent-Length: 4\n\n")
            .app_sends(yes)
            .answered(502, "upstream-malformed", Last::Yes)
            .ended(),
        Talk::new("101 to another protocol")
            .sends("GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n\n")
            .app_gets("GET / HTTP/1.1\nHost: a\nUpgrade: websocket\nConnection: Upgrade\n\n")
            .app_sends("HTTP/1.1 101 Switching Protocols\nUpgrade: h2c\nConnection: Upgrade\n\n")
            .answered(502, "upstream-malformed", Last::No),
        Talk::new("what follows CONNECT is not read as a request")
            .sends(format!("CONNECT a:443 HTTP/1.1\nHost: a:443\n\n{HIDDEN}"))
            .answered(405, "connect-method", Last::Yes)
            .ended(),
    ]);
}
