//! What there is to show: how each instance does, and what to try.

use weft_world::Moment;

use super::caller::Tally;
use super::directory::quoted;
use super::mesh::Mesh;
use super::records::{Counts, Look};
use super::table::{Row, View};
use super::tries::tries;
use super::trust::Trust;
use super::workloads::{WORKLOADS, Workload};

/// What there is to show at `now`.
pub fn view(
    now: Moment,
    start: Moment,
    mesh: &Mesh,
    tally: &Tally,
    trust: &Trust,
    page: &str,
) -> View {
    let mut rows = vec![Row {
        service: "visitors".to_owned(),
        instance: String::new(),
        process: None,
        lately: tally.lately(now),
        failed: tally.counts().1,
        share: None,
        state: ended(mesh, "visitor-1-proxy").map(proxy_state).unwrap_or_default(),
    }];
    let looks: Vec<(&Workload, Look)> = WORKLOADS
        .iter()
        .filter_map(|workload| Some((workload, mesh.instances.look(workload.name)?)))
        .collect();
    let rate = |is_meant: &dyn Fn(&Workload) -> bool| -> f64 {
        looks.iter().filter(|(one, _)| is_meant(one)).map(|(_, look)| look.lately.rate).sum()
    };
    for (workload, look) in &looks {
        let service = workload.service();
        let whole = rate(&|one| one.service() == service);
        let is_alone = looks.iter().filter(|(one, _)| one.service() == service).count() == 1;
        rows.push(Row {
            service: service.to_owned(),
            instance: workload.name.to_owned(),
            process: mesh.process(workload.name).map(|(id, _)| id),
            lately: look.lately,
            failed: look.counts.failed,
            share: (!is_alone && whole > 0.0).then(|| look.lately.rate / whole),
            state: state(mesh, workload, look, rate(&|one| one.is_like(workload)) > 0.0),
        });
    }
    let served = |pick: fn(&Counts) -> u64| {
        mesh.instances.services().iter().map(|(_, counts)| pick(counts)).sum()
    };
    let failure = tally.last_failure().map(|(at, why)| (now.since(at), why));
    View {
        elapsed: now.since(start),
        processes: mesh.processes(),
        page: page.to_owned(),
        rows,
        served: served(|counts| counts.served),
        proved: served(|counts| counts.proved),
        trust: match ended(mesh, "control") {
            Some(how) => format!("the control plane has ended ({how}); proxies go on without it"),
            None => trust.text(),
        },
        failure,
        directory: quoted(&mesh.directory.path),
        tries: tries(mesh),
    }
}

/// How an instance is, in a few words. `others_serve` says that its like are called.
fn state(mesh: &Mesh, workload: &Workload, look: &Look, others_serve: bool) -> String {
    if let Some(how) = ended(mesh, workload.name) {
        return how;
    }
    if let Some(how) = ended(mesh, &format!("{}-proxy", workload.name)) {
        return proxy_state(how);
    }
    match &look.reason {
        Some(reason) => reason.clone(),
        None if look.is_avoided && others_serve => "ejected".to_owned(),
        None if look.lately.failed > 0.0 => format!("{:.0} % fail", look.lately.failed * 100.0),
        None => "ok".to_owned(),
    }
}

/// How the process `name` ended, if it has.
fn ended(mesh: &Mesh, name: &str) -> Option<String> {
    mesh.process(name).and_then(|(_, ended)| ended)
}

/// What is shown of an instance whose proxy has ended.
fn proxy_state(how: String) -> String {
    format!("proxy {how}")
}
