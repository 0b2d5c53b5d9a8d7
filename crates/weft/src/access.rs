//! How commands reach the control plane, and as whom.

use std::io::ErrorKind;
use std::path::PathBuf;

use weft_control::Client;
use weft_identity::{AdminCredential, AdminFileError};

/// How a command reaches the control plane, and as whom.
#[derive(clap::Args)]
pub struct Access {
    /// The file with the admin credential, which also says where the control plane is.
    #[arg(long, env = "WEFT_CREDENTIAL", value_name = "FILE", default_value = "weft-data/admin")]
    credential: PathBuf,
}

impl Access {
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let world = weft_net::world();
        let credential = AdminCredential::read(&*world.files, &self.credential).map_err(explain)?;
        Ok(Client::new(world, credential))
    }
}

/// What to do about a credential that cannot be read.
fn explain(error: AdminFileError) -> anyhow::Error {
    let remedy = match &error {
        AdminFileError::Read { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            "no access to the control plane: run this as the user who runs the control plane, or \
             have them give you a copy of its credential, and name that by --credential or \
             WEFT_CREDENTIAL"
        }
        _ => {
            "no access to the control plane: name the credential that `weft control` wrote by \
             --credential or WEFT_CREDENTIAL"
        }
    };
    anyhow::Error::new(error).context(remedy)
}
