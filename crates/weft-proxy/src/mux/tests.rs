//! Both sides against each other, and against frames made by hand.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use weft_wire::mux::{DATA_BYTES_MAX, Frame, HEADER_BYTES, STREAMS_MAX, WINDOW_BYTES};
use weft_world::{Buffer, Stream, StreamExt};

use super::client::{self, Connection};
use super::{MuxStream, OUTGOING_BYTES_MAX, server};
use crate::testing::{PIPE_BYTES, Pipe, TestClock, clock, pipe, run, settle, until};

/// Serves the server's side of `stream` by `handle`, in a task.
fn serve<F: Future<Output = ()> + 'static>(
    stream: Box<dyn Stream>,
    drain: impl Future<Output = ()> + 'static,
    handle: impl FnMut(MuxStream) -> F + 'static,
) -> (JoinHandle<()>, Rc<TestClock>) {
    let (time, clock) = clock();
    let serving = async move { server::serve(stream, &*clock, drain, handle).await };
    (spawn_local(serving), time)
}

/// Sends back what comes, until the end, which it sends back too.
async fn echo(mut stream: MuxStream) {
    let mut buffer = vec![0; 5_000];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = stream.close().await;
}

/// Both sides of a connection whose server sends back what comes.
fn echoing() -> (Connection, JoinHandle<()>, JoinHandle<()>) {
    let (near, far) = pipe();
    let (serving, _) = serve(Box::new(Pipe(far)), pending(), echo);
    let (connection, driver) = client::connect(near, clock().1);
    (connection, spawn_local(driver), serving)
}

/// All that comes on `stream`, to its end.
async fn rest(stream: &mut MuxStream) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 7_000]);
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

fn content(length: usize, seed: usize) -> Vec<u8> {
    let byte = |index: usize| (index * 31 + seed * 7 + index / 251).to_le_bytes()[0];
    (0..length).map(byte).collect()
}

#[test]
fn what_goes_in_comes_back_on_each_stream_and_memory_is_given_back() {
    let before = Buffer::lent_bytes();
    run(async {
        let (mut connection, driving, serving) = echoing();
        // Above and below a frame, the window, and what may wait to leave.
        let lengths = [0, 1, 100, 16_375, 16_376, 16_377, 131_072, 131_073, 1_000_000];
        let streams: Vec<_> = (0..40)
            .map(|number| {
                let (mut stream, is_kept) = connection.open();
                assert_eq!(is_kept, number > 0);
                let said = content(lengths[number % lengths.len()], number);
                spawn_local(async move {
                    let (mut sent, mut got, mut buffer) = (0, Vec::new(), vec![0; 3_000]);
                    // Both at once: who only writes would wait for ever for the room to do so.
                    poll_fn(|cx| {
                        while sent < said.len() {
                            let piece = [IoSlice::new(&said[sent..said.len().min(sent + 40_000)])];
                            let Poll::Ready(count) = stream.poll_write(cx, &piece) else { break };
                            sent += count.unwrap();
                        }
                        while got.len() < said.len() {
                            let count = ready!(stream.poll_read(cx, &mut buffer)).unwrap();
                            got.extend_from_slice(&buffer[..count]);
                        }
                        Poll::Ready(())
                    })
                    .await;
                    stream.close().await.unwrap();
                    let rest =
                        if said.is_empty() { vec![] } else { rest(&mut stream).await.unwrap() };
                    assert!(got == said && rest.is_empty(), "stream {number}");
                })
            })
            .collect();
        for stream in streams {
            stream.await.unwrap();
        }
        assert_eq!(connection.open_count(), 0);
        drop(connection);
        driving.await.unwrap();
        serving.await.unwrap();
    });
    assert_eq!(Buffer::lent_bytes(), before);
}

