//! Files that nobody should write: what is said of them, and that nothing in them is passed over.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use super::{Directory, SERVICE, WEFT, check, said};

/// What is said of a file that holds `bytes`, on standard output and standard error.
fn of_file(bytes: &[u8]) -> (String, String, Option<i32>) {
    let directory = Directory::new();
    fs::write(directory.0.join("a.yaml"), bytes).unwrap();
    said(&check(&directory.0, &["-f", "a.yaml"]))
}

#[test]
fn what_is_written_strangely_is_read_or_refused_where_it_stands() {
    let with_bom = format!("\u{feff}{}", SERVICE.replace('\n', "\r\n"));
    let twice = SERVICE.replace("name: cart,", "name: cart, name: pay,");
    let of_anchors = format!(
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{}",
        (1..12)
            .map(|n| format!("a{n}: &a{n} [{}]\n", [&*format!("*a{}", n - 1); 10].join(", ")))
            .collect::<String>()
    );
    let deep = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    let merged =
        SERVICE.replace("spec: { ", "spec: { <<: *m, ").replace("metadata: ", "metadata: &m ");
    let long = SERVICE.replace("name: cart,", &format!("name: {},", "a".repeat(300)));
    let cases: [(&str, &str, i32); 19] = [
        (&with_bom, "1 object, nothing is wrong\n", 0),
        (&SERVICE.replace('\n', "\r"), "1 object, nothing is wrong\n", 0),
        (&with_bom.replace("port: 80", "prot: 80"), " --> a.yaml:4:44\n", 1),
        (&SERVICE.replace(" { name", "\n\tname"), " --> a.yaml:4:2\n", 1),
        (&twice, "error: metadata.name: written twice, first in line 3\n --> a.yaml:3:25\n", 1),
        (&of_anchors, "error: too much: a file has at most 200000 values, aliases included\n", 1),
        ("a: &a { b: *a }", "error: a.b: an alias inside the value it stands for\n", 1),
        (&merged, "error: spec: the merge key `<<` is not supported\n --> a.yaml:4:9\n", 1),
        (&deep, "error: too deep: maps and lists nest at most 64 levels\n --> a.yaml:1:", 1),
        ("hello", "error: a map is needed, this is the string \"hello\"\n --> a.yaml:1:1\n", 1),
        ("- a\n", "error: a map is needed, this is a list\n --> a.yaml:1:1\n", 1),
        (&SERVICE.replace("apiVersion: v1\n", ""), "error: apiVersion: is required\n", 1),
        (&SERVICE.replace("kind:", "Kind:"), "error: Kind: unknown field\n --> a.yaml:2:1\n", 1),
        (&SERVICE.replace("v1", "apps/v1"), "  = help: write v1\n", 1),
        (&SERVICE.replace("Service", "Servce"), "  = help: did you mean `Service`?\n", 1),
        ("apiVersion: v1\nkind: List\nitem: []\n", "error: items: is required\n", 1),
        ("apiVersion: v1\nkind: List\nitems: {}\n", "error: items: a list is needed, ", 1),
        (&long, "error: metadata.name: 300 characters are not allowed, the most is 63\n", 1),
        ("\u{0}\u{1}", "error: not valid YAML: ", 1),
    ];
    for (text, expected, code) in cases {
        let (stdout, stderr, found) = of_file(text.as_bytes());
        assert!(stdout.contains(expected), "{expected}: {stdout}");
        assert_eq!((stderr.as_str(), found), ("", Some(code)), "{expected}");
    }
    // Nothing of a file drives a terminal.
    let (stdout, ..) = of_file(SERVICE.replace("name: cart", "name: \"\\e[31m\"").as_bytes());
    assert!(stdout.contains("  = in Service shop/\\u{1b}[31m\n"), "{stdout}");
}

