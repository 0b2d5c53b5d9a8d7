//! What is spoken is found out by bytes alone, and none of them is lost on the way.

use std::collections::BTreeSet;

use weft_model::{HttpPath, Operation, PathPattern, Protocol, Rule};
use weft_sim::Random;

use crate::shop::{Plan, Shop, shared, within};
use crate::talk::{Hops, Line, Mesh, Talk, play};
use crate::*;

const GET: &str = "GET / HTTP/1.1\nHost: a\n\n";
const OK: &str = "HTTP/1.1 200 OK\nContent-Length: 2\n\nok";
const PREFACE: &str = "PRI * HTTP/2.0\n\nSM\n\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

#[test]
fn the_first_bytes_decide_however_late_they_come() {
    let hello = b"\x16\x03\x01\x00\x05hello";
    play([
        Talk::unknown("HTTP at once").sends(GET).app_gets(GET).app_sends(OK).gets(OK),
        Talk::unknown("HTTP in two parts, the second after a while")
            .sends("GET / HT")
            .pause(seconds(20))
            .app_accepts() // It was called to see whether it speaks first.
            .sends("TP/1.1\nHost: a\n\n")
            .app_accepts()
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::unknown("a caller that is silent for long and then speaks HTTP")
            .pause(seconds(100))
            .app_accepts()
            .sends(GET)
            .app_ended()
            .app_accepts()
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK)
            .sends(GET)
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::unknown("a caller that is silent for long and then speaks something else")
            .pause(seconds(100))
            .sends("hello\n")
            .app_gets("hello\n")
            .app_sends("you")
            .gets("you"),
        Talk::unknown("TLS").sends_raw(hello).app_gets(hello).app_sends("x").gets("x"),
        Talk::unknown("TLS, byte by byte")
            // One byte does not tell whether it is TLS, which must be known as well.
            .sends_raw(&hello[..1])
            .pause(seconds(1))
            .sends_raw(&hello[1..2])
            .app_gets(&hello[..2])
            .sends_raw(&hello[2..])
            .app_gets(&hello[2..]),
        Talk::unknown("a byte as TLS begins with, and nothing else")
            .sends_raw(&hello[..1])
            .ends()
            .app_gets(&hello[..1])
            .app_ended(),
        Talk::unknown("what begins like HTTP and is not")
            .sends("GET ")
            .pause(seconds(1))
            .sends("key\n")
            .app_gets("GET key\n")
            .app_sends("value")
            .gets("value"),
        Talk::unknown("a caller that says nothing and goes").pause(seconds(1)).leaves().app_ended(),
        Talk::unknown("a caller that says nothing and ends its direction")
            .ends()
            .app_ended()
            .app_sends("bye")
            .gets("bye"),
        Talk::unknown("a caller that ends in the midst of a head")
            .sends("GET / HTTP")
            .ends()
            .app_gets("GET / HTTP")
            .app_ended(),
    ]);
}

#[test]
fn a_server_that_speaks_first_is_passed_on() {
    play([
        Talk::unknown("at once")
            .app_sends("220 ready\n")
            .gets("220 ready\n")
            .sends("QUIT\n")
            .app_gets("QUIT\n")
            .app_ends()
            .ended(),
        Talk::unknown("late")
            .app_accepts()
            .pause(seconds(60))
            .app_sends("220 ready\n")
            .gets("220 ready\n"),
        Talk::unknown("after some bytes that may become a request")
            .sends("GET ")
            .app_accepts()
            .app_sends("busy\n")
            .gets("busy\n")
            .app_gets("GET ")
            .sends("/ HTTP/1.1\n\n")
            .app_gets("/ HTTP/1.1\n\n"),
        Talk::unknown("and ends").app_sends("too busy\n").app_ends().gets("too busy\n").ended(),
        Talk::unknown("with nothing but its end").app_accepts().app_ends().ended(),
        Talk::unknown("with what looks like SETTINGS for a while")
            .app_sends_raw(&SETTINGS[..4])
            .pause(seconds(1))
            .app_sends_raw(b"\x01hello")
            .gets_raw([&SETTINGS[..4], b"\x01hello"].concat()),
    ]);
}

#[test]
fn the_settings_of_a_server_wait_for_the_caller() {
    play([
        Talk::unknown("who speaks something else")
            .app_sends_raw(SETTINGS)
            .pause(seconds(5))
            .sends("hello\n")
            .app_gets("hello\n")
            .gets_raw(SETTINGS),
        Talk::unknown("who speaks HTTP/1.1")
            .app_sends_raw(SETTINGS)
            .pause(seconds(5))
            .sends(GET)
            .app_ended()
            .app_accepts()
            .app_gets(GET)
            .app_sends(OK)
            .gets(OK),
        Talk::unknown("who goes").app_sends_raw(SETTINGS).pause(seconds(5)).leaves().app_ended(),
    ]);
}

