//! How the API server is reached, and by whom.

use std::path::PathBuf;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// As the service account of the pod that this runs in.
    Pod,
    /// By a kubeconfig.
    Kubeconfig {
        /// The file. Absent: what `KUBECONFIG` says, or else `~/.kube/config`.
        file: Option<PathBuf>,
        /// Which of its contexts. Absent: the current one.
        context: Option<String>,
    },
}

/// Why the API server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// This is no pod, or has no service account.
    #[error(
        "not in a pod that has a service account ({0}): outside of a cluster, name a kubeconfig"
    )]
    NoPod(String),
    /// The kubeconfig is not there, cannot be read, or holds what cannot be used.
    #[error("{place} cannot be used: {why}")]
    Kubeconfig {
        /// Which file.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server cannot be reached, or does not want to be asked.
    #[error("the API server at {server} does not answer: {why}")]
    Server {
        /// Its address.
        server: String,
        /// What went wrong.
        why: String,
    },
}

/// An API server that has answered.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: Client,
    /// Where the API server is.
    pub server: String,
    /// Its version, as in `v1.34.4`.
    pub version: String,
}

impl Access {
    /// Asks the server for its version, and so whether it can be asked at all. To be called within
    /// the runtime that will use the cluster.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn open(&self) -> Result<Cluster, AccessError> {
        let config = self.config().await?;
        let server = config.cluster_url.to_string();
        let cannot = |why: String| AccessError::Server { server: server.clone(), why };
        let client = Client::try_from(config).map_err(|error| cannot(chain(&error)))?;
        let version = client.apiserver_version().await.map_err(|error| cannot(chain(&error)))?;
        Ok(Cluster { client, server, version: version.git_version })
    }

    async fn config(&self) -> Result<Config, AccessError> {
        let Access::Kubeconfig { file, context } = self else {
            return Config::incluster().map_err(|error| AccessError::NoPod(chain(&error)));
        };
        let place = match file {
            Some(file) => file.display().to_string(),
            None => "the kubeconfig of KUBECONFIG, or ~/.kube/config,".to_owned(),
        };
        let cannot =
            |error: &dyn std::error::Error| AccessError::Kubeconfig { place, why: chain(error) };
        let options = KubeConfigOptions { context: context.clone(), ..Default::default() };
        let read = match file {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        match read {
            Ok(kubeconfig) => match Config::from_custom_kubeconfig(kubeconfig, &options).await {
                Ok(config) => Ok(config),
                Err(error) => Err(cannot(&error)),
            },
            Err(error) => Err(cannot(&error)),
        }
    }
}

/// `error` and what led to it; each part once, as some say their source themselves.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}
