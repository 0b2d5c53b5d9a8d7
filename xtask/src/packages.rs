//! Debian packages that tests need: which are missing, and how they are installed.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// How this process becomes root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// It is.
    Already,
    /// `sudo` lets it, without asking for a password.
    Sudo,
    /// It cannot.
    No,
}

impl Root {
    /// Finds out by asking `id` and `sudo`.
    pub fn find() -> Root {
        let id = Command::new("id").arg("-u").output();
        if id.is_ok_and(|output| output.stdout.trim_ascii() == b"0") {
            return Root::Already;
        }
        if succeeds(Command::new("sudo").args(["-n", "true"])) { Root::Sudo } else { Root::No }
    }

    /// The words to put before a command that must run as root, unless that is impossible.
    pub fn prefix(self) -> Option<&'static [&'static str]> {
        match self {
            Root::Already => Some(&[]),
            Root::Sudo => Some(&["sudo", "-n"]),
            Root::No => None,
        }
    }

    /// `program`, to be run as root.
    ///
    /// # Errors
    /// If this process cannot become root.
    pub fn command(self, program: &str) -> Result<Command> {
        let Some(prefix) = self.prefix() else {
            bail!(
                "{program} needs root: run as root, or let sudo -n work, as it does for a while \
                 after sudo -v"
            );
        };
        let mut words = prefix.iter().copied().chain([program]);
        let mut command = Command::new(words.next().expect("the program is a word"));
        command.args(words);
        Ok(command)
    }
}

/// True if `command` starts and ends well; what it prints is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Those of `names` that are not installed, sorted.
///
/// # Errors
/// If this is not a Debian-like system.
pub fn missing<'a>(names: &[&'a str]) -> Result<Vec<&'a str>> {
    let mut missing = Vec::new();
    for name in names {
        let output = Command::new("dpkg-query")
            .args(["--show", "--showformat=${db:Status-Status}", name])
            .output()
            .with_context(|| {
                format!("cannot look for {name}, dpkg-query does not start: use Debian or Ubuntu")
            })?;
        if output.stdout != b"installed" {
            missing.push(*name);
        }
    }
    missing.sort_unstable();
    missing.dedup();
    Ok(missing)
}

/// Installs those of `names` that are missing, after saying which and how.
///
/// # Errors
/// If root is needed and not to be had, or if apt-get fails.
pub fn install(names: &[&str], root: Root) -> Result<()> {
    let missing = missing(names)?;
    if missing.is_empty() {
        return Ok(());
    }
    println!("missing Debian packages: {}", missing.join(" "));
    let needed = || format!("{} must be installed", missing.join(" "));
    let mut update = root.command("apt-get").with_context(needed)?;
    update.arg("update");
    let mut install = root.command("env").with_context(needed)?;
    install.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes"]);
    install.arg("--no-install-recommends").args(&missing);
    println!("installing them now with:\n  {}\n  {}", words(&update), words(&install));
    println!("(Debian may start services of theirs; no test uses those, and you may stop them)");
    for mut command in [update, install] {
        let status = command.stdin(Stdio::null()).status().with_context(|| words(&command))?;
        if !status.success() {
            bail!("`{}` failed, see above: install the packages by hand", words(&command));
        }
    }
    Ok(())
}

/// `command` as it would be typed.
pub fn words(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_a_prefix() {
        assert_eq!(words(&Root::Already.command("ip").unwrap()), "ip");
        assert_eq!(words(&Root::Sudo.command("ip").unwrap()), "sudo -n ip");
        let error = Root::No.command("ip").unwrap_err().to_string();
        assert!(error.starts_with("ip needs root: run as root"), "{error}");
    }

    #[test]
    fn without_root_the_message_names_what_is_missing() {
        if succeeds(Command::new("dpkg-query").arg("--version")) {
            let error = format!("{:#}", install(&["no-such-package"], Root::No).unwrap_err());
            assert!(error.starts_with("no-such-package must be installed: apt-get"), "{error}");
        }
    }
}