#[test]
fn the_preface_of_http2_is_known_wherever_it_is_cut() {
    for seed in 0..4 {
        let mesh = Mesh::new(seed, Hops::One, Protocol::Detect);
        let served = mesh.sim.run(async {
            let mut application = mesh.application();
            let mut line = Line::new(mesh.client.world(), mesh.call().await);
            for byte in PREFACE.replace('\n', "\r\n").bytes() {
                line.send(&[byte]).await.unwrap();
                mesh.sim.sleep(Duration::from_millis(seed * 3)).await;
            }
            line.send(SETTINGS).await.unwrap();
            // SETTINGS of the proxy itself: it has understood.
            let mut header = [0; 9];
            line.take(&mut header).await.unwrap();
            assert_eq!(header[3..5], [4, 0]);
            drop(line);
            if seed > 0 {
                // The connection that was to show whether the server speaks is not kept.
                let accepted = application.accept().await.unwrap().stream;
                Line::new(mesh.server.world(), accepted).ended().await;
            }
        });
        served.unwrap();
    }
}

/// Cuts `bytes` anywhere, with pauses anywhere.
async fn dribble(sim: &Simulation, random: &mut Random, line: &mut dyn Stream, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = random.size(1, rest.len().min(40));
        if line.write_all(&rest[..count]).await.is_err() {
            return;
        }
        rest = &rest[count..];
        if random.chance(0.5) {
            sim.sleep(random.duration(Duration::ZERO, Duration::from_millis(6))).await;
        }
    }
}

#[test]
fn no_interleaving_loses_doubles_or_reorders_a_byte() {
    let firsts: [&[u8]; 6] = [
        b"",
        b"HELO a\r\n",
        b"GET x\r\n",
        b"\x16\x03\x01",
        b"\0\0\0\x04\0",
        b"PRI * HTTP/2.0\r\nX",
    ];
    for seed in 0..60 {
        for hops in [Hops::One, Hops::Two] {
            let mesh = Mesh::new(seed, hops, Protocol::Detect);
            let mut random = Random::derive(seed, "who speaks when");
            // Whoever begins with nothing must hear from the other one first.
            let (one, other) = (*random.pick(&firsts), *random.pick(&firsts[1..]));
            let said = [one.to_vec(), content(random.size(0, 3_000))].concat();
            let answer = [other.to_vec(), content(random.size(1, 3_000))].concat();
            let (say_at, answer_at) = (random.below(8), random.below(8));
            let (mut here, mut there) = (random.clone(), Random::derive(seed, "there"));
            let passed = mesh.sim.run(async {
                let mut application = mesh.application();
                let mut caller = mesh.call().await;
                let saying = async {
                    mesh.sim.sleep(Duration::from_millis(say_at)).await;
                    dribble(&mesh.sim, &mut here, &mut *caller, &said).await;
                    caller.close().await.unwrap();
                    read_to_end(&mut *caller).await.unwrap()
                };
                let serving = async {
                    loop {
                        let mut accepted = application.accept().await.unwrap().stream;
                        mesh.sim.sleep(Duration::from_millis(answer_at)).await;
                        dribble(&mesh.sim, &mut there, &mut *accepted, &answer).await;
                        let _gone = accepted.close().await;
                        match read_to_end(&mut *accepted).await {
                            Ok(came) if came == said => return came,
                            // One that was given up before anything was decided.
                            came => assert!(came.unwrap_or_default().is_empty()),
                        }
                        there = Random::derive(seed, "there");
                    }
                };
                let (heard, came) = tokio::join!(biased; saying, serving);
                assert_eq!((heard == answer, came == said), (true, true), "seed {seed} {hops:?}");
            });
            passed.unwrap();
        }
    }
}

#[test]
fn who_is_silent_is_served_although_its_server_takes_http_only() {
    for silence in [0, 1, 5, 500] {
        let plan = Plan { workload: Protocol::Http, ..Plan::of(1, Protocol::Detect) };
        let shop = Shop::new(silence, plan);
        let executed = shared();
        let served = shop.sim.run(async {
            shop.serve(0, &executed);
            let mut line = shop.call().await;
            shop.sim.sleep(Duration::from_millis(silence)).await;
            line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert_eq!(line.answer().await, Some((200, b"0 0".to_vec())), "after {silence} ms");
        });
        served.unwrap();
    }
}

