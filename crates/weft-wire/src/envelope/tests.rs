//! What is written is what is read, in one encoding, and nothing else is.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::testing::{one_of_each, read, service};

const SOURCE: SourceVersion = SourceVersion { epoch: 7, revision: 42 };

fn wire(object: Object) -> Arc<WireObject> {
    WireObject::new(object, SOURCE).unwrap()
}

fn decode(bytes: &[u8]) -> Result<Arc<WireObject>, ObjectError> {
    WireObject::decode("some/object", bytes, &Release::this())
}

/// The message of `object` after `change`, encoded.
fn changed(object: &WireObject, change: impl FnOnce(&mut Envelope)) -> Vec<u8> {
    let mut envelope = Envelope::decode(object.bytes()).unwrap();
    change(&mut envelope);
    envelope.encode_to_vec()
}

#[test]
fn objects_are_read_as_they_were_written() {
    for object in one_of_each() {
        let written = wire(object.clone());
        let again = decode(written.bytes()).unwrap();
        assert_eq!(again.object(), &object);
        assert_eq!(again, written);
        assert_eq!((again.version(), again.source()), (written.version(), SOURCE));
        assert_eq!(again.key(), &object.key());
    }
}

/// If this fails, proxies of other versions would see every object as changed: raise [`SCHEMA`] if
/// the change is meant. Only those may change that come to require a [`Feature`].
#[test]
fn versions_are_the_same_in_every_release() {
    let pair = |object: Object| (object.key().to_string(), wire(object).version().to_string());
    let versions: Vec<_> = one_of_each().into_iter().map(pair).collect();
    let golden = GOLDEN.map(|(key, version)| (key.to_owned(), version.to_owned()));
    assert_eq!(versions, golden);
}

#[test]
fn the_version_is_of_the_content_alone() {
    let object = one_of_each().remove(0);
    let newer = SourceVersion { epoch: 8, revision: 1 };
    let other = WireObject::new(object.clone(), newer).unwrap();
    assert_eq!(other.version(), wire(object).version());
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let cart = wire(Object::Service(Arc::new(service("shop/cart", "240.119.0.1"))));
    let refused =
        |change: fn(&mut Envelope)| decode(&changed(&cart, change)).unwrap_err().to_string();
    let version = env!("CARGO_PKG_VERSION");
    let upgrade = "upgrade this proxy to the version of the control plane, or a newer one";
    assert_eq!(
        refused(|it| it.schema = 2),
        format!("some/object: of schema 2, and weft {version} reads schema 1: {upgrade}")
    );
    assert_eq!(
        refused(|it| it.schema = 0),
        format!(
            "some/object: of schema 0, and weft {version} reads schema 1: upgrade the control \
             plane to the version of this proxy, or a newer one"
        )
    );
    assert_eq!(
        refused(|it| it.required_features.push("quic".to_owned())),
        format!("some/object: requires the feature quic, which weft {version} lacks: {upgrade}")
    );
    // Whatever its kind, which may have come with the feature.
    assert_eq!(
        refused(|it| {
            it.kind = "gateway".to_owned();
            it.required_features = ["gateway", "query-match", "quic"].map(str::to_owned).into();
        }),
        format!(
            "some/object: requires the features gateway, quic, which weft {version} lacks: \
             {upgrade}"
        )
    );
    assert_eq!(
        refused(|it| it.kind = "gateway".to_owned()),
        "some/object: name: the kind is not known here"
    );
    assert_eq!(
        refused(|it| it.name = "Shop/cart".to_owned()),
        "some/object: name: `Shop` is not a namespace: at most 63 lower-case letters, digits and \
         inner hyphens"
    );
    // A field of a later version: tag 15, a number.
    assert_eq!(
        refused(|it| it.body.extend([0x78, 1])),
        "some/object: damaged, or with something that this version does not know"
    );
    let mut later = cart.bytes().to_vec();
    later.extend([0x78, 1]);
    assert!(matches!(decode(&later), Err(ObjectError { problem: ObjectProblem::Unreadable, .. })));
    let large = vec![0; OBJECT_BYTES_MAX + 1];
    assert!(matches!(
        decode(&large),
        Err(ObjectError { problem: ObjectProblem::TooLarge { .. }, .. })
    ));
}

/// An older control plane does not know that what it sends is a feature by now, nor a newer one of
/// what is none any more.
#[test]
fn what_an_object_requires_is_the_senders_to_say() {
    for object in one_of_each() {
        let written = wire(object);
        let bytes = changed(&written, |it| it.required_features.clear());
        let read = decode(&bytes).unwrap();
        assert_eq!((read.object(), read.bytes()), (written.object(), bytes.as_slice()));
        let bytes = changed(&written, |it| it.required_features = vec!["query-match".to_owned()]);
        assert_eq!(decode(&bytes).unwrap().bytes(), bytes);
    }
}