#[test]
fn a_stream_that_nobody_reads_stops_none_of_the_others() {
    run(async {
        let (near, far) = pipe();
        let mut number = 0;
        let (_serving, _) = serve(Box::new(Pipe(far)), pending(), move |stream| {
            number += 1;
            let is_stuck = number == 1;
            async move {
                if is_stuck {
                    pending::<()>().await;
                }
                echo(stream).await;
            }
        });
        let (mut connection, driver) = client::connect(near, clock().1);
        spawn_local(driver);
        let (mut stuck, _) = connection.open();
        let sent = Rc::new(Cell::new(0));
        let counted = Rc::clone(&sent);
        let sending = spawn_local(async move {
            loop {
                let piece = [b'x'; 1_000];
                stuck.write_all(&piece).await.unwrap();
                counted.set(counted.get() + piece.len());
            }
        });
        settle().await;
        let window = WINDOW_BYTES as usize;
        assert!((window - 1_000..=window).contains(&sent.get()), "{}", sent.get());
        for seed in 0..20 {
            let (mut stream, _) = connection.open();
            stream.write_all(&content(30_000, seed)).await.unwrap();
            stream.close().await.unwrap();
            assert!(rest(&mut stream).await.unwrap() == content(30_000, seed));
        }
        sending.abort();
    });
}

#[test]
fn a_drain_ends_what_is_open_in_order_and_refuses_what_is_new() {
    run(async {
        let (near, far) = pipe();
        let drain = Rc::new(Notify::new());
        let drained = Rc::clone(&drain);
        let until_drain = async move { drained.notified().await };
        let (serving, _) = serve(Box::new(Pipe(far)), until_drain, echo);
        let (mut connection, driver) = client::connect(near, clock().1);
        let driving = spawn_local(driver);
        let (mut stream, _) = connection.open();
        stream.write_all(b"before").await.unwrap();
        let (mut late, _) = connection.open();
        settle().await;
        drain.notify_one();
        settle().await;
        assert!(!connection.is_usable() && connection.capacity() == 0);
        let refused = late.write_all(b"late").await.unwrap_err();
        let refused = crate::error::StreamError::Io(refused);
        assert!(refused.is_unprocessed(), "{refused}");
        stream.write_all(b" and after").await.unwrap();
        settle().await;
        assert!(!serving.is_finished());
        stream.close().await.unwrap();
        assert_eq!(rest(&mut stream).await.unwrap(), b"before and after");
        drop((stream, late, connection));
        driving.await.unwrap();
        serving.await.unwrap();
    });
}

#[test]
fn a_server_that_goes_away_is_left_once_it_has_given_up_its_streams_whoever_holds_them() {
    run(async {
        let (near, far) = pipe();
        let drain = Rc::new(Notify::new());
        let drained = Rc::clone(&drain);
        let heard = Rc::new(Cell::new(0));
        let hearing = Rc::clone(&heard);
        let handle = move |mut stream: MuxStream| {
            let (drained, heard) = (Rc::clone(&drained), Rc::clone(&hearing));
            async move {
                let mut first = [0];
                stream.read(&mut first).await.unwrap();
                drained.notified().await;
                stream.write_all(b"last words").await.unwrap();
                stream.close().await.unwrap();
                if first == *b"l" {
                    heard.set(rest(&mut stream).await.unwrap().len());
                }
            }
        };
        let going = Rc::new(Notify::new());
        let goes = Rc::clone(&going);
        let (serving, _) = serve(Box::new(Pipe(far)), async move { goes.notified().await }, handle);
        let (mut connection, driver) = client::connect(near, clock().1);
        let driving = spawn_local(driver);
        let (mut idle, mut listened) = (connection.open().0, connection.open().0);
        idle.write_all(b"i").await.unwrap();
        listened.write_all(b"l").await.unwrap();
        settle().await;
        going.notify_one();
        drain.notify_waiters();
        settle().await;
        assert!(!driving.is_finished(), "the server still listens");
        listened.write_all(&content(1_000, 0)).await.unwrap();
        listened.close().await.unwrap();
        until("it is left", || driving.is_finished() && serving.is_finished()).await;
        assert_eq!(heard.get(), 1_000);
        assert_eq!(rest(&mut idle).await.unwrap(), b"last words");
        assert_eq!(rest(&mut listened).await.unwrap(), b"last words");
        assert_eq!(connection.open_count(), 2);
    });
}

