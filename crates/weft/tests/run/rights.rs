//! Where a command cannot have a network of its own, what it costs, and what is left behind.

use std::fs;
use std::process::Command;

use crate::lab::{Lab, descendants, is_alive, must, output, wait_until};

#[test]
fn a_system_without_namespaces_is_explained() {
    let lab = Lab::new();
    // Within a user namespace in which there may be no other, and without rights in it.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && \
                  exec setpriv --bounding-set -all --inh-caps -all \"$@\"";
    let mut unshare = lab.user("unshare");
    unshare.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]);
    unshare.args(lab.arguments("web", &[])).arg("true");
    let refused = output(&mut unshare);
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&refused.stderr);
    for part in [
        "weft: a network for the command cannot be made",
        "no user namespace: ",
        "/proc/sys/user/max_user_namespaces is 0: set user.max_user_namespaces to more than 0",
        "run it as root",
        "`weft proxy`",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
}

/// Whether any process that has not ended is in the namespace that `link`, of this kind, names.
fn is_used(kind: &str, link: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut processes = processes.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    processes.any(|process| {
        let found = fs::read_link(format!("/proc/{process}/ns/{kind}"));
        found.is_ok_and(|found| found.to_string_lossy() == link) && is_alive(process)
    })
}

/// The resident memory of `process` that no other has too, in KiB.
fn private_kib(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let private = text.lines().filter(|line| line.starts_with("Private_"));
    private.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn nothing_is_left_behind() {
    let lab = Lab::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let resolver = fs::read("/etc/resolv.conf").unwrap();
    // Daemons that detach from everything end with the command as well.
    let command = "(setsid sh -c 'echo ready; sleep 1000' &); read line";
    for (signal, code) in [(None, Some(0)), (Some("TERM"), Some(143)), (Some("KILL"), None)] {
        let mut client = lab.client("web");
        client.args(["sh", "-c", command]);
        let mut running = lab.start_typed("client", client);
        running.wait_for("ready");
        let named = |name: &str| {
            let mut processes = descendants(running.id()).into_iter();
            processes.find(|(_, found)| found == name).map(|(process, _)| process)
        };
        wait_until("the daemon is there", || named("sleep").is_some());
        let (sleep, processes) = (named("sleep").unwrap(), descendants(running.id()));
        assert!(named("weft-keeper").is_some(), "{processes:?}");
        let own = ["net", "mnt", "user"].map(|kind| {
            let link = fs::read_link(format!("/proc/{sleep}/ns/{kind}")).unwrap();
            (kind, link.to_string_lossy().into_owned())
        });
        println!("memory of the proxy: {} KiB", private_kib(running.id()));
        match signal {
            None => running.type_in(b"\n"),
            Some(signal) => running.signal(signal),
        }
        assert_eq!(running.end().code(), code, "{signal:?}");
        wait_until("all have ended", || !processes.iter().any(|(process, _)| is_alive(*process)));
        for (kind, namespace) in own {
            assert!(!is_used(kind, &namespace), "{kind} is left");
        }
    }
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    assert_eq!(fs::read("/etc/resolv.conf").unwrap(), resolver);
    let left = must(Command::new("ip").args(["netns", "list"]));
    assert_eq!(left.lines().filter(|line| line.starts_with(&lab.host.namespace)).count(), 1);
}
