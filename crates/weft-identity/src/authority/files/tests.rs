//! Authorities on disk: first starts, cut short or not, and what may be missing.

use super::*;
use crate::testing::{DAY, MemoryFiles, at, domain, root};

fn here() -> AuthorityFiles {
    AuthorityFiles::new(Path::new("state"), 1)
}

fn open(files: &MemoryFiles) -> Result<Authority, String> {
    here().open(files, &domain(), at(0)).map_err(|error| error.to_string())
}

fn remove(files: &MemoryFiles, name: &str) -> Vec<u8> {
    files.content.borrow_mut().remove(&Path::new("state").join(name)).unwrap()
}

#[test]
fn the_first_start_makes_what_the_next_one_finds() {
    let files = MemoryFiles::default();
    let first = open(&files).unwrap();
    let names: Vec<_> =
        files.content.borrow().keys().map(|path| path.display().to_string()).collect();
    assert_eq!(names, ["state/intermediate-1.pem", "state/root-1-key.pem", "state/root-1.pem"]);
    let second = open(&files).unwrap();
    assert_eq!(second.root_key(), first.root_key());
    assert_eq!(second.chain_pem(), first.chain_pem());
    let other = AuthorityFiles::new(Path::new("state"), 2).open(&files, &domain(), at(0)).unwrap();
    assert_ne!(other.root_key(), first.root_key());
}

#[test]
fn the_root_key_may_be_taken_away_until_the_next_intermediate() {
    let files = MemoryFiles::default();
    let first = open(&files).unwrap();
    let key = remove(&files, "root-1-key.pem");
    assert_eq!(open(&files).unwrap().root_key(), first.root_key());
    let late = at(300 * DAY);
    let error = here().renew(&files, &domain(), late).unwrap_err().to_string();
    assert!(
        error.starts_with("state/root-1-key.pem is missing, and state/root-1.pem is"),
        "{error}"
    );

    files.replace(Path::new("state/root-1-key.pem"), &key).unwrap();
    let renewed = here().renew(&files, &domain(), late).unwrap();
    assert_eq!(renewed.root_key(), first.root_key());
    assert_eq!(renewed.validity().not_after, at(665 * DAY));
    assert_ne!(renewed.chain_pem(), first.chain_pem());
    let again = here().open(&files, &domain(), late).unwrap();
    assert_eq!(again.chain_pem(), renewed.chain_pem());
}

#[test]
fn of_an_authority_in_use_the_root_must_be_there_and_the_intermediate_may_be_made_anew() {
    let files = MemoryFiles::default();
    let first = open(&files).unwrap();
    assert!(here().check_in_use(&files).unwrap());
    remove(&files, "intermediate-1.pem");
    assert!(!here().check_in_use(&files).unwrap());
    assert_eq!(open(&files).unwrap().root_key(), first.root_key());
    remove(&files, "root-1.pem");
    let error = here().check_in_use(&files).unwrap_err().to_string();
    assert!(error.starts_with("state/root-1.pem is gone: restore it from a backup"), "{error}");
}

#[test]
fn a_roots_key_that_is_of_no_use_is_named_before_it_is_needed() {
    let files = MemoryFiles::default();
    open(&files).unwrap();
    let check = || here().check_root_key(&files, &domain(), at(0)).map_err(|it| it.to_string());
    assert_eq!(check(), Ok(()));
    let other = root(at(0)).key_pem();
    for wrong in [b"damaged".as_slice(), other.as_bytes()] {
        files.replace(Path::new("state/root-1-key.pem"), wrong).unwrap();
        let error = check().unwrap_err();
        assert!(error.contains("state/root-1-key.pem: the key of the root"), "{error}");
    }
    // It may be kept elsewhere.
    remove(&files, "root-1-key.pem");
    assert_eq!(check(), Ok(()));
}

