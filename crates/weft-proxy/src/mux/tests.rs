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
use weft_wire::mux::{
    DATA_BYTES_MAX, Frame, HEADER_BYTES, MuxError, STREAMS_MAX, WINDOW_BYTES, WINDOW_BYTES_FIRST,
};
use weft_world::{Buffer, Stream, StreamExt};

use super::client::{self, Connection};
use super::{Driver, MuxStream, OUTGOING_BYTES_MAX, Shared, Windows, server};
use crate::error::StreamError;
use crate::overload::Overload;
use crate::testing::{PIPE_BYTES, Pipe, TestClock, clock, pipe, run, settle, until};

/// Serves the server's side of `stream` by `handle`, in a task.
fn serve<F: Future<Output = ()> + 'static>(
    stream: Box<dyn Stream>,
    drain: impl Future<Output = ()> + 'static,
    mut handle: impl FnMut(MuxStream) -> F + 'static,
) -> (JoinHandle<()>, Rc<TestClock>) {
    let (time, clock) = clock();
    let serving = async move {
        let handle = |stream| Some(handle(stream));
        server::serve(stream, &*clock, &Windows::default(), drain, handle).await;
    };
    (spawn_local(serving), time)
}

/// The client's side of `stream`.
fn connect(stream: Box<dyn Stream>) -> (Connection, client::Driver) {
    client::connect(stream, clock().1, &Windows::default())
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
    let (connection, driver) = connect(near);
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

/// So many bytes of what comes on `stream`.
async fn exactly(stream: &mut MuxStream, count: usize) -> Vec<u8> {
    let (mut all, mut read) = (vec![0; count], 0);
    while read < count {
        read += stream.read(&mut all[read..]).await.unwrap();
    }
    all
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
        let (mut connection, driver) = connect(near);
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
        let window = WINDOW_BYTES_FIRST as usize;
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
        let (mut connection, driver) = connect(near);
        let driving = spawn_local(driver);
        let (mut stream, _) = connection.open();
        stream.write_all(b"before").await.unwrap();
        let (mut late, _) = connection.open();
        settle().await;
        drain.notify_one();
        settle().await;
        assert!(!connection.is_usable() && connection.capacity() == 0);
        let refused = late.write_all(b"late").await.unwrap_err();
        let refused = StreamError::Io(refused);
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
        let (mut connection, driver) = connect(near);
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
        let (mut connection, driver) = connect(near);
        spawn_local(driver);
        let (mut first, _) = connection.open();
        let (mut second, _) = connection.open();
        first.write_all(b"1").await.unwrap();
        second.write_all(b"2").await.unwrap();
        let said = [&Frame::GoAway.encode(1)[..], &Frame::Data(2).encode(1), b"ok"].concat();
        peer.write_all(&said).await.unwrap();
        let mut buffer = [0; 10];
        let unprocessed = StreamError::Io(second.read(&mut buffer).await.unwrap_err());
        assert!(unprocessed.is_unprocessed(), "{unprocessed}");
        assert_eq!(first.read(&mut buffer).await.unwrap(), 2);
        // The first one is not: who has answered may have done anything before it goes.
        drop(peer);
        let broken = StreamError::Io(first.read(&mut buffer).await.unwrap_err());
        assert!(!broken.is_unprocessed(), "{broken}");
    });
}