#[test]
fn what_http_only_ports_refuse_is_said() {
    let shop = Shop::new(1, Plan { workload: Protocol::Http, ..Plan::of(1, Protocol::Detect) });
    let _application = shop.application(0);
    let ended = shop.sim.run(async {
        let mut line = shop.call().await;
        shop.sim.sleep(seconds(1)).await;
        line.send(b"\x16\x03\x01").await.unwrap();
        line.ended().await;
        let records = shop.caller.records.borrow();
        let last = records.last().unwrap();
        assert_eq!(last.reason, Some("tunnel-refused"), "{}", last.detail);
        assert!(last.detail.contains("wrong-protocol"), "{}", last.detail);
    });
    ended.unwrap();
}

#[test]
fn a_refusal_that_no_word_of_the_caller_would_change_is_told_at_once() {
    let anyone = || vec![Rule { from: None, to: None }];
    for (reason, allow, deny, is_there) in [
        ("deny-rule", None, anyone(), true),
        ("no-allow-rule", Some(vec![]), vec![], true),
        ("connect-failed", None, vec![], false),
    ] {
        let shop = Shop::new(1, Plan::of(1, Protocol::Detect));
        shop.registry.guard_service("shop/web", allow, deny);
        let _application = is_there.then(|| shop.application(0));
        let ended = shop.sim.run(async {
            // The caller waits for the server to speak first.
            let mut line = shop.call().await;
            let ended = within(&shop.sim, seconds(6), line.ended()).await;
            assert!(ended.is_some(), "{reason}: it waits for words that change nothing");
            let records = shop.caller.records.borrow();
            let last = records.last().unwrap();
            assert_eq!(last.reason, Some("tunnel-refused"), "{}", last.detail);
            assert!(last.detail.contains(reason), "{}", last.detail);
        });
        ended.unwrap();
    }
}

#[test]
fn who_is_silent_is_served_although_policies_allow_http_only() {
    let path = PathPattern::Exact(HttpPath::new("/a").unwrap());
    let operation = Operation { paths: BTreeSet::from([path]), ..Operation::default() };
    let allow = Rule { from: None, to: Some(vec![operation]) };
    for silence in [0, 1, 5, 500] {
        let shop = Shop::new(silence, Plan::of(1, Protocol::Detect));
        shop.registry.guard_service("shop/web", Some(vec![allow.clone()]), vec![]);
        let executed = shared();
        let served = shop.sim.run(async {
            shop.serve(0, &executed);
            let mut line = shop.call().await;
            shop.sim.sleep(Duration::from_millis(silence)).await;
            line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert_eq!(line.answer().await, Some((200, b"0 0".to_vec())), "after {silence} ms");
            // Bytes that are no HTTP stay outside, and hear of it once they are seen to be none.
            let mut line = shop.call().await;
            shop.sim.sleep(Duration::from_millis(silence)).await;
            line.send(b"\x16\x03\x01").await.unwrap();
            line.ended().await;
            let records = shop.caller.records.borrow();
            let last = records.last().unwrap();
            assert!(last.detail.contains("cannot-evaluate"), "{}", last.detail);
        });
        served.unwrap();
    }
}

#[test]
fn callers_that_are_cut_off_are_recorded_with_a_reason() {
    let slow = b"GET / HTTP/1.1\r\nHost:".to_vec();
    let preface = PREFACE.replace('\n', "\r\n");
    let data_on_no_stream = b"\0\0\x01\0\0\0\0\0\0x";
    let broken = [preface.as_bytes(), SETTINGS, data_on_no_stream].concat();
    for (bytes, protocol, status, reason) in [
        (slow, weft_telemetry::Protocol::Http1, 408, "head-timeout"),
        (broken, weft_telemetry::Protocol::Http2, 0, "bad-frames"),
    ] {
        let shop = Shop::new(1, Plan::http(1));
        let ended = shop.sim.run(async {
            let mut line = shop.call().await;
            line.send(&bytes).await.unwrap();
            line.ended().await;
            drop(line);
            // Its bytes may end before its proxy is done with it.
            shop.sim.sleep(seconds(15)).await;
            let records = shop.caller.records.borrow();
            let [record] = &records[..] else { panic!("{} records", records.len()) };
            assert_eq!((record.protocol, record.status), (protocol, status));
            assert_eq!(record.reason, Some(reason), "{}", record.detail);
        });
        ended.unwrap();
    }
}
