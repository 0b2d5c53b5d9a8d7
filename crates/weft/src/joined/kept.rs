//! What a joined proxy keeps on disk: its certificate, and the last known good of the mesh.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use weft_identity::Credentials;
use weft_model::ObjectName;
use weft_wire::discovery::Client;
use weft_world::{Files, World};

/// The most bytes of what is kept of the mesh.
const STATE_BYTES_MAX: usize = 256 << 20;

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
        self.directory.join("identity.pem")
    }

    fn state(&self) -> PathBuf {
        self.directory.join("mesh.state")
    }

    /// The credentials of before, if they still hold and are those of `service_account`. What is
    /// wrong with them is said; the token then gets new ones.
    pub(super) fn credentials(
        &self,
        world: &World,
        service_account: &ObjectName,
    ) -> Option<Credentials> {
        let path = self.identity();
        match Credentials::load(&*world.files, &path) {
            Ok(Some(credentials)) => {
                let (found, validity) = (credentials.svid.identity(), credentials.svid.validity());
                let is_own = found.service_account() == service_account;
                (is_own && world.clock.wall() < validity.not_after).then_some(credentials)
            }
            Ok(None) => None,
            Err(error) => {
                eprintln!("weft: the certificate of before cannot be used, joining anew: {error}");
                None
            }
        }
    }

    /// Keeps `credentials`.
    pub(super) fn save_credentials(
        &self,
        files: &dyn Files,
        credentials: &Credentials,
    ) -> anyhow::Result<()> {
        Ok(credentials.save(files, &self.identity())?)
    }

    /// Gives `client` what was kept of the mesh, and says whether there was something. What cannot
    /// be used is said; discovery then brings it anew.
    pub(super) fn restore(&self, world: &World, client: &mut Client) -> bool {
        let path = self.state();
        let saved = match world.files.read(&path, STATE_BYTES_MAX) {
            Ok(saved) => saved,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            Err(error) => {
                eprintln!("weft: {}: {error}", path.display());
                return false;
            }
        };
        match client.restore(&saved, world.clock.now()) {
            Ok(lost) => {
                for error in lost {
                    eprintln!("weft: {}: {error}", path.display());
                }
                true
            }
            Err(error) => {
                eprintln!("weft: {} is not used: {error}", path.display());
                false
            }
        }
    }

    /// Keeps what `client` holds.
    pub(super) fn save(&self, files: &dyn Files, client: &Client) -> Result<(), String> {
        let path = self.state();
        let saved = files.replace(&path, &client.save());
        saved.map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Makes `directory` for its owner only, or checks that it is.
pub(crate) fn make_private(directory: &Path) -> anyhow::Result<()> {
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
