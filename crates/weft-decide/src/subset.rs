//! Which of a Service's endpoints a request is for, by the labels of their workloads.

use std::fmt;

use weft_http::RequestHead;
use weft_model::{Label, Subset, SubsetFallback};

/// The endpoints that a request is for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'p> {
    policy: &'p Subset,
    /// None where its headers do not count, or it has none, as a connection of bytes.
    head: Option<&'p RequestHead>,
}

impl<'p> Wanted<'p> {
    /// What the request `head` wants by `policy`.
    pub fn new(policy: &'p Subset, head: Option<&'p RequestHead>) -> Wanted<'p> {
        Wanted { policy, head }
    }

    /// The values that are wanted, in the order of the policy's labels; none where any does.
    fn values(&self) -> impl Iterator<Item = Option<&'p [u8]>> {
        let head = self.head;
        self.policy.labels.iter().map(move |label| {
            let written = head.and_then(|head| head.fields.get(label.header.as_str()));
            written.or(label.default.as_ref().map(|value| value.as_str().as_bytes()))
        })
    }

    /// Whether it is for an endpoint whose workload has `labels`, in the order of the policy's.
    pub fn has(&self, labels: &[Option<Label>]) -> bool {
        self.values().enumerate().all(|(index, wanted)| {
            let own = labels.get(index).and_then(Option::as_ref);
            wanted.is_none_or(|wanted| own.is_some_and(|own| own.as_str().as_bytes() == wanted))
        })
    }

    /// What it is for where none of its endpoints may be called: other ones, all, or nothing.
    pub fn fallback(self) -> Option<Option<Wanted<'p>>> {
        match self.policy.fallback {
            SubsetFallback::None => None,
            SubsetFallback::Default => {
                self.head.map(|_| Some(Wanted { policy: self.policy, head: None }))
            }
            SubsetFallback::Any => Some(None),
        }
    }
}

impl fmt::Display for Wanted<'_> {
    /// The labels that are wanted, as `version=v2, track=canary`; nothing where any do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (label, value) in self.policy.labels.iter().zip(self.values()) {
            let Some(value) = value else { continue };
            // What can be no label is not shown: it may be long, or anything.
            let value = std::str::from_utf8(value).ok().and_then(|text| Label::new(text).ok());
            let value = value.as_ref().map_or("?", Label::as_str);
            write!(f, "{separator}{}={value}", label.name)?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use weft_model::{HeaderName, SubsetLabel};

    use super::*;

    fn label(text: &str) -> Label {
        Label::new(text).unwrap()
    }

    fn policy(default: Option<&str>, fallback: SubsetFallback) -> Subset {
        let one = |name: &str, header: &str, default: Option<&str>| SubsetLabel {
            name: label(name),
            header: HeaderName::new(header).unwrap(),
            default: default.map(label),
        };
        let labels = vec![one("version", "x-version", default), one("track", "x-track", None)];
        Subset { labels, fallback }
    }

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::default();
        fields.iter().for_each(|(name, value)| head.fields.append(name, value.as_bytes()));
        head
    }

    fn labels(version: Option<&str>, track: Option<&str>) -> [Option<Label>; 2] {
        [version.map(label), track.map(label)]
    }

    #[test]
    fn all_that_a_request_wants_must_be_there() {
        let policy = policy(None, SubsetFallback::None);
        let (v1, v2) = (labels(Some("v1"), None), labels(Some("v2"), Some("canary")));
        let nothing = head(&[]);
        let any = Wanted::new(&policy, Some(&nothing));
        assert!(any.has(&v1) && any.has(&v2) && any.has(&[]));
        assert_eq!(any.to_string(), "");
        let second = head(&[("x-version", "v2")]);
        let second = Wanted::new(&policy, Some(&second));
        assert!(!second.has(&v1) && second.has(&v2) && !second.has(&[]));
        assert_eq!(second.to_string(), "version=v2");
        let both = head(&[("x-version", "v1"), ("x-track", "canary")]);
        let both = Wanted::new(&policy, Some(&both));
        assert!(!both.has(&v1) && !both.has(&v2));
        assert_eq!(both.to_string(), "version=v1, track=canary");
    }

    #[test]
    fn without_the_header_the_default_is_wanted() {
        let policy = policy(Some("v1"), SubsetFallback::Default);
        let (v1, v2) = (labels(Some("v1"), None), labels(Some("v2"), None));
        let bytes = Wanted::new(&policy, None);
        assert!(bytes.has(&v1) && !bytes.has(&v2));
        assert!(bytes.fallback().is_none(), "the default has none");
        let third = head(&[("x-version", "v3")]);
        let third = Wanted::new(&policy, Some(&third));
        assert!(!third.has(&v1));
        assert!(third.fallback().unwrap().unwrap().has(&v1));
    }

    #[test]
    fn what_can_be_no_label_is_not_shown() {
        let policy = policy(None, SubsetFallback::None);
        let odd = head(&[("x-version", &"v".repeat(400)), ("x-track", "a b")]);
        assert_eq!(Wanted::new(&policy, Some(&odd)).to_string(), "version=?, track=?");
    }

    #[test]
    fn what_comes_instead() {
        let third = head(&[("x-version", "v3")]);
        let refusing = policy(None, SubsetFallback::None);
        assert!(Wanted::new(&refusing, Some(&third)).fallback().is_none());
        let open = policy(None, SubsetFallback::Any);
        assert!(matches!(Wanted::new(&open, Some(&third)).fallback(), Some(None)));
    }
}
