//! The authority over a store in memory, with time that passes when a test says so.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weft_identity::{AuthorityFiles, PeerFacts, Request, RotationError};
use weft_store::{LocalStore, Options};
use weft_world::{Files, Moment, Timer};

use super::records::Seen;
use super::*;
use crate::issuing::Issuer;

/// 2026-11-23T06:03:43Z.
const START: u64 = 1_795_413_823;

#[derive(Default)]
struct TestClock {
    passed: Mutex<Duration>,
    /// By how much civil time was set ahead.
    ahead: Mutex<Duration>,
    /// By how much it was set back.
    behind: Mutex<Duration>,
}

impl TestClock {
    fn advance(&self, duration: Duration) {
        *self.passed.lock().unwrap() += duration;
    }

    fn set_ahead(&self, duration: Duration) {
        *self.ahead.lock().unwrap() = duration;
    }

    fn set_behind(&self, duration: Duration) {
        *self.behind.lock().unwrap() = duration;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Moment {
        Moment::default() + *self.passed.lock().unwrap()
    }

    fn wall(&self) -> UnixTime {
        let since = *self.passed.lock().unwrap() + *self.ahead.lock().unwrap();
        UnixTime(Duration::from_secs(START) + since - *self.behind.lock().unwrap())
    }

    fn timer(&self, _: Moment) -> Box<dyn Timer> {
        unreachable!("nothing here waits")
    }
}

/// The files of all generations, in memory.
#[derive(Default)]
struct MemoryKeys(Mutex<BTreeMap<PathBuf, Vec<u8>>>);

impl MemoryKeys {
    fn files(generation: u32) -> AuthorityFiles {
        AuthorityFiles::new(Path::new(""), generation)
    }
}

impl Files for MemoryKeys {
    fn read(&self, path: &Path, _: usize) -> io::Result<Vec<u8>> {
        let files = self.0.lock().unwrap();
        files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().insert(path.to_owned(), content.to_owned());
        Ok(())
    }
}

impl Keys for MemoryKeys {
    fn make(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError> {
        self.open(generation, now)
    }

    fn open(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError> {
        let opened = MemoryKeys::files(generation).open_or_renew(self, &domain(), now);
        opened.map(|(authority, _)| authority)
    }

    fn renew(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError> {
        MemoryKeys::files(generation).renew(self, &domain(), now)
    }

    fn destroy(&self, generation: u32) -> Result<(), AuthorityError> {
        for path in MemoryKeys::files(generation).secrets() {
            self.0.lock().unwrap().remove(path);
        }
        Ok(())
    }

    fn recall(&self) -> Result<Option<Vec<u8>>, AuthorityError> {
        Ok(self.0.lock().unwrap().get(Path::new(STATE_FILE)).cloned())
    }

    fn remember(&self, state: &[u8]) -> Result<(), AuthorityError> {
        self.0.lock().unwrap().insert(STATE_FILE.into(), state.to_owned());
        Ok(())
    }
}

fn domain() -> TrustDomain {
    "weft.local".parse().unwrap()
}

fn identity(account: &str) -> SpiffeId {
    SpiffeId::new(domain(), account.parse().unwrap())
}

/// An authority that can be opened again.
struct Lab {
    store: Arc<LocalStore>,
    keys: Arc<MemoryKeys>,
    clock: Arc<TestClock>,
}

impl Lab {
    fn new() -> Lab {
        let clock = Arc::new(TestClock::default());
        let store = Arc::new(LocalStore::in_memory(&Options::at(clock.now())));
        Lab { store, keys: Arc::default(), clock }
    }

    fn open(&self) -> Ca {
        let Lab { store, keys, clock } = self;
        Ca::open(store.clone(), keys.clone(), clock.clone(), domain()).unwrap()
    }

    /// What the store has of the state.
    fn kept(&self) -> Vec<u8> {
        self.store.get_value(kept::NAME).unwrap().unwrap().bytes.to_vec()
    }

    /// Makes that what it was before.
    fn put(&self, kept: &[u8]) {
        let items = vec![Item::put_value(kept::NAME, kept.to_vec())];
        let (now, wall) = (self.clock.now(), self.clock.wall());
        self.store.apply(Batch { now, wall, items }).unwrap();
    }

    /// Issues a certificate, and says what a handshake tells of it.
    fn issue(&self, ca: &Ca, account: &str, before: Option<&PeerFacts>) -> PeerFacts {
        ca.prove(&self.chain(ca, account, before), self.clock.wall()).unwrap()
    }

    /// Issues a certificate, with what is between it and the root.
    fn chain(
        &self,
        ca: &Ca,
        account: &str,
        before: Option<&PeerFacts>,
    ) -> Vec<CertificateDer<'static>> {
        let (request, wall) = (Request::generate().unwrap(), self.clock.wall());
        let turn = ca.turn();
        let before = before.map(|facts| facts.serial);
        let (drafted, items) =
            turn.sign(request.csr_der(), &identity(account), wall, before).unwrap();
        self.store.apply(Batch { now: self.clock.now(), wall, items }).unwrap();
        turn.recorded(drafted).chain
    }

    /// Takes the next step, with these `streams`; whom it waits for.
    fn step(&self, ca: &Ca, streams: &[Seen]) -> Vec<String> {
        ca.records().see(streams);
        ca.advance(&BTreeSet::new()).unwrap();
        ca.status(&BTreeSet::new()).rotation.waiting_for
    }
}

fn seen(seat: u64, facts: &PeerFacts, workload: &str, sequence: u64) -> Seen {
    Seen { seat, facts: facts.clone(), workload: Some(workload.to_owned()), sequence }
}

/// All that a rotation would wait for, where nothing is registered.
fn waited_for(ca: &Ca) -> Vec<String> {
    ca.fleet(&ca.core().kept, &BTreeSet::new()).into_keys().collect()
}

fn revoke(identity: Option<&str>, serial: Option<String>, undo: bool) -> RevokeRequest {
    RevokeRequest { identity: identity.map(str::to_owned), serial, undo }
}

#[test]
fn revocations_survive_a_restart_and_serial_numbers_end_with_their_certificates() {
    let lab = Lab::new();
    let ca = lab.open();
    let cart = lab.issue(&ca, "shop/cart", None);
    let first = ca.revoke(&revoke(Some("shop/web"), None, false)).unwrap();
    let second = ca.revoke(&revoke(None, Some(cart.serial.to_string()), false)).unwrap();
    assert!(first.changed && second.changed && second.sequence > first.sequence);
    let again = ca.revoke(&revoke(Some("shop/web"), None, false)).unwrap();
    assert_eq!((again.changed, again.sequence), (false, second.sequence));
    assert!(ca.turn().is_revoked(&identity("shop/web")));
    drop(ca);

    let ca = lab.open();
    let bundle = ca.trust().load().bundle().clone();
    assert_eq!(bundle.sequence(), second.sequence);
    assert!(bundle.revocations().identities.contains(&identity("shop/web")));
    assert!(bundle.revocations().serials.contains_key(&cart.serial));
    lab.clock.advance(LEAF_LIFETIME + Duration::from_secs(1));
    let wall = lab.clock.wall();
    ca.change(|kept| Ok((kept.prune(wall), ()))).unwrap();
    let status = ca.status(&BTreeSet::new());
    assert_eq!((status.revoked_serials.len(), status.revoked_identities.len()), (0, 1));
    assert!(status.sequence > second.sequence);
    let undone = ca.revoke(&revoke(Some("shop/web"), None, true)).unwrap();
    assert!(undone.changed && !ca.turn().is_revoked(&identity("shop/web")));
}

#[test]
fn the_certificate_in_use_is_the_newest_that_its_holder_has_proved() {
    let lab = Lab::new();
    let ca = lab.open();
    let first = lab.issue(&ca, "shop/cart", None);
    ca.proved(&first);
    lab.clock.advance(Duration::from_secs(3600));
    let second = lab.issue(&ca, "shop/cart", Some(&first));
    assert!(second.not_after > first.not_after);
    assert_eq!(ca.in_use_until(&first), first.not_after, "it has not arrived yet");
    ca.proved(&second);
    assert_eq!(ca.in_use_until(&first), second.not_after);
    let other = lab.issue(&ca, "shop/cart", None);
    assert_eq!(ca.in_use_until(&other), other.not_after, "nothing was heard of it");
}

#[test]
fn what_cannot_be_revoked_is_refused_with_the_reason() {
    let lab = Lab::new();
    let ca = lab.open();
    let own = ca.authority().intermediate().0.to_string();
    let table = [
        (revoke(None, None, false), "either an identity or a serial number is needed"),
        (revoke(Some("shop/a"), Some("ab".to_owned()), false), "either an identity or a serial"),
        (revoke(Some("web"), None, false), "give NAMESPACE/NAME or a SPIFFE ID"),
        (revoke(Some("spiffe://other.test/ns/a/sa/b"), None, false), "not of this trust domain"),
        (revoke(None, Some("xyz".to_owned()), false), "is not a serial number"),
        (revoke(None, Some(own), false), "this is the intermediate that signs"),
    ];
    let before = ca.trust().load().bundle().sequence();
    for (request, words) in table {
        let error = ca.revoke(&request).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.reason(), ("invalid", 422));
    }
    assert_eq!(ca.trust().load().bundle().sequence(), before);
    let many = (0..REVOCATIONS_MAX).map(|number| format!("shop/web-{number}"));
    ca.change(|kept| {
        for account in many {
            assert!(kept.revoke_identity(&identity(&account), false));
        }
        Ok((true, ()))
    })
    .unwrap();
    let error = ca.revoke(&revoke(Some("shop/more"), None, false)).unwrap_err();
    assert!(matches!(error, CaError::Full), "{error}");
}

#[test]
fn a_store_that_is_an_older_copy_or_new_forgets_neither_revocations_nor_roots() {
    let mut lab = Lab::new();
    let ca = lab.open();
    let copy = lab.kept();
    ca.revoke(&revoke(Some("shop/evil"), None, false)).unwrap();
    let status = ca.status(&BTreeSet::new());
    drop(ca);
    lab.put(&copy);
    assert_eq!(lab.open().status(&BTreeSet::new()), status);
    // Not the copy's any more, so that it is the same without the file.
    let beside = lab.keys.0.lock().unwrap().remove(Path::new(STATE_FILE)).unwrap();
    assert_eq!(lab.open().status(&BTreeSet::new()), status);

    lab.store = Arc::new(LocalStore::in_memory(&Options::at(lab.clock.now())));
    assert_eq!(lab.open().status(&BTreeSet::new()), status);

    // A file that is older than the store does not count, and is replaced.
    lab.keys.0.lock().unwrap().insert(STATE_FILE.into(), copy);
    assert_eq!(lab.open().status(&BTreeSet::new()), status);
    assert_eq!(lab.keys.0.lock().unwrap()[Path::new(STATE_FILE)], beside);
    lab.keys.0.lock().unwrap().insert(STATE_FILE.into(), b"{".to_vec());
    let Lab { store, keys, clock } = &lab;
    let error = Ca::open(store.clone(), keys.clone(), clock.clone(), domain()).err().unwrap();
    assert!(error.to_string().starts_with("authority.json beside the store is damaged"), "{error}");
}

#[test]
fn what_is_changed_after_all_was_restored_has_a_later_number_than_all_before() {
    let lab = Lab::new();
    let ca = lab.open();
    let copy = lab.kept();
    let files = lab.keys.0.lock().unwrap().clone();
    let mut last = 0;
    for number in 0..5 {
        let evil = format!("shop/evil-{number}");
        last = ca.revoke(&revoke(Some(&evil), None, false)).unwrap().sequence;
    }
    drop(ca);
    *lab.keys.0.lock().unwrap() = files;
    lab.put(&copy);
    lab.clock.advance(Duration::from_millis(10));
    let now = lab.open().revoke(&revoke(Some("shop/web"), None, false)).unwrap().sequence;
    assert!(now > last, "{now} after {last}");
}

#[test]
fn a_rotation_goes_on_from_the_store_in_every_state() {
    let lab = Lab::new();
    let mut ca = lab.open();
    let copy = lab.kept();
    let before = lab.issue(&ca, "shop/cart", None);
    let old = ca.authority().root_key();
    ca.rotate().unwrap();
    assert!(matches!(ca.rotate(), Err(CaError::Rotation(RotationError::UnderWay { .. }))));
    ca = lab.open();
    assert_eq!(ca.trust().load().bundle().roots().len(), 2);
    assert_eq!(ca.authority().root_key(), old);
    // Not heard of since the start; then with too old a bundle.
    assert!(lab.step(&ca, &[])[0].contains("has not been heard of"));
    let waiting = lab.step(&ca, &[seen(1, &before, "shop/cart-1", 1)]);
    assert!(waiting[0].contains("shop/cart-1 holds trust bundle 1"), "{waiting:?}");
    let sequence = ca.trust().load().bundle().sequence();
    let stream = || [seen(1, &before, "shop/cart-1", sequence)];
    let waiting = lab.step(&ca, &stream());
    assert!(waiting[0].contains("below the old root"), "{waiting:?}");

    ca = lab.open();
    let new = ca.authority().root_key();
    assert_ne!(new, old);
    assert_eq!(ca.trust().load().bundle().renew_below(), Some(new));
    assert!(matches!(ca.abort(), Err(CaError::Rotation(RotationError::TooLate { .. }))));
    let after = lab.issue(&ca, "shop/cart", Some(&before));
    assert_eq!(after.issuer.root, new);
    // That it was issued does not say that it arrived.
    assert!(lab.step(&ca, &stream())[0].contains("below the old root"));
    ca.proved(&after);
    let waiting = lab.step(&ca, &stream());
    assert!(waiting[0].contains("holds trust bundle"), "{waiting:?}");

    ca = lab.open();
    assert_eq!(ca.trust().load().bundle().roots().len(), 1);
    let sequence = ca.trust().load().bundle().sequence();
    assert!(lab.step(&ca, &[seen(1, &after, "shop/cart-1", sequence)]).is_empty());
    let status = ca.status(&BTreeSet::new());
    assert_eq!(status.rotation.phase, crate::api::Phase::Steady);
    let files: Vec<_> =
        lab.keys.0.lock().unwrap().keys().map(|path| path.display().to_string()).collect();
    let expected = [STATE_FILE, "intermediate-2.pem", "root-1.pem", "root-2-key.pem", "root-2.pem"];
    assert_eq!(files, expected);
    assert_eq!(status.holders[0].serial, after.serial.to_string());
    assert_eq!(status.holders.len(), 1);
    lab.open();

    // A copy of the store from before does not lead to keys that are no more.
    lab.put(&copy);
    assert_eq!(lab.open().authority().root_key(), new);
}

#[test]
fn below_a_withdrawn_root_only_what_is_on_record_is_let_in_and_not_for_ever() {
    let lab = Lab::new();
    let ca = lab.open();
    let stolen = ca.authority();
    let (request, wall) = (Request::generate().unwrap(), lab.clock.wall());
    let csr = request.csr_der();
    let known = {
        let turn = ca.turn();
        let (drafted, _) = turn.sign(csr, &identity("shop/cart"), wall, None).unwrap();
        turn.recorded(drafted).chain
    };
    ca.left(&ca.prove(&known, wall).unwrap(), 0, &[]);
    ca.rotate().unwrap();
    for _ in 0..3 {
        assert!(lab.step(&ca, &[]).is_empty());
    }
    assert_ne!(ca.authority().root_key(), stolen.root_key());
    assert!(ca.trust().load().facts(&known, wall).is_err());
    ca.prove(&known, wall).unwrap();
    lab.open().prove(&known, wall).unwrap_err(); // This record never reached the store.
    let forged = stolen.sign(csr, &identity("shop/cart"), wall, LEAF_LIFETIME).unwrap();
    let error = ca.prove(&forged.chain, wall).unwrap_err();
    assert!(error.contains("is no longer trusted"), "{error}");
    lab.clock.advance(LEAF_LIFETIME + Duration::from_secs(1));
    let later = lab.clock.wall();
    ca.change(|kept| Ok((kept.prune(later), ()))).unwrap();
    assert_eq!(ca.admitted().load().bundle().roots().len(), 1);
}

#[test]
fn records_are_bounded_and_end_with_their_certificates() {
    let lab = Lab::new();
    let ca = lab.open();
    let mut facts = lab.issue(&ca, "shop/cart", None);
    for _ in 0..20 {
        facts = lab.issue(&ca, "shop/cart", Some(&facts));
    }
    let stored = || lab.store.list_values(records::PREFIX).unwrap().len();
    assert_eq!(stored(), 8);
    assert_eq!(ca.status(&BTreeSet::new()).holders.len(), 1);
    lab.clock.advance(LEAF_LIFETIME + Duration::from_secs(1));
    ca.save().unwrap();
    assert_eq!(stored(), 0);
    assert!(ca.status(&BTreeSet::new()).holders.is_empty());
}

#[test]
fn who_has_left_or_been_followed_is_not_waited_for_unless_it_is_back() {
    let lab = Lab::new();
    let ca = lab.open();
    let (one, two) = (lab.issue(&ca, "shop/cart", None), lab.issue(&ca, "shop/cart", None));
    ca.records().see(&[seen(1, &one, "shop/cart-1", 1)]);
    assert_eq!(waited_for(&ca).len(), 2);
    // It lost its certificate, and has joined anew under its name.
    ca.records().see(&[seen(2, &two, "shop/cart-1", 1)]);
    assert_eq!(waited_for(&ca), ["shop/cart-1"]);
    // Two that are there at once both count.
    let both = [seen(1, &one, "shop/cart-1", 1), seen(2, &two, "shop/cart-1", 1)];
    ca.records().see(&both);
    assert_eq!(waited_for(&ca).len(), 2);
    // The stream that it had when it left does not say that it is back.
    ca.left(&two, 2, &[two.serial]);
    ca.records().see(&[seen(2, &two, "shop/cart-1", 1)]);
    assert!(waited_for(&ca).is_empty());
    ca.records().see(&[seen(3, &two, "shop/cart-1", 1)]);
    assert_eq!(waited_for(&ca), ["shop/cart-1"]);
    // A workload that is registered and holds nothing that is known.
    let registered = BTreeSet::from(["shop/old-1".to_owned()]);
    let fleet = ca.fleet(&ca.core().kept, &registered);
    assert_eq!(fleet.get("shop/old-1"), Some(&None));
}

#[test]
fn one_process_of_two_with_the_same_certificate_does_not_leave_for_the_other() {
    let lab = Lab::new();
    let ca = lab.open();
    let cart = lab.issue(&ca, "shop/cart", None);
    let streams = [seen(1, &cart, "shop/cart-1", 1), seen(2, &cart, "shop/cart-1", 1)];
    ca.records().see(&streams);
    ca.left(&cart, 2, &[cart.serial, cart.serial]);
    assert_eq!(waited_for(&ca), ["shop/cart-1"]);
    ca.left(&cart, 2, &[cart.serial]);
    assert!(waited_for(&ca).is_empty());
}

#[test]
fn who_is_revoked_is_not_waited_for() {
    let lab = Lab::new();
    let ca = lab.open();
    let (cart, web) = (lab.issue(&ca, "shop/cart", None), lab.issue(&ca, "shop/web", None));
    ca.rotate().unwrap();
    let title = |facts: &PeerFacts| format!("{} (certificate {})", facts.identity, facts.serial);
    assert_eq!(waited_for(&ca), [title(&cart), title(&web)]);
    ca.revoke(&revoke(Some("shop/web"), None, false)).unwrap();
    assert_eq!(waited_for(&ca), [title(&cart)]);
    ca.revoke(&revoke(Some("shop/web"), None, true)).unwrap();
    assert_eq!(waited_for(&ca).len(), 2);
    // Also where a stream was seen, and the workload is registered still.
    ca.registered(&web, &"shop/web-1".parse().unwrap());
    let serial = |facts: &PeerFacts| revoke(None, Some(facts.serial.to_string()), false);
    ca.revoke(&serial(&web)).unwrap();
    let registered = BTreeSet::from(["shop/web-1".to_owned()]);
    let fleet = ca.fleet(&ca.core().kept, &registered);
    assert_eq!(fleet.into_keys().collect::<Vec<_>>(), [title(&cart)]);

    // A certificate that it renewed counts as long as the next one has not arrived.
    let next = lab.issue(&ca, "shop/cart", Some(&cart));
    ca.revoke(&serial(&next)).unwrap();
    assert_eq!(waited_for(&ca), [title(&cart)]);
    ca.revoke(&revoke(None, Some(next.serial.to_string()), true)).unwrap();
    ca.proved(&next);
    assert_eq!(waited_for(&ca), [title(&next)]);
    ca.revoke(&serial(&next)).unwrap();
    assert!(waited_for(&ca).is_empty());
}

#[test]
fn who_never_shows_that_a_first_certificate_arrived_is_waited_for_only_for_a_while() {
    let lab = Lab::new();
    let ca = lab.open();
    let lost = lab.issue(&ca, "shop/web", None);
    let used = lab.issue(&ca, "shop/cart", None);
    ca.proved(&used);
    let title = |facts: &PeerFacts| format!("{} (certificate {})", facts.identity, facts.serial);
    assert_eq!(waited_for(&ca), [title(&used), title(&lost)]);
    lab.clock.advance(Duration::from_secs(61));
    assert_eq!(waited_for(&ca), [title(&used)]);
    ca.save().unwrap();
    drop(ca);

    // After a start nobody was heard of yet: everybody has a while to come back.
    let ca = lab.open();
    assert_eq!(waited_for(&ca).len(), 2);
    lab.clock.advance(Duration::from_secs(61));
    assert_eq!(waited_for(&ca), [title(&used)]);
    // If it comes after all, it is waited for like any other, and let in by its record.
    ca.proved(&lost);
    assert_eq!(waited_for(&ca).len(), 2);
}

#[test]
fn a_holder_that_was_answered_is_known_after_a_kill() {
    let lab = Lab::new();
    let ca = lab.open();
    let chain = lab.chain(&ca, "shop/cart", None);
    let wall = lab.clock.wall();
    let issuer = Issuer {
        store: lab.store.clone(),
        ca,
        address: "127.0.0.1:15010".parse().unwrap(),
        control_key: KeyHash::of(b"key"),
    };
    issuer.installed(&chain, wall).unwrap();
    drop(issuer);

    let ca = lab.open();
    lab.clock.advance(Duration::from_secs(61));
    assert_eq!(waited_for(&ca).len(), 1, "its certificate did arrive");
}

#[test]
fn a_clock_that_jumps_ahead_forgets_nobody() {
    let lab = Lab::new();
    let ca = lab.open();
    let cart = lab.issue(&ca, "shop/cart", None);
    let stolen = lab.issue(&ca, "shop/web", None);
    ca.revoke(&revoke(None, Some(stolen.serial.to_string()), false)).unwrap();
    ca.rotate().unwrap();

    lab.clock.set_ahead(10 * LEAF_LIFETIME);
    assert_eq!(UnixTime(ca.passed().0 + 10 * LEAF_LIFETIME), lab.clock.wall());
    ca.change(|kept| Ok((kept.prune(ca.passed()), ()))).unwrap();
    assert_eq!(ca.status(&BTreeSet::new()).revoked_serials.len(), 1);
    // Who holds a certificate by the right time is still waited for.
    let (settled, _) = ca.records().settle(ca.passed(), 100);
    assert!(!settled.iter().any(|item| item.key().to_string().contains(&cart.serial.to_string())));
    assert!(!lab.step(&ca, &[]).is_empty());

    // Set right, it is as if nothing had been; and set back, time does not run ahead of the clock.
    lab.clock.set_ahead(Duration::ZERO);
    assert_eq!(ca.passed(), lab.clock.wall());
    lab.clock.advance(LEAF_LIFETIME + Duration::from_secs(1));
    ca.change(|kept| Ok((kept.prune(ca.passed()), ()))).unwrap();
    assert_eq!(ca.status(&BTreeSet::new()).revoked_serials.len(), 0);
}

#[test]
fn a_clock_that_jumps_ahead_and_back_leaves_an_intermediate_that_signs() {
    const DAY: Duration = Duration::from_secs(86_400);
    let lab = Lab::new();
    let ca = lab.open();
    let first = ca.authority().intermediate().0;
    let due = ca.until_renewal();
    assert!(due > 243 * DAY && due < 244 * DAY, "{due:?}");

    // As far as the present one holds, nothing is to be done.
    lab.clock.set_ahead(300 * DAY);
    assert_eq!(ca.until_renewal(), due);
    // Farther, nothing can be signed by it. What is made then does not hold at the right time.
    lab.clock.set_ahead(500 * DAY);
    assert!(ca.until_renewal().is_zero());
    ca.renew().unwrap();
    assert!(!ca.until_renewal().is_zero());
    lab.issue(&ca, "shop/cart", None);
    lab.clock.set_ahead(Duration::ZERO);
    assert!(ca.until_renewal().is_zero());

    // A start makes another as well as the running authority does.
    let early = lab.keys.0.lock().unwrap().clone();
    ca.renew().unwrap();
    *lab.keys.0.lock().unwrap() = early;
    for ca in [ca, lab.open()] {
        assert!(ca.until_renewal() > 243 * DAY);
        assert_ne!(ca.authority().intermediate().0, first);
        lab.issue(&ca, "shop/cart", None);
    }

    // It is by the time that passes that one is renewed.
    let ca = lab.open();
    lab.clock.advance(244 * DAY);
    assert!(ca.until_renewal().is_zero());
}

#[test]
fn what_is_revoked_or_withdrawn_while_the_clock_is_behind_is_remembered_when_it_is_right() {
    let lab = Lab::new();
    let ca = lab.open();
    lab.clock.advance(2 * LEAF_LIFETIME);
    let old = ca.authority().root_key();
    lab.clock.set_behind(2 * LEAF_LIFETIME);
    // One of which there is no record, so that it is not known when it ends.
    ca.revoke(&revoke(None, Some("0123456789abcdef0123456789abcdef".to_owned()), false)).unwrap();
    ca.rotate().unwrap();
    for _ in 0..3 {
        lab.step(&ca, &[]);
    }
    assert!(ca.core().kept.rotation.trusted().iter().all(|root| *root != old));

    lab.clock.set_behind(Duration::ZERO);
    let remembered = |ca: &Ca| {
        ca.change(|kept| Ok((kept.prune(ca.passed()), ()))).unwrap();
        (ca.status(&BTreeSet::new()).revoked_serials.len(), ca.core().kept.withdrawn().count())
    };
    for ca in [&ca, &lab.open()] {
        assert_eq!(remembered(ca), (1, 1));
    }
    lab.clock.advance(LEAF_LIFETIME + Duration::from_secs(1));
    assert_eq!(remembered(&lab.open()), (0, 0));
}
