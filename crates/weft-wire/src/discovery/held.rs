//! What a server knows of what its client holds.

use std::collections::BTreeMap;

use weft_model::ContentHash;

use super::resource::ResourceName;
use crate::envelope::SourceVersion;

/// What a server knows of what its client holds.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    held: BTreeMap<ResourceName, Held>,
}

/// What is known of one resource. Whatever has one of these may be held by the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The version that the client certainly holds; absent if it is not known.
    pub(super) version: Option<ContentHash>,
    /// What it refused since, and why.
    pub(super) refused: Option<(Sent, String)>,
    /// How recent the sources were when it refused to give the resource up.
    pub(super) kept_against: Option<SourceVersion>,
}

/// What was sent under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Its version.
    pub(super) version: ContentHash,
    /// How recent its sources were. What was refused as too old may come again from newer ones.
    pub(super) source: SourceVersion,
}

impl Holdings {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ResourceName, &Held)> {
        self.held.iter()
    }

    /// The version of `name` that the client certainly holds, if it is known.
    pub(super) fn version(&self, name: &ResourceName) -> Option<ContentHash> {
        self.held.get(name)?.version
    }

    /// Why the client refuses `name` as it was sent last, if it does.
    pub(super) fn refusal(&self, name: &ResourceName) -> Option<&str> {
        let (_, reason) = self.held.get(name)?.refused.as_ref()?;
        Some(reason)
    }

    /// The client holds `version` of `name`.
    pub(super) fn took(&mut self, name: ResourceName, version: Option<ContentHash>) {
        self.held.insert(name, Held { version, ..Held::default() });
    }

    /// The client refused what was sent as `name`, and holds what it held.
    pub(super) fn refused(&mut self, name: ResourceName, sent: Sent, reason: String) {
        self.held.entry(name).or_default().refused = Some((sent, reason));
    }

    /// The client holds nothing called `name`.
    pub(super) fn dropped(&mut self, name: &ResourceName) {
        self.held.remove(name);
    }

    /// The client refused to give up `name`, since it is from newer sources than `source`.
    pub(super) fn kept(&mut self, name: ResourceName, source: SourceVersion) {
        self.held.insert(name, Held { kept_against: Some(source), ..Held::default() });
    }

    /// Whether the client keeps something against what the server knew.
    pub(super) fn is_any_kept(&self) -> bool {
        self.held.values().any(|held| held.kept_against.is_some())
    }

    /// Whether the client refuses something as it was sent last.
    pub(super) fn is_any_refused(&self) -> bool {
        self.held.values().any(|held| held.refused.is_some())
    }

    /// Lets `name` be sent again although it was refused.
    pub(super) fn forgive(&mut self, name: &ResourceName) {
        if let Some(held) = self.held.get_mut(name) {
            held.refused = None;
        }
    }

    /// Whether `current` is worth sending as `name`: not held, and not refused as it is.
    pub(super) fn lacks(&mut self, name: &ResourceName, current: Sent) -> bool {
        let Some(held) = self.held.get_mut(name) else { return true };
        if held.version == Some(current.version) {
            // What was refused before, such as an older version, is no longer of interest.
            held.refused = None;
            return false;
        }
        held.refused.as_ref().is_none_or(|(refused, _)| *refused != current)
    }
}