#[test]
fn a_stream_that_the_server_had_not_seen_when_it_went_away_is_known_to_be_unprocessed() {
    run(async {
        let (near, mut peer) = pipe();
        let (mut connection, driver) = client::connect(near, clock().1);
        spawn_local(driver);
        let (mut first, _) = connection.open();
        let (mut second, _) = connection.open();
        first.write_all(b"1").await.unwrap();
        second.write_all(b"2").await.unwrap();
        let said = [&Frame::GoAway.encode(1)[..], &Frame::Data(2).encode(1), b"ok"].concat();
        peer.write_all(&said).await.unwrap();
        let mut buffer = [0; 10];
        let unprocessed =
            crate::error::StreamError::Io(second.read(&mut buffer).await.unwrap_err());
        assert!(unprocessed.is_unprocessed(), "{unprocessed}");
        assert_eq!(first.read(&mut buffer).await.unwrap(), 2);
        // The first one is not: who has answered may have done anything before it goes.
        drop(peer);
        let broken = crate::error::StreamError::Io(first.read(&mut buffer).await.unwrap_err());
        assert!(!broken.is_unprocessed(), "{broken}");
    });
}

#[test]
fn what_a_client_must_not_do_ends_the_connection_and_nothing_panics() {
    let data = |stream: u32, length: usize| {
        [&Frame::Data(length).encode(stream)[..], &vec![b'x'; length]].concat()
    };
    let window = WINDOW_BYTES as usize;
    let flood: Vec<u8> = (0..=window / 16_000).flat_map(|_| data(1, 16_000)).collect();
    let cases: [(&str, Vec<u8>); 8] = [
        ("no frame", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("stream 0", data(0, 1)),
        ("more than the window", flood),
        ("data after the end", [&data(1, 1)[..], &Frame::End.encode(1), &data(1, 1)].concat()),
        ("credit beyond the window", [&data(1, 1)[..], &Frame::Credit(1).encode(1)].concat()),
        ("a client that goes away", Frame::GoAway.encode(0).to_vec()),
        ("a frame that is too long", b"\x01\xff\xff\xff\0\0\0\x01".to_vec()),
        ("an unknown kind", b"\x09\0\0\0\0\0\0\x01".to_vec()),
    ];
    for (name, said) in cases {
        run(async {
            let (near, mut peer) = pipe();
            // Nothing is read, so that nothing is credited.
            let keep = |stream: MuxStream| async move {
                let _stream = stream;
                pending::<()>().await;
            };
            let (serving, _) = serve(near, pending(), keep);
            let _ = peer.write_all(&said).await;
            let mut end = Vec::new();
            // The tasks wait for ever: it is the end of the connection that is looked for.
            settle().await;
            serving.abort();
            let _ = serving.await;
            let _ = peer.read_to_end(&mut end).await;
            assert!(end.len() < 64, "{name}: {end:?}");
        });
    }
}

#[test]
fn streams_begin_in_the_order_of_their_numbers_whoever_has_waited_for_room() {
    // What fits before the buffer is as good as full, and then much, and then little.
    for first in [3 * 16_384 + 15_700, 4 * 16_384 - 8] {
        run(async {
            let (near, far) = pipe();
            let (_serving, _) = serve(Box::new(Pipe(far)), pending(), echo);
            let (mut connection, driver) = client::connect(near, clock().1);
            let mut cx = Context::from_waker(Waker::noop());
            let mut write = |stream: &mut MuxStream, bytes: &[u8]| {
                let mut sent = 0;
                while let Poll::Ready(count) =
                    stream.poll_write(&mut cx, &[IoSlice::new(&bytes[sent..])])
                    && sent < bytes.len()
                {
                    sent += count.unwrap();
                }
                sent
            };
            let (mut large, _) = connection.open();
            assert!(write(&mut large, &content(first, 0)) + 8 * 4 >= first - 16);
            let (mut waiting, _) = connection.open();
            assert_eq!(write(&mut waiting, &content(16_000, 1)), 0, "it finds no room");
            let (mut small, _) = connection.open();
            let said = write(&mut small, &content(300, 2));
            // Only now is anything moved.
            spawn_local(driver);
            for (stream, length, said, seed) in
                [(&mut waiting, 16_000, 0, 1), (&mut small, 300, said, 2)]
            {
                stream.write_all(&content(length, seed)[said..]).await.unwrap();
                stream.close().await.unwrap();
                assert!(rest(stream).await.unwrap() == content(length, seed), "{seed}");
            }
        });
    }
}

#[test]
fn a_storm_of_streams_is_refused_beyond_so_many_and_holds_no_memory() {
    let lent = Buffer::lent_bytes();
    run(async {
        let (near, peer) = pipe();
        let (mut reader, mut writer) = tokio::io::split(peer);
        let open = Rc::new(Cell::new(0));
        let counted = Rc::clone(&open);
        let handle = move |stream: MuxStream| {
            counted.set(counted.get() + 1);
            async move {
                let _stream = stream;
                pending::<()>().await;
            }
        };
        let (serving, _) = serve(near, pending(), handle);
        let sending = spawn_local(async move {
            for number in 1..1_000 {
                let frames = [&Frame::Data(1).encode(number)[..], b"x"].concat();
                writer.write_all(&frames).await.unwrap();
                writer.write_all(&Frame::Reset.encode(number)).await.unwrap();
            }
        });
        for number in 1..1_000 - 2 * u32::try_from(STREAMS_MAX).unwrap() {
            let mut refused = [0; HEADER_BYTES];
            reader.read_exact(&mut refused).await.unwrap();
            let expected = (Frame::Refused, number + 2 * u32::try_from(STREAMS_MAX).unwrap());
            assert_eq!(Frame::decode(&refused), Ok(Some(expected)));
        }
        sending.await.unwrap();
        assert_eq!(open.get(), 2 * STREAMS_MAX);
        serving.abort();
        let _ = serving.await;
    });
    assert_eq!(Buffer::lent_bytes(), lent);
}

#[test]
fn a_small_answer_waits_for_a_share_of_each_large_one_and_not_for_their_windows() {
    const LARGE: u32 = 12;
    run(async {
        let (near, mut peer) = pipe();
        let handle = |mut stream: MuxStream| async move {
            let mut asked = [0];
            stream.read(&mut asked).await.unwrap();
            let length = if asked == *b"s" { 100 } else { 400_000 };
            stream.write_all(&content(length, 0)).await.unwrap();
        };
        let (_serving, _) = serve(near, pending(), handle);
        let ask = |number: u32, what: &[u8; 1]| [&Frame::Data(1).encode(number)[..], what].concat();
        for number in 1..=LARGE {
            peer.write_all(&ask(number, b"l")).await.unwrap();
        }
        settle().await;
        peer.write_all(&ask(LARGE + 1, b"s")).await.unwrap();
        let (mut ahead, mut by) = (0, vec![0; LARGE as usize]);
        loop {
            // The small one is asked for once there is no room; then the peer reads.
            settle().await;
            let mut header = [0; HEADER_BYTES];
            peer.read_exact(&mut header).await.unwrap();
            let Ok(Some((Frame::Data(length), number))) = Frame::decode(&header) else { continue };
            peer.read_exact(&mut vec![0; length]).await.unwrap();
            if number > LARGE {
                break;
            }
            ahead += length;
            by[number as usize - 1] += length;
        }
        // What had left, or waited to, and then a frame of each.
        let most = PIPE_BYTES + OUTGOING_BYTES_MAX + by.len() * DATA_BYTES_MAX;
        assert!(ahead <= most, "{ahead} bytes, of which {by:?}");
    });
}

#[test]
fn a_client_that_asks_and_never_reads_makes_nothing_grow() {
    run(async {
        let (near, mut peer) = pipe();
        // Each is answered at length, and its own bytes are not read.
        let handle = |mut stream: MuxStream| async move {
            let _ = stream.write_all(&[b'y'; 200_000]).await;
        };
        let (serving, _) = serve(near, pending(), handle);
        let sending = spawn_local(async move {
            for number in 1..5_000 {
                let frames = [&Frame::Data(100).encode(number)[..], &[b'x'; 100]].concat();
                if peer.write_all(&frames).await.is_err() {
                    return;
                }
                if peer.write_all(&Frame::Reset.encode(number)).await.is_err() {
                    return;
                }
            }
        });
        let before = Buffer::lent_bytes();
        for _ in 0..20 {
            settle().await;
            let lent = Buffer::lent_bytes() - before;
            assert!(lent < 2 * 1024 * 1024, "{lent}");
        }
        sending.abort();
        serving.abort();
    });
}

#[test]
fn a_released_connection_whose_server_does_not_read_is_closed_all_the_same() {
    run(async {
        let (near, _peer) = pipe();
        let (time, clock) = clock();
        let (mut connection, driver) = client::connect(near, clock);
        let driving = spawn_local(driver);
        let (mut stream, _) = connection.open();
        let sending = spawn_local(async move { stream.write_all(&content(500_000, 0)).await });
        settle().await;
        sending.abort();
        let _ = sending.await;
        drop(connection);
        settle().await;
        assert!(!driving.is_finished());
        time.advance(Duration::from_secs(11));
        until("it is closed", || driving.is_finished()).await;
    });
}

#[test]
fn a_stream_given_up_in_silence_makes_the_connection_suspect() {
    run(async {
        let (near, mut peer) = pipe();
        let (mut connection, driver) = client::connect(near, clock().1);
        spawn_local(driver);
        let mut answered = async |connection: &mut Connection, stream: u32, answer: &[u8]| {
            let (mut one, _) = connection.open();
            one.write_all(b"x").await.unwrap();
            peer.write_all(&[&Frame::Data(answer.len()).encode(stream)[..], answer].concat())
                .await
                .unwrap();
            assert_eq!(one.read(&mut [0; 10]).await.unwrap(), answer.len());
        };
        answered(&mut connection, 1, b"a").await;
        assert!(connection.is_usable(), "it was given up after something had come");
        let (mut silent, _) = connection.open();
        silent.write_all(b"x").await.unwrap();
        let (idle, _) = connection.open();
        assert!(!idle.is_doubtful());
        settle().await;
        drop(silent);
        assert!(!connection.is_usable() && idle.is_doubtful());
    });
}

#[test]
fn a_connection_without_streams_is_ended_in_time() {
    run(async {
        let (near, mut peer) = pipe();
        let (serving, time) = serve(near, pending(), echo);
        settle().await;
        time.advance(Duration::from_secs(15 * 60 + 1));
        let mut told = [0; HEADER_BYTES];
        peer.read_exact(&mut told).await.unwrap();
        assert_eq!(Frame::decode(&told), Ok(Some((Frame::GoAway, 0))));
        assert!(!serving.is_finished());
        // A client that does not end it, as it should, is not waited for.
        settle().await;
        time.advance(Duration::from_secs(11));
        until("it ended", || serving.is_finished()).await;
    });
}

#[test]
fn the_end_of_the_peer_is_told_to_all() {
    run(async {
        let (near, peer): (_, DuplexStream) = pipe();
        let (mut connection, driver) = client::connect(near, clock().1);
        let driving = spawn_local(driver);
        let mut streams: Vec<_> = (0..5).map(|_| connection.open().0).collect();
        for stream in &mut streams {
            stream.write_all(b"x").await.unwrap();
        }
        drop(peer);
        driving.await.unwrap();
        for stream in &mut streams {
            let error = stream.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert!(!connection.is_usable());
    });
}
