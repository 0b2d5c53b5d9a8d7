//! What is read of processes.

use super::*;

#[test]
fn a_tree_holds_the_children_and_ends_with_the_process() {
    let log = std::env::temp_dir().join(format!("weft-bench-{}.log", std::process::id()));
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 60 & wait"]);
    let process = Process::start("sh", &mut command, log.clone()).unwrap();
    let grown = clock::retry(Duration::from_secs(5), Duration::from_millis(1), || {
        let tree = process.tree()?;
        if tree.len() == 2 { Ok(tree) } else { bail!("{tree:?}") }
    });
    let tree = grown.unwrap();
    assert!(Memory::of(&tree[..1]).unwrap().rss > 0);
    cpu_ns(&tree).unwrap();
    drop(process);
    assert!(!Path::new(&format!("/proc/{}", tree[0])).exists());
    // The grandchild was not ours to start, so the test ends it itself.
    let orphan = Pid::from_raw(i32::try_from(tree[1]).unwrap()).unwrap();
    let _ = kill_process(orphan, Signal::KILL);
    fs::remove_file(log).unwrap();
}

#[test]
fn memory_is_summed_from_the_rollup() {
    let mut memory = Memory::default();
    memory.add("00400000-7fff r--p\nRss: 10 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 2 kB\nAnonymous: 2 kB\n");
    memory.add("Rss: 5 kB\nPrivate_Dirty: 4 kB\n");
    assert_eq!((memory.rss, memory.private, memory.anonymous), (15 * 1024, 6 * 1024, 2 * 1024));
}
