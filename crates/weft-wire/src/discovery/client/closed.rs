//! Services of whose rules one could not be read from the beginning: to call them as if it were not
//! there would lead requests elsewhere than they are meant to go.

use std::collections::{BTreeMap, BTreeSet};

use weft_model::ObjectName;

use super::{Client, Interest};
use crate::discovery::resource::Answer;
use crate::discovery::subscription::Subscription;
use crate::envelope::WireObject;
use crate::key::ObjectKey;
use crate::objects::Object;

/// For each Service what of its rules was refused, and why.
#[derive(Debug, Default)]
pub(in crate::discovery) struct Closed(BTreeMap<ObjectName, BTreeMap<ObjectKey, String>>);

impl Closed {
    pub(in crate::discovery) fn close(&mut self, service: ObjectName, rule: ObjectKey, why: &str) {
        self.0.entry(service).or_default().insert(rule, why.to_owned());
    }

    /// Each with one rule.
    pub(in crate::discovery) fn iter(
        &self,
    ) -> impl Iterator<Item = (&ObjectName, &ObjectKey, &str)> {
        self.0.iter().flat_map(|(service, rules)| {
            rules.iter().map(move |(rule, why)| (service, rule, why.as_str()))
        })
    }

    /// `rule` is there, or gone. True if something was closed for its sake.
    fn settle(&mut self, rule: &ObjectKey) -> bool {
        let mut is_settled = false;
        self.0.retain(|_, rules| {
            is_settled |= rules.remove(rule).is_some();
            !rules.is_empty()
        });
        is_settled
    }
}

impl Client {
    /// The Services that are not to be called, and why. Those that were called before one of their
    /// rules was refused are not among them: they go on as they were.
    pub fn closed(&self) -> impl Iterator<Item = (&ObjectName, String)> {
        let closed = self.closed.iter();
        closed.map(|(service, rule, why)| (service, format!("{rule} is refused: {why}")))
    }

    /// Closes what goes by the rule `key`, which `bytes` are, and which was refused, if nobody was
    /// told yet that it is there.
    pub(super) fn close_new(&mut self, key: &ObjectKey, bytes: &[u8], why: &str) {
        let services = WireObject::ruled_by(key, bytes);
        let new: BTreeSet<_> = services.into_iter().filter(|it| self.is_awaited(it)).collect();
        for service in new {
            self.closed.close(service, key.clone(), why);
        }
    }

    /// Whether `service` was asked for, and the answer is not there.
    fn is_awaited(&self, service: &ObjectName) -> bool {
        let vips = match self.held.get(&ObjectKey::Service(service.clone())) {
            Some(object) => match object.object() {
                Object::Service(service) => service.vips.iter().cloned().collect(),
                _ => vec![],
            },
            None => vec![],
        };
        let addresses = vips.into_iter().map(Subscription::Address);
        let asked = [Subscription::Service(service.clone())].into_iter().chain(addresses);
        let is_found = |it: &Interest| matches!(it.answer, Some(Answer::Found(_)));
        let asked: Vec<_> = asked.filter_map(|it| self.interests.get(&it)).collect();
        !asked.is_empty() && !asked.iter().any(|it| is_found(it))
    }

    /// Opens what was closed for the sake of `key`, and says whether that was anything.
    pub(super) fn reopen(&mut self, key: &ObjectKey) -> bool {
        self.closed.settle(key)
    }
}
