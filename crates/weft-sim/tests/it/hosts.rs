//! Hosts: crashes, disks, capture.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use weft_sim::{Capture, Crash, DiskState};
use weft_world::Files;

use super::*;

/// Says when it is dropped.
struct Tracked(&'static str, Rc<RefCell<Vec<&'static str>>>);

impl Drop for Tracked {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

#[test]
fn a_crash_drops_all_tasks_also_those_started_by_tasks() {
    let pair = Pair::new(1);
    let dropped = Rc::new(RefCell::new(Vec::new()));
    let (outer, inner) =
        (Tracked("outer", Rc::clone(&dropped)), Tracked("inner", Rc::clone(&dropped)));
    let task = pair.server.spawn(async move {
        let _outer = outer;
        tokio::task::spawn_local(async move {
            let _inner = inner;
            std::future::pending::<()>().await;
        });
        std::future::pending::<()>().await;
    });
    pair.run(async {
        pair.sim.sleep(seconds(1)).await;
        assert!(dropped.borrow().is_empty());
        pair.server.crash(Crash::Silent);
        assert!(task.await.unwrap_err().is_cancelled());
        pair.sim.sleep(seconds(1)).await;
        assert_eq!(dropped.borrow().len(), 2);
        assert!(!pair.server.is_up());
    });
}

#[test]
fn a_host_may_crash_itself() {
    let pair = Pair::new(1);
    let (host, peer) = (pair.server.clone(), pair.client.clone());
    drop(pair.server.spawn(async move {
        host.crash(Crash::Reset);
        tokio::task::yield_now().await;
        peer.note("a dead host speaks");
    }));
    pair.run(pair.sim.sleep(seconds(1)));
    let spoke = pair.sim.trace().events().iter().any(|event| event.to_string().contains("speaks"));
    assert!(!spoke);
}

#[test]
fn a_crash_with_resets_is_noticed_at_once() {
    let pair = Pair::new(1);
    pair.run(async {
        let (mut near, _far) = pair.connected().await;
        pair.server.crash(Crash::Reset);
        let error = near.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(pair.refusal(pair.at()).await, io::ErrorKind::ConnectionRefused);
        assert!(pair.sim.now() < seconds(1));
    });
}

#[test]
fn a_silent_crash_is_noticed_after_the_restart() {
    let pair = Pair::new(1);
    pair.run(async {
        let (mut near, far) = pair.connected().await;
        pair.server.crash(Crash::Silent);
        drop(far);
        near.write_all(b"anybody?").await.unwrap();
        let down = pair.client.world().network.connect(pair.at());
        let down = pair.client.spawn(async move { down.await.err().map(|error| error.kind()) });
        pair.sim.sleep(seconds(5)).await;
        assert!(!down.is_finished());
        pair.server.restart();
        let error = near.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(down.await.unwrap(), Some(io::ErrorKind::ConnectionRefused));
    });
}

#[test]
fn a_restarted_host_has_its_files_and_its_ports_again() {
    let pair = Pair::new(1);
    pair.run(async {
        let before = pair.listen();
        pair.server.world().files.replace(Path::new("/state"), b"kept").unwrap();
        pair.server.crash(Crash::Reset);
        let world = pair.server.world();
        let down = world.network.listen(pair.at(), ListenerOptions::default());
        assert_eq!(down.err().unwrap().kind(), io::ErrorKind::NetworkDown);
        pair.server.restart();
        let mut after = pair.listen();
        drop(before); // It must not take the new one's place away.
        assert_eq!(world.files.read(Path::new("/state"), 4).unwrap(), b"kept");
        let _stream = pair.client.world().network.connect(pair.at()).await.unwrap();
        after.accept().await.unwrap();
    });
}

#[test]
fn disks_fill_up_and_fail() {
    let pair = Pair::new(1);
    let (disk, path) = (pair.server.disk(), Path::new("/state"));
    let files = pair.server.world().files;
    let refused = |state| {
        disk.set_state(state);
        files.replace(path, b"new").err().map(|error| error.kind())
    };
    assert_eq!(files.read(path, 9).unwrap_err().kind(), io::ErrorKind::NotFound);
    disk.put("/state", b"old");
    assert_eq!(refused(DiskState::Full), Some(io::ErrorKind::StorageFull));
    assert_eq!(refused(DiskState::ReadOnly), Some(io::ErrorKind::ReadOnlyFilesystem));
    assert_eq!(files.read(path, 9).unwrap(), b"old");
    assert_eq!(refused(DiskState::Broken), Some(io::ErrorKind::Other));
    assert!(files.read(path, 9).is_err());
    assert_eq!(disk.content("/state").unwrap(), b"old");
    assert_eq!(refused(DiskState::Working), None);
    assert_eq!(disk.read(path, 3).unwrap(), b"new");
    assert_eq!(disk.read(path, 2).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(disk.remove("/state").unwrap(), b"new");
    let elsewhere = pair.client.world().files;
    assert_eq!(elsewhere.read(path, 9).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn capture_diverts_the_application_but_not_the_proxy() {
    let pair = Pair::new(1);
    let redirected = ListenerOptions { redirected: true, ..ListenerOptions::default() };
    let wild = |port| SocketAddr::from(([0, 0, 0, 0], port));
    pair.client.capture(Capture { outbound: Some(15001), ..Capture::default() });
    pair.server.capture(Capture {
        inbound: Some(15006),
        inbound_except: BTreeSet::from([15008]),
        ..Capture::default()
    });
    pair.run(async {
        let mut outbound = pair.client.world().network.listen(wild(15001), redirected).unwrap();
        let mut inbound = pair.server.world().network.listen(wild(15006), redirected).unwrap();
        let mut tunnel =
            pair.server.world().network.listen(wild(15008), ListenerOptions::default()).unwrap();
        let mut service = pair.listen();
        let at = pair.at();

        let _stream = pair.client.application().network.connect(at).await.unwrap();
        let accepted = outbound.accept().await.unwrap();
        assert_eq!((accepted.peer.ip(), accepted.destination), (pair.client.ip(), at));

        let _stream = pair.client.world().network.connect(at).await.unwrap();
        assert_eq!(inbound.accept().await.unwrap().destination, at);

        let beside = SocketAddr::new(at.ip(), 15008);
        let _stream = pair.client.world().network.connect(beside).await.unwrap();
        assert_eq!(tunnel.accept().await.unwrap().destination, beside);

        // The host itself comes to its own service.
        let _stream = pair.server.world().network.connect(at).await.unwrap();
        assert_eq!(service.accept().await.unwrap().destination, at);
    });
}
