//! Proxies that are asked for more than their memory allows: they refuse work, and live on.

mod application;
mod callers;
mod limited;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use weft_wire::tunnel::{self, Answer, InnerProtocol, Preface, Verdict};

use self::callers::{
    Streams, Tally, call, call_all, h2load, hex, open_streams, slow_h2, storm, upload_all,
};
use self::limited::{Directory, Group, LIMIT_BYTES, Proxy};
use crate::certificates::Authority;
use crate::lab::wait_until;

/// How many callers there are at once, each with a body as large as is kept for another try, and an
/// answer that it does not read: together four times what the proxy has room for.
const CALLERS: usize = 3_000;

/// How many listeners they share, so that no one's limit on requests refuses them first.
const LISTENERS: usize = 4;

/// How many requests share a connection of HTTP/2: as many as the proxy allows.
const STREAMS: usize = 100;

/// Four times as many tunnels as the proxy holds connections.
const HANDSHAKES: usize = 4 * 1_365;

/// An answer that no buffer holds, in bytes.
const LARGE: usize = 4 << 20;

/// A body that no buffer on its way holds, in bytes.
const UPLOAD: &[u8] = &[b'y'; 512 << 10];

/// How many tunnels there are whose streams say next to nothing: of 256 streams each, together
/// four times what the proxy holds of connections.
const SILENT_TUNNELS: usize = 22;

/// What the workload behind the proxy that is short of memory is for the others.
const ENDPOINT: &str = "identity: \"spiffe://weft.test/ns/shop/sa/web\", workload: shop/web-1, \
                        generation: 3, port: 80";

/// The label of what was refused by a proxy itself since it is short of memory.
const OVERLOAD: &str = "reason=\"overload\"";

/// A proxy before an application, and one before its callers. One of them has little memory.
struct Pair {
    web: Proxy,
    caller: Proxy,
    group: Group,
    directory: Directory,
}

impl Pair {
    /// `protocol` is what the proxies are told of the application, whose answers are of this size.
    /// Its proxy is the one with little memory.
    fn new(protocol: &str, answer_bytes: usize) -> Pair {
        Pair::with(protocol, application::start(answer_bytes), "web")
    }

    /// The same for this application, where `limited` is the one with little memory.
    fn with(protocol: &str, application: SocketAddr, limited: &str) -> Pair {
        let (directory, group) = (Directory::new(), Group::new());
        let authority = Authority::new("root");
        authority.publish(&directory.0);
        for name in ["web", "caller"] {
            authority.issue(&directory.0, name, name);
        }
        let identity = |name: &str| {
            format!("identity: {{ certificates: {name}.pem, key: {name}.key, roots: roots.pem }}\n")
        };
        let config = identity("web")
            + &format!(
                "inbound:\n- listen: 127.0.0.1:0\n  workload: shop/web-1\n  generation: 3\n  \
                 ports:\n  - {{ port: 80, protocol: {protocol}, application: \"{application}\" }}\n"
            );
        let group_of = |name: &str| (name == limited).then_some(&group);
        let web = Proxy::start(&directory, "web", &config, group_of("web"));
        let tunnel = &web.addresses[0];
        let outbound = |number| {
            format!(
                "- {{ listen: \"127.0.0.1:0\", protocol: {protocol}, service: shop/web-{number}, \
                 endpoints: [{{ tunnel: \"{tunnel}\", {ENDPOINT} }}] }}\n"
            )
        };
        let outbound: String = (0..LISTENERS).map(outbound).collect();
        let config = identity("caller") + "outbound:\n" + &outbound;
        let caller = Proxy::start(&directory, "caller", &config, group_of("caller"));
        Pair { web, caller, group, directory }
    }

    /// Fails if the one with little memory was killed, or did not say why it refused.
    fn has_refused(&mut self, found: &str) {
        self.web.must_live(found);
        assert_eq!(self.group.killed(), 0, "{found}");
        assert!(self.web.metric("weft_refusals_total", &[OVERLOAD]) > 0, "{found}");
        let log = self.caller.log();
        assert!(log.lines().any(|line| line.contains(": overload")), "{found}\n{log}");
    }
}

/// Waits until a few requests in a row are answered.
fn recovers(address: &str) {
    wait_until("requests are answered again", || {
        let mut tally = Tally::default();
        (0..3).for_each(|_| call(address, &mut tally));
        tally.answered == 3
    });
}

/// A proxy with little memory before callers, and nothing else.
///
/// `protocol` is what it is told of the application, which gives answers of this size.
fn outbound(group: &Group, directory: &Directory, protocol: &str, answer_bytes: usize) -> Proxy {
    let endpoint = format!("{{ address: \"{}\" }}", application::start(answer_bytes));
    let listener =
        format!("- {{ listen: \"127.0.0.1:0\", protocol: {protocol}, endpoints: [{endpoint}] }}\n");
    let config = format!("outbound:\n{}", listener.repeat(LISTENERS));
    Proxy::start(directory, "proxy", &config, Some(group))
}

