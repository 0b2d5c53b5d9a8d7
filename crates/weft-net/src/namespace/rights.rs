//! The right to make namespaces: by root's capabilities, or by a user namespace of its own.

use std::fs;
use std::io;

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, unshare_unsafe};

use super::error::{ConfineError, SetUpError, set_up};

/// What is needed: to make and fill namespaces, to bind port 53, and to drop all capabilities.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETPCAP);

/// A setting of the kernel that refuses user namespaces, and the remedy.
struct Setting {
    file: &'static str,
    /// Whether zero is what refuses, or anything else is.
    zero_refuses: bool,
    remedy: &'static str,
}

const SETTINGS: [Setting; 3] = [
    Setting {
        file: "/proc/sys/kernel/unprivileged_userns_clone",
        zero_refuses: true,
        remedy: "set kernel.unprivileged_userns_clone=1",
    },
    Setting {
        file: "/proc/sys/user/max_user_namespaces",
        zero_refuses: true,
        remedy: "set user.max_user_namespaces to more than 0",
    },
    Setting {
        file: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        zero_refuses: false,
        remedy: "set kernel.apparmor_restrict_unprivileged_userns=0, or give weft an AppArmor \
                 profile with `userns,`",
    },
];

/// Enters network and mount namespaces of their own, within a user namespace where the process
/// lacks the right to do it as it is.
///
/// In the user namespace the process has its own user and group, and no other.
///
/// # Errors
/// [`ConfineError::NotAllowed`] where neither is to be had.
pub fn enter() -> Result<(), ConfineError> {
    let sets = capabilities(None).map_err(|error| ConfineError::Keeper(error.into()))?;
    if !sets.effective.contains(NEEDED) {
        enter_user_namespace().map_err(|error| not_allowed(&error.text))?;
    }
    unshare(UnshareFlags::NEWNET | UnshareFlags::NEWNS)
        .map_err(|error| not_allowed(&format!("no network and mount namespace: {error}")))
}

fn enter_user_namespace() -> Result<(), SetUpError> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(UnshareFlags::NEWUSER).map_err(set_up("no user namespace"))?;
    // Without root's help, a group may be mapped only once groups cannot be dropped any more, since
    // a group can also be there to take a right away. Source: user_namespaces(7).
    fs::write("/proc/self/setgroups", "deny").map_err(set_up("cannot fix the groups"))?;
    let map = |id: u32| format!("{id} {id} 1");
    fs::write("/proc/self/uid_map", map(user)).map_err(set_up("cannot map the user"))?;
    fs::write("/proc/self/gid_map", map(group)).map_err(set_up("cannot map the group"))
}

#[expect(unsafe_code, reason = "rustix asks the caller to look after file descriptors")]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: the table of file descriptors stays shared.
    unsafe { unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// What to tell somebody who has no right to namespaces.
pub fn not_allowed(what: &str) -> ConfineError {
    let mut text = format!(
        "a command needs a network namespace of its own, and this system gives none: {what}"
    );
    let mut found = false;
    for Setting { file, zero_refuses, remedy } in SETTINGS {
        let value = fs::read_to_string(file).unwrap_or_default();
        let value = value.trim();
        if !value.is_empty() && (value == "0") == zero_refuses {
            found = true;
            text.push_str(&format!("\n  {file} is {value}: {remedy}"));
        }
    }
    if !found {
        text.push_str(
            "\n  the usual settings (kernel.unprivileged_userns_clone, \
             user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns) do not \
             refuse it; in a container, the runtime's seccomp profile may",
        );
    }
    text.push_str(
        "\n  or run it as root; or run `weft proxy` beside the program, with explicit listeners",
    );
    ConfineError::NotAllowed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_what_to_do() {
        let text = not_allowed("no user namespace: Operation not permitted").to_string();
        for part in ["Operation not permitted", "unprivileged_userns", "weft proxy", "root"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