#[test]
fn what_is_no_file_of_resources_is_named() {
    let directory = Directory::new();
    let path = |name: &str| directory.0.join(name);
    fs::write(path("a.yaml"), [0x80]).unwrap();
    fs::write(path("huge.yaml"), vec![b' '; weft_crd::FILE_BYTES_MAX + 1]).unwrap();
    fs::create_dir_all(path("nested/within.yaml")).unwrap();
    fs::write(path("nested/within.yaml/b.yaml"), SERVICE).unwrap();
    fs::write(path("nested/README.md"), "kind: nothing").unwrap();
    fs::create_dir(path("loop")).unwrap();
    symlink("itself.yaml", path("loop/itself.yaml")).unwrap();
    fs::create_dir(path("lost")).unwrap();
    symlink("/nowhere", path("lost/gone.yaml")).unwrap();
    fs::create_dir(path("pipe")).unwrap();
    let made = Command::new("mkfifo").arg(path("pipe/a.yaml")).status().unwrap();
    assert!(made.success());
    fs::create_dir(path("red")).unwrap();
    fs::write(path("red/\u{1b}[31m.yaml"), [0x80]).unwrap();
    for (name, expected) in [
        ("a.yaml", "weft: a.yaml is not UTF-8\n"),
        ("huge.yaml", "weft: huge.yaml has more than 8388608 bytes, "),
        // It has no end.
        ("/dev/zero", "weft: /dev/zero has more than 8388608 bytes, "),
        ("nested", "weft: nested holds no .yaml, .yml or .json file; directories within it "),
        ("loop", "weft: cannot read loop/itself.yaml\n"),
        ("lost", "weft: cannot read lost/gone.yaml\n"),
        ("pipe", "weft: pipe/a.yaml is called like a file, and is none\n"),
        ("red", "weft: red/\\u{1b}[31m.yaml is not UTF-8\n"),
    ] {
        let (stdout, stderr, code) = said(&check(&directory.0, &["-f", name]));
        assert!(stderr.starts_with(expected), "{stderr}");
        assert_eq!((stdout.as_str(), code), ("", Some(2)), "{name}");
    }
}

#[test]
fn what_leads_back_is_not_followed_and_each_file_counts_by_its_name() {
    let directory = Directory::new();
    let path = |name: &str| directory.0.join(name);
    fs::create_dir(path("shop")).unwrap();
    symlink("..", path("shop/up.yaml")).unwrap();
    fs::write(path("shop/A.YAML"), SERVICE).unwrap();
    let (stdout, _, code) = said(&check(&directory.0, &["-f", "shop"]));
    assert_eq!((stdout.as_str(), code), ("1 object, nothing is wrong\n", Some(0)));
    // The same object in another file, by a link to the first.
    symlink("A.YAML", path("shop/b.yml")).unwrap();
    let (stdout, _, code) = said(&check(&directory.0, &["-f", "shop"]));
    let expected = "error: metadata.name: written twice: first at shop/A.YAML:3:19\n --> \
                    shop/b.yml:3:19\n";
    assert!(stdout.starts_with(expected), "{stdout}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_file_far_down_is_named_whole() {
    let directory = Directory::new();
    let below = ["a-rather-long-name"; 6].join("/");
    fs::create_dir_all(directory.0.join(&below)).unwrap();
    let file = format!("{below}/service.yaml");
    fs::write(directory.0.join(&file), SERVICE.replace("80", "0")).unwrap();
    let (stdout, ..) = said(&check(&directory.0, &["-f", &file]));
    assert!(stdout.contains(&format!(" --> {file}:4:50\n")), "{stdout}");
}

#[test]
fn a_namespace_that_is_none_is_refused_where_it_would_be_used() {
    let text = SERVICE.replace(", namespace: shop", "");
    let directory = Directory::new();
    fs::write(directory.0.join("a.yaml"), text).unwrap();
    let (stdout, _, code) = said(&check(&directory.0, &["-f", "a.yaml", "-n", "Not One"]));
    assert!(
        stdout.starts_with("error: metadata.namespace: \"Not One\" is not a name: "),
        "{stdout}"
    );
    assert!(stdout.contains(" --> a.yaml:3:"), "{stdout}");
    assert_eq!(code, Some(1));
}

#[test]
fn what_comes_through_a_pipe_is_read_to_its_end_and_not_further_than_a_file() {
    let mut command = Command::new(WEFT);
    command.args(["check", "-f", "-"]).env_clear();
    let zero = fs::File::open("/dev/zero").unwrap();
    let output = command.stdin(Stdio::from(zero)).output().unwrap();
    let (stdout, stderr, code) = said(&output);
    assert!(stderr.starts_with("weft: standard input has more than 8388608 bytes, "), "{stderr}");
    assert_eq!((stdout.as_str(), code), ("", Some(2)));
}
