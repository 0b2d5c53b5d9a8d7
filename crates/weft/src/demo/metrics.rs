//! How Prometheus finds the proxies of the demo: a configuration file, with how to use it.

use std::net::SocketAddr;

/// The name of the file, in the demo's directory.
pub const FILE: &str = "prometheus.yml";

/// What is to be done with the file, which is at its top, and how often is scraped.
const HEAD: &str = "\
# Prometheus scrapes all proxies of the demo by this file. Start it in this directory:
#
#   prometheus --config.file=prometheus.yml --storage.tsdb.path=prometheus-data \\
#     --web.listen-address=127.0.0.1:9090 --enable-feature=native-histograms
#
# After half a minute, ask at http://127.0.0.1:9090/ within how many seconds 99 of 100 requests to
# each Service were answered, as their callers saw it. The native histogram knows that to 9 %:
#
#   histogram_quantile(0.99, sum by (service)
#     (rate(weft_request_duration_seconds{direction=\"outbound\"}[1m])))
#
global:
  scrape_interval: 2s
  # In place of --enable-feature=native-histograms, from version 3.9 of Prometheus on:
  # scrape_native_histograms: true
scrape_configs:
- job_name: weft
  static_configs:
";

/// The file for proxies, of which the name of the workload and the address are given.
pub fn file(targets: &[(&str, SocketAddr)]) -> String {
    let line = |(name, address): &(&str, SocketAddr)| {
        format!("  - {{ targets: ['{address}'], labels: {{ workload: shop/{name} }} }}\n")
    };
    HEAD.to_owned() + &targets.iter().map(line).collect::<String>()
}

/// Where a proxy shows its metrics, if `line` of its log says so.
pub fn address(line: &str) -> Option<SocketAddr> {
    let (_, url) = line.split_once(": metrics at http://")?;
    url.strip_suffix("/metrics")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_proxy_is_a_target() {
        let at = address("weft proxy: metrics at http://127.0.0.1:4711/metrics");
        let text = file(&[("web-1", at.unwrap())]);
        let target = "  - { targets: ['127.0.0.1:4711'], labels: { workload: shop/web-1 } }\n";
        assert!(text.ends_with(target), "{text}");
        assert_eq!(address("weft proxy: ready, listening at 127.0.0.1:1"), None);
    }
}
