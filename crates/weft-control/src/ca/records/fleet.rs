//! Whom a rotation waits for, and who holds what, as the records tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_identity::{Acknowledged, Fleet, Revocations, Serial};
use weft_world::UnixTime;

use super::{Record, Records};
use crate::api::Holder;

/// How long whoever was given a first certificate has to show that it arrived. Proxies do so at
/// once, and try again every ten seconds.
const BEGIN_TIME: Duration = Duration::from_secs(60);

/// What a rotation goes by, beside the records.
pub(in crate::ca) struct Present<'a> {
    /// The workloads that are registered.
    pub(in crate::ca) registered: &'a BTreeSet<String>,
    /// What is revoked.
    pub(in crate::ca) revoked: &'a Revocations,
    /// Whether the old root is withdrawn already.
    pub(in crate::ca) is_withdrawing: bool,
    /// The time.
    pub(in crate::ca) now: UnixTime,
    /// Since when it is heard who proves a certificate.
    pub(in crate::ca) listening_since: UnixTime,
}

impl Records {
    /// The newest certificate of each holder that has not expired and is not followed by another
    /// holder in the same place.
    fn current(&self, now: UnixTime) -> Vec<(Serial, Serial, &Record)> {
        let newest = self.holders.iter().filter_map(|(holder, chain)| {
            let (_, serial) = chain.last()?;
            let record = self.records.get(serial)?;
            (record.not_after >= now.0.as_secs()).then_some((*holder, *serial, record))
        });
        let newest: Vec<_> = newest.collect();
        // A proxy that lost its certificate has joined anew under the name that it had: what it
        // lost is in use nowhere.
        let mut latest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (_, _, record) in &newest {
            if let Some(workload) = &record.workload {
                let number = latest.entry((workload, &record.identity)).or_default();
                *number = (*number).max(record.number);
            }
        }
        let is_current = |holder: &Serial, record: &Record| match &record.workload {
            Some(workload) => {
                let latest = latest.get(&(workload.as_str(), record.identity.as_str()));
                latest == Some(&record.number) || self.live.contains(holder)
            }
            None => true,
        };
        newest.into_iter().filter(|(holder, _, record)| is_current(holder, record)).collect()
    }

    /// All that a rotation waits for: who holds a certificate that is of use to it, and those of
    /// the registered workloads that are not among these.
    ///
    /// Not waited for is who has said that it ends, whose certificates are revoked, and who never
    /// showed that its first one arrived. Once a root is withdrawn, those who are away and not
    /// registered are not waited for either: nothing is signed below that root any more. They all
    /// are told when they come back.
    pub(in crate::ca) fn fleet(&self, present: &Present<'_>) -> Fleet {
        let mut fleet = Fleet::new();
        let mut known = BTreeSet::new();
        let revoked: BTreeSet<_> =
            present.revoked.identities.iter().map(ToString::to_string).collect();
        for (holder, _, newest) in self.current(present.now) {
            known.extend(newest.workload.clone());
            let usable = self.usable(holder, present);
            let Some((serial, record)) = usable.filter(|_| !revoked.contains(&newest.identity))
            else {
                continue;
            };
            let heard = self.heard.get(&holder);
            let is_registered =
                record.workload.as_ref().is_some_and(|it| present.registered.contains(it));
            let is_away = heard.is_none() && !is_registered;
            let is_waited_for = !present.is_withdrawing && !present.never_began(record);
            if record.left || (is_away && !is_waited_for) {
                continue;
            }
            let acknowledged =
                heard.map(|heard| Acknowledged { sequence: heard.sequence, root: heard.root });
            let name = record.workload.as_ref().unwrap_or(&record.identity);
            let is_plain = record.workload.is_some()
                && self.live.contains(&holder)
                && !fleet.contains_key(name);
            // Of one that is away, the certificate is what somebody can do something about.
            let title = match is_plain {
                true => name.clone(),
                false => format!("{name} (certificate {serial})"),
            };
            fleet.insert(title, acknowledged);
        }
        for workload in present.registered.difference(&known) {
            fleet.insert(workload.clone(), None);
        }
        fleet
    }

    /// The newest certificate of `holder` that it may use or be about to: neither expired, nor
    /// revoked, nor older than one that it has proved.
    fn usable(&self, holder: Serial, present: &Present<'_>) -> Option<(Serial, &Record)> {
        let proved = self.heard.get(&holder).map_or(0, |heard| heard.number);
        let chain = self.holders.get(&holder)?;
        let of_use = |(number, serial): &&(u64, Serial)| {
            *number >= proved && !present.revoked.serials.contains_key(serial)
        };
        let (_, serial) = chain.iter().rev().find(of_use)?;
        let record = self.records.get(serial)?;
        (record.not_after >= present.now.0.as_secs()).then_some((*serial, record))
    }

    /// Who holds a certificate that has not expired, by workload and identity.
    pub(in crate::ca) fn holders(&self, now: UnixTime) -> Vec<Holder> {
        let described = |(_, serial, record): (Serial, Serial, &Record)| Holder {
            workload: record.workload.clone().unwrap_or_default(),
            identity: record.identity.clone(),
            serial: serial.to_string(),
            not_after: record.not_after,
            root: record.root.to_string(),
            left: record.left,
        };
        let mut holders: Vec<_> = self.current(now).into_iter().map(described).collect();
        holders.sort_by(|a, b| (&a.workload, &a.identity).cmp(&(&b.workload, &b.identity)));
        holders
    }
}

impl Present<'_> {
    /// Whether whoever was given `record` had time to show that it arrived, and did not.
    fn never_began(&self, record: &Record) -> bool {
        record.unproved_since.is_some_and(|since| {
            let since = Duration::from_secs(since).max(self.listening_since.0);
            self.now.0 > since + BEGIN_TIME
        })
    }
}