/// Fails if the proxy was killed, or did not refuse as many requests as callers say, or so many
/// that it was never asked for more than it has room for.
fn has_refused(proxy: &mut Proxy, group: &Group, counts: [u64; 2], found: &str) {
    let [answered, refused] = counts;
    proxy.must_live(found);
    assert_eq!(group.killed(), 0, "{found}");
    assert!(answered > 0 && refused > 0, "{found}");
    assert_eq!(proxy.metric("weft_refusals_total", &[OVERLOAD]), refused, "{found}");
}

#[test]
fn a_proxy_short_of_memory_refuses_work_and_lives_on() {
    let (directory, group) = (Directory::new(), Group::new());
    let mut proxy = outbound(&group, &directory, "http", LARGE);
    let shown = |name: &str| proxy.metric(name, &[]);
    wait_until("the memory was looked at", || shown("weft_memory_used_bytes") > 0);
    assert_eq!(shown("weft_memory_limit_bytes"), LIMIT_BYTES);
    assert_eq!(shown("weft_memory_pressure"), 0);
    let tally = call_all(&proxy.addresses, CALLERS);
    let found = format!("{tally:?}");
    assert!(tally.ended == 0 && tally.other.is_empty(), "{found}");
    has_refused(&mut proxy, &group, [tally.answered, tally.refused], &found);
    // With the callers gone, it serves as before.
    recovers(&proxy.addresses[0]);
}

#[test]
fn many_streams_of_http2_are_refused_like_requests_of_http1() {
    let (directory, group) = (Directory::new(), Group::new());
    let mut proxy = outbound(&group, &directory, "http", 1 << 20);
    let counts = h2load(&directory, &proxy.addresses[0], CALLERS, CALLERS / STREAMS);
    has_refused(&mut proxy, &group, counts, &format!("{counts:?}"));
    recovers(&proxy.addresses[0]);
}

#[test]
fn callers_of_http2_that_do_not_read_large_answers_cost_others_nothing() {
    // As the application speaks it, the answers wait in another codec each.
    for protocol in ["http", "detect"] {
        let (directory, group) = (Directory::new(), Group::new());
        let mut proxy = outbound(&group, &directory, protocol, 1 << 20);
        let ends = slow_h2(&directory, &proxy.addresses[0], CALLERS / STREAMS, STREAMS);
        let found = format!("{protocol}: {ends:?}");
        let counts = ["200 -", "503 overload"].map(|end| count(&ends, end));
        assert_eq!(counts.iter().sum::<u64>(), CALLERS as u64, "{found}");
        has_refused(&mut proxy, &group, counts, &found);
        recovers(&proxy.addresses[0]);
    }
}

#[test]
fn a_server_s_proxy_short_of_memory_refuses_work_and_its_callers_learn_why() {
    let mut pair = Pair::new("http", LARGE);
    let tally = call_all(&pair.caller.addresses, CALLERS);
    let found = format!("{tally:?}");
    assert!(tally.answered > 0 && tally.refused > 0, "{found}");
    assert!(tally.ended == 0 && tally.other.is_empty(), "{found}");
    pair.has_refused(&found);
    recovers(&pair.caller.addresses[0]);
}

#[test]
fn callers_that_do_not_read_what_streams_of_a_tunnel_bring_them_cost_others_nothing() {
    let mut pair = Pair::with("http", application::start(1 << 20), "caller");
    // Without bodies, so that as many are let in as ever may be.
    let tally = upload_all(&pair.caller.addresses, CALLERS, b"");
    let found = format!("{tally:?}");
    assert!(tally.ended == 0 && tally.other.is_empty(), "{found}");
    let counts = [tally.answered, tally.refused];
    has_refused(&mut pair.caller, &pair.group, counts, &found);
    // What all of them may hold in their tunnels leaves room for the rest.
    let most = pair.group.most_bytes();
    assert!(most < LIMIT_BYTES * 3 / 4, "{most} bytes were used: {found}");
    recovers(&pair.caller.addresses[0]);
}

#[test]
fn an_application_that_does_not_read_what_streams_of_a_tunnel_bring_it_costs_others_nothing() {
    let mut pair = Pair::with("http", application::start_stalling(1), "web");
    let tally = upload_all(&pair.caller.addresses, CALLERS, UPLOAD);
    let found = format!("{tally:?}");
    assert!(tally.answered > 0 && tally.refused > 0, "{found}");
    assert!(tally.ended == 0 && tally.other.is_empty(), "{found}");
    pair.has_refused(&found);
    recovers(&pair.caller.addresses[0]);
}

/// How often `end` is among `ends`.
fn count(ends: &BTreeMap<String, u64>, end: &str) -> u64 {
    ends.get(end).copied().unwrap_or_default()
}

/// That a proxy with little memory before `application` lives on while and after a peer does this
/// to it, and what became of the streams.
fn survives(application: SocketAddr, streams: &Streams<'_>) -> BTreeMap<String, u64> {
    let mut pair = Pair::with("http", application, "web");
    let ends = open_streams(&pair.directory, &pair.web.addresses[0], &opening(), streams);
    let found = format!("{ends:?}");
    pair.web.must_live(&found);
    assert_eq!(pair.group.killed(), 0, "{found}");
    recovers(&pair.caller.addresses[0]);
    ends
}

