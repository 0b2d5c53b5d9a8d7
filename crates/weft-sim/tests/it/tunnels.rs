//! Bytes that are not looked into, and the tunnel's own opening, in raw bytes.

use weft_model::Protocol;
use weft_sim::{Sealed, seal_client, seal_server};
use weft_wire::mux::{Frame, HEADER_BYTES};
use weft_wire::tunnel::{Answer, InnerProtocol, Preface, Verdict, decode, encode};

use crate::shop::{Plan, Shop, identity, shared, within};
use crate::talk::{Hops, Last, Line, Mesh, Talk, address, play, play_through};
use crate::*;

#[test]
fn bytes_pass_both_ways_and_so_do_ends() {
    play([
        Talk::opaque("the caller speaks first")
            .sends("hello")
            .app_gets("hello")
            .app_sends("you")
            .gets("you")
            .ends()
            .app_ended()
            .app_sends("late")
            .app_ends()
            .gets("late")
            .ended(),
        Talk::opaque("the server speaks first, and ends first")
            .app_sends("220 ready")
            .gets("220 ready")
            .app_ends()
            .ended()
            .sends("quit")
            .app_gets("quit")
            .ends()
            .app_ended(),
        Talk::opaque("a server that says something and goes, leaving bytes unread")
            .sends("are you there")
            .app_gets("are")
            .app_sends("too busy")
            .app_leaves()
            .gets("too busy")
            .broken(),
        Talk::opaque("a caller that says something and goes, leaving bytes unread")
            .app_sends("220 ready")
            .pause(seconds(1))
            .sends("quit")
            .leaves()
            .app_gets("quit")
            .app_ended(),
        Talk::opaque("a caller that goes").sends("a").app_gets("a").leaves().app_ended(),
    ]);
}

#[test]
fn a_stream_that_is_cut_on_its_way_does_not_look_as_if_it_had_ended() {
    for seed in 0..5 {
        let mesh = Mesh::new(seed, Hops::Two, Protocol::Opaque);
        let cut = mesh.sim.run(async {
            let mut listener = mesh.application();
            let mut caller = Line::new(mesh.client.world(), mesh.call().await);
            caller.send(b"half").await.unwrap();
            let accepted = listener.accept().await.unwrap().stream;
            let mut application = Line::new(mesh.server.world(), accepted);
            application.expect(b"half").await.unwrap();
            application.send(b"half").await.unwrap();
            caller.expect(b"half").await.unwrap();
            mesh.sim.reset_connections(&mesh.client, &mesh.server);
            application.expect_cut().await?;
            caller.expect_cut().await
        });
        assert_eq!(cut.unwrap(), Ok(()), "seed {seed}");
    }
}

#[test]
fn an_answer_that_only_its_end_could_complete_does_not_look_whole_when_it_breaks_off() {
    for hops in [Hops::One, Hops::Two] {
        let mesh = Mesh::new(1, hops, Protocol::Http);
        let cut = mesh.sim.run(async {
            let mut listener = mesh.application();
            let mut caller = Line::new(mesh.client.world(), mesh.call().await);
            caller.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").await.unwrap();
            let accepted = listener.accept().await.unwrap().stream;
            let mut application = Line::new(mesh.server.world(), accepted);
            application.request().await.unwrap();
            let begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
            application.send(begun).await.unwrap();
            mesh.sim.sleep(seconds(1)).await;
            drop(application);
            caller.expect_cut().await
        });
        assert_eq!(cut.unwrap(), Ok(()), "{hops:?}");
    }
}

