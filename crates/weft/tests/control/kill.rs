//! Kills at random moments of whatever a control plane is asked for, and what must hold after each.
//!
//! Each kind of work keeps a ledger of what was acknowledged, and of the one change that was under
//! way: a kill leaves either all of that or nothing. The moment is drawn from the time that the
//! work takes; where it is done before, the kill comes at once, right after an acknowledgement.

#[path = "kill/authority.rs"]
mod authority;
#[path = "kill/changes.rs"]
mod changes;
#[path = "kill/joins.rs"]
mod joins;
#[path = "kill/registrations.rs"]
mod registrations;
#[path = "kill/starts.rs"]
mod starts;

use std::cell::Cell;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use weft_control::api::{CaStatus, ListResponse, TokenRequest};
use weft_control::{Client, ClientError, JoinError, Joiner};
use weft_identity::{AdminCredential, JoinToken, SvidSlot};
use weft_world::Moment;

use self::authority::Authority;
use self::changes::Changes;
use self::joins::Joins;
use self::registrations::Registrations;
use crate::draw::Draw;
use crate::{Control, Directory, WEFT, must, run, weft};

/// Kills while resources change, workloads join, and workloads register: a third each.
const KILLS_AT_WORK: u32 = 80;

/// Kills while the authority revokes and replaces its root.
const KILLS_OF_AUTHORITY: u32 = 32;

/// After how many of those the start that follows is killed as well.
const STARTS: u32 = 4;

/// Kills of first and second starts, and of those that make the admin credential anew.
const KILLS_OF_STARTS: u32 = 60;

/// All of them, as is promised.
const _: () = assert!(
    KILLS_AT_WORK
        + KILLS_AT_WORK / STARTS
        + KILLS_OF_AUTHORITY
        + KILLS_OF_AUTHORITY / STARTS
        + KILLS_OF_STARTS
        == 200
);

#[test]
fn a_killed_control_plane_loses_no_acknowledged_change() {
    let mut trial = Trial::new();
    let (mut changes, mut joins) = (Changes::default(), Joins::default());
    let mut registrations = Registrations::default();
    let mut spans = [Span::default(), Span::default(), Span::default()];
    for round in 0..KILLS_AT_WORK {
        let span = &mut spans[(round % 3) as usize];
        match round % 3 {
            0 => trial.kill(&mut changes, span),
            1 => trial.kill(&mut joins, span),
            _ => trial.kill(&mut registrations, span),
        }
        trial.restart(round);
        let found = trial.mesh.look();
        changes.check(&found);
        joins.check(&found);
        registrations.check(&found);
    }
    spans.iter().for_each(Span::is_hit);
}

#[test]
fn a_killed_control_plane_revokes_and_rotates_as_it_acknowledged() {
    let mut trial = Trial::new();
    let mut authority = Authority::default();
    // The turns take different times.
    let mut spans = [Span::default(), Span::default(), Span::default()];
    for round in 0..KILLS_OF_AUTHORITY {
        trial.kill(&mut authority, &mut spans[(round % 3) as usize]);
        trial.restart(round);
        authority.check(&trial.mesh);
    }
    spans.iter().for_each(Span::is_hit);
}

/// The control plane was gone before it answered.
#[derive(Debug)]
struct Cut;

/// Something that a control plane is asked for.
trait Work {
    /// Does what comes before it, while nobody is killed.
    fn prepare(&mut self, _: &Mesh, _: &mut Draw) {}

    /// Asks for it, until all is done or the control plane is gone.
    async fn work(&mut self, mesh: &Mesh, draw: &mut Draw) -> Result<(), Cut>;
}

/// How long something takes that is killed at a random moment of that time.
#[derive(Default)]
struct Span {
    length: Duration,
    /// How often it was cut off, and how often it was done.
    cut: u32,
    done: u32,
}

impl Span {
    /// A moment in it, or a little after.
    fn moment(&self, draw: &mut Draw) -> Duration {
        let micros = self.length.as_micros() * 5 / 4;
        Duration::from_micros(draw.next() % u64::try_from(micros + 1).unwrap())
    }

    /// It was done in `time`, or cut off then.
    fn learn(&mut self, is_done: bool, time: Duration) {
        if is_done {
            (self.length, self.done) = (time, self.done + 1);
        } else {
            // It may take longer by now.
            (self.length, self.cut) = (self.length.max(time) * 9 / 8, self.cut + 1);
        }
    }

    /// Fails where the kills came all too early or all too late to prove anything.
    fn is_hit(&self) {
        let Span { length, cut, done } = self;
        assert!(*cut > 0 && *done > 0, "{cut} cut off, {done} done, the last in {length:?}");
    }
}

/// The control plane that is killed again and again, and the draws.
struct Trial {
    draw: Draw,
    control: Option<Control>,
    mesh: Mesh,
    start: Span,
}

impl Trial {
    fn new() -> Trial {
        let draw = draw();
        let directory = Directory::new();
        let control = Control::start(&directory, "127.0.0.1:0");
        let mesh = Mesh { listen: control.address.to_string(), directory, version: Cell::new(0) };
        let start = Span { length: Duration::from_millis(50), ..Span::default() };
        Trial { draw, control: Some(control), mesh, start }
    }

    /// Does `work`, which takes about `span`, with a control plane that is killed meanwhile.
    fn kill(&mut self, work: &mut impl Work, span: &mut Span) {
        let Trial { draw, control, mesh, .. } = self;
        work.prepare(mesh, draw);
        // The first time, to learn how long it takes.
        let is_first = span.length.is_zero();
        let moment = if is_first { Duration::from_secs(60) } else { span.moment(draw) };
        let control = control.take().unwrap();
        let (done, is_done) = sync_channel::<()>(0);
        let killer = std::thread::spawn(move || {
            let _ = is_done.recv_timeout(moment);
            drop(control);
        });
        let began = now();
        let worked = run(work.work(mesh, draw));
        span.learn(worked.is_ok(), now().since(began));
        drop(done);
        killer.join().unwrap();
    }

