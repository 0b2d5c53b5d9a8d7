//! Splicing between real sockets: every byte, in order, to the end.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::future::poll_fn;

use weft_world::{Accepted, ListenerOptions, Spliced, Stream, StreamExt, World};

async fn pair(world: &World) -> (Box<dyn Stream>, Box<dyn Stream>) {
    let address = "127.0.0.1:0".parse().unwrap();
    let mut listener = world.network.listen(address, ListenerOptions::default()).unwrap();
    let client = world.network.connect(listener.local_address()).await.unwrap();
    let Accepted { stream, .. } = listener.accept().await.unwrap();
    (client, stream)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap()
        .block_on(future)
}

#[test]
fn bytes_are_spliced_in_order_to_the_end_against_a_slow_reader() {
    run(async {
        let world = weft_net::world();
        let (mut sender, mut source) = pair(&world).await;
        let (mut sink, mut receiver) = pair(&world).await;
        let sent: Vec<u8> = (0..8_000_000u32).map(|number| number.to_le_bytes()[1]).collect();
        let expected = sent.clone();
        tokio::task::spawn_local(async move {
            sender.write_all(&sent).await.unwrap();
            sender.close().await.unwrap();
        });
        let splicing = tokio::task::spawn_local(async move {
            let mut splicer = world.network.splicer().unwrap();
            let mut total = 0;
            loop {
                let spliced = poll_fn(|cx| splicer.poll_splice(cx, &mut *source, &mut *sink));
                match spliced.await.unwrap() {
                    Spliced::Bytes(count) => total += count,
                    Spliced::End => break,
                    Spliced::Impossible => panic!("both are sockets"),
                }
            }
            sink.close().await.unwrap();
            total
        });
        let (mut received, mut piece) = (Vec::new(), vec![0; 10_000]);
        loop {
            match receiver.read(&mut piece).await.unwrap() {
                0 => break,
                count => received.extend_from_slice(&piece[..count]),
            }
        }
        assert_eq!(splicing.await.unwrap(), expected.len());
        assert!(received == expected);
    });
}

#[test]
fn a_broken_sink_is_an_error_while_bytes_are_on_their_way() {
    run(async {
        let world = weft_net::world();
        let (mut sender, mut source) = pair(&world).await;
        let (mut sink, receiver) = pair(&world).await;
        drop(receiver);
        let mut splicer = world.network.splicer().unwrap();
        let result = loop {
            sender.write_all(&[7; 1_000]).await.unwrap();
            match poll_fn(|cx| splicer.poll_splice(cx, &mut *source, &mut *sink)).await {
                Ok(Spliced::Bytes(_)) => {}
                other => break other,
            }
        };
        assert!(result.is_err());
        assert!(splicer.waiting() > 0);
    });
}