#[test]
fn fields_without_meaning_are_refused_by_path() {
    let refused = |kind: &str, name: &str, body: &[u8]| {
        let envelope = Envelope {
            kind: kind.to_owned(),
            name: name.to_owned(),
            schema: SCHEMA,
            body: body.to_vec(),
            ..Envelope::default()
        };
        decode(&envelope.encode_to_vec()).unwrap_err().to_string()
    };
    // A port 80 of an unknown protocol 99.
    assert_eq!(
        refused("service", "shop/cart", &[0x12, 4, 8, 80, 0x18, 99]),
        "some/object: ports[0].protocol: the choice 99 is not known here"
    );
    assert_eq!(refused("service", "shop/cart", &[]), "some/object: traffic: is missing");
    assert_eq!(
        refused("workload", "shop/cart-1", &[0x1a, 1, b'n', 0x22, 1, 9]),
        "some/object: addresses[0]: 1 bytes are no IP address"
    );
    // A policy of the whole mesh for port 80.
    let name = b"authorization/shop/p";
    let mut reference = vec![0x0a, u8::try_from(name.len()).unwrap()];
    reference.extend(name);
    reference.extend([0x12, 32]);
    reference.extend([7; 32]);
    reference.extend([0x1a, 1, 80]);
    let body = [&[0x0a, u8::try_from(reference.len()).unwrap()], reference.as_slice()].concat();
    assert_eq!(
        refused("guards", "mesh", &body),
        "some/object: policies[0].ports: is not of a Service"
    );
    assert_eq!(
        refused("guards", "mesh", &[0x0a, 3, 0x0a, 1, b'x']),
        "some/object: policies[0].name: `x` is not the name of a policy: \
         authorization/NAMESPACE/NAME"
    );
}

#[test]
fn source_versions_are_compared_within_an_epoch() {
    let version = |epoch, revision| SourceVersion { epoch, revision };
    assert!(version(1, 1).is_older_than(version(1, 2)));
    assert!(!version(1, 2).is_older_than(version(1, 2)));
    assert!(!version(1, 1).is_older_than(version(2, 2)));
    assert_eq!(read::<SourceVersion>(&SOURCE.to_string()), SOURCE);
    assert_eq!(SOURCE.to_string(), "0000000000000007/42");
}

proptest! {
    /// Whatever bytes come, nothing breaks, and what is taken has no second encoding.
    #[test]
    fn damage_is_noticed(
        which: Index,
        edits in prop::collection::vec((any::<Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let objects = one_of_each();
        let mut bytes = wire(which.get(&objects).clone()).bytes().to_vec();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len().max(1));
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        if let Ok(taken) = decode(&bytes) {
            prop_assert_eq!(taken.bytes(), bytes.as_slice());
        }
    }
}

const GOLDEN: [(&str, &str); 22] = [
    ("mesh", "cc31f0d5fd84c927f64d35a666a8809e586b803d5292ea407f228544a7b6c657"),
    ("trust/weft.local", "7d6ef6cfe73e931d4bd5bcf8c1cfe13ec00828d32cfdd7d11f945472da29b48f"),
    (
        "policy/authorization/shop/callers",
        "1ab8bfc751ef1ba611e3923bd73dcdb00c0b51fb03f4e7198cba2d4baf425e73",
    ),
    (
        "guards/service/shop/cart",
        "222f2705d804a706179cac89824ab8492fdc46796aa957e3579e0983100e0bc7",
    ),
    ("service/shop/cart", "2bd4107ab7a9cf60a0ff37aab83deba095c84d1907f0c700e832e796df4867a4"),
    ("workload/shop/cart-1", "33bfab0ab83170f72de603368911073c5cc0acf940cde234e4417ae747e7e4d3"),
    ("workload/shop/cart-2", "e4541226c83e055b30a11c4a44f6ff6dabe2a972d43bf75e8ccc9a2d2bd12476"),
    ("route/http/shop/canary", "90444699b8297aa35c06dff81388bf9c047b4a90b19c6ba310ca24a2a737bef4"),
    ("trust/other.local", "1129d56aed97d12a9c25038a2332cdc7f6e7332d5788990fbdf5c09a696c72bd"),
    (
        "route/http/shop/filtered",
        "865efbd9e35cd82c4697ba6b34547ffbec295eee040b8e625e848344a6cc36ee",
    ),
    ("route/grpc/shop/calls", "1a0c54ea6bf7cf9441b842a7774ef2b02b5ef398b2612183a1105936c93bef79"),
    ("route/tls/shop/streams", "9369da95b655d6d39ca9b597cbbdc565dfcc303b61233690495ddd62aae06e02"),
    ("route/http/other/mine", "c0e3da3e19cfdcc079de38edf8f19c9840a06b4e83a5577168bcfb5b5ed0232a"),
    (
        "policy/authorization/shop/auditing",
        "8c3d2422ffa19f716641ac970ca8e12bc3575dfc0516dc2dc830fe67c72ab721",
    ),
    ("route/http/shop/faulty", "ee04d2543780d0479fa48603b8db1e222bb33ffe0c97d5a1331e3b3d4c97f004"),
    (
        "external/weft-system/api",
        "1989e38dede517e2fe0d0968a844d0cfcf922f74ce1b64b858237d4fb0bff97e",
    ),
    ("route/http/shop/outside", "25b077465022d8d9752eabfaad47d4b5fad37d3c5ca89723c45b305e697a2670"),
    (
        "guards/service/shop/ports",
        "2dc6abd96ba3eda792ea7db5731fd447db4a5b24725e5631b8f37208fcaac7de",
    ),
    ("service/shop/ports", "f746e1fbbecd42c6b074ce87217f304c1b59970b3411d8dfd93bb3b360a1018f"),
    ("external/shop/routed", "2b3dd693db9af13aa8544ab9da27ef9de23ac7f15dd3f82e810dbb1c2887289a"),
    ("route/http/shop/egress", "eb406344e05bceffa3758189d27fe1cdad7fcd0d45c67c318b26d2a2bfb74066"),
    ("external/shop/apart", "0f5181d2539fe57452fdb20b98dd943eb6458c03c52435f316d6f7fe78e2653e"),
];
