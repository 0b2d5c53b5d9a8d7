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
    /// How many of them run.
    proxies: usize,
    /// The processes that had ended by then, each with how.
    ended: Vec<(String, String)>,
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
            proxies: mesh.proxies(),
            ended: mesh.ended(),
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
        let Summary { requests, failures, p50, p99, versions, proxies, ended, services } = self;
        let sum = |pick: fn(&Counts) -> u64| -> u64 {
            services.iter().map(|(_, counts)| pick(counts)).sum()
        };
        let (served, proved) = (sum(|counts| counts.served), sum(|counts| counts.proved));
        let identities = identities();
        match output {
            Output::Text => {
                let versions: Vec<_> =
                    versions.iter().map(|(name, count)| format!("{name} {count} times")).collect();
                let ended: String =
                    ended.iter().map(|(name, how)| format!("{name} has ended ({how})\n")).collect();
                format!(
                    "{requests} requests, {failures} failed\nhalf were answered within {} ms, 99 \
                     of 100 within {} ms\nthe cart was {}\n{proxies} proxies, {} identities\n\
                     {ended}{proved} of {served} served requests proved their caller by mutual TLS",
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
                let ended: BTreeMap<_, _> = ended.iter().cloned().collect();
                serde_json::json!({
                    "requests": requests,
                    "failures": failures,
                    "p50_ms": p50.as_secs_f64() * 1000.0,
                    "p99_ms": p99.as_secs_f64() * 1000.0,
                    "proxies": proxies,
                    "ended": ended,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of ten requests in which all was in order.
    fn good() -> Summary {
        let counts = |served| Counts { served, proved: served, failed: 0 };
        Summary {
            requests: 10,
            failures: 0,
            p50: Duration::from_millis(2),
            p99: Duration::from_millis(9),
            versions: BTreeMap::from([("v1".to_owned(), 10)]),
            proxies: 3,
            ended: Vec::new(),
            // One was asked again by a retry.
            services: vec![("cart", counts(11)), ("motto", counts(10))],
        }
    }

    fn refused(summary: &Summary) -> String {
        summary.check().unwrap_err().to_string()
    }

    fn is_proved(summary: &Summary) -> bool {
        let shown: serde_json::Value =
            serde_json::from_str(&summary.text(Output::Json)).expect("it is JSON");
        shown["mutual_tls"].as_bool().expect("it is said")
    }

    #[test]
    fn a_run_in_order_is_good() {
        let summary = good();
        summary.check().unwrap();
        assert!(is_proved(&summary));
        let text = summary.text(Output::Text);
        assert!(text.starts_with("10 requests, 0 failed\n"), "{text}");
        let end = "\n21 of 21 served requests proved their caller by mutual TLS";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn a_hop_without_mutual_tls_is_a_failure() {
        let mut summary = good();
        summary.services[0].1.proved = 10;
        let error = "10 of 11 requests to cart are known to have come over mutual TLS";
        assert_eq!(refused(&summary), error);
        assert!(!is_proved(&summary));
        let text = summary.text(Output::Text);
        assert!(text.ends_with("\n20 of 21 served requests proved their caller by mutual TLS"));

        // Answers that came from somewhere else than through the Service's proxies.
        let mut summary = good();
        summary.services[1].1 = Counts { served: 4, proved: 4, failed: 0 };
        let error = "4 of 10 requests to motto are known to have come over mutual TLS";
        assert_eq!(refused(&summary), error);
        assert!(!is_proved(&summary));
    }

    #[test]
    fn a_failed_request_is_a_failure() {
        let summary = Summary { failures: 1, ..good() };
        assert_eq!(refused(&summary), "1 of 10 requests failed");
        let text = summary.text(Output::Text);
        assert!(text.starts_with("10 requests, 1 failed\n"), "{text}");
    }

    #[test]
    fn what_had_ended_before_is_named() {
        let ended = vec![("control".to_owned(), "killed".to_owned())];
        let summary = Summary { ended, ..good() };
        let text = summary.text(Output::Text);
        assert!(text.contains("\ncontrol has ended (killed)\n"), "{text}");
        let shown: serde_json::Value = serde_json::from_str(&summary.text(Output::Json)).unwrap();
        assert_eq!(shown["ended"]["control"], "killed");
    }

    #[test]
    fn no_request_at_all_is_a_failure() {
        let none = |(name, _): (&'static str, Counts)| (name, Counts::default());
        let services = good().services.into_iter().map(none).collect();
        let summary = Summary { requests: 0, versions: BTreeMap::new(), services, ..good() };
        assert_eq!(refused(&summary), "no request was sent");
        let text = summary.text(Output::Text);
        assert!(text.contains("\nthe cart was not seen\n"), "{text}");
    }
}
