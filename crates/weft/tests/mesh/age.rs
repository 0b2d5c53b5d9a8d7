//! How old what a proxy goes by is said to be.

use std::time::Duration;

use weft_control::api::StatusResponse;

use crate::lab::{Lab, Proxy, now, since, succeeded, wait_until};

/// More than is between two words of the control plane to a proxy for which there is no news.
const RECENT: Duration = Duration::from_secs(15);

/// The age by the proxy's own metrics.
fn by_metrics(proxy: &Proxy) -> Option<Duration> {
    let shown = proxy.shown("/metrics");
    let line = shown.lines().find_map(|line| line.strip_prefix("weft_config_age_seconds "))?;
    Some(Duration::from_secs_f64(line.parse().unwrap()))
}

/// The age by `weft status`.
fn by_status(lab: &Lab) -> Option<Duration> {
    let text = succeeded(lab.weft(&["status", "--json"]));
    let StatusResponse { proxies, .. } = serde_json::from_str(&text).unwrap();
    proxies.first()?.configuration_age_ms.map(Duration::from_millis)
}

#[test]
fn the_age_of_the_configuration_grows_only_while_nobody_confirms_it() {
    let lab = Lab::new();
    let caller = lab.caller("web");
    let is_recent = |age: Option<Duration>| age.is_some_and(|age| age < RECENT);
    wait_until("it is confirmed", || is_recent(by_metrics(&caller)) && is_recent(by_status(&lab)));
    // Nothing happens in the mesh for longer than that.
    let (began, mut oldest) = (now(), Duration::ZERO);
    wait_until("a while is over", || {
        let ages = [by_metrics(&caller), by_status(&lab)].map(|age| age.expect("it is known"));
        oldest = oldest.max(ages[0]).max(ages[1]);
        since(began) > RECENT + Duration::from_secs(7)
    });
    assert!(oldest < RECENT, "{oldest:?}");

    lab.kill_control();
    wait_until("it grows", || by_metrics(&caller).expect("it is known") > RECENT);
    lab.start_control();
    wait_until("it falls", || is_recent(by_metrics(&caller)) && is_recent(by_status(&lab)));
}
