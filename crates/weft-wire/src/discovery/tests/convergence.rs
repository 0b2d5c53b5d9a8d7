//! Whatever happens on the way: in the end a client holds what its subscriptions lead to, and it
//! never lost anything without being told.

use std::collections::VecDeque;

use proptest::prelude::*;
use weft_model::ContentHash;

use super::*;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// An object of the truth is made or changed.
    Put(Thing, u8),
    /// An object of the truth goes.
    Remove(Thing),
    /// A replica learns what is true by now.
    CatchUp(usize),
    /// A replica ends, and begins again with nothing.
    Restart(usize),
    /// A replica has read all there is.
    List(usize),
    Subscribe(u8),
    Unsubscribe(u8),
    /// The stream ends, and the next one is to this replica.
    Connect(usize),
    /// The proxy ends, and begins again with what it saved.
    RestartClient,
    /// The client speaks.
    Say,
    /// The server hears what was said first.
    Hear,
    /// The server speaks.
    Respond,
    /// The client takes what was answered first.
    Take,
    /// All of the four, some times over.
    Exchange,
}

#[derive(Clone, Copy, Debug)]
enum Thing {
    Service(u8),
    Workload(u8),
    Route(u8),
    Policy(u8),
    Guards(u8),
}

impl Thing {
    fn key(self) -> ObjectKey {
        read(&match self {
            Thing::Service(n) => format!("service/shop/s{n}"),
            Thing::Workload(0) => format!("workload/{OWN}"),
            Thing::Workload(n) => format!("workload/shop/w{n}"),
            Thing::Route(n) => format!("route/http/shop/r{n}"),
            Thing::Policy(n) => format!("policy/authorization/shop/p{n}"),
            Thing::Guards(0) => "guards/mesh".to_owned(),
            Thing::Guards(n) => format!("guards/service/shop/s{n}"),
        })
    }

    /// One of the contents that it can have.
    fn object(self, content: u8) -> Object {
        let name = self.key().name();
        let (a, b) = (format!("shop/s{}", content % 3), format!("shop/s{}", content / 3 % 3));
        match self {
            Thing::Service(_) => service(&name, &format!("240.119.0.{}", content % 4)).into(),
            Thing::Workload(_) => {
                workload(&name, &format!("240.119.0.{}", content % 4), &[&a, &b]).into()
            }
            Thing::Route(_) => route(&name, &a, &[&b]).into(),
            Thing::Policy(n) => Object::Policy(Arc::new(policy(
                &format!("shop/p{n}"),
                &format!("denied-{content}"),
            ))),
            Thing::Guards(_) => {
                let meant = format!("authorization/shop/p{}", content % 2);
                let hash = wire(Thing::Policy(content % 2).object(content), 1).version();
                let ObjectKey::Guards(scope) = self.key() else { panic!("{self:?}") };
                Object::Guards(Arc::new(guards(scope, &[(&meant, hash)])))
            }
        }
    }
}

fn subscription(n: u8) -> Subscription {
    read(match n {
        0 => "self",
        1 => "service/shop/s0",
        2 => "service/shop/s1",
        3 => "service/shop/s2",
        4 => "address/default/240.119.0.1",
        _ => "address/default/240.119.0.2",
    })
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        (0..3u8).prop_map(Thing::Service),
        (0..4u8).prop_map(Thing::Workload),
        (0..2u8).prop_map(Thing::Route),
        (0..2u8).prop_map(Thing::Policy),
        (0..3u8).prop_map(Thing::Guards),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (thing(), 0..9u8).prop_map(|(thing, content)| Step::Put(thing, content)),
        2 => thing().prop_map(Step::Remove),
        4 => (0..2usize).prop_map(Step::CatchUp),
        1 => (0..2usize).prop_map(Step::Restart),
        2 => (0..2usize).prop_map(Step::List),
        3 => (0..6u8).prop_map(Step::Subscribe),
        2 => (0..6u8).prop_map(Step::Unsubscribe),
        2 => (0..2usize).prop_map(Step::Connect),
        1 => Just(Step::RestartClient),
        5 => Just(Step::Say),
        5 => Just(Step::Hear),
        5 => Just(Step::Respond),
        5 => Just(Step::Take),
        6 => Just(Step::Exchange),
    ]
}

/// The truth, two replicas that know it more or less, a client, and what is on the way.
struct Run {
    truth: World,
    replicas: [World; 2],
    client: Client,
    server: ServerStream,
    connected_to: usize,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_client: VecDeque<DeltaDiscoveryResponse>,
}

impl Run {
    fn new() -> Run {
        let mut run = Run {
            truth: World::new(),
            replicas: [World::new(), World::new()],
            client: client(Feature::ALL),
            server: ServerStream::new(None),
            connected_to: 0,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
        };
        run.connect(0);
        run
    }

    fn connect(&mut self, replica: usize) {
        self.client.disconnected();
        self.client.connected();
        self.server = ServerStream::new(Some(read(OWN)));
        self.connected_to = replica;
        self.to_server.clear();
        self.to_client.clear();
    }

    fn held(&self) -> BTreeMap<ObjectKey, ContentHash> {
        self.client.objects().map(|object| (object.key().clone(), object.version())).collect()
    }

    fn change_truth(&mut self, changed: Option<Object>, removed: Option<ObjectKey>) {
        let next = source(self.truth.source().revision + 1);
        let is_same = |object: &Object| {
            self.truth.get(&object.key()).is_some_and(|held| held.object() == object)
        };
        let changed = changed.filter(|object| !is_same(object));
        let changed = changed.map(|object| WireObject::new(object, next).unwrap());
        self.truth.apply(changed, removed, next);
    }

