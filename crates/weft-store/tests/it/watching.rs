//! What holds in every store about watching.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use weft_store::{Event, Filter, Item, LocalStore, Options, Store, StoreError, Version, Watch};

use crate::place::Place;
use crate::{apply, key, on_each_store, on_each_store_with, options, put};

/// Long enough that a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(60);

fn texts(watch: &mut Watch) -> Vec<(u64, Vec<String>)> {
    let mut seen = Vec::new();
    while let Some(commit) = watch.try_next().unwrap() {
        let events = commit.events.iter().map(|event| match event {
            Event::Put(document) => {
                assert_eq!(document.version, commit.version);
                format!("+{}={}", document.key.name, String::from_utf8_lossy(&document.text))
            }
            Event::Deleted(key) => format!("-{}", key.name),
            Event::Registered(registration) => format!("lease +{}", registration.name),
            Event::Deregistered(name) => format!("lease -{name}"),
        });
        seen.push((commit.version.number(), events.collect()));
    }
    seen
}

#[test]
fn a_watch_gives_what_was_and_what_comes_in_order() {
    on_each_store(|store| {
        apply(store, vec![put("cart", "a"), put("web", "a")]).unwrap();
        let from = store.list(&Filter::default()).unwrap().version;
        apply(store, vec![put("cart", "b")]).unwrap();
        let mut early = store.watch(Version::FIRST).unwrap();
        let mut late = store.watch(from).unwrap();
        let items = vec![
            Item::delete(key("Service", "shop", "cart")),
            Item::put_value("secret", *b"x"),
            Item::register("web-1", Duration::from_secs(30), *b"x"),
        ];
        apply(store, items).unwrap();
        apply(store, vec![Item::put_value("secret", *b"y")]).unwrap();
        apply(store, vec![Item::deregister("web-1")]).unwrap();
        let event = |version, events: &[&str]| {
            (version, events.iter().map(|event| (*event).to_owned()).collect::<Vec<_>>())
        };
        let expected = [
            event(2, &["+cart=a", "+web=a"]),
            event(3, &["+cart=b"]),
            event(4, &["-cart", "lease +web-1"]),
            event(6, &["lease -web-1"]),
        ];
        assert_eq!(texts(&mut early), expected);
        assert_eq!(texts(&mut late), expected[1..]);
        assert_eq!(early.seen(), Version::new(6));
        assert_eq!(early.try_next().unwrap(), None);
    });
}

#[test]
fn a_slow_watcher_is_cut_off_and_others_are_not() {
    let options = Options { history_events_max: 3, ..options() };
    on_each_store_with(&options, |store| {
        let mut slow = store.watch(Version::FIRST).unwrap();
        let mut quick = store.watch(Version::FIRST).unwrap();
        for text in ["a", "b", "c", "d", "e"] {
            apply(store, vec![put("cart", text)]).unwrap();
            assert_eq!(texts(&mut quick).len(), 1);
        }
        let oldest = Version::new(3);
        let error = slow.try_next().unwrap_err();
        assert!(matches!(error, StoreError::Compacted { oldest: found, .. } if found == oldest));
        assert_eq!(
            error.to_string(),
            "the changes after version 1 are no longer known, only those after 3: list again and \
             watch from the listing's version"
        );
        assert!(matches!(slow.try_next(), Err(StoreError::Compacted { .. })));
        assert!(matches!(store.watch(Version::new(2)), Err(StoreError::Compacted { .. })));
        assert_eq!(texts(&mut store.watch(oldest).unwrap()).len(), 3);
    });
}

#[test]
fn the_history_is_bounded_by_bytes_too_but_keeps_the_last_commit() {
    let options = Options { history_bytes_max: 1000, ..options() };
    on_each_store_with(&options, |store| {
        let large = "x".repeat(5000);
        apply(store, vec![put("cart", "a")]).unwrap();
        apply(store, vec![put("cart", &large), put("web", &large)]).unwrap();
        assert!(matches!(store.watch(Version::FIRST), Err(StoreError::Compacted { .. })));
        assert_eq!(texts(&mut store.watch(Version::new(2)).unwrap()).len(), 1);
    });
}

#[test]
fn nobody_watches_from_what_never_was() {
    on_each_store(|store| {
        let error = store.watch(Version::new(2)).err().unwrap();
        assert!(matches!(error, StoreError::Ahead { .. }), "{error}");
        assert!(error.to_string().starts_with("version 2 is ahead of the store, which is at 1"));
    });
}

