//! What filters do, in words.

use weft_http::RequestHead;
use weft_model::{Backend, ExactValue, Filter, HeaderEdits, HeaderName, Mirror};

use super::{Stage, Step, Verdict, of_route};
use crate::filters::cors::{self, Origin};
use crate::filters::{self, Facts, OwnAnswer};
use crate::route::Selected;

/// Tells what each of `found` does to the request `head`, and does it. They stand in the rule at
/// `part`; `asked` is the request before any filter.
pub fn filters(
    selected: &Selected<'_>,
    part: &str,
    found: &[Filter],
    facts: &Facts<'_>,
    asked: &RequestHead,
    head: &mut RequestHead,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (index, filter) in found.iter().enumerate() {
        filters::on_request(std::slice::from_ref(filter), facts, head);
        let text = match filter {
            Filter::RequestHeaders(edits) => format!("the request has {}", edited(edits, head)),
            Filter::ResponseHeaders(edits) => format!("the answer gets {}", to_edit(edits)),
            Filter::Rewrite(_) => {
                format!("the request is for http://{}{}", head.authority(), head.target())
            }
            Filter::Cors(cors) => match cors::origin(cors, asked) {
                Origin::None => "the request names no origin".to_owned(),
                Origin::Refused => "pages of that origin may not read the answer".to_owned(),
                Origin::Allowed(origin) => format!("pages of {origin} may read the answer"),
            },
            Filter::Mirror(Mirror { backend: Backend::Service { name, port }, share }) => {
                format!("requests are copied to {name}:{port}, {share} of them")
            }
            Filter::Mirror(Mirror { backend: Backend::External { name, port }, share }) => {
                format!("requests are copied outside, to {name}:{port}, {share} of them")
            }
            Filter::Mirror(Mirror { backend: Backend::Missing { reason }, share: _ }) => {
                format!("nothing is copied: {reason}")
            }
            // It answers, and nothing is asked after it.
            Filter::Redirect(_) => continue,
        };
        steps.push(step(selected, &format!("{part}[{index}]"), text));
    }
    steps
}

/// Tells that a filter of the rule answers the request.
pub fn own_answer(selected: &Selected<'_>, own: &OwnAnswer) -> Step {
    let OwnAnswer { filter, status, reason, detail, fields: _ } = own;
    let text = format!("answered with {status} ({reason}): {detail}");
    step(selected, &format!(".filters[{filter}]"), text)
}

fn step(selected: &Selected<'_>, part: &str, text: String) -> Step {
    let Selected { route, rule_index, rule: _ } = selected;
    let field = format!("spec.rules[{rule_index}]{part}");
    let because = vec![of_route(&route.name, field, "")];
    Step { stage: Stage::Filter, verdict: Verdict::Passed(text), because }
}

/// The fields of `head` that `edits` have made.
fn edited(edits: &HeaderEdits, head: &RequestHead) -> String {
    let written = edits.set().iter().chain(edits.add()).map(|(name, _)| {
        let value = head.fields.values(name.as_str()).last().unwrap_or_default();
        format!("`{name}: {}`", value.escape_ascii())
    });
    list(written, edits.remove())
}

/// What `edits` will do.
fn to_edit(edits: &HeaderEdits) -> String {
    let field = |(name, value): &(HeaderName, ExactValue)| format!("{name}: {}", value.as_str());
    let set = edits.set().iter().map(|one| format!("`{}`", field(one)));
    let add = edits.add().iter().map(|one| format!("also `{}`", field(one)));
    list(set.chain(add), edits.remove())
}

fn list(written: impl Iterator<Item = String>, removed: &[HeaderName]) -> String {
    let all: Vec<_> = written.chain(removed.iter().map(|name| format!("no `{name}`"))).collect();
    if all.is_empty() { "nothing else".to_owned() } else { all.join(", ") }
}
