//! What a confined command can reach, and what it may do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::Case;
use crate::lab::{User, must, output, this_program};

pub const CASES: &[Case] = &[
    ("connections come with their destination", connections_come_with_their_destination),
    ("all routes are over loopback", all_routes_are_over_loopback),
    ("names are resolved by the mesh", names_are_resolved_by_the_mesh),
    ("every name server is the mesh's", every_name_server_is_the_meshs),
    ("only the command sees its resolver", only_the_command_sees_its_resolver),
    ("other datagrams are refused", other_datagrams_are_refused),
    ("the capture port is no way out", the_capture_port_is_no_way_out),
    ("a program inside is reached", a_program_inside_is_reached),
    ("the command has no rights", the_command_has_no_rights),
    ("setuid programs gain nothing", setuid_programs_gain_nothing),
    ("two at a time are apart", two_at_a_time_are_apart),
    ("a system without namespaces is explained", a_system_without_namespaces_is_explained),
];

fn connections_come_with_their_destination(user: User) {
    for (url, destination) in [
        ("http://10.96.0.1/", "10.96.0.1:80"),
        ("http://192.0.2.1:8080/", "192.0.2.1:8080"),
        ("http://[fd00:96::1]/", "[fd00:96::1]:80"),
        ("http://[2001:db8::7]:9090/", "[2001:db8::7]:9090"),
        ("http://169.254.169.254/", "169.254.169.254:80"),
    ] {
        let printed = must(user.confined(&["curl", "-sS", "--max-time", "20", url]));
        assert_eq!(printed, format!("captured {destination}\n"));
    }
}

fn all_routes_are_over_loopback(user: User) {
    let ipv4 = must(user.confined(&["ip", "-4", "route", "show", "table", "main"]));
    assert_eq!(ipv4.trim_end(), "default dev lo proto static scope link src 192.0.0.8");
    // With the own addresses: in the main table, answers would be lost until the kernel has added
    // the own address's route, which it does a little later.
    let ipv6 = must(user.confined(&["ip", "-6", "route", "show", "table", "local"]));
    assert!(ipv6.contains("local default dev lo proto static src fd77:6566:7400::1 "), "{ipv6}");
    let links = must(user.confined(&["ip", "-oneline", "-family", "inet", "address"]));
    assert!(links.lines().all(|line| line.contains(" lo ")), "{links}");
}

fn names_are_resolved_by_the_mesh(user: User) {
    for name in ["cart", "cart.shop", "cart.shop.svc", "cart.shop.svc.cluster.local"] {
        let printed = must(user.confined(&["getent", "ahosts", name]));
        assert!(printed.contains("10.96.0.1 ") && printed.contains("fd00:96::1 "), "{printed}");
    }
    let printed = must(user.confined(&["getent", "ahostsv4", "example.com"]));
    assert!(printed.starts_with("192.0.2.7 "), "{printed}");
    for unknown in ["nothing", "nothing.shop", "www.example.com"] {
        assert_eq!(output(user.confined(&["getent", "ahosts", unknown])).status.code(), Some(2));
    }
    let printed = must(user.confined(&["curl", "-sS", "-4", "http://cart.shop:81/"]));
    assert_eq!(printed, "captured 10.96.0.1:81\n");
    // Over TCP as well, which the C library is told to use.
    let mut command = user.confined(&["getent", "ahostsv4", "cart"]);
    command.env("RES_OPTIONS", "use-vc");
    assert!(must(command).starts_with("10.96.0.1 "));
}

fn every_name_server_is_the_meshs(user: User) {
    let program = this_program().to_str().unwrap();
    for server in ["127.0.0.1:53", "[::1]:53", "8.8.8.8:53", "[2001:4860:4860::8888]:53"] {
        let printed = must(user.confined(&[program, "--inside", "query", server]));
        assert_eq!(printed, format!("{server} says [10, 96, 0, 1]\n"));
    }
}

