//! How nginx is told what to serve.

use std::path::Path;

/// The configuration of an nginx whose part `http` says `http`, with its own files in `root`. It
/// says on standard error what it does, and at last `getrlimit(RLIMIT_NOFILE)`, when it listens.
///
/// It is one process: a master that is killed would leave its workers behind.
pub fn config(root: &Path, http: &str) -> String {
    let root = root.display();
    format!(
        "daemon off; master_process off; user root; pid {root}/pid; error_log stderr notice;
         events {{ worker_connections 256; }}
         http {{
           access_log off; client_body_temp_path {root}/t1; proxy_temp_path {root}/t2;
           fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
           {http}
         }}"
    )
}
