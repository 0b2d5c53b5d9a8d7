//! `weft apply --wait`: until what was applied is in force wherever it is to be.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use weft_control::Client;
use weft_control::api::{AppliedObject, Enforced, ObjectKey, ResourceStatus, StatusResponse};
use weft_world::World;

use super::title;
use crate::output::print_line;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until all proxies that are to have the `applied` objects in force acknowledge them, and
/// says how many these are.
///
/// # Errors
/// As soon as one is refused, or if it has not happened within `limit`: who lacks what, and why.
pub(super) async fn wait(
    client: &Client,
    world: &World,
    applied: &[AppliedObject],
    limit: Duration,
) -> anyhow::Result<()> {
    let mut over = world.clock.sleep(limit);
    let mut standing: Vec<Standing> = Vec::new();
    let mut seen = BTreeSet::new();
    loop {
        let status = tokio::select! {
            biased;
            status = client.status() => status.context("it is applied, and may be in force or not")?,
            () = &mut over => bail!(late(&standing, limit)),
        };
        standing = applied.iter().map(|object| Standing::of(&object.key, &status)).collect();
        if standing.iter().any(|object| !object.refused.is_empty()) {
            bail!("refused, so that it is not in force everywhere:\n{}", listed(&standing));
        }
        if standing.iter().all(Standing::is_done) {
            for object in &standing {
                print_line(format_args!("{} {}", object.title, object.counted()))?;
            }
            say_gone(&seen, &status);
            return Ok(());
        }
        seen.extend(standing.iter().flat_map(|object| object.pending.iter().cloned()));
        tokio::select! {
            biased;
            () = world.clock.sleep(LOOK) => {}
            () = &mut over => bail!(late(&standing, limit)),
        }
    }
}

/// How it stands with one object.
struct Standing {
    title: String,
    /// By how many it is enforced, and by how many it is to be; none if it has no part in what
    /// proxies are told.
    counts: Option<(usize, usize)>,
    pending: Vec<String>,
    away: Vec<String>,
    /// Who refuses it, and why.
    refused: Vec<String>,
}

impl Standing {
    fn of(key: &ObjectKey, status: &StatusResponse) -> Standing {
        let (title, found) = (title(key), status.resources.iter().find(|it| it.key == *key));
        let mut standing =
            Standing { title, counts: None, pending: vec![], away: vec![], refused: vec![] };
        let Some(found) = found else {
            standing.refused.push("it is not there any more: somebody has deleted it".to_owned());
            return standing;
        };
        standing.refused = not_in_force(found);
        if let Some(Enforced { by, of, behind_ms: _, refused, pending, away }) = &found.enforced {
            standing.counts = Some((*by, *of));
            standing.pending.clone_from(pending);
            standing.away.clone_from(away);
            let refusals = refused.iter().map(|it| format!("{} refuses {}", it.proxy, it.reason));
            standing.refused.extend(refusals);
        }
        standing
    }

    fn is_done(&self) -> bool {
        self.counts.is_none_or(|(by, of)| by == of) && self.away.is_empty()
    }

    fn counted(&self) -> String {
        match self.counts {
            None => "is not told to proxies by itself".to_owned(),
            Some((0, 0)) => {
                "is enforced by 0 of 0: no proxy that is connected has to do with it".to_owned()
            }
            Some((by, of)) => format!("is enforced by {by} of {of}"),
        }
    }

    /// The lines that say who lacks it, and why.
    fn lacks(&self) -> impl Iterator<Item = String> {
        let pending = self.pending.iter().map(|proxy| {
            format!("{proxy} has not acknowledged it yet: see in its log whether it is at work")
        });
        let away = self.away.iter().map(|workload| {
            format!(
                "{workload} is registered, and its proxy not connected: start it again, or see in \
                 its log why it cannot connect"
            )
        });
        self.refused.iter().cloned().chain(pending).chain(away)
    }
}

/// Why the control plane itself does not put an object in force.
fn not_in_force(resource: &ResourceStatus) -> Vec<String> {
    let failed = resource.conditions.iter().filter(|condition| {
        !condition.holds && matches!(condition.kind.as_str(), "Accepted" | "Attached")
    });
    let reasons: BTreeSet<_> = failed.map(|it| format!("not {}: {}", it.kind, it.reason)).collect();
    if reasons.is_empty() {
        return vec![];
    }
    let findings = resource.findings.iter().map(|finding| finding.message.clone());
    reasons.into_iter().chain(findings).collect()
}

/// Who lacks what, object by object.
fn listed(standing: &[Standing]) -> String {
    let lacking = standing.iter().filter(|it| !it.is_done() || !it.refused.is_empty());
    let lines = lacking.flat_map(|object| {
        let counted = object.counts.map(|_| format!(" {}", object.counted())).unwrap_or_default();
        let head = format!("{}{counted}", object.title);
        std::iter::once(head).chain(object.lacks().map(|line| format!("  {line}")))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn late(standing: &[Standing], limit: Duration) -> String {
    let seconds = limit.as_secs();
    if standing.is_empty() {
        return format!("it is applied, but the control plane did not say more within {seconds} s");
    }
    format!(
        "it is applied, and goes on being told, but is not in force everywhere after {seconds} \
         s:\n{}",
        listed(standing)
    )
}

/// Says who of those that were behind is not connected any more: it counts no longer, and goes by
/// what it had if it is still there.
fn say_gone(seen: &BTreeSet<String>, status: &StatusResponse) {
    let is_there = |name: &String| {
        status.proxies.iter().any(|it| it.workload == *name || it.identity == *name)
    };
    for gone in seen.iter().filter(|name| !is_there(name)) {
        weft_control::say!(
            "weft apply: {gone} had not acknowledged it, and is not connected any more: where it \
             runs on, it goes by what it had"
        );
    }
}