#[test]
fn a_first_start_that_was_cut_short_is_gone_on_with() {
    for writes in 0..3 {
        let files = MemoryFiles::default();
        files.writes_left.set(Some(writes));
        let error = open(&files).unwrap_err();
        assert!(error.starts_with("cannot write state/"), "{error}");
        let before = files.content.borrow().clone();
        files.writes_left.set(None);
        let authority = open(&files).unwrap();
        assert_eq!(open(&files).unwrap().root_key(), authority.root_key());
        for (path, content) in before {
            assert_eq!(files.content.borrow()[&path], content, "{} is kept", path.display());
        }
    }
}

#[test]
fn nothing_is_made_over_what_is_there() {
    let files = MemoryFiles::default();
    open(&files).unwrap();
    remove(&files, "root-1.pem");
    let error = open(&files).unwrap_err();
    assert!(error.contains("state/root-1.pem is missing"), "{error}");

    let files = MemoryFiles::default();
    open(&files).unwrap();
    remove(&files, "root-1-key.pem");
    remove(&files, "intermediate-1.pem");
    let error = open(&files).unwrap_err();
    assert!(error.contains("state/intermediate-1.pem is missing"), "{error}");

    for name in ["root-1.pem", "intermediate-1.pem"] {
        let files = MemoryFiles::default();
        open(&files).unwrap();
        files.replace(&Path::new("state").join(name), b"damaged").unwrap();
        let error = open(&files).unwrap_err();
        assert!(error.contains("cannot be used"), "{error}");
    }
    let files = MemoryFiles::default();
    files.replace(Path::new("state/root-1.pem"), root(at(0)).certificate_pem().as_bytes()).unwrap();
    files.replace(Path::new("state/root-1-key.pem"), root(at(0)).key_pem().as_bytes()).unwrap();
    let error = open(&files).unwrap_err();
    assert!(error.contains("does not belong to its certificate"), "{error}");
}

#[test]
fn a_given_intermediate_is_read_from_one_file_with_its_key() {
    let authority = root(at(0)).authority(at(0)).unwrap();
    let both = format!("{}{}", *authority.key_pem(), authority.chain_pem());
    let files = MemoryFiles::default();
    files.replace(Path::new("state/root-1.pem"), authority.root_pem().as_bytes()).unwrap();
    files.replace(Path::new("state/intermediate-1.pem"), both.as_bytes()).unwrap();
    assert_eq!(open(&files).unwrap().root_key(), authority.root_key());
}

#[test]
fn an_intermediate_that_does_not_hold_now_is_replaced_where_the_roots_key_is_there() {
    let files = MemoryFiles::default();
    let first = open(&files).unwrap();
    let open = |now| here().open_or_renew(&files, &domain(), now);
    assert!(open(at(DAY)).unwrap().1.is_none());
    // Made while the clock was far ahead; and then it was set right.
    let early = here().renew(&files, &domain(), at(500 * DAY)).unwrap();
    let (now, against) = open(at(DAY)).unwrap();
    assert_eq!((now.root_key(), now.renew_at()), (first.root_key(), at(DAY + 243 * DAY + 28_700)));
    let against = against.unwrap().to_string();
    assert!(against.contains("the intermediate certificate cannot be used: it holds"), "{against}");
    assert!(open(at(DAY)).unwrap().1.is_none());
    let (late, against) = open(at(500 * DAY)).unwrap();
    assert!(against.is_some() && late.chain_pem() != early.chain_pem());

    // Nothing is made without the root's key, and none below a root that does not hold.
    let key = remove(&files, "root-1-key.pem");
    let error = open(at(DAY)).unwrap_err().to_string();
    assert!(error.contains("set the clock right if it is wrong, or give another"), "{error}");
    files.replace(Path::new("state/root-1-key.pem"), &key).unwrap();
    let before = UnixTime(at(0).0 - std::time::Duration::from_secs(DAY));
    let error = open(before).unwrap_err().to_string();
    assert!(error.contains("the root certificate cannot be used: it holds from"), "{error}");
    let there = here().open(&files, &domain(), at(500 * DAY)).unwrap();
    assert_eq!(there.chain_pem(), late.chain_pem());
}
