//! Peers that vanish without a word, and subscriptions that nobody uses any more.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::ready;
use std::time::Duration;

use weft_control::ConnectionState;
use weft_wire::discovery::Lookup;
use weft_world::{ListenerOptions, Stream};

use crate::lab::{Lab, run, until};

type Shared = Rc<RefCell<Box<dyn Stream>>>;

/// Moves bytes from one to the other, and nothing at all while `is_cut`.
async fn pump(from: Shared, to: Shared, is_cut: Rc<Cell<bool>>) {
    let mut buffer = [0; 4096];
    loop {
        let read = poll_fn(|cx| from.borrow_mut().poll_read(cx, &mut buffer)).await;
        let Ok(count @ 1..) = read else { return };
        if is_cut.get() {
            // Both ends stay open, and hear nothing.
            return std::future::pending().await;
        }
        let mut sent = 0;
        let written = poll_fn(|cx| {
            let mut to = to.borrow_mut();
            while sent < count {
                sent += ready!(to.poll_write(cx, &[IoSlice::new(&buffer[sent..count])]))?;
            }
            to.poll_flush(cx)
        });
        if written.await.is_err() {
            return;
        }
    }
}

#[test]
fn a_peer_that_falls_silent_is_noticed_by_either_side() {
    run(async {
        let lab = Lab::start().await;
        let network = lab.world.network.clone();
        let any = "127.0.0.1:0".parse().unwrap();
        let mut listener = network.listen(any, ListenerOptions::default()).unwrap();
        let relay = listener.local_address().to_string().parse().unwrap();
        let (is_cut, server) = (Rc::new(Cell::new(false)), lab.address);
        let cut = is_cut.clone();
        tokio::task::spawn_local(async move {
            while let Ok(accepted) = listener.accept().await {
                let near: Shared = Rc::new(RefCell::new(accepted.stream));
                let far: Shared = Rc::new(RefCell::new(network.connect(server).await.unwrap()));
                tokio::task::spawn_local(pump(near.clone(), far.clone(), cut.clone()));
                tokio::task::spawn_local(pump(far, near, cut.clone()));
            }
        });
        let (joiner, credentials) = lab.join("shop/web", &[]).await;
        let proxy = lab.with_credentials(&joiner, &credentials, "shop/web-1");
        let proxy = proxy.only(&lab, relay).start();
        assert_eq!(proxy.look("service/shop/cart").await, Lookup::Absent);
        assert_eq!(lab.discovery().status().proxies.len(), 1);
        is_cut.set(true);
        let is_gone = until("the server notices", || lab.discovery().status().proxies.is_empty());
        lab.passing(Duration::from_secs(1), is_gone).await;
        let is_noticed = |state: Option<ConnectionState>| {
            matches!(state, Some(ConnectionState::Disconnected { .. }))
        };
        let noticed = proxy.until(|seen| is_noticed(seen.state()));
        lab.passing(Duration::from_secs(1), noticed).await;
    });
}

#[test]
fn what_nobody_asks_for_any_more_is_no_longer_told() {
    run(async {
        let lab = Lab::start().await;
        lab.apply(
            "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: \
             {selector: {app: cart}, ports: [{port: 80}]}}",
        );
        let (joiner, credentials) = lab.join("shop/web", &[]).await;
        let proxy = lab.with_credentials(&joiner, &credentials, "shop/web-1");
        let address = lab.address.to_string().parse().unwrap();
        let proxy = proxy.only(&lab, address).start();
        assert_eq!(proxy.look("service/shop/cart").await, Lookup::Found);
        let told_to = || {
            let resources = lab.discovery().status().resources;
            let cart = resources.into_iter().find(|it| it.key.name == "cart").unwrap();
            cart.enforced.unwrap().of
        };
        assert_eq!(told_to(), 1);
        let forgotten = proxy.until(|seen| !seen.has("service/shop/cart"));
        lab.passing(Duration::from_secs(5), forgotten).await;
        until("it is told to nobody", || told_to() == 0).await;
        // What holds for all stays.
        assert!(proxy.seen.has("mesh"));
    });
}