    fn catch_up(&mut self, replica: usize) {
        let known = &mut self.replicas[replica];
        let changed: Vec<_> = self.truth.objects().cloned().collect();
        let is_gone = |object: &&Arc<WireObject>| self.truth.get(object.key()).is_none();
        let gone: Vec<_> =
            known.objects().filter(is_gone).map(|object| object.key().clone()).collect();
        let touched = known.apply(changed, gone, self.truth.source());
        self.tell(replica, &touched);
    }

    fn tell(&mut self, replica: usize, touched: &Touched) {
        if self.connected_to == replica {
            self.server.on_change(touched);
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Put(thing, content) => self.change_truth(Some(thing.object(*content)), None),
            Step::Remove(thing) => self.change_truth(None, Some(thing.key())),
            Step::CatchUp(replica) => self.catch_up(*replica),
            Step::Restart(replica) => {
                self.replicas[*replica] = World::new();
                if self.connected_to == *replica {
                    self.connect(*replica);
                }
            }
            Step::List(replica) => {
                self.catch_up(*replica);
                let touched = self.replicas[*replica].set_fully_listed();
                self.tell(*replica, &touched);
            }
            Step::Subscribe(n) => {
                self.client.subscribe(&subscription(*n), NOW, None);
            }
            Step::Unsubscribe(n) => self.client.unsubscribe(&subscription(*n)),
            Step::Connect(replica) => self.connect(*replica),
            Step::RestartClient => {
                let saved = self.client.save();
                self.client = client(Feature::ALL);
                assert_eq!(self.client.restore(&saved, NOW), Ok(vec![]));
                self.connect(self.connected_to);
            }
            Step::Say => self.to_server.extend(self.client.next_request()),
            Step::Hear => {
                if let Some(request) = self.to_server.pop_front() {
                    self.server.on_request(request).unwrap();
                }
            }
            Step::Respond => {
                let replica = &self.replicas[self.connected_to];
                self.to_client.extend(self.server.next_response(replica));
            }
            Step::Take => {
                if let Some(response) = self.to_client.pop_front() {
                    self.take_response(response);
                }
            }
            Step::Exchange => self.exchange(5),
        }
    }

    fn exchange(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for step in [Step::Say, Step::Hear, Step::Respond, Step::Take] {
                self.take(&step);
            }
        }
    }

    /// Nothing is lost that was not named.
    fn take_response(&mut self, response: DeltaDiscoveryResponse) {
        let before = self.held();
        let named: BTreeSet<_> = response.removed_resources.iter().cloned().collect();
        let is_listed = self.replicas[self.connected_to].is_fully_listed();
        assert!(named.is_empty() || is_listed, "absence was taken for removal");
        let outcome = self.client.on_response(response, &|_| Ok(())).unwrap();
        let after = self.held();
        for key in before.keys().filter(|key| !after.contains_key(key)) {
            assert!(named.contains(&key.to_string()), "{key} was lost");
            assert!(outcome.removed.contains(key));
        }
    }

    /// Faults have ended: all know the truth, and all that can be said is said.
    fn settle(&mut self) {
        self.catch_up(self.connected_to);
        self.take(&Step::List(self.connected_to));
        self.exchange(200);
        assert!(self.to_server.is_empty() && self.to_client.is_empty());
        let replica = &self.replicas[self.connected_to];
        assert_eq!(self.client.next_request(), None);
        assert_eq!(self.server.next_response(replica), None);
    }
}

/// Takes `steps`, and then all that is needed for the client to hold what is true.
fn converges(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut run = Run::new();
    for step in steps {
        let before = run.held();
        run.take(step);
        if !matches!(step, Step::Take | Step::Exchange) {
            prop_assert_eq!(&before, &run.held(), "{:?}", step);
        }
    }
    run.settle();
    let subscriptions: Vec<_> = run.client.subscriptions().cloned().collect();
    let own = read(OWN);
    let view = run.truth.view(Some(&own), None, &subscriptions);
    let wanted: BTreeMap<_, _> =
        view.objects().map(|object| (object.key().clone(), object.version())).collect();
    prop_assert_eq!(run.held(), wanted);
    let known = run.replicas[run.connected_to].view(Some(&own), None, &subscriptions);
    for subscription in &subscriptions {
        let answer = run.client.interests[subscription].answer.as_ref();
        prop_assert_eq!(answer, known.answers.get(subscription), "{}", subscription);
        prop_assert!(answer.is_some(), "{subscription}");
    }
    // What the server believes is what is so.
    let believed: BTreeMap<_, _> =
        run.server.receipts().map(|receipt| (receipt.key, receipt.version)).collect();
    prop_assert_eq!(run.held(), believed);
    Ok(())
}

/// A replica that lags sends an older version of a policy, which is refused. Guards that mean just
/// that version later are no worse for it.
#[test]
fn what_was_only_old_is_not_refused_for_good() {
    let steps = [
        Step::Connect(1),
        Step::Subscribe(0),
        Step::Put(Thing::Policy(0), 2),
        Step::Put(Thing::Workload(0), 0),
        Step::Put(Thing::Guards(0), 4),
        Step::List(0),
        Step::Put(Thing::Policy(0), 0),
        Step::CatchUp(1),
        Step::Exchange,
        Step::Connect(0),
        Step::Exchange,
        Step::Put(Thing::Guards(0), 2),
    ];
    converges(&steps).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_client_converges_and_loses_nothing_on_the_way(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        converges(&steps)?;
    }
}
