//! Byte streams: order, limits, ends, failures.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use weft_sim::{Crash, Happening, LinkOptions, TraceEvent};

use super::*;

#[test]
fn bytes_arrive_in_order_whatever_the_splits_and_losses() {
    for seed in 0..40u16 {
        let mut options = SimulationOptions::default();
        options.network.link = LinkOptions::wan().with_loss(0.1);
        options.network.segment_bytes_max = 1 + (usize::from(seed) * 97) % 1_460;
        options.network.send_buffer_bytes = 3_000;
        let pair = Pair::with(seed.into(), options);
        let sent = content(20_000);
        let expected = sent.clone();
        let came = pair.run(async {
            let (mut near, mut far) = pair.connected().await;
            let writing = pair.client.spawn(async move {
                near.write_all(&sent).await?;
                near.close().await?;
                read_to_end(&mut *near).await
            });
            let came = read_to_end(&mut *far).await.unwrap();
            far.write_all(&came).await.unwrap();
            far.close().await.unwrap();
            assert_eq!(writing.await.unwrap().unwrap(), came);
            came
        });
        assert!(came == expected, "altered under seed {seed}");
    }
}

#[test]
fn a_short_message_is_split_at_every_place() {
    let mut splits = BTreeSet::new();
    for seed in 0..200 {
        let pair = Pair::new(seed);
        splits.insert(pair.run(async {
            let (mut near, mut far) = pair.connected().await;
            near.write_all(b"GET / HTTP/1.1").await.unwrap();
            far.read(&mut [0; 100]).await.unwrap()
        }));
    }
    assert_eq!(splits, (1..=14).collect());
}

#[test]
fn writing_waits_until_the_peer_reads() {
    let mut options = SimulationOptions::default();
    options.network.send_buffer_bytes = 5_000;
    options.network.receive_buffer_bytes = 7_000;
    let pair = Pair::with(1, options);
    pair.run(async {
        let (mut near, mut far) = pair.connected().await;
        let written = Rc::new(Cell::new(0));
        let count = Rc::clone(&written);
        let writing = pair.client.spawn(async move {
            for piece in content(40_000).chunks(100) {
                near.write_all(piece).await.unwrap();
                count.set(count.get() + piece.len());
            }
        });
        pair.sim.sleep(seconds(60)).await;
        assert_eq!(written.get(), 12_000, "both buffers are full");
        let mut buffer = [0; 3_000];
        let mut read = 0;
        while read < buffer.len() {
            read += far.read(&mut buffer[read..]).await.unwrap();
        }
        pair.sim.sleep(seconds(60)).await;
        assert_eq!(written.get(), 15_000, "as much again as was read");
        let rest = read_to_end(&mut *far).await.unwrap();
        assert_eq!([&buffer[..], &rest].concat(), content(40_000));
        writing.await.unwrap();
    });
}

#[test]
fn each_direction_ends_by_itself() {
    let pair = Pair::new(1);
    pair.run(async {
        let (mut near, mut far) = pair.connected().await;
        near.write_all(b"question").await.unwrap();
        near.close().await.unwrap();
        near.close().await.unwrap(); // Ending twice is nothing new.
        let error = near.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(read_to_end(&mut *far).await.unwrap(), b"question");
        pair.sim.sleep(seconds(5)).await;
        far.write_all(b"answer").await.unwrap();
        far.close().await.unwrap();
        assert_eq!(read_to_end(&mut *near).await.unwrap(), b"answer");
    });
}

