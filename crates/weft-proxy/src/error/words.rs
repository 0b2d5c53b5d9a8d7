//! What stands in several messages.

use weft_decide::authorize::Why;
use weft_decide::deadline::Limit;

/// What has refused a caller, in words.
pub(super) fn denied_by(why: Why, rule: Option<&str>) -> String {
    match (why, rule) {
        (Why::DenyRule, Some(rule)) => format!(": denied by {rule}"),
        (Why::CannotEvaluate, Some(rule)) => format!(": {rule} cannot be evaluated for it"),
        (Why::NoIdentity, _) => ": it proved no identity of the mesh".to_owned(),
        (Why::UnguardedDeny, _) => {
            ": no policy allows it, and the Mesh's `spec.defaults.authorization` is Deny".to_owned()
        }
        (Why::NoAllowRule | Why::DenyRule | Why::CannotEvaluate, _) => {
            ": no allow rule of the policies that guard it matches".to_owned()
        }
    }
}

/// What sets a limit, in words.
pub(super) fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::Request => "the rule's timeouts.request",
        Limit::Attempt => "the rule's timeouts.backendRequest",
        Limit::Caller => "the caller",
    }
}

/// By which host an address was asked for, if that is known.
pub(super) fn asked_as(host: Option<&str>) -> String {
    host.map_or(String::new(), |host| format!(", asked for as {host},"))
}