#[test]
fn tunnels_full_of_streams_that_say_next_to_nothing_are_survived() {
    let said = b"G";
    let streams = Streams { tunnels: SILENT_TUNNELS, streams: 256, said, is_deaf: false };
    let ends = survives(application::start(1), &streams);
    assert!(count(&ends, "held") > 0, "{ends:?}");
    assert!(count(&ends, "refused") + count(&ends, "503") > 0, "{ends:?}");
}

#[test]
fn tunnels_full_of_streams_with_heads_that_do_not_end_are_survived() {
    let said = [&b"GET / HTTP/1.1\r\nHost: a\r\nA: "[..], &[b'a'; 60_000]].concat();
    let streams = Streams { tunnels: 8, streams: 256, said: &said, is_deaf: false };
    let ends = survives(application::start(1), &streams);
    assert!(count(&ends, "held") > 0 && count(&ends, "503") > 0, "{ends:?}");
}

#[test]
fn tunnels_full_of_streams_with_bodies_that_nobody_reads_are_survived() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    // As much as a window holds.
    let said = [&head[..], &vec![b'y'; (128 << 10) - head.len()]].concat();
    let streams = Streams { tunnels: 8, streams: 256, said: &said, is_deaf: false };
    let ends = survives(application::start_stalling(1), &streams);
    assert!(count(&ends, "held") > 0 && count(&ends, "503") > 0, "{ends:?}");
}

#[test]
fn peers_that_do_not_read_what_they_ask_for_are_survived() {
    let said = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (tunnels, streams) in [(8, 256), (1_000, 2)] {
        survives(application::start(LARGE), &Streams { tunnels, streams, said, is_deaf: true });
    }
}

#[test]
fn the_same_holds_for_streams_of_http2_in_its_tunnels() {
    let mut pair = Pair::new("detect", 1 << 20);
    let counts: Vec<_> = std::thread::scope(|scope| {
        let load = |address: &str| h2load(&pair.directory, address, CALLERS / LISTENERS, 10);
        let threads = pair.caller.addresses.iter().map(|one| scope.spawn(move || load(one)));
        let threads: Vec<_> = threads.collect();
        let counts = threads.into_iter().map(|thread| thread.join());
        counts.map(|counts| counts.expect("h2load was answered")).collect()
    });
    let [answered, refused] =
        counts.iter().fold([0, 0], |sum, counts| [sum[0] + counts[0], sum[1] + counts[1]]);
    let found = format!("{answered} answered, {refused} refused");
    assert!(answered > 0 && refused > 0, "{found}");
    pair.has_refused(&found);
    recovers(&pair.caller.addresses[0]);
}

#[test]
fn a_storm_of_tunnels_for_streams_of_bytes_is_refused_beyond_what_there_is_room_for() {
    let mut pair = Pair::new("tcp", LARGE);
    let tally = call_all(&pair.caller.addresses, CALLERS);
    let found = format!("{tally:?}");
    assert!(tally.answered > 0 && tally.ended > 0, "{found}");
    assert!(tally.refused == 0 && tally.other.is_empty(), "{found}");
    pair.has_refused(&found);
    recovers(&pair.caller.addresses[0]);
}

/// What opens a tunnel for HTTP/1.1 to the application, and what is said where it is opened.
fn opening() -> [Vec<u8>; 2] {
    let preface = Preface {
        workload: "shop/web-1".to_owned(),
        generation: 3,
        target_port: 80,
        protocol: InnerProtocol::Http1.into(),
        ..Preface::default()
    };
    let accepted = Answer { verdict: Verdict::Accepted.into(), ..Answer::default() };
    let encoded = |message: Result<Vec<u8>, _>| message.expect("it is short");
    [encoded(tunnel::encode(&preface)), encoded(tunnel::encode(&accepted))]
}

#[test]
fn a_storm_of_handshakes_is_survived() {
    let mut pair = Pair::new("http", LARGE);
    let [preface, accepted] = opening();
    let ends = storm(&pair.directory, &pair.web.addresses[0], HANDSHAKES, &preface, &accepted);
    let found = format!("{ends:?}");
    pair.web.must_live(&found);
    // Each is let in, or is told that there is no room, or takes its time and is ended for that.
    let is_known = |end: &str| end == hex(&accepted) || end.contains(&hex(b"overload"));
    let known = ends.iter().filter(|(end, _)| is_known(end)).map(|(_, count)| count).sum::<u64>();
    let late =
        ["closed", "ConnectionResetError"].iter().filter_map(|end| ends.get(*end)).sum::<u64>();
    assert_eq!(known + late, HANDSHAKES as u64, "{found}");
    let ended = pair.web.metric("weft_refusals_total", &["reason=\"handshake-timeout\""]);
    assert_eq!(ended, late, "{found}");
    assert_eq!(pair.group.killed(), 0, "{found}");
    recovers(&pair.caller.addresses[0]);
}