#[test]
fn a_dropped_stream_still_delivers_what_was_written() {
    let pair = Pair::new(1);
    pair.run(async {
        let (mut near, mut far) = pair.connected().await;
        near.write_all(b"last words").await.unwrap();
        drop(near);
        assert_eq!(read_to_end(&mut *far).await.unwrap(), b"last words");
        // Nobody reads the answer: it is met by a reset.
        far.write_all(b"answer").await.unwrap();
        let error = far.read(&mut [0; 1]).await;
        assert_eq!(error.unwrap(), 0, "the end was seen before the reset came");
        pair.sim.sleep(seconds(1)).await;
        let error = far.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn dropping_with_unread_bytes_resets() {
    let pair = Pair::new(1);
    pair.run(async {
        let (mut near, mut far) = pair.connected().await;
        far.write_all(b"unread").await.unwrap();
        pair.sim.sleep(seconds(1)).await;
        near.write_all(b"x").await.unwrap();
        drop(near);
        assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 1, "what arrived before can be read");
        for _ in 0..2 {
            let error = far.read(&mut [0; 9]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn connections_between_hosts_can_be_reset() {
    let pair = Pair::new(1);
    pair.run(async {
        let (mut near, mut far) = pair.connected().await;
        pair.sim.reset_connections(&pair.server, &pair.client);
        for stream in [&mut near, &mut far] {
            let error = stream.read(&mut [0; 9]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn who_does_not_listen_refuses_after_a_round_trip() {
    let pair = Pair::new(1);
    pair.run(async {
        assert_eq!(pair.refusal(pair.at()).await, io::ErrorKind::ConnectionRefused);
        assert!(pair.sim.now() >= LinkOptions::lan().latency_min * 2);
        assert!(pair.sim.now() < seconds(1));
        drop(pair.listen());
        assert_eq!(pair.refusal(pair.at()).await, io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn nobody_answers_across_a_partition_or_at_an_unknown_address() {
    let pair = Pair::new(1);
    let timeout = SimulationOptions::default().network.connect_timeout;
    pair.run(async {
        let _listener = pair.listen();
        pair.sim.partition(&pair.client, &pair.server);
        assert_eq!(pair.refusal(pair.at()).await, io::ErrorKind::TimedOut);
        assert_eq!(pair.sim.now(), timeout);
        let unknown = SocketAddr::from(([10, 9, 9, 9], 80));
        assert_eq!(pair.refusal(unknown).await, io::ErrorKind::TimedOut);
        assert_eq!(pair.sim.now(), timeout * 2);
    });
}

#[test]
fn a_connect_succeeds_once_the_partition_heals() {
    let pair = Pair::new(1);
    pair.run(async {
        let _listener = pair.listen();
        pair.sim.partition(&pair.client, &pair.server);
        let world = pair.client.world();
        let at = pair.at();
        let connecting = pair.client.spawn(async move { world.network.connect(at).await.is_ok() });
        pair.sim.sleep(Duration::from_millis(5_500)).await;
        pair.sim.heal(&pair.client, &pair.server);
        assert!(connecting.await.unwrap());
        // Sent at 0, 1, 3 and 7 seconds.
        assert_eq!(pair.sim.now().as_secs(), 7);
    });
}

#[test]
fn a_stream_survives_a_partition_that_heals() {
    for seed in 0..20 {
        let pair = Pair::new(seed);
        pair.run(async {
            let (mut near, mut far) = pair.connected().await;
            near.write_all(b"before ").await.unwrap();
            pair.sim.partition(&pair.server, &pair.client);
            near.write_all(b"during ").await.unwrap();
            pair.sim.sleep(seconds(10)).await;
            pair.sim.heal(&pair.client, &pair.server);
            near.write_all(b"after").await.unwrap();
            near.close().await.unwrap();
            assert_eq!(read_to_end(&mut *far).await.unwrap(), b"before during after");
            let is_segment = |event: &TraceEvent| matches!(event.what, Happening::Segment { .. });
            let mut arrivals = pair.sim.trace().events().into_iter().filter(is_segment);
            assert!(arrivals.all(|arrival| arrival.at > seconds(10)), "nothing passes meanwhile");
        });
    }
}

/// Without keepalive, which would notice the partition first.
fn without_probes() -> SimulationOptions {
    let mut options = SimulationOptions::default();
    options.network.keepalive_interval = seconds(100_000);
    options
}

#[test]
fn a_sender_gives_up_in_a_long_partition_and_a_reader_does_not_notice() {
    let pair = Pair::with(1, without_probes());
    pair.run(async {
        let (mut near, mut far) = pair.connected().await;
        pair.sim.partition(&pair.server, &pair.client);
        near.write_all(b"lost").await.unwrap();
        near.close().await.unwrap();
        let error = near.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let limit = SimulationOptions::default().network.give_up_after;
        assert!(pair.sim.now() >= limit && pair.sim.now() < limit + seconds(125));
        pair.sim.heal(&pair.server, &pair.client);
        pair.sim.sleep(seconds(10)).await;
        // Its system has forgotten the connection, and says so when it is spoken to.
        far.write_all(b"there?").await.unwrap();
        let error = far.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_was_given_up_never_looks_like_an_end() {
    let mut options = without_probes();
    options.network.receive_buffer_bytes = 10;
    let pair = Pair::with(1, options);
    pair.run(async {
        let (mut near, mut far) = pair.connected().await;
        near.write_all(b"before").await.unwrap();
        pair.sim.sleep(seconds(1)).await;
        pair.sim.partition(&pair.server, &pair.client);
        near.write_all(&content(100)).await.unwrap();
        near.close().await.unwrap();
        assert!(near.read(&mut [0; 1]).await.is_err());
        pair.sim.heal(&pair.server, &pair.client);
        let mut read = 0;
        while read < b"before".len() {
            read += far.read(&mut [0; 6]).await.unwrap();
        }
        pair.sim.sleep(seconds(10)).await;
        far.write_all(b"there?").await.unwrap();
        let error = far.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reset_takes_the_link_s_time_also_after_a_crash() {
    let latency = Duration::from_millis(100);
    let mut options = SimulationOptions::default();
    options.network.link = LinkOptions {
        latency_min: latency,
        latency_max: latency,
        slow_chance: 0.0,
        ..LinkOptions::lan()
    };
    let pair = Pair::with(1, options);
    pair.run(async {
        let (mut near, mut far) = pair.connected().await;
        pair.sim.sleep(seconds(1)).await;
        near.write_all(b"n").await.unwrap();
        let sent = pair.sim.now();
        pair.sim.sleep(latency / 10).await;
        far.write_all(b"f").await.unwrap(); // Lost with the server, while it is on its way.
        pair.server.crash(Crash::Silent);
        pair.server.restart();
        assert!(near.read(&mut [0; 1]).await.is_err());
        assert_eq!(pair.sim.now() - sent, latency * 2);
    });
}

#[test]
fn a_full_backlog_makes_a_connection_wait() {
    let mut options = SimulationOptions::default();
    options.network.backlog_max = 2;
    let pair = Pair::with(1, options);
    pair.run(async {
        let mut listener = pair.listen();
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(pair.client.world().network.connect(pair.at()).await.unwrap());
        }
        pair.sim.sleep(seconds(5)).await;
        for _ in 0..3 {
            listener.accept().await.unwrap();
        }
        assert!(pair.sim.now() > seconds(5), "the third had to be tried again");
    });
}

#[test]
fn a_connection_that_failed_in_the_backlog_is_passed_over() {
    let pair = Pair::new(1);
    pair.run(async {
        let mut listener = pair.listen();
        let mut first = pair.client.world().network.connect(pair.at()).await.unwrap();
        pair.sim.sleep(seconds(1)).await;
        pair.sim.reset_connections(&pair.client, &pair.server);
        assert!(first.read(&mut [0; 1]).await.is_err());
        let _second = pair.client.world().network.connect(pair.at()).await.unwrap();
        let mut accepted = listener.accept().await.unwrap();
        accepted.stream.write_all(b"x").await.unwrap();
    });
}

#[test]
fn addresses_are_told_and_checked() {
    let pair = Pair::new(1);
    pair.run(async {
        let world = pair.server.world();
        let listen = |text: &str| world.network.listen(text.parse().unwrap(), Default::default());
        let mut wild = listen("[::]:80").unwrap();
        let taken = |text| listen(text).err().unwrap().kind();
        assert_eq!(taken("[fd00::1]:80"), io::ErrorKind::AddrInUse);
        assert_eq!(taken("10.0.0.9:80"), io::ErrorKind::AddrNotAvailable);
        let other = listen("10.0.0.1:0").unwrap();
        assert_ne!(other.local_address().port(), 0);

        let at = "[fd00::1]:80".parse().unwrap();
        let _stream = pair.client.world().network.connect(at).await.unwrap();
        let accepted = wild.accept().await.unwrap();
        assert_eq!((accepted.peer.ip(), accepted.destination), (pair.client.addresses()[1], at));

        let local = "[::1]:80".parse().unwrap();
        let _stream = world.network.connect(local).await.unwrap();
        let accepted = wild.accept().await.unwrap();
        assert_eq!((accepted.peer.ip(), accepted.destination), (local.ip(), local));
    });
}

#[test]
fn a_stream_between_crashed_hosts_is_forgotten() {
    let pair = Pair::new(1);
    pair.run(async {
        let streams = pair.connected().await;
        pair.server.crash(Crash::Silent);
        pair.client.crash(Crash::Reset);
        drop(streams);
        pair.sim.sleep(seconds(2_000)).await;
    });
    let told = |event: &TraceEvent| matches!(event.what, Happening::Reset { .. });
    assert!(!pair.sim.trace().events().iter().any(told), "the server was off");
}