fn only_the_command_sees_its_resolver(user: User) {
    let files = ["/etc/resolv.conf", "/etc/nsswitch.conf"];
    let before = files.map(|file| fs::read(file).ok());
    let mounts = fs::read("/proc/self/mountinfo").unwrap();
    let printed = must(user.confined(&["cat", "/etc/resolv.conf", "/etc/nsswitch.conf"]));
    let expected = "nameserver 127.0.0.1\noptions ndots:2\n\
         search shop.svc.cluster.local svc.cluster.local cluster.local\n";
    assert!(printed.starts_with(expected), "{printed}");
    assert!(printed.contains("\nhosts: files dns\n"), "{printed}");
    let script = "echo x >> /etc/resolv.conf || chmod u+w /etc/resolv.conf || echo refused";
    assert_eq!(must(user.confined(&["sh", "-c", script])), "refused\n");
    // What covers them is nowhere else to be seen.
    let script = "grep -c ' weft ' /proc/self/mountinfo; ls -d /proc/self";
    assert_eq!(must(user.confined(&["sh", "-c", script])), "2\n/proc/self\n");
    assert_eq!(files.map(|file| fs::read(file).ok()), before);
    assert!(fs::read("/proc/self/mountinfo").unwrap() == mounts);
}

fn other_datagrams_are_refused(user: User) {
    let program = this_program().to_str().unwrap();
    for address in ["192.0.2.1:443", "[2001:db8::1]:443", "224.0.0.251:5353"] {
        let printed = must(user.confined(&[program, "--inside", "datagram", address]));
        assert_eq!(printed, "PermissionDenied\n", "{address}");
    }
    let printed = must(user.confined(&[program, "--inside", "datagram", "127.0.0.1:5000"]));
    assert_eq!(printed, "sent\n", "loopback stays as it is");
}

fn the_capture_port_is_no_way_out(user: User) {
    let program = this_program().to_str().unwrap();
    for address in ["127.0.0.1:15001", "[::1]:15001"] {
        let printed = must(user.confined(&[program, "--inside", "connect", address]));
        assert!(["closed\n", "ConnectionReset\n"].contains(&&*printed), "{printed}");
    }
}

fn a_program_inside_is_reached(user: User) {
    let program = this_program().to_str().unwrap();
    for (at, reach) in [
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::]:8080", "[::1]:8080"),
    ] {
        let output = output(user.probe(&["--reach", reach], &[program, "--inside", "greet", at]));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        assert!(errors.contains("probe: was greeted 41 times"), "{errors}");
    }
}

fn the_command_has_no_rights(user: User) {
    let status = must(user.confined(&["cat", "/proc/self/status"]));
    for line in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("{line}:\t0000000000000000\n")), "{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    assert!(status.contains("SigBlk:\t0000000000000000\n"), "{status}");
    let id = user.number();
    assert!(status.contains(&format!("Uid:\t{id}\t{id}\t{id}\t{id}\n")), "{status}");
    for undo in [
        "nft flush ruleset",
        "ip link set lo down",
        "ip route del default",
        "umount /etc/resolv.conf",
        "mount -t tmpfs x /tmp",
        "nsenter --net=/proc/1/ns/net true",
        // The proxy, the parent of its keeper.
        "nsenter --net=/proc/$(cut -d' ' -f4 /proc/$PPID/stat)/ns/net true",
    ] {
        let output = output(user.confined(&["sh", "-c", undo]));
        assert!(!output.status.success(), "{undo}");
    }
}

fn setuid_programs_gain_nothing(user: User) {
    let copy = this_program().with_file_name("id");
    fs::copy("/usr/bin/id", &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let printed = must(user.confined(&[copy.to_str().unwrap(), "-u"]));
    assert_eq!(printed, format!("{}\n", user.number()));
}

fn two_at_a_time_are_apart(user: User) {
    let program = this_program().to_str().unwrap();
    let inner = ["--reach", "127.0.0.1:8080"];
    let command = [program, "--inside", "greet", "0.0.0.0:8080"];
    let children = [0, 1].map(|_| user.probe(&inner, &command).spawn().unwrap());
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

fn a_system_without_namespaces_is_explained(user: User) {
    // Within a user namespace in which there may be no other, and without rights in it.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && \
         exec setpriv --bounding-set -all \"$0\" --probe -- true";
    let mut unshare: Command = user.command("unshare");
    unshare.args(["--user", "--map-root-user", "sh", "-c", script]).arg(this_program());
    let output = output(unshare);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    for part in [
        "this system gives none: no user namespace: ",
        "/proc/sys/user/max_user_namespaces is 0: set user.max_user_namespaces",
        "as root",
        "`weft proxy`",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
}
