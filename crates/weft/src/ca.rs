//! `weft ca`: what the certificate authority trusts, revokes and replaces.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use weft_control::api::{
    CaStatus, Holder, Phase, RevokeRequest, RootStatus, RotateRequest, RotationStatus,
};
use weft_control::{Client, ClientError, Keys, STATE_FILE};
use weft_identity::{Authority, AuthorityError, AuthorityFiles};
use weft_model::TrustDomain;
use weft_world::{Moment, UnixTime, World};

use crate::access::Access;
use crate::output::{print, print_line};
use crate::resources::block_on;

/// The pause between two looks at a rotation.
const LOOK: Duration = Duration::from_millis(500);

/// How many holders of certificates are shown; `-o json` shows all.
const HOLDERS_MAX: usize = 200;

/// The most bytes of the file with the authority's state: far above the most revocations.
const STATE_BYTES_MAX: usize = 4 << 20;

/// The arguments of `weft ca`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show roots, rotation, revocations, and who holds certificates.
    Status(Status),
    /// Shut an identity or a certificate out at once, or let it in again.
    Revoke(Revoke),
    /// Replace the root without interrupting anything.
    Rotate(Rotate),
}

#[derive(clap::Args)]
struct Status {
    #[command(flatten)]
    access: Access,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// The answer of the control plane.
    Json,
}

#[derive(clap::Args)]
#[group(id = "what", required = true, multiple = false, args = ["identity", "serial"])]
struct Revoke {
    #[command(flatten)]
    access: Access,
    /// All certificates of a service account, those to come included.
    #[arg(long, value_name = "NAMESPACE/NAME | SPIFFE-ID")]
    identity: Option<String>,
    /// One certificate. Its holder may join anew.
    #[arg(long, value_name = "HEX")]
    serial: Option<String>,
    /// Let it in again.
    #[arg(long)]
    undo: bool,
}

#[derive(clap::Args)]
struct Rotate {
    #[command(flatten)]
    access: Access,
    /// Keep the old root after all. Possible until certificates are signed below the new one.
    #[arg(long)]
    abort: bool,
    /// How long to wait for the end, in seconds; the rotation goes on after that. Default: for
    /// ever.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// `weft ca`.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Status(arguments) => status(arguments),
        Command::Revoke(arguments) => revoke(arguments),
        Command::Rotate(arguments) => rotate(arguments),
    }
}

fn status(arguments: &Status) -> anyhow::Result<()> {
    let client = arguments.access.client()?;
    let status = block_on(async { Ok(client.ca_status().await?) })?;
    match arguments.output {
        Output::Text => print(described(&status)),
        Output::Json => print_line(serde_json::to_string_pretty(&status)?),
    }
}

fn revoke(arguments: &Revoke) -> anyhow::Result<()> {
    let Revoke { access, identity, serial, undo } = arguments;
    let client = access.client()?;
    let request = RevokeRequest { identity: identity.clone(), serial: serial.clone(), undo: *undo };
    let response = block_on(async { Ok(client.revoke(&request).await?) })?;
    let said = match (undo, response.changed) {
        (false, true) => "is revoked",
        (false, false) => "was revoked already",
        (true, true) => "is let in again",
        (true, false) => "was not revoked",
    };
    print_line(format_args!("{} {said} (trust bundle {})", response.what, response.sequence))?;
    if let Some(note) = response.note {
        weft_control::say!("weft ca revoke: {note}");
    }
    Ok(())
}

fn rotate(arguments: &Rotate) -> anyhow::Result<()> {
    let Rotate { access, abort, timeout } = arguments;
    let client = access.client()?;
    let world = weft_net::world();
    let until = timeout.map(|seconds| world.clock.now() + Duration::from_secs(seconds));
    block_on(async {
        let begun = client.rotate(&RotateRequest { abort: *abort }).await;
        match begun {
            Ok(_) => {}
            Err(ClientError::Refused(refusal)) if !abort && refusal.reason == "rotation-state" => {
                weft_control::say!("weft ca rotate: {}; waiting for its end", refusal.message);
            }
            Err(error) => return Err(error.into()),
        }
        follow(&client, &world, until).await
    })
}

