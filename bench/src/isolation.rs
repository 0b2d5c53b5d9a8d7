//! A network and a process namespace for the run, where the user may make them.
//!
//! In them loopback carries nothing else, the host's packet filters and congestion control play no
//! part, and when the harness ends, however it ends, the kernel ends every proxy with it: `setpriv`
//! ties `unshare` to the harness outside, `--kill-child` ties the harness inside to `unshare`, and
//! that one is the first process of its namespace.

use anyhow::{Context, Result};
use std::fs;
use std::process::{Command, ExitStatus, Stdio};

/// The flag by which the harness knows that it runs inside.
pub const INSIDE_FLAG: &str = "--inside";

const PROGRAM: &str = "setpriv";
const ARGUMENTS: [&str; 8] =
    ["--pdeathsig", "KILL", "unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"];
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Whether namespaces can be made here.
pub fn is_possible() -> bool {
    let tried = Command::new(PROGRAM)
        .args(ARGUMENTS)
        .args(["ip", "link", "set", "lo", "up"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// Runs this program once more, with the same arguments, inside.
pub fn run_inside() -> Result<ExitStatus> {
    Command::new(PROGRAM)
        .args(ARGUMENTS)
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg(INSIDE_FLAG)
        .status()
        .context("running setpriv and unshare")
}

/// Brings up loopback and picks plain reno, which paces nothing; called inside.
pub fn prepare() -> Result<()> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    anyhow::ensure!(status.context("running ip")?.success(), "loopback cannot be brought up");
    fs::write(CONGESTION_CONTROL, "reno").with_context(|| format!("writing {CONGESTION_CONTROL}"))
}

/// Puts this process and what it starts ahead of everything else on the machine; only root may.
pub fn take_precedence(isolated: bool) -> Result<()> {
    rustix::process::setpriority_process(None, -10).context("--priority needs root")?;
    if isolated {
        // Niceness counts within a session only, sessions among each other by this file; so the run
        // gets its own.
        rustix::process::setsid()?;
        let _ = fs::write("/proc/self/autogroup", "-20"); // Kernels without it do as told above.
    }
    Ok(())
}
