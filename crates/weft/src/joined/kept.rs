//! What a joined proxy keeps on disk: its certificate, and the last known good of the mesh.

use std::fmt::Display;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use weft_identity::{Credentials, SavedCredentialsError};
use weft_model::ObjectName;
use weft_wire::discovery::Client;
use weft_world::{Files, UnixTime, World};

/// The most bytes of what is kept of the mesh.
const STATE_BYTES_MAX: usize = 256 << 20;

/// The file with the certificate and its key.
pub(crate) const IDENTITY: &str = "identity.pem";

/// A directory for one proxy.
pub(super) struct Kept {
    directory: PathBuf,
}

impl Kept {
    /// The directory at `path`, made if it is not there, which only its owner may enter.
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Kept> {
        make_private(&path)?;
        Ok(Kept { directory: path })
    }

    fn identity(&self) -> PathBuf {
        self.directory.join(IDENTITY)
    }

    fn state(&self) -> PathBuf {
        self.directory.join("mesh.state")
    }

    /// The credentials of before, if they are those of `service_account`, be they expired or not.
    /// What is wrong with them is said; the token then gets new ones.
    pub(super) fn credentials(
        &self,
        world: &World,
        service_account: &ObjectName,
    ) -> Option<Credentials> {
        match Credentials::load(&*world.files, &self.identity()) {
            Ok(found) => found.filter(|credentials| {
                credentials.svid.identity().service_account() == service_account
            }),
            Err(error) => {
                weft_control::say!(
                    "weft: the certificate of before cannot be used, joining anew: {error}"
                );
                None
            }
        }
    }

    /// Keeps `credentials`.
    pub(super) fn save_credentials(
        &self,
        files: &dyn Files,
        credentials: &Credentials,
    ) -> Result<(), String> {
        credentials.save(files, &self.identity()).map_err(|error| match &error {
            SavedCredentialsError::File { source, .. } => with_remedy(&error, source),
            SavedCredentialsError::Content { .. } => error.to_string(),
        })
    }

    /// Gives `client` what was kept of the mesh, and says when that was, if there was something.
    /// What cannot be used is said; discovery then brings it anew.
    pub(super) fn restore(&self, world: &World, client: &mut Client) -> Option<UnixTime> {
        let path = self.state();
        let saved = match world.files.read(&path, STATE_BYTES_MAX) {
            Ok(saved) => saved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                weft_control::say!("weft: {}: {error}", path.display());
                return None;
            }
        };
        match client.restore(&saved, world.clock.now()) {
            Ok(lost) => {
                for error in lost {
                    weft_control::say!("weft: {}: {error}", path.display());
                }
                let written = fs::metadata(&path).and_then(|found| found.modified()).ok();
                let written = written.and_then(|it| it.duration_since(UNIX_EPOCH).ok());
                Some(written.map_or(UnixTime(Duration::ZERO), UnixTime))
            }
            Err(error) => {
                weft_control::say!(
                    "weft: {} is not used, and written anew once discovery has brought what it \
                     holds: {error}",
                    path.display()
                );
                None
            }
        }
    }

    /// The generation of an instance that starts now: the time in milliseconds, but later than that
    /// of the last one here, so that a clock that was set back makes no newer instance an older
    /// one.
    pub(super) fn next_generation(&self, world: &World) -> u64 {
        let now = generation_by_clock(world);
        let path = self.directory.join("generation");
        let before = world.files.read(&path, 20).ok();
        let before = before.and_then(|text| String::from_utf8(text).ok()?.parse::<u64>().ok());
        let generation = before.map_or(now, |before| now.max(before.saturating_add(1)));
        // Where it cannot be kept, the clock has to do.
        let _ = world.files.replace(&path, generation.to_string().as_bytes());
        generation
    }

    /// Keeps `mesh`, which is what a client holds.
    pub(super) fn save_mesh(&self, files: &dyn Files, mesh: &[u8]) -> Result<(), String> {
        let path = self.state();
        let saved = files.replace(&path, mesh);
        saved.map_err(|error| with_remedy(&format_args!("{}: {error}", path.display()), &error))
    }
}

/// The generation of an instance that starts now and keeps nothing.
pub(super) fn generation_by_clock(world: &World) -> u64 {
    u64::try_from(world.clock.wall().0.as_millis()).unwrap_or(u64::MAX)
}

/// `error` as the system says it, and what to do about `source`, from which it comes.
fn with_remedy(error: &impl Display, source: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let remedy = match source.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => "make room on its disk",
        Kind::ReadOnlyFilesystem => "mount its disk writable",
        Kind::PermissionDenied => "let this user write there",
        Kind::NotFound => "make its directory again",
        _ => "look after its disk",
    };
    format!("{error}: {remedy}")
}

/// Makes `directory` for its owner only, or checks that it is.
pub(super) fn make_private(directory: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let found = fs::metadata(directory)
        .with_context(|| format!("cannot look at {}", directory.display()))?;
    ensure!(
        found.mode() & 0o077 == 0,
        "{0} can be read by others, and holds keys: chmod 700 {0}",
        directory.display()
    );
    Ok(())
}
