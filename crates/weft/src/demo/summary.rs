//! How a demo went, for people, for programs and for its exit status.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use weft_world::World;

use super::caller::Tally;
use super::mesh::Mesh;
use super::records::Counts;
use super::workloads::identities;
use super::{Output, table};

/// How often it is looked whether the last lines of the access logs have come.
const PROOF_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How it went.
pub struct Summary {
    requests: u64,
    failures: u64,
    p50: Duration,
    p99: Duration,
    /// How many answers had which version of the cart.
    versions: BTreeMap<String, u64>,
    proxies: usize,
    /// For each Service, how many requests were served and proved.
    services: Vec<(&'static str, Counts)>,
}

impl Summary {
    /// How it stands now.
    pub fn of(mesh: &Mesh, tally: &Tally) -> Summary {
        let (requests, failures) = tally.counts();
        Summary {
            requests,
            failures,
            p50: tally.quantile(0.5),
            p99: tally.quantile(0.99),
            versions: tally.versions(),
            proxies: mesh.processes().1,
            services: mesh.instances.services(),
        }
    }

    /// Waits until all that was answered is proved, for `timeout` at most: the access logs are
    /// written behind the data path's back.
    pub async fn prove(&mut self, world: &World, mesh: &Mesh, timeout: Duration) {
        let deadline = world.clock.now() + timeout;
        while !self.is_proved() && world.clock.now() < deadline {
            world.clock.sleep(PROOF_LOOK_INTERVAL).await;
            self.services = mesh.instances.services();
        }
    }

    /// How many requests must have reached each Service at least: an answer needs all of them.
    fn expected(&self) -> u64 {
        self.requests - self.failures
    }

    /// Whether every answer is known to have come over mutual TLS, on each hop.
    fn is_proved(&self) -> bool {
        self.services.iter().all(|(_, Counts { served, proved, .. })| {
            served == proved && *proved >= self.expected()
        })
    }

    /// Fails unless every request was answered, and every hop was mutual TLS.
    pub fn check(&self) -> anyhow::Result<()> {
        let Summary { requests, failures, services, .. } = self;
        ensure!(*requests > 0, "no request was sent");
        ensure!(*failures == 0, "{failures} of {requests} requests failed");
        for (service, Counts { served, proved, .. }) in services {
            let expected = self.expected().max(*served);
            ensure!(
                *proved == expected,
                "{proved} of {expected} requests to {service} are known to have come over mutual \
                 TLS"
            );
        }
        Ok(())
    }

    /// The summary as it is printed.
    pub fn text(&self, output: Output) -> String {
        let Summary { requests, failures, p50, p99, versions, proxies, services } = self;
        let sum = |pick: fn(&Counts) -> u64| -> u64 {
            services.iter().map(|(_, counts)| pick(counts)).sum()
        };
        let (served, proved) = (sum(|counts| counts.served), sum(|counts| counts.proved));
        let identities = identities();
        match output {
            Output::Text => {
                let versions: Vec<_> =
                    versions.iter().map(|(name, count)| format!("{name} {count} times")).collect();
                format!(
                    "{requests} requests, {failures} failed\nhalf were answered within {} ms, 99 \
                     of 100 within {} ms\nthe cart was {}\n{proxies} proxies, {} identities\n\
                     {proved} of {served} served requests proved their caller by mutual TLS",
                    table::milliseconds(*p50),
                    table::milliseconds(*p99),
                    if versions.is_empty() { "not seen".to_owned() } else { versions.join(", ") },
                    identities.len(),
                )
            }
            Output::Json => {
                let hops: serde_json::Map<_, _> = services
                    .iter()
                    .map(|(service, Counts { served, proved, failed })| {
                        let hop = serde_json::json!({
                            "served": served,
                            "mutual_tls": proved,
                            "failed": failed,
                        });
                        ((*service).to_owned(), hop)
                    })
                    .collect();
                serde_json::json!({
                    "requests": requests,
                    "failures": failures,
                    "p50_ms": p50.as_secs_f64() * 1000.0,
                    "p99_ms": p99.as_secs_f64() * 1000.0,
                    "proxies": proxies,
                    "identities": identities,
                    "mutual_tls": self.is_proved(),
                    "services": hops,
                    "cart_versions": versions,
                })
                .to_string()
            }
        }
    }
}