    /// Starts the control plane again; in some rounds, after a start that is killed too.
    fn restart(&mut self, round: u32) {
        if round.is_multiple_of(STARTS) {
            killed_start(&self.mesh, self.start.moment(&mut self.draw));
        }
        let began = now();
        self.control = Some(Control::start(&self.mesh.directory, &self.mesh.listen));
        self.start.length = now().since(began);
    }
}

/// Starts a control plane that is killed after `moment`; says whether it had said that it is ready.
fn killed_start(mesh: &Mesh, moment: Duration) -> bool {
    let mut command = Command::new(WEFT);
    command.args(["control", "--listen", &mesh.listen, "--data"]).arg(mesh.data());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let (_held, never) = sync_channel::<()>(0);
    let _ = never.recv_timeout(moment);
    child.kill().unwrap();
    let said = child.wait_with_output().unwrap().stderr;
    String::from_utf8(said).unwrap().contains("weft control: ready at ")
}

/// The files of a control plane, and how it is reached.
struct Mesh {
    directory: Directory,
    listen: String,
    /// The greatest version that anybody was told.
    version: Cell<u64>,
}

/// What the command line shows.
struct Found {
    listed: ListResponse,
    authority: CaStatus,
}

impl Mesh {
    fn data(&self) -> PathBuf {
        self.directory.0.join("data")
    }

    fn client(&self) -> Client {
        let world = weft_net::world();
        let credential = AdminCredential::read(&*world.files, &self.data().join("admin"));
        Client::new(world, credential.unwrap())
    }

    /// Notes a version that somebody was told.
    fn told(&self, version: u64) {
        self.version.set(self.version.get().max(version));
    }

    fn look(&self) -> Found {
        let shown = |arguments: &[&str]| must(weft(&self.data().join("admin"), arguments));
        let listed: ListResponse = serde_json::from_str(&shown(&["get", "-o", "json"])).unwrap();
        let authority = serde_json::from_str(&shown(&["ca", "status", "-o", "json"])).unwrap();
        let (found, told) = (listed.resource_version, self.version.get());
        assert!(found >= told, "the store is at version {found}, and {told} was told");
        self.told(found);
        Found { listed, authority }
    }

    /// A token of `account` for `services`.
    async fn token(&self, account: &str, services: &[&str], uses: u32) -> Result<JoinToken, Cut> {
        let request = TokenRequest {
            service_account: account.to_owned(),
            services: services.iter().map(ToString::to_string).collect(),
            uses,
            lifetime_seconds: 3600,
        };
        let token = answered(self.client().token(&request).await)?.token;
        Ok(JoinToken::parse(&token).unwrap())
    }
}

/// Somebody with a certificate.
struct Member {
    token: JoinToken,
    joiner: Joiner,
    slot: SvidSlot,
    serial: String,
}

impl Member {
    /// Joins as `account` for `services`, while nobody is killed.
    fn join(mesh: &Mesh, account: &str, services: &[&str]) -> Member {
        run(async {
            let token = mesh.token(account, services, 2).await.unwrap();
            let services = services.iter().map(|name| name.parse().unwrap()).collect();
            let account = account.parse().unwrap();
            let joiner = Joiner::new(weft_net::world(), token.clone(), account, services);
            let svid = joiner.join().await.unwrap().svid;
            let (slot, serial) = (SvidSlot::with(&svid), svid.serial().to_string());
            Member { token, joiner, slot, serial }
        })
    }
}

/// What was answered. No work here asks for what is to be refused.
fn answered<T>(result: Result<T, ClientError>) -> Result<T, Cut> {
    result.map_err(|error| match error {
        ClientError::Connect { .. } | ClientError::Broken { .. } => Cut,
        error @ (ClientError::Refused(_) | ClientError::TooLarge { .. }) => panic!("{error}"),
    })
}

/// As [`answered`], of what is asked with a certificate.
fn answered_of<T>(result: Result<T, JoinError>) -> Result<T, Cut> {
    match result {
        Ok(answer) => Ok(answer),
        Err(JoinError::Client(error)) => answered(Err(error)),
        Err(error) => panic!("{error}"),
    }
}

/// A certificate's serial number, or the reason why the control plane refuses one.
async fn joined(token: &JoinToken, account: &str) -> Result<Result<String, String>, Cut> {
    let joiner =
        Joiner::new(weft_net::world(), token.clone(), account.parse().unwrap(), Vec::new());
    match joiner.join().await {
        Ok(credentials) => Ok(Ok(credentials.svid.serial().to_string())),
        Err(JoinError::Client(ClientError::Refused(refusal))) => Ok(Err(refusal.message)),
        Err(JoinError::Client(_)) => Err(Cut),
        Err(error) => panic!("{error}"),
    }
}

/// Draws from a seed that is printed, or was given. The moments of what others do are not of it.
fn draw() -> Draw {
    let given = std::env::var("WEFT_SEED").ok().map(|text| text.parse().unwrap());
    let seed = given.unwrap_or_else(|| weft_net::world().entropy.next());
    eprintln!("WEFT_SEED={seed} draws the same again");
    Draw(seed)
}

fn now() -> Moment {
    thread_local!(static CLOCK: weft_world::World = weft_net::world());
    CLOCK.with(|world| world.clock.now())
}