#[test]
fn what_was_said_arrives_although_nobody_listens_any_more() {
    // The server leaves a byte unread, so that a reset follows what it said. The caller is still
    // busy with the first of it when it sends something that cannot be delivered.
    let said = "x".repeat(180_000);
    let talk = Talk::opaque("a server that says much and goes")
        .sends("a")
        .app_sends(&said)
        .pause(seconds(5))
        .app_leaves()
        .pause(seconds(5))
        .sends("b")
        .pause(seconds(5))
        .gets(&said)
        .broken();
    play_through(&[Hops::One], [talk]);
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn preface() -> Preface {
    Preface {
        workload: "shop/web-1".to_owned(),
        generation: 1,
        service: String::new(),
        target_address: Vec::new(),
        target_port: 80,
        protocol: InnerProtocol::Http1.into(),
        idle_ms: 0,
    }
}

fn answer(verdict: Verdict, reason: &str) -> Vec<u8> {
    let (reason, detail) = (reason.to_owned(), "more".to_owned());
    encode(&Answer { verdict: verdict.into(), reason, detail }).unwrap()
}

/// `bytes` as data of the first stream.
fn framed(bytes: &[u8]) -> Vec<u8> {
    [&Frame::Data(bytes.len()).encode(1), bytes].concat()
}

/// A connection to the server's proxy, as far as mutual TLS.
async fn dial(mesh: &Mesh) -> Line {
    let world = mesh.client.world();
    loop {
        let Ok(stream) = world.network.connect(address("10.0.0.1:15008")).await else {
            mesh.sim.sleep(Duration::from_millis(1)).await; // It may not listen yet.
            continue;
        };
        let hello = b"spiffe://weft.test/ns/shop/sa/client";
        let sealed = seal_client(stream, hello).await.unwrap();
        return Line::new(world, Box::new(sealed));
    }
}

#[test]
fn a_preface_is_understood_wherever_it_is_cut() {
    for seed in 0..5 {
        let mesh = Mesh::new(seed, Hops::Two, Protocol::Http);
        let served = mesh.sim.run(async {
            let mut application = mesh.application();
            let mut line = dial(&mesh).await;
            let said = [encode(&preface()).unwrap(), framed(GET)];
            for byte in said.concat() {
                line.send(&[byte]).await.unwrap();
                mesh.sim.sleep(Duration::from_millis(20)).await;
            }
            let accepted = application.accept().await.unwrap().stream;
            let mut application = Line::new(mesh.server.world(), accepted);
            application.expect(GET).await.unwrap();
            application.send(OK).await.unwrap();
            let accepted = encode(&Answer { verdict: 1, ..Answer::default() }).unwrap();
            line.expect(&accepted).await.unwrap();
            let mut answer = Vec::new();
            while answer.len() < OK.len() {
                let mut frame = [0; HEADER_BYTES];
                line.take(&mut frame).await.unwrap();
                let Ok(Some((Frame::Data(length), 1))) = Frame::decode(&frame) else {
                    panic!("{frame:?}");
                };
                let mut data = vec![0; length];
                line.take(&mut data).await.unwrap();
                answer.extend(data);
            }
            assert_eq!(answer, OK);
        });
        served.unwrap();
    }
}

#[test]
fn prefaces_that_mean_others_are_refused_with_a_reason() {
    let other = |change: fn(&mut Preface)| {
        let mut preface = preface();
        change(&mut preface);
        encode(&preface).unwrap()
    };
    let cases = [
        (other(|preface| preface.workload = "shop/web-2".to_owned()), Some("not-me")),
        (other(|preface| preface.generation = 2), Some("not-me")),
        (other(|preface| preface.target_port = 81), Some("unknown-port")),
        (other(|preface| preface.target_port = 0), Some("bad-preface")),
        (other(|preface| preface.target_port = 65_536 + 80), Some("bad-preface")),
        (other(|preface| preface.protocol = InnerProtocol::Opaque.into()), Some("wrong-protocol")),
        (other(|preface| preface.protocol = 99), Some("wrong-protocol")),
        // What is no preface is not answered.
        (GET.to_vec(), None),
        (b"\0\0".to_vec(), None),
        (b"\0\x05\xff\xff\xff\xff\xff".to_vec(), None),
        (b"\0".to_vec(), None),
    ];
    for (number, (frame, reason)) in cases.into_iter().enumerate() {
        let mesh = Mesh::new(number as u64, Hops::Two, Protocol::Http);
        let came = mesh.sim.run(async {
            let mut application = mesh.application();
            let mut line = dial(&mesh).await;
            line.send(&[&frame, GET].concat()).await.unwrap();
            let came = line.rest().await;
            let mut timer = mesh.server.world().clock.sleep(seconds(1));
            tokio::select! {
                biased;
                _ = application.accept() => panic!("case {number} reached the application"),
                () = &mut timer => came,
            }
        });
        let came = came.unwrap();
        let answered = decode::<Answer>(&came).unwrap();
        let Some((answered, length)) = answered else {
            assert!(reason.is_none() && came.is_empty(), "case {number}");
            continue;
        };
        assert_eq!(length, came.len(), "case {number}");
        assert_eq!(answered.verdict(), Verdict::Refused, "case {number}");
        assert_eq!(Some(answered.reason.as_str()), reason, "case {number}");
    }
}

#[test]
fn answers_to_a_preface_are_understood_or_refused() {
    let accepted = || answer(Verdict::Accepted, "");
    let cases = [
        (accepted(), framed(OK), None),
        (answer(Verdict::Refused, "not-me"), vec![], Some("tunnel-refused")),
        (answer(Verdict::Draining, "draining"), vec![], Some("peer-draining")),
        (answer(Verdict::Unspecified, ""), vec![], Some("tunnel-refused")),
        ([answer(Verdict::Refused, "not-me"), framed(OK)].concat(), vec![], Some("tunnel-refused")),
        (OK.to_vec(), vec![], Some("connect-failed")),
        (b"\0\0".to_vec(), vec![], Some("connect-failed")),
        (b"\0\x03\xff\xff\xff".to_vec(), vec![], Some("connect-failed")),
        (b"\0".to_vec(), vec![], Some("connect-failed")),
        (vec![], vec![], Some("connect-failed")),
        (accepted(), vec![], Some("upstream-closed")),
        (accepted(), OK.to_vec(), Some("upstream-closed")),
        (
            accepted(),
            [Frame::GoAway.encode(1), Frame::End.encode(1)].concat(),
            Some("tunnel-ended"),
        ),
        (accepted(), Frame::Reset.encode(1).to_vec(), Some("upstream-closed")),
        (accepted(), Frame::End.encode(2).to_vec(), Some("upstream-closed")),
        (accepted(), Frame::GoAway.encode(0).to_vec(), Some("upstream-closed")),
        (
            accepted(),
            [Frame::Refused.encode(1), Frame::GoAway.encode(1)].concat(),
            Some("not-processed"),
        ),
        (
            accepted(),
            [framed(b"HTTP/1.1 200"), Frame::Refused.encode(1).to_vec()].concat(),
            Some("upstream-closed"),
        ),
    ];
    for (number, (answer, said, reason)) in cases.into_iter().enumerate() {
        let mesh = Mesh::new(number as u64, Hops::Tunnel, Protocol::Http);
        let world = mesh.server.world();
        drop(mesh.server.spawn(async move {
            let mut listener =
                world.network.listen(address("10.0.0.1:15008"), Default::default()).unwrap();
            // A tunnel that was refused is tried anew.
            loop {
                let socket = listener.accept().await.unwrap().stream;
                let hello = b"spiffe://weft.test/ns/shop/sa/web".to_vec();
                let mut sealed = seal_server(socket, |_| Ok(hello)).await.unwrap();
                let mut came = Vec::new();
                let mut read = async |sealed: &mut Sealed, end: &[u8]| {
                    while !came.ends_with(end) {
                        let mut buffer = [0; 1_000];
                        let count = sealed.read(&mut buffer).await.unwrap();
                        came.extend_from_slice(&buffer[..count]);
                    }
                };
                read(&mut sealed, &encode(&preface()).unwrap()).await;
                sealed.write_all(&answer).await.unwrap();
                if !said.is_empty() {
                    read(&mut sealed, &framed(GET)).await;
                    sealed.write_all(&said).await.unwrap();
                }
                sealed.close().await.unwrap();
            }
        }));
        let answered = mesh.sim.run(async {
            let mut line = Line::new(mesh.client.world(), mesh.call().await);
            line.send(GET).await.unwrap();
            match reason {
                None => line.expect(OK).await,
                Some(
                    reason @ ("tunnel-refused" | "peer-draining" | "tunnel-ended"
                    | "connect-failed" | "not-processed"),
                ) => line.expect_answer(503, reason, Last::No).await,
                Some(reason) => line.expect_answer(502, reason, Last::No).await,
            }
        });
        answered.unwrap().unwrap_or_else(|what| panic!("case {number}: {what}"));
    }
}

#[test]
fn a_peer_that_stalls_is_not_waited_for_by_the_servers_proxy_either() {
    let told = |seconds: u64| Preface { idle_ms: seconds * 1_000, ..preface() };
    let opaque = |seconds| Preface { protocol: InnerProtocol::Opaque.into(), ..told(seconds) };
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n";
    let cases = [
        (Protocol::Opaque, opaque(0), "abc".to_owned(), 3_610),
        (Protocol::Opaque, opaque(60), "abc".to_owned(), 70),
        (Protocol::Http, told(0), format!("{head}\r\nabc"), 3_610),
        // Each request says for itself.
        (Protocol::Http, told(5), format!("{head}Weft-Idle: 60S\r\n\r\nabc"), 70),
    ];
    for (number, (protocol, preface, said, expected)) in cases.into_iter().enumerate() {
        let mesh = Mesh::new(number as u64, Hops::Two, protocol);
        let passed = mesh.sim.run(async {
            let mut application = mesh.application();
            let mut line = dial(&mesh).await;
            let said = match protocol {
                Protocol::Opaque => said.into_bytes(),
                _ => framed(said.as_bytes()),
            };
            line.send(&[encode(&preface).unwrap(), said].concat()).await.unwrap();
            let accepted = application.accept().await.unwrap().stream;
            let mut application = Line::new(mesh.server.world(), accepted);
            let began = mesh.sim.now();
            mesh.sim.sleep(seconds(expected - 10)).await;
            application.ended().await;
            assert!(!line.rest().await.is_empty(), "the tunnel was accepted");
            mesh.sim.now() - began
        });
        let (passed, expected) = (passed.unwrap(), seconds(expected));
        assert!(passed >= expected && passed < expected + seconds(50), "{number}: {passed:?}");
    }
}

#[test]
fn a_caller_whose_frames_break_the_rules_of_tunnels_is_recorded() {
    let shop = Shop::new(1, Plan::http(1));
    let executed = shared();
    let done = shop.sim.run(async {
        shop.serve(0, &executed);
        shop.sim.sleep(seconds(1)).await;
        let world = shop.client.world();
        let socket = world.network.connect(shop.at(0, 15008)).await.unwrap();
        let sealed = seal_client(socket, identity("client").to_string().as_bytes()).await.unwrap();
        let mut bad = Line::new(world, Box::new(sealed));
        let preface = Preface { workload: "shop/web-0".to_owned(), ..preface() };
        bad.send(&[encode(&preface).unwrap(), framed(GET)].concat()).await.unwrap();
        shop.sim.sleep(seconds(1)).await;
        bad.send(&Frame::Refused.encode(1)).await.unwrap();
        assert!(within(&shop.sim, seconds(5), bad.rest()).await.is_some(), "it goes on");
        // Another tunnel is none the worse for it.
        let mut line = shop.call().await;
        line.send(GET).await.unwrap();
        assert_eq!(line.answer().await.unwrap().0, 200);
    });
    done.unwrap();
    let records = shop.replica(0).records;
    let reasons: Vec<_> = records.borrow().iter().map(|record| record.reason).collect();
    assert_eq!(reasons, [None, Some("bad-frames"), None]);
}
