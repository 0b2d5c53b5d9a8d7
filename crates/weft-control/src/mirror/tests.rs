//! What becomes of what is heard.

use weft_net::SystemClock;
use weft_store::LocalStore;

use super::*;

fn put(name: &str, text: &str) -> Event {
    Event::Put(Found { namespace: "shop".into(), name: name.into(), text: text.into() })
}

fn mirror() -> Mirror {
    let clock = Arc::new(SystemClock::new());
    let options = weft_store::Options::at(clock.now());
    Mirror::new(Arc::new(LocalStore::in_memory(&options)), clock)
}

/// The names and texts of the Services in the store.
fn services(mirror: &Mirror) -> Vec<(String, String)> {
    let listing = mirror.store.list(&Filter::default()).unwrap();
    let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
    listing.documents.iter().map(|it| (it.key.name.clone(), text(&it.text))).collect()
}

fn take(mirror: &mut Mirror, events: &[Event]) {
    let events: Vec<_> = events.iter().map(|event| (Kind::Service, event.clone())).collect();
    mirror.take(&events).unwrap();
}

#[test]
fn what_a_list_does_not_hold_any_more_is_gone() {
    let mut mirror = mirror();
    take(&mut mirror, &[Event::Listing, put("a", "1"), put("b", "1"), Event::Listed]);
    take(&mut mirror, &[put("b", "2"), put("c", "1")]);
    let expected = [("a", "1"), ("b", "2"), ("c", "1")];
    assert_eq!(services(&mirror), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));

    // While a list is on its way nothing is taken away; and what broke off begins anew.
    take(&mut mirror, &[Event::Listing, put("a", "1")]);
    take(&mut mirror, &[Event::Failed("no answer".into())]);
    assert_eq!(services(&mirror).len(), 3);
    take(&mut mirror, &[Event::Listing, put("c", "2"), Event::Listed]);
    assert_eq!(services(&mirror), [("c".to_owned(), "2".to_owned())]);
}

#[test]
fn all_is_known_once_every_kind_was_listed_or_is_not_there() {
    let mut mirror = mirror();
    for kind in MIRRORED {
        assert!(mirror.unknown.contains(&kind));
        mirror.take(&[(kind, Event::Failed("forbidden".into()))]).unwrap();
        mirror.take(&[(kind, Event::Listing)]).unwrap();
        assert!(mirror.unknown.contains(&kind), "{kind}");
        let answer = if kind == Kind::Mesh { Event::NotServed } else { Event::Listed };
        mirror.take(&[(kind, answer)]).unwrap();
        assert!(!mirror.unknown.contains(&kind), "{kind}");
    }
    assert!(mirror.unknown.is_empty());
}

#[test]
fn the_last_word_on_an_object_counts() {
    let mut mirror = mirror();
    let gone = || Event::Gone("shop".into(), "a".into());
    take(&mut mirror, &[put("a", "1"), gone(), put("a", "2")]);
    assert_eq!(services(&mirror), [("a".to_owned(), "2".to_owned())]);
    take(&mut mirror, &[put("a", "3"), gone()]);
    assert_eq!(services(&mirror), []);
    // An object that changes behind the end of a list is not taken for one that is gone.
    take(&mut mirror, &[Event::Listing, Event::Listed, put("a", "4")]);
    assert_eq!(services(&mirror), [("a".to_owned(), "4".to_owned())]);
}

#[test]
fn a_mesh_stays_until_there_is_another() {
    let mut mirror = mirror();
    let mesh = |event: Event| (Kind::Mesh, event);
    let found = |name: &str| {
        Event::Put(Found { namespace: String::new(), name: name.into(), text: "m".into() })
    };
    mirror.take(&[mesh(found("made-here"))]).unwrap();
    mirror.take(&[mesh(Event::Listing), mesh(Event::Listed)]).unwrap();
    assert_eq!(services(&mirror).len(), 1);
    mirror.take(&[mesh(Event::Listing), mesh(found("theirs")), mesh(Event::Listed)]).unwrap();
    assert_eq!(services(&mirror), [("theirs".to_owned(), "m".to_owned())]);
}
