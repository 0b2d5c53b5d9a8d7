//! README's five minutes, as they stand: by root, in one directory, on a host of its own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{Host, PATH, Running, lines, must, wait_until_or};

const README: &str = include_str!("../../../../README.md");

/// The blocks of commands in README's five minutes, without their indentation.
fn blocks() -> Vec<String> {
    let (_, rest) = README.split_once("\n## Five minutes\n").unwrap();
    let (section, _) = rest.split_once("\n## What works\n").unwrap();
    let mut blocks: Vec<String> = Vec::new();
    let mut is_inside = false;
    for line in section.lines() {
        match line.strip_prefix("    ") {
            Some(command) if is_inside => *blocks.last_mut().unwrap() += &format!("{command}\n"),
            Some(command) => blocks.push(format!("{command}\n")),
            // An empty line ends no block.
            None if line.is_empty() => continue,
            None => {}
        }
        is_inside = line.starts_with("    ");
    }
    blocks
}

/// A shell with `weft` on its `PATH`. All that it has started ends with it.
struct Terminal {
    shell: Running,
    directory: PathBuf,
    _host: Host,
}

impl Terminal {
    fn open() -> Terminal {
        let name = format!("weftreadme{}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        for part in ["work", "home"] {
            fs::create_dir_all(directory.join(part)).unwrap();
        }
        let host = Host::new(&name);
        must(host.command("ip").args(["link", "set", "lo", "up"]));
        let weft = Path::new(env!("CARGO_BIN_EXE_weft")).parent().unwrap();
        // The shell is the first process of a namespace, with which the others end.
        let mut command = host.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
        command.current_dir(directory.join("work")).env_clear();
        command.env("PATH", format!("{}:{PATH}", weft.display())).env("LC_ALL", "C");
        command.env("HOME", directory.join("home")).stdin(std::process::Stdio::piped());
        let [output, errors] = ["out", "err"].map(|kind| directory.join(format!("shell.{kind}")));
        let shell = Running::start(command, output, errors);
        Terminal { shell, directory, _host: host }
    }

    /// What is in a file, if it is there.
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    fn wait_for(&self, name: &str, text: &str) {
        let explain = || format!("{name} does not say `{text}`:\n{}", self.read(name));
        wait_until_or(|| self.read(name).contains(text), explain);
    }

    /// Begins to run `block`, and has `then` follow it on the line.
    fn begin(&mut self, name: &str, block: &str, then: &str) {
        fs::write(self.directory.join(name), block).unwrap();
        let line = format!(". ../{name} > ../{name}.out 2> ../{name}.err {then}\n");
        self.shell.type_in(line.as_bytes());
    }

    /// Runs `block`, which must succeed, and gives what it printed.
    fn run(&mut self, name: &str, block: &str) -> String {
        self.begin(name, block, &format!("; echo {name}: $?"));
        self.shell.wait_for(&format!("{name}: "));
        let [output, errors] = ["out", "err"].map(|kind| self.read(&format!("{name}.{kind}")));
        let ended = self.shell.output();
        assert!(ended.contains(&format!("{name}: 0\n")), "{block}: {ended}{output}{errors}");
        output
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.child.kill();
        let _ = self.shell.child.wait();
        // After a failure, the logs are what one wants to see.
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.directory).unwrap();
        }
    }
}

#[test]
fn five_minutes_are_as_the_readme_says() {
    let blocks = blocks();
    let [control, servers, call, shift, forbid, show] = &blocks[..] else {
        panic!("this test knows what six blocks do, and README has others: {blocks:#?}");
    };
    let mut terminal = Terminal::open();
    terminal.begin("control", control, "&");
    terminal.wait_for("control.err", "weft control: ready");
    terminal.run("servers", servers);
    for log in ["work/cart-1.log", "work/cart-2.log"] {
        terminal.wait_for(log, "Serving HTTP");
    }
    assert_eq!(terminal.run("call", call), "cart version 1\n");

    let counts = terminal.run("shift", shift);
    let by = |version: &str| {
        let line = lines(&counts, &[version]).first().copied().unwrap_or_default().trim();
        line.split_once(' ').and_then(|(count, _)| count.parse().ok()).unwrap_or(0_u32)
    };
    let (first, second) = (by("cart version 1"), by("cart version 2"));
    assert_eq!(first + second, 100, "{counts}");
    // Beyond this is less than once in ten thousand times.
    assert!((1..=30).contains(&second), "{counts}");

    let refusal = terminal.run("forbid", forbid);
    assert!(refusal.contains("is enforced by 1 of 1\nHTTP/1.1 403"), "{refusal}");
    assert!(refusal.contains("shop/no-web"), "{refusal}");

    let shown = terminal.run("show", show);
    for expected in ["HTTPRoute", "AuthorizationPolicy", "shop/cart-1", "shop/cart-2"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(shown.contains("\nweft_requests_total{"), "{shown}");
}