/// What a side finds wrong with `said`, where a client has opened two streams.
fn fault(is_client: bool, said: &[u8]) -> Option<MuxError> {
    let found = Cell::new(None);
    run(async {
        let (near, mut peer) = pipe();
        let mut driver = Driver::new(near, Shared::new(is_client, &Windows::default()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut streams: Vec<_> =
            (0..2).filter(|_| is_client).map(|_| MuxStream::open(&driver.shared)).collect();
        for stream in &mut streams {
            assert!(stream.poll_write(&mut cx, &[IoSlice::new(b"x")]).is_ready());
        }
        let said = said.to_vec();
        spawn_local(async move {
            let _ = peer.write_all(&said).await;
            pending::<()>().await
        });
        for _ in 0..200 {
            let is_over = driver.poll(&mut cx).is_ready();
            assert_eq!(is_over, driver.shared.fault.get().is_some());
            // Nothing is read, so that nothing is credited.
            streams.extend(driver.opened.drain(..));
            tokio::task::yield_now().await;
        }
        found.set(driver.shared.fault.get());
    });
    found.get()
}

fn data(stream: u32, length: usize) -> Vec<u8> {
    [&Frame::Data(length).encode(stream)[..], &vec![b'x'; length]].concat()
}

#[test]
fn what_a_client_must_not_do_ends_the_connection() {
    let frames = |frames: &[(Frame, u32)]| {
        let bytes = frames.iter().flat_map(|(frame, stream)| frame.encode(*stream));
        [data(1, 1), bytes.collect()].concat()
    };
    let end = (Frame::End, 1);
    let cases: [(&str, Vec<u8>, Option<MuxError>); 13] = [
        ("no frame", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Some(MuxError::Kind(b'G'))),
        ("stream 0", data(0, 1), Some(MuxError::Stream(0))),
        ("the window", [data(1, 16_000), data(1, 376)].concat(), None),
        ("more", [data(1, 16_000), data(1, 377)].concat(), Some(MuxError::Window(1))),
        ("data after the end", [frames(&[end]), data(1, 1)].concat(), Some(MuxError::Stream(1))),
        ("data after it was given up", [frames(&[(Frame::Reset, 1)]), data(1, 1)].concat(), None),
        ("some credit", frames(&[(Frame::Credit(1), 1)]), None),
        (
            "credit beyond any window",
            frames(&[(Frame::Credit(WINDOW_BYTES), 1)]),
            Some(MuxError::Window(1)),
        ),
        ("a client that goes away", frames(&[(Frame::GoAway, 1)]), Some(MuxError::Stream(1))),
        ("a client that refuses", frames(&[(Frame::Refused, 1)]), Some(MuxError::Stream(1))),
        ("a lower number than the last", [data(9, 1), data(3, 1)].concat(), None),
        ("too long", b"\x01\xff\xff\xff\0\0\0\x01".to_vec(), Some(MuxError::Number(0xff_ffff))),
        ("an unknown kind", b"\x09\0\0\0\0\0\0\x01".to_vec(), Some(MuxError::Kind(9))),
    ];
    for (name, said, expected) in cases {
        assert_eq!(fault(false, &said), expected, "{name}");
    }
}

/// What is said, as frames, and what is wrong with that.
type Case<'c> = (&'c str, &'c [(Frame, u32)], Option<MuxError>);

#[test]
fn what_a_server_must_not_do_ends_the_connection() {
    let said = |frames: &[(Frame, u32)]| -> Vec<u8> {
        let bytes = frames.iter().map(|(frame, stream)| match frame {
            Frame::Data(length) => data(*stream, *length),
            frame => frame.encode(*stream).to_vec(),
        });
        bytes.collect::<Vec<_>>().concat()
    };
    let (one, most) = (Frame::Data(1), Frame::Data(16_000));
    let cases: [Case<'_>; 17] = [
        ("data on no stream of mine", &[(one, 3)], Some(MuxError::Stream(3))),
        ("credit on no stream of mine", &[(Frame::Credit(1), 9)], Some(MuxError::Stream(9))),
        ("an end of no stream of mine", &[(Frame::End, 9)], Some(MuxError::Stream(9))),
        ("more than the window", &[(most, 1), (most, 1)], Some(MuxError::Window(1))),
        ("as much on each", &[(most, 1), (most, 2)], None),
        ("data after the end", &[(Frame::End, 1), (one, 1)], Some(MuxError::Stream(1))),
        ("credit beyond", &[(Frame::Credit(WINDOW_BYTES), 1)], Some(MuxError::Window(1))),
        ("refused after data", &[(one, 1), (Frame::Refused, 1)], Some(MuxError::Answered(1))),
        ("data after refused", &[(Frame::Refused, 1), (one, 1)], Some(MuxError::Answered(1))),
        (
            "refused after credit",
            &[(Frame::Credit(1), 1), (Frame::Refused, 1)],
            Some(MuxError::Answered(1)),
        ),
        (
            "refused after the end",
            &[(Frame::End, 1), (Frame::Refused, 1)],
            Some(MuxError::Answered(1)),
        ),
        ("away after data", &[(one, 2), (Frame::GoAway, 1)], Some(MuxError::Answered(2))),
        ("data after away", &[(Frame::GoAway, 0), (one, 1)], Some(MuxError::Answered(1))),
        ("data below", &[(Frame::GoAway, 1), (one, 1)], None),
        ("away again and again", &[(Frame::GoAway, u32::MAX), (Frame::GoAway, 0)], None),
        ("refused twice", &[(Frame::Refused, 1), (Frame::Refused, 1)], None),
        ("reset, and data on its way", &[(Frame::Reset, 1), (one, 1)], None),
    ];
    for (name, frames, expected) in cases {
        assert_eq!(fault(true, &said(frames)), expected, "{name}");
    }
}

#[test]
fn what_was_answered_in_part_is_not_taken_for_unprocessed() {
    run(async {
        for refusal in [Frame::Refused.encode(1), Frame::GoAway.encode(0)] {
            let (near, mut peer) = pipe();
            let (mut connection, driver) = connect(near);
            spawn_local(driver);
            let (mut first, _) = connection.open();
            let (mut second, _) = connection.open();
            first.write_all(b"1").await.unwrap();
            second.write_all(b"2").await.unwrap();
            peer.write_all(&[&data(1, 2)[..], &refusal].concat()).await.unwrap();
            let mut buffer = [0; 10];
            assert_eq!(first.read(&mut buffer).await.unwrap(), 2);
            for stream in [&mut first, &mut second] {
                let error = StreamError::Io(stream.read(&mut buffer).await.unwrap_err());
                assert!(!error.is_unprocessed(), "{error}");
            }
            assert!(!connection.is_usable());
        }
    });
}

#[test]
fn a_stream_that_is_refused_is_known_to_be_unprocessed_and_others_go_on() {
    run(async {
        let (near, far) = pipe();
        let mut number = 0;
        let (_serving, _) = serve(Box::new(Pipe(far)), pending(), move |stream| {
            number += 1;
            let is_refused = number == 1;
            async move { if is_refused { stream.refuse() } else { echo(stream).await } }
        });
        let (mut connection, driver) = connect(near);
        spawn_local(driver);
        let (mut refused, _) = connection.open();
        let (mut other, _) = connection.open();
        for stream in [&mut refused, &mut other] {
            stream.write_all(b"hello").await.unwrap();
        }
        let mut buffer = [0; 10];
        let error = StreamError::Io(refused.read(&mut buffer).await.unwrap_err());
        assert!(error.is_unprocessed() && error.is_no_room(), "{error}");
        assert_eq!(other.read(&mut buffer).await.unwrap(), 5);
        assert!(connection.is_usable());
    });
}

#[test]
fn where_memory_is_limited_few_windows_are_wide() {
    run(async {
        let overload = Overload::default();
        overload.set_limit(8 * 8 * u64::from(WINDOW_BYTES));
        let windows = Windows::new(overload);
        let (near, far) = pipe();
        let sent = Rc::new(Cell::new(0));
        let counted = Rc::clone(&sent);
        let (_serving, _) = serve(Box::new(Pipe(far)), pending(), move |mut stream| {
            let counted = Rc::clone(&counted);
            async move {
                while stream.write_all(&[b'x'; 1_000]).await.is_ok() {
                    counted.set(counted.get() + 1_000);
                }
            }
        });
        let (mut connection, driver) = client::connect(near, clock().1, &windows);
        spawn_local(driver);
        let (first, whole) = (WINDOW_BYTES_FIRST as usize, WINDOW_BYTES as usize);
        // Each reads as much as its first window, and no more.
        let mut open = async |count: usize| {
            let mut streams: Vec<_> = (0..count).map(|_| connection.open().0).collect();
            for stream in &mut streams {
                stream.write_all(b"x").await.unwrap();
                exactly(stream, first).await;
            }
            settle().await;
            streams
        };
        let streams = open(20).await;
        let expected = 8 * (first + whole) + 12 * 2 * first;
        assert!((expected - 20_000..=expected).contains(&sent.get()), "{}", sent.get());
        // Their room is for others.
        drop(streams);
        sent.set(0);
        let _streams = open(9).await;
        let expected = 8 * (first + whole) + 2 * first;
        assert!((expected - 9_000..=expected).contains(&sent.get()), "{}", sent.get());
    });
}

#[test]
fn a_peer_that_says_and_reads_a_byte_at_a_time_is_served() {
    let before = Buffer::lent_bytes();
    run(async {
        let (near, peer) = pipe();
        let (mut reader, mut writer) = tokio::io::split(peer);
        let answer = content(20_000, 1);
        let expected = answer.clone();
        let handle = move |mut stream: MuxStream| {
            let answer = answer.clone();
            async move {
                assert_eq!(exactly(&mut stream, 3).await, b"xxx");
                stream.write_all(&answer).await.unwrap();
                stream.close().await.unwrap();
                assert_eq!(rest(&mut stream).await.unwrap(), b"");
            }
        };
        let (_serving, _) = serve(near, pending(), handle);
        spawn_local(async move {
            let said = [&data(1, 3)[..], &Frame::Credit(50_000).encode(1), &Frame::End.encode(1)];
            for byte in said.concat() {
                writer.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            pending::<()>().await
        });
        let mut got = Vec::new();
        loop {
            let mut head = [0; HEADER_BYTES];
            for byte in &mut head {
                *byte = reader.read_u8().await.unwrap();
                tokio::task::yield_now().await;
            }
            match Frame::decode(&head).unwrap().unwrap() {
                (Frame::Data(length), 1) => {
                    for _ in 0..length {
                        got.push(reader.read_u8().await.unwrap());
                    }
                }
                (Frame::Credit(_), 1) => {}
                (frame, stream) => {
                    assert_eq!((frame, stream), (Frame::End, 1));
                    break;
                }
            }
            assert!(Buffer::lent_bytes() - before < 512 * 1024);
        }
        assert!(got == expected);
    });
}

#[test]
fn streams_begin_in_the_order_of_their_numbers_whoever_has_waited_for_room() {
    // What fits before the buffer is as good as full, and then much, and then little.
    for first in [3 * 16_384 + 15_700, 4 * 16_384 - 8] {
        run(async {
            let (near, far) = pipe();
            let (_serving, _) = serve(Box::new(Pipe(far)), pending(), echo);
            let (mut connection, driver) = connect(near);
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
            let said = content(first, 0);
            let large: Vec<_> = said
                .chunks(WINDOW_BYTES_FIRST as usize)
                .map(|piece| {
                    let (mut stream, _) = connection.open();
                    (write(&mut stream, piece), stream)
                })
                .collect();
            let written: usize = large.iter().map(|(written, _)| written).sum();
            assert!(written + 8 * 4 >= first - 16);
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
            let credit = Frame::Credit(WINDOW_BYTES - WINDOW_BYTES_FIRST).encode(number);
            peer.write_all(&[&ask(number, b"l")[..], &credit].concat()).await.unwrap();
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
        let (mut connection, driver) = client::connect(near, clock, &Windows::default());
        let driving = spawn_local(driver);
        // Together more than the way takes.
        let streams: Vec<_> = (0..20).map(|_| connection.open().0).collect();
        let sending = spawn_local(async move {
            for mut stream in streams {
                let _ = stream.write_all(&content(16_000, 0)).await;
            }
        });
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
        let (mut connection, driver) = connect(near);
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
        let (mut connection, driver) = connect(near);
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
