//! What the peer of a real socket sees when it is dropped: an end, or a break.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::Poll;
use std::time::Duration;

use weft_world::{Accepted, ListenerOptions, Stream, StreamExt, World};

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

/// Waits until all that was written to `stream` has left, or its connection is over.
async fn left(world: &World, stream: &dyn Stream) {
    while stream.unsent() > 0 {
        world.clock.sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn what_was_said_arrives_before_the_break() {
    for is_broken in [false, true] {
        run(async {
            let world = weft_net::world();
            let (mut near, mut far) = pair(&world).await;
            near.write_all(b"half").await.unwrap();
            left(&world, &*near).await;
            if is_broken {
                near.break_on_drop();
            }
            drop(near);
            let mut buffer = [0; 9];
            assert_eq!(far.read(&mut buffer).await.unwrap(), 4);
            match far.read(&mut buffer).await {
                Ok(count) => assert!(count == 0 && !is_broken, "{count} bytes"),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                    assert!(is_broken);
                }
            }
        });
    }
}

#[test]
fn what_nobody_reads_is_unsent_until_the_connection_is_over() {
    run(async {
        let world = weft_net::world();
        let (mut near, far) = pair(&world).await;
        let much = [7; 10_000];
        poll_fn(|cx| {
            while near.poll_write(cx, &[IoSlice::new(&much)]).map(Result::unwrap).is_ready() {}
            Poll::Ready(())
        })
        .await;
        assert!(near.unsent() > 0);
        drop(far);
        left(&world, &*near).await;
    });
}
