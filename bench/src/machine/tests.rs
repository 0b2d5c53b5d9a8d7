//! What is read of the machine.

use super::*;

#[test]
fn cores_are_listed_as_the_kernel_does() {
    assert_eq!(parse_cores("0-2,8\n"), [0, 1, 2, 8]);
    assert_eq!(parse_cores("3"), [3]);
}

#[test]
fn busy_leaves_out_idle_and_waiting() {
    let busy = Busy::parse("cpu  1 2 3 400 50 6 7 8 0 0\ncpu0 1 2").unwrap();
    assert_eq!((busy.work_ns, busy.steal_ns), (190_000_000, 80_000_000));
    assert!(Busy::parse("intr 1").is_none());
}

#[test]
fn cores_asked_for_are_two() {
    assert_eq!(Cores::choose(Some(&[3, 5])).unwrap().load, 5);
    Cores::choose(Some(&[3])).unwrap_err();
}