/// Shows how the rotation goes on, until it has ended.
async fn follow(client: &Client, world: &World, until: Option<Moment>) -> anyhow::Result<()> {
    let mut shown = String::new();
    let mut waiting = Vec::new();
    loop {
        match client.ca_status().await {
            Ok(status) => {
                let text = progress(&status);
                if text != shown {
                    print(&text)?;
                    shown = text;
                }
                if status.rotation.phase == Phase::Steady {
                    return Ok(());
                }
                waiting = status.rotation.waiting_for;
            }
            // It may be started anew, and then goes on.
            Err(error @ (ClientError::Connect { .. } | ClientError::Broken { .. })) => {
                let text = error.to_string();
                if text != shown {
                    weft_control::say!("weft ca rotate: {text}");
                    shown = text;
                }
            }
            Err(error) => return Err(error.into()),
        }
        if until.is_some_and(|until| world.clock.now() >= until) {
            bail!(
                "the rotation has not ended in time, and goes on in the control plane: look again \
                 with `weft ca rotate` or `weft ca status`. It waits for:\n{}",
                listed(&waiting)
            );
        }
        world.clock.sleep(LOOK).await;
    }
}

/// Where a rotation is, and whom it waits for.
fn progress(status: &CaStatus) -> String {
    let rotation = &status.rotation;
    format!("{}\n{}", phase(rotation), listed(&rotation.waiting_for))
}

/// Where a rotation is, on one line.
pub fn phase(rotation: &RotationStatus) -> String {
    let old = rotation.old.as_deref().map_or("", short);
    let new = short(&rotation.new);
    match rotation.phase {
        Phase::Steady => format!("steady: {new} is the only root"),
        Phase::Distributing => format!("distributing: all are to trust {new} beside {old}"),
        Phase::Signing => format!("signing: all are to get a certificate below {new}"),
        Phase::Withdrawing => format!("withdrawing: none is to trust {old} any more"),
    }
}

fn listed(waiting: &[String]) -> String {
    let is_hash =
        |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let line = |line: &String| {
        let words = line.split(' ').map(|word| if is_hash(&word) { short(word) } else { word });
        format!("  {}\n", words.collect::<Vec<_>>().join(" "))
    };
    let mut text: String = waiting.iter().map(line).collect();
    // Those who are not connected are named by what somebody can do something about.
    if waiting.iter().any(|line| line.contains("(certificate ")) {
        text.push_str(
            "  one that has ended for good is not waited for once its certificate is revoked: \
             `weft ca revoke --serial`\n",
        );
    }
    text
}

/// The first digits of a hash, by which people tell two of them apart.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn time(seconds: u64) -> UnixTime {
    UnixTime(Duration::from_secs(seconds))
}

