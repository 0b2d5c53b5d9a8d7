//! An orderly end loses nothing, and lies to nobody.

use std::cell::Cell;
use std::rc::Rc;

use weft_model::Protocol;
use weft_proxy::config::{Inbound, Outbound};
use weft_proxy::snapshot::{EndpointSpec, Reach, TunnelTarget};
use weft_sim::{Crash, Random, port, seal_server, start_proxy};
use weft_wire::tunnel::{Answer, Verdict, encode};

use crate::shop::{Plan, Shop, identity, shared, within};
use crate::talk::{Line, address};
use crate::*;

#[test]
fn a_proxy_that_ends_after_its_drain_costs_no_request() {
    for seed in 0..60 {
        let shop = Shop::new(seed, Plan::http(2));
        let mut random = Random::derive(seed, "a drain");
        let executed = shared();
        let offset = random.duration(Duration::ZERO, Duration::from_millis(3));
        let done = shop.sim.run(async {
            shop.serve(0, &executed);
            shop.serve(1, &executed);
            let mut line = shop.call().await;
            let post = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
            // Tunnels to both are there, and idle.
            for _ in 0..4 {
                line.send(post).await.unwrap();
                assert_eq!(line.answer().await.unwrap().0, 200);
            }
            let draining = async {
                shop.sim.sleep(offset).await;
                shop.replica(0).drain().await;
                shop.sim.crash(&shop.hosts[0], Crash::Reset);
            };
            let calling = async {
                for _ in 0..8 {
                    line.send(post).await.unwrap();
                    let (status, text) = line.answer().await.unwrap();
                    let text = String::from_utf8_lossy(&text).into_owned();
                    assert_eq!(status, 200, "seed {seed}: {text}");
                }
            };
            tokio::join!(biased; draining, calling);
        });
        done.unwrap();
        assert_eq!(executed.borrow().len(), 12, "seed {seed}: each once");
    }
}

