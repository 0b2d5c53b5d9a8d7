//! Starting the command: without rights, in the terminal's foreground, and never without keeper.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::Plan;
use super::terminal::{SignalMask, Terminal};

/// Starts the command as the leader of a process group of its own, and in the foreground of
/// `terminal`, if it is given. The signals of `mask` are blocked in it. Standard input, output and
/// error are the keeper's.
///
/// # Errors
/// As `execve(2)`.
#[expect(unsafe_code, reason = "rights can be dropped only between fork and exec")]
pub fn start(plan: &Plan, mask: SignalMask, terminal: Option<&Terminal>) -> io::Result<Pid> {
    let keeper = getpid();
    let mut command = Command::new(&plan.program);
    command.args(&plan.arguments).process_group(0);
    let terminal = terminal.map(Terminal::share).transpose()?;
    let prepare = move || {
        // The signal would not come if the keeper had ended just before.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(keeper) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        if let Some(terminal) = &terminal {
            terminal.take()?;
        }
        mask.set()?;
        drop_rights()
    };
    // SAFETY: the closure makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    // Waited for with all other children, by its number.
    Ok(Pid::from_child(&child))
}

/// Gives up all capabilities, for good.
fn drop_rights() -> io::Result<()> {
    clear_ambient_capability_set()?;
    // Root would have them all again after exec, were they not out of bounds.
    for number in 0..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break, // The kernel knows no more.
            Err(error) => return Err(error.into()),
        }
    }
    // Programs that would gain rights run without them, where the bounds alone would have exec
    // fail; and none of them loses the signal of its keeper's death, as they otherwise would.
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}