fn described(status: &CaStatus) -> String {
    let CaStatus {
        trust_domain,
        sequence,
        roots,
        intermediate,
        rotation: _,
        revoked_identities,
        revoked_serials,
        holders,
    } = status;
    let mut text = format!("trust domain {trust_domain}, trust bundle {sequence}\n");
    for RootStatus { key, generation, validity, signs, trusted } in roots {
        let role = match (signs, trusted) {
            (true, _) => "signs",
            (false, true) => "trusted",
            (false, false) => "withdrawn",
        };
        text.push_str(&format!("root {generation}: {key}, {role}"));
        if let Some((from, to)) = validity {
            text.push_str(&format!(", from {} to {}", time(*from), time(*to)));
        }
        text.push('\n');
    }
    let (from, to) = intermediate.validity;
    text.push_str(&format!(
        "intermediate: serial {}, from {} to {}, to be renewed after {}\n",
        intermediate.serial,
        time(from),
        time(to),
        time(intermediate.renew_at)
    ));
    text.push_str(&format!("rotation: {}", progress(status)));
    if revoked_identities.is_empty() && revoked_serials.is_empty() {
        text.push_str("revoked: nothing\n");
    }
    for identity in revoked_identities {
        text.push_str(&format!("revoked: {identity}\n"));
    }
    for revoked in revoked_serials {
        let until = time(revoked.until);
        text.push_str(&format!("revoked: serial {}, until {until}\n", revoked.serial));
    }
    text.push_str(&format!("certificates in use: {}\n", holders.len()));
    for holder in holders.iter().take(HOLDERS_MAX) {
        let Holder { workload, identity, serial, not_after, root, left } = holder;
        let name = if workload.is_empty() { "no workload" } else { workload };
        let ended = if *left { ", has ended" } else { "" };
        text.push_str(&format!(
            "  {name} {identity}: serial {serial}, until {}, root {}{ended}\n",
            time(*not_after),
            short(root)
        ));
    }
    if let Some(more) = holders.len().checked_sub(HOLDERS_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("  and {more} more: -o json shows all\n"));
    }
    text
}

/// The keys of authorities, in the control plane's directory.
pub struct KeyFiles {
    directory: PathBuf,
    trust_domain: TrustDomain,
}

impl KeyFiles {
    /// Those in `directory`, which exists, for authorities of `trust_domain`.
    pub fn new(directory: PathBuf, trust_domain: TrustDomain) -> KeyFiles {
        KeyFiles { directory, trust_domain }
    }
}

impl Keys for KeyFiles {
    fn make(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError> {
        let files = weft_net::world().files;
        let authority = AuthorityFiles::new(&self.directory, generation);
        let (opened, against) = authority.open_or_renew(&*files, &self.trust_domain, now)?;
        if let Some(against) = against {
            weft_control::say!(
                "weft control: a new intermediate is made below the same root, since the one that \
                 is there does not hold now: {against}"
            );
        }
        Ok(opened)
    }

    fn open(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError> {
        let files = weft_net::world().files;
        let authority = AuthorityFiles::new(&self.directory, generation);
        let has_intermediate = authority.check_in_use(&*files)?;
        let opened = self.make(generation, now)?;
        if !has_intermediate {
            weft_control::say!(
                "weft control: the intermediate of the root of generation {generation} was gone, \
                 and a new one is made below the same root"
            );
        }
        // It is not needed before the next intermediate is, which would be the wrong time to learn.
        if let Err(error) = authority.check_root_key(&*files, &self.trust_domain, now) {
            weft_control::say!(
                "weft control: it goes on without the root's key, by which the next intermediate \
                 is to be made: {error}"
            );
        }
        Ok(opened)
    }

    fn renew(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError> {
        let found = self.open(generation, now)?;
        if found.renew_at() > now {
            return Ok(found);
        }
        let files = weft_net::world().files;
        AuthorityFiles::new(&self.directory, generation).renew(&*files, &self.trust_domain, now)
    }

    fn destroy(&self, generation: u32) -> Result<(), AuthorityError> {
        for path in AuthorityFiles::new(&self.directory, generation).secrets() {
            match std::fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let path = path.to_owned();
                    return Err(AuthorityError::File { action: "remove", path, source });
                }
            }
        }
        Ok(())
    }

    fn recall(&self) -> Result<Option<Vec<u8>>, AuthorityError> {
        let path = self.directory.join(STATE_FILE);
        match weft_net::world().files.read(&path, STATE_BYTES_MAX) {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AuthorityError::File { action: "read", path, source }),
        }
    }

    fn remember(&self, state: &[u8]) -> Result<(), AuthorityError> {
        let path = self.directory.join(STATE_FILE);
        let written = weft_net::world().files.replace(&path, state);
        written.map_err(|source| AuthorityError::File { action: "write", path, source })
    }
}