#[test]
fn what_is_under_way_is_served_to_its_end_and_nothing_new_is_taken() {
    let shop = Shop::new(1, Plan::http(2));
    let executed = shared();
    let done = shop.sim.run(async {
        shop.serve(1, &executed);
        let mut listener = shop.application(0);
        let mut line = shop.call().await;
        line.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n").await.unwrap();
        let accepted = listener.accept().await.unwrap().stream;
        let mut application = Line::new(shop.hosts[0].world(), accepted);
        let replica = shop.replica(0);
        let mut draining = std::pin::pin!(replica.drain());
        assert!(within(&shop.sim, seconds(20), &mut draining).await.is_none(), "it is under way");
        for _ in 0..4 {
            let mut other = shop.call().await;
            other.send(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert_eq!(other.answer().await, Some((200, b"1 0".to_vec())));
        }
        line.send(b"ab").await.unwrap();
        assert_eq!(application.request().await.unwrap().1, b"ab");
        application.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        assert_eq!(line.answer().await, Some((200, b"ok".to_vec())));
        assert!(within(&shop.sim, seconds(11), draining).await.is_some(), "nothing is under way");
    });
    done.unwrap();
}

#[test]
fn a_drain_ends_as_soon_as_the_last_answer_has_left_whatever_callers_keep_idle() {
    let shop = Shop::new(1, Plan::http(1));
    let done = shop.sim.run(async {
        let mut listener = shop.application(0);
        let mut asked = Vec::new();
        for _ in 0..3 {
            let mut line = shop.call().await;
            line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let accepted = listener.accept().await.unwrap().stream;
            let mut application = Line::new(shop.hosts[0].world(), accepted);
            application.request().await.unwrap();
            asked.push((line, application));
        }
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let (mut last, mut answering) = asked.pop().unwrap();
        for (line, application) in &mut asked {
            application.send(ok).await.unwrap();
            assert_eq!(line.answer().await, Some((200, b"ok".to_vec())));
        }
        // The caller's proxy looks after what is idle once a second, and has just done so.
        shop.sim.sleep(Duration::from_millis(2_050) - shop.sim.now()).await;
        let replica = shop.replica(0);
        let mut draining = std::pin::pin!(replica.drain());
        let soon = Duration::from_millis(100);
        assert!(within(&shop.sim, soon, &mut draining).await.is_none(), "one is under way");
        answering.send(ok).await.unwrap();
        assert_eq!(last.answer().await, Some((200, b"ok".to_vec())));
        assert!(within(&shop.sim, soon, draining).await.is_some(), "it waits for nothing");
    });
    done.unwrap();
}

#[test]
fn opaque_streams_go_on_and_new_ones_go_elsewhere() {
    let shop = Shop::new(1, Plan::of(2, Protocol::Opaque));
    let done = shop.sim.run(async {
        let mut listeners = [shop.application(0), shop.application(1)];
        let mut line = shop.call().await;
        line.send(b"a").await.unwrap();
        let (first, rest) = tokio::select! {
            biased;
            accepted = listeners[0].accept() => (0, accepted),
        };
        let mut application = Line::new(shop.hosts[first].world(), rest.unwrap().stream);
        application.expect(b"a").await.unwrap();
        let replica = shop.replica(0);
        let mut draining = std::pin::pin!(replica.drain());
        assert!(within(&shop.sim, seconds(20), &mut draining).await.is_none());
        for _ in 0..3 {
            let mut other = shop.call().await;
            other.send(b"b").await.unwrap();
            let accepted = listeners[1].accept().await.unwrap().stream;
            Line::new(shop.hosts[1].world(), accepted).expect(b"b").await.unwrap();
        }
        application.send(b"c").await.unwrap();
        line.expect(b"c").await.unwrap();
        drop(application);
        line.ended().await;
        drop(line);
        assert!(within(&shop.sim, seconds(11), draining).await.is_some());
    });
    done.unwrap();
}

#[test]
fn a_proxy_that_was_started_again_is_called_again() {
    // Nobody tells the caller's proxy of a new generation: there is no registry.
    let sim = Simulation::new(5, SimulationOptions::default());
    let client = sim.host("client", [IpAddr::from([10, 0, 0, 2])]);
    let server = sim.host("server", [IpAddr::from([10, 0, 0, 1])]);
    let workload: weft_model::ObjectName = "shop/web-1".parse().unwrap();
    let target = TunnelTarget {
        identity: identity("web"),
        workload: workload.clone(),
        generation: 1,
        service: None,
        port: port(80),
    };
    let endpoint = EndpointSpec::new(address("10.0.0.1:15008"), Reach::Tunnel(target));
    let listen = address("10.0.0.2:9001");
    let outbound = Outbound::fixed(listen, "shop/web", Protocol::Http, vec![endpoint]);
    start_proxy(&client, identity("client"), vec![outbound], vec![]);
    let start = || {
        let (domain, listen) = (identity("web"), address("10.0.0.1:15008"));
        let ports = [(port(80), Protocol::Http, address("10.0.0.1:8080"))];
        let inbound = Inbound::fixed(listen, workload.clone(), 1, domain.trust_domain(), ports);
        let proxy = start_proxy(&server, identity("web"), vec![], vec![inbound]);
        let mut listener = server
            .world()
            .network
            .listen(address("10.0.0.1:8080"), ListenerOptions::default())
            .unwrap();
        let world = server.world();
        drop(server.spawn(async move {
            while let Ok(accepted) = listener.accept().await {
                let mut line = Line::new(world.clone(), accepted.stream);
                drop(tokio::task::spawn_local(async move {
                    while line.request().await.is_some() {
                        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        if line.send(ok).await.is_err() {
                            return;
                        }
                    }
                }));
            }
        }));
        proxy
    };
    let proxy = start();
    let served = sim.run(async {
        sim.sleep(seconds(1)).await;
        let stream = client.world().network.connect(listen).await.unwrap();
        let mut line = Line::new(client.world(), stream);
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        line.send(get).await.unwrap();
        assert_eq!(line.answer().await.unwrap().0, 200);
        proxy.drain().await;
        line.send(get).await.unwrap();
        let (status, text) = line.answer().await.unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(status, 503);
        assert!(text.contains("draining"), "{text}");
        sim.crash(&server, Crash::Reset);
        server.restart();
        drop(start());
        // Within a quarter of a minute.
        for _ in 0..15 {
            sim.sleep(seconds(1)).await;
            line.send(get).await.unwrap();
            if line.answer().await.unwrap().0 == 200 {
                return;
            }
        }
        panic!("it is never called again");
    });
    served.unwrap();
}

/// Puts something that takes tunnels and answers each byte in the place of replica `number`'s
/// proxy. The first `refused` tunnels it refuses, as if it were about to end. Counts what it takes.
fn take_tunnels(shop: &Shop, number: usize, refused: usize) -> Rc<Cell<usize>> {
    let host = &shop.hosts[number];
    shop.sim.crash(host, Crash::Reset);
    host.restart();
    let (taken, seen, world) = (Rc::<Cell<usize>>::default(), Cell::new(0), host.world());
    let mut listener =
        world.network.listen(shop.at(number, 15008), ListenerOptions::default()).unwrap();
    let counted = taken.clone();
    drop(host.spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let (world, counted) = (world.clone(), counted.clone());
            let is_refused = seen.replace(seen.get() + 1) < refused;
            drop(tokio::task::spawn_local(async move {
                let hello = identity("web").to_string().into_bytes();
                let sealed = seal_server(accepted.stream, |_| Ok(hello)).await.unwrap();
                let mut line = Line::new(world, Box::new(sealed));
                let mut length = [0; 2];
                line.take(&mut length).await.unwrap();
                let mut preface = vec![0; usize::from(u16::from_be_bytes(length))];
                line.take(&mut preface).await.unwrap();
                let verdict = if is_refused { Verdict::Draining } else { Verdict::Accepted };
                let answer = Answer { verdict: verdict.into(), ..Answer::default() };
                line.send(&encode(&answer).unwrap()).await.unwrap();
                if !is_refused {
                    counted.set(counted.get() + 1);
                    let mut byte = [0];
                    while line.take(&mut byte).await.is_some() && line.send(&byte).await.is_ok() {}
                }
            }));
        }
    }));
    taken
}

#[test]
fn a_replica_that_takes_streams_again_gets_its_share_again() {
    let shop = Shop::new(1, Plan::of(2, Protocol::Opaque));
    let done = shop.sim.run(async {
        shop.sim.sleep(seconds(1)).await;
        let taken = [take_tunnels(&shop, 0, 1), take_tunnels(&shop, 1, 0)];
        for _ in 0..200 {
            let mut line = shop.call().await;
            line.send(b"a").await.unwrap();
            line.expect(b"a").await.unwrap();
            shop.sim.sleep(Duration::from_millis(100)).await;
        }
        taken.map(|taken| taken.get())
    });
    // The first quarter of the time it is left alone.
    let [one, other] = done.unwrap();
    assert_eq!(one + other, 200);
    assert!((60..=90).contains(&one), "{one} and {other}");
}
