//! The resources of a mesh that Kubernetes keeps.

use std::sync::Arc;

use anyhow::Context as _;
use weft_control::Mirror;
use weft_kube::{Access, Cluster};
use weft_net::SystemClock;
use weft_store::LocalStore;

use super::Arguments;

/// What Kubernetes tells each of its pods.
const IN_A_POD: &str = "KUBERNETES_SERVICE_HOST";

/// Starts to follow the API server, on a thread of its own, and waits until all that it has is in
/// `store`: a control plane that knows less would tell proxies that what is missing is gone.
///
/// # Errors
/// If it does not, or nothing says how it is reached.
pub fn follow(
    arguments: &Arguments,
    store: Arc<LocalStore>,
    clock: Arc<SystemClock>,
) -> anyhow::Result<()> {
    let access = match (&arguments.kubeconfig, &arguments.context) {
        (None, None) if std::env::var_os(IN_A_POD).is_some() => Access::Pod,
        (file, context) => Access::Kubeconfig { file: file.clone(), context: context.clone() },
    };
    let (opened, answer) = std::sync::mpsc::sync_channel::<anyhow::Result<()>>(1);
    let following = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime.context("cannot start the event loop for Kubernetes") {
            Ok(runtime) => runtime,
            Err(error) => return drop(opened.send(Err(error))),
        };
        runtime.block_on(async {
            let cluster = match access.open().await {
                Ok(cluster) => cluster,
                Err(error) => return drop(opened.send(Err(error.into()))),
            };
            let Cluster { version, server, .. } = &cluster;
            weft_control::say!(
                "weft control: resources come from Kubernetes {version} at {server}"
            );
            let is_known = || drop(opened.send(Ok(())));
            Mirror::new(store, clock).run(&weft_net::world(), &cluster, is_known).await;
        });
    };
    std::thread::Builder::new()
        .name("kubernetes".to_owned())
        .spawn(following)
        .context("cannot start the thread for Kubernetes")?;
    let answer = answer.recv().context("the thread for Kubernetes has ended")?;
    answer.context("Kubernetes cannot be asked")
}