#[test]
fn after_a_restart_one_watches_from_the_version_of_opening() {
    let place = Place::new();
    let store = LocalStore::open(place.file(), &options()).unwrap();
    let version = apply(&store, vec![put("cart", "a")]).unwrap().version;
    drop(store);
    let store = LocalStore::open(place.file(), &options()).unwrap();
    assert!(matches!(store.watch(Version::FIRST), Err(StoreError::Compacted { .. })));
    let mut watch = store.watch(version).unwrap();
    apply(&store, vec![put("cart", "b")]).unwrap();
    assert_eq!(texts(&mut watch), [(3, vec!["+cart=b".to_owned()])]);
}

#[derive(Default)]
struct Bell(AtomicU32);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_pending_task_is_woken_once_for_each_time_it_asked() {
    on_each_store(|store| {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        let mut context = Context::from_waker(&waker);
        let mut watch = store.watch(Version::FIRST).unwrap();
        assert!(watch.poll_next(&mut context).is_pending());
        assert!(watch.poll_next(&mut context).is_pending());
        assert_eq!(bell.0.load(Ordering::SeqCst), 0);
        apply(store, vec![put("cart", "a")]).unwrap();
        apply(store, vec![put("cart", "b")]).unwrap();
        assert_eq!(bell.0.load(Ordering::SeqCst), 1);
        for version in [2, 3] {
            let Poll::Ready(Ok(commit)) = watch.poll_next(&mut context) else { panic!("pending") };
            assert_eq!(commit.version, Version::new(version));
        }
        assert!(watch.poll_next(&mut context).is_pending());
        drop(watch);
        apply(store, vec![put("cart", "c")]).unwrap();
        assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_waker_may_use_the_store_at_once() {
    struct Reader(Arc<LocalStore>, AtomicU32);
    impl Wake for Reader {
        fn wake(self: Arc<Self>) {
            let found = self.0.list(&Filter::default()).unwrap();
            drop(self.0.watch(found.version).unwrap());
            self.1.store(u32::try_from(found.documents.len()).unwrap(), Ordering::SeqCst);
        }
    }
    let store = Arc::new(LocalStore::in_memory(&options()));
    let reader = Arc::new(Reader(store.clone(), AtomicU32::new(0)));
    let mut watch = store.watch(Version::FIRST).unwrap();
    let waker = Waker::from(reader.clone());
    assert!(watch.poll_next(&mut Context::from_waker(&waker)).is_pending());
    apply(&*store, vec![put("cart", "a")]).unwrap();
    assert_eq!(reader.1.load(Ordering::SeqCst), 1);
}

/// Writers and watchers on threads of their own: everyone sees all commits, once and in order.
#[test]
fn many_watch_while_many_write() {
    on_each_store(|store| {
        let (writers, batches) = (4, 25);
        let watch = |store: &LocalStore| {
            let mut watch = store.watch(Version::FIRST).unwrap();
            let mut seen = Vec::new();
            while seen.len() < writers * batches {
                let commit = watch.wait(LONG).unwrap().expect("a commit within the time");
                let name = key("Service", "shop", "cart");
                let found = store.get(&name).unwrap().unwrap();
                assert!(found.version >= commit.version, "an event came before what it tells of");
                seen.push(commit.version.number());
            }
            seen
        };
        std::thread::scope(|scope| {
            let watchers: Vec<_> = (0..3).map(|_| scope.spawn(|| watch(store))).collect();
            for writer in 0..writers {
                scope.spawn(move || {
                    for batch in 0..batches {
                        apply(store, vec![put("cart", &format!("{writer} {batch}"))]).unwrap();
                    }
                });
            }
            let expected: Vec<u64> = (2..).take(writers * batches).collect();
            for watcher in watchers {
                assert_eq!(watcher.join().unwrap(), expected);
            }
        });
    });
}

#[test]
fn a_closed_store_ends_its_watches_after_the_last_commit() {
    let store = LocalStore::in_memory(&options());
    let mut watch = store.watch(Version::FIRST).unwrap();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut waiting = store.watch(Version::FIRST).unwrap();
    apply(&store, vec![put("cart", "a")]).unwrap();
    assert!(waiting.wait(LONG).unwrap().is_some());
    let mut context = Context::from_waker(&waker);
    assert!(Pin::new(&mut waiting).poll_next(&mut context).is_pending());
    drop(store);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert!(watch.try_next().unwrap().is_some());
    assert!(matches!(watch.try_next(), Err(StoreError::Closed)));
    assert!(matches!(waiting.wait(LONG), Err(StoreError::Closed)));
}
