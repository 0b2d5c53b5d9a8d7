//! Whether what was said of a case is what was recorded of it.

use std::net::IpAddr;
use std::sync::Arc;

use weft_decide::fault::is_for;
use weft_decide::filters::{self, OnAnswer};
use weft_http::{Fields, RequestHead};
use weft_model::{Backend, HashOn, Port, SessionCarrier};
use weft_proxy::explain::{Called, Chosen, End, Endpoint, Explanation, Refused, Sent, Way};
use weft_proxy::snapshot::{Destination, Reach};
use weft_telemetry::Record;

use super::generated::Case;
use super::mesh::{ANSWER, Arrived, Lab, NAME, Recorded, status};
use super::send::Answer;

/// What was said of a case, and what has become of it.
pub(super) struct Found {
    pub(super) said: Explanation,
    pub(super) answer: Answer,
    pub(super) recorded: Recorded,
    /// What was recorded of copies.
    pub(super) copied: Recorded,
}

/// How a case ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// The reason, or that it was answered.
    pub(super) how: String,
    /// What else of it is to be counted.
    pub(super) notes: Vec<String>,
    /// Where a backend was drawn: whether it was the first one, and what the share of that is.
    pub(super) first: Option<(bool, f64)>,
}

/// If it is not so, says what is not as it was said.
type Checked<T> = Result<T, String>;

fn check(holds: bool, what: &str) -> Checked<()> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// Whether what was said holds of the answer and of all records. Returns how the case ended.
pub(super) fn agree(lab: &Lab, case: &Case, found: &Found) -> Checked<Ended> {
    compare(lab, case, found, false)
}

fn compare(lab: &Lab, case: &Case, found: &Found, is_again: bool) -> Checked<Ended> {
    let Found { said, answer, recorded, .. } = found;
    let [outbound] = &recorded.outbound[..] else {
        return Err("how often the caller's proxy records it".to_owned());
    };
    check(said.protocol == outbound.protocol, "what is spoken")?;
    let rule = said.rule.as_ref().map(rule_names);
    let is_rule = rule.as_ref().map(|(route, _)| &**route) == outbound.route.as_deref()
        && rule.as_ref().map(|(_, rule)| &**rule) == outbound.rule.as_deref();
    check(is_rule, "the route or the rule")?;
    if said.is_http() {
        check(answer.status.unwrap_or(0) == outbound.status, "the status that the caller got")?;
        let recorded = outbound.grpc_status.map(u32::from);
        check(answer.grpc_status == recorded, "the status of gRPC that it got")?;
    }

    let mut one = One { lab, case, found, outbound, is_again, notes: Vec::new(), first: None };
    let how = one.ended()?;
    let kind = said.rule.as_ref().map_or("no rule", |chosen| chosen.route.name.kind.kind());
    one.note(&format!("by {kind}"));
    Ok(Ended { how, notes: one.notes, first: one.first })
}

/// Whether what was said of `again`, sent once more as part of a session, holds as well, and it
/// went where it was before. `found` is what became of it first.
pub(super) fn stayed(lab: &Lab, case: &Case, found: &Found, again: &Found) -> Checked<()> {
    compare(lab, case, again, true)?;
    let ([before], [after]) = (&found.recorded.outbound[..], &again.recorded.outbound[..]) else {
        return Err("how often the caller's proxy records it".to_owned());
    };
    let is_there = before.backend == after.backend && before.attempts + after.attempts == 2;
    check(!is_there || before.workload == after.workload, "with whom its client stays")
}

/// Route and rule as records have them.
pub(super) fn rule_names(chosen: &Chosen) -> (String, String) {
    let rule = chosen.rule().name.clone().unwrap_or_else(|| chosen.rule_index.to_string());
    (chosen.route.name.to_string(), rule)
}

struct One<'f> {
    lab: &'f Lab,
    case: &'f Case,
    found: &'f Found,
    outbound: &'f Record,
    /// Whether it is part of a session.
    is_again: bool,
    notes: Vec<String>,
    first: Option<(bool, f64)>,
}

impl One<'_> {
    fn note(&mut self, what: &str) {
        self.notes.push(what.to_owned());
    }

    fn ended(&mut self) -> Checked<String> {
        let Found { said, recorded, answer, .. } = self.found;
        let goes_nowhere = recorded.inbound.is_empty() && recorded.arrived.is_empty();
        if let Some(own) = &said.own_answer {
            check(goes_nowhere, "that it goes nowhere")?;
            nothing(&self.found.copied)?;
            let Record { status, reason, detail, is_meant, .. } = self.outbound;
            check(*is_meant && *reason == Some(own.reason), "that a filter answers")?;
            check((*status, detail) == (own.status, &own.detail), "what the filter answers")?;
            let expected = own.head(self.on_answer(None).as_ref());
            check(is_alike(&expected.fields, &answer.fields), "the fields of the answer")?;
            return Ok(own.reason.to_owned());
        }
        let ways = match &said.ways {
            Ok(ways) => ways,
            Err(refused) => {
                check(goes_nowhere, "that it goes nowhere")?;
                nothing(&self.found.copied)?;
                return self.refused(refused, None);
            }
        };
        self.shares(ways)?;
        let is_it = |backend: Option<&Arc<Destination>>| {
            let name = backend.map(|backend| &backend.name);
            let port = name.and_then(|name| name.port()).map(Port::get);
            name.map(|name| name.without_port()).as_deref() == self.outbound.backend.as_deref()
                && port == self.outbound.backend_port
        };
        let is_taken = |way: &&Way| {
            // What is not sent anywhere names that from which another one takes over.
            let is_first = self.outbound.attempts == 0 && way.instead_of.is_some();
            is_it(way.backend.as_ref()) || (is_first && is_it(way.instead_of.as_ref()))
        };
        // A rule may name a backend twice, with other filters.
        let taken: Vec<_> = ways.iter().filter(is_taken).collect();
        check(!taken.is_empty(), "the backend")?;
        if let ([way], [first, _, ..]) = (&taken[..], &ways[..]) {
            let is_first = std::ptr::eq(*way, first);
            let share = u32::try_from(first.share).map_err(|_| "a share")?;
            let total = u32::try_from(first.total).map_err(|_| "a sum of shares")?;
            self.first = Some((is_first, f64::from(share) / f64::from(total)));
        }
        self.copies(&taken)?;
        let mut last = Err("the backend".to_owned());
        for way in taken {
            let mut one = One { notes: Vec::new(), first: None, ..*self };
            match one.went(way) {
                Ok(how) => {
                    self.notes.append(&mut one.notes);
                    return Ok(how);
                }
                Err(what) => last = Err(what),
            }
        }
        last
    }

    /// Whether copies went where mirrors of the rule have them go, and nowhere else.
    fn copies(&mut self, taken: &[&Way]) -> Checked<()> {
        let Found { said, copied, .. } = self.found;
        let Some(chosen) = &said.rule else { return nothing(copied) };
        let mut head = said.head.clone();
        filters::on_request(&chosen.rule().filters, &chosen.facts(), &mut head);
        let (mut least, mut most, mut told) = (0, 0, Vec::new());
        // What has no backend is not copied either.
        let goes = said.is_http() && taken.iter().any(|way| way.sent.is_some());
        let goes = goes && !said.head.upgrade;
        for mirror in chosen.rule().mirrors().filter(|_| goes) {
            let Backend::Service { name, port } = &mirror.backend else { continue };
            let called = Called::Service(name.clone(), *port);
            let copy = self.lab.explain(self.case.caller, &called, &again(&head));
            told.extend(copy.ways.map_err(|_| "that a copy may go there")?);
            let share = mirror.share;
            least += usize::from(share.numerator() == share.denominator());
            most += usize::from(share.numerator() > 0);
        }
        check((least..=most).contains(&copied.mirrored.len()), "how many copies are sent")?;
        let mut arriving = 0;
        for (_, outcome) in &copied.mirrored {
            self.note(&format!("copy {outcome}"));
            let has_none = |way: &Way| !way.endpoints.iter().any(|one| one.is_callable);
            match *outcome {
                "answered" | "tunnel-refused" => arriving += 1,
                "no-endpoint" => check(told.iter().any(has_none), "that nobody gets the copy")?,
                // Its body never came whole, since the request was answered before.
                "client-gone" => check(self.outbound.reason.is_some(), "that it is copied")?,
                _ => return Err(format!("that the copy ended by {outcome}")),
            }
        }
        let count = copied.inbound.len();
        check((arriving..=copied.mirrored.len()).contains(&count), "how many copies arrive")?;
        for (workload, record) in &copied.inbound {
            let endpoint = told.iter().flat_map(|way| &way.endpoints).find(|endpoint| {
                name(endpoint).as_deref() == Some(workload)
                    && endpoint.is_preferred
                    && judged(endpoint, record).is_ok()
            });
            endpoint.ok_or("who gets the copy, and what becomes of it there")?;
        }
        for arrived in &copied.arrived {
            let got = arrived.head.as_ref().ok_or("that the copy is a request")?;
            check(is_same(&head, got), "what is copied")?;
        }
        let let_through =
            copied.inbound.iter().filter(|(_, record)| record.upstream.is_some()).count();
        check(copied.arrived.len() == let_through, "how many copies the applications get")
    }

    /// Whether the shares are the weights of the rule.
    fn shares(&self, ways: &[Way]) -> Checked<()> {
        let total: u64 = ways.iter().map(|way| way.share).sum();
        check(ways.iter().all(|way| way.total == total && way.share > 0), "the shares")?;
        let Some(chosen) = &self.found.said.rule else {
            return check(ways.len() == 1, "that there is one way");
        };
        let weights = chosen.rule().backends.iter().map(|backend| u64::from(backend.weight.get()));
        let weights: Vec<_> = weights.enumerate().filter(|(_, weight)| *weight > 0).collect();
        let shares: Vec<_> =
            ways.iter().filter_map(|way| Some((way.backend_index?, way.share))).collect();
        check(shares == weights, "whose share is what")
    }

    /// Whether all went as it is said of `way`.
    fn went(&mut self, way: &Way) -> Checked<String> {
        let Found { answer, recorded, .. } = self.found;
        let outbound = self.outbound;
        let attempts = outbound.attempts;
        check(recorded.inbound.len() <= attempts as usize, "how many attempts arrive")?;
        let mut let_through = 0;
        for (workload, record) in recorded.inbound.iter() {
            let endpoint = way.endpoints.iter().find(|one| name(one).as_deref() == Some(workload));
            let endpoint = endpoint.ok_or("the endpoint")?;
            check(endpoint.is_callable, "whether it may be called")?;
            check(record.peer.as_deref() == Some(self.lab.identity(self.case.caller)), "the peer")?;
            check(self.arrives(way, record), "the host or path that arrives")?;
            judged(endpoint, record)?;
            let_through += usize::from(record.upstream.is_some());
        }
        let is_last = |one: &&Endpoint| Some(one.spec.address) == outbound.upstream;
        let last = way.endpoints.iter().find(is_last);
        // Where those are that DNS says, is not said.
        let is_by_name = way.endpoints.is_empty() && outbound.upstream.is_some();
        if outbound.upstream.is_some() && !is_by_name {
            let last = last.ok_or("the endpoint that was tried last")?;
            check(name(last).as_deref() == outbound.workload.as_deref(), "whose endpoint it is")?;
            check(attempts != 1 || last.is_preferred, "which of the endpoints is called")?;
        }
        // Outside, no other proxy is asked.
        let is_outside = is_by_name || last.is_some_and(|last| name(last).is_none());
        if is_outside && outbound.reason.is_none() {
            let_through += attempts as usize;
        }
        check(recorded.arrived.len() == let_through, "how many the applications get")?;
        for arrived in &recorded.arrived {
            self.head_arrives(way, arrived)?;
        }
        self.notes(way);
        self.faults(way)?;
        if let Some(late) = way.late.as_ref().filter(|late| self.is_late(late)) {
            return Ok(late.verdict.reason.to_owned());
        }
        self.tries(way)?;
        if outbound.reason.is_none() && is_by_name {
            check(way.ends.contains(&End::Application), "that an application answers")?;
            return self.by_application(way, None);
        }
        if outbound.reason.is_none() {
            let last = last.ok_or("who answers")?;
            return self.carried(way, last);
        }
        let ends: Vec<&End> = match last {
            Some(endpoint) => vec![&endpoint.end],
            None => way.ends.iter().collect(),
        };
        for end in ends {
            if let End::Caller { refused, server } = end
                && outbound.reason == Some(refused.verdict.reason)
                && outbound.detail == refused.detail
            {
                self.answer_fields(Some(way), &Fields::default())?;
                return self.refused(refused, server.as_ref());
            }
        }
        let _ = answer;
        Err("the caller's proxy's answer".to_owned())
    }

    /// Whether the fault that was put in is the one that is said, and is if it is always.
    fn faults(&self, way: &Way) -> Checked<()> {
        let recorded = self.outbound.fault.as_deref();
        let Some(fault) = &way.fault else { return check(recorded.is_none(), "without a fault") };
        let head = &self.found.said.head;
        let abort = fault.abort.filter(|abort| is_for(abort.with, head));
        let percents = [fault.delay.map(|it| it.percent), abort.map(|it| it.percent)];
        let name = format!("fault/{} ", fault.policy);
        let is_it = recorded.is_none_or(|recorded| recorded.starts_with(&name));
        check(is_it, "which fault is put in")?;
        let is_always = percents.iter().flatten().any(|percent| percent.get() == 100);
        check(!is_always || recorded.is_some(), "that a fault is put in")
    }

    /// Counts what there is to `way`.
    fn notes(&mut self, way: &Way) {
        let Found { recorded, .. } = self.found;
        let traffic = way.backend.as_ref().map(|backend| &backend.traffic);
        let is_outside = way.endpoints.iter().all(|endpoint| name(endpoint).is_none());
        let is_audited = |record: &Record| record.audited.is_some();
        let fault = self.outbound.fault.as_deref().and_then(|fault| fault.rsplit_once(' '));
        let fault = fault.map(|(_, field)| format!("fault {field}"));
        let has_been = [
            ("tried again", self.outbound.attempts > 1),
            ("no retry left", self.outbound.retry_denied.is_some()),
            ("by hash", way.hashed.is_some()),
            ("of a subset", !way.wanted.is_empty()),
            ("taken over", way.instead_of.is_some()),
            ("in a session", traffic.is_some_and(|traffic| traffic.session.is_some())),
            ("near", way.endpoints.iter().any(|one| one.is_callable && !one.is_preferred)),
            ("not callable", way.endpoints.iter().any(|one| !one.is_callable)),
            ("outside", is_outside && self.outbound.upstream.is_some()),
            ("audited outbound", is_audited(self.outbound)),
            ("audited inbound", recorded.inbound.iter().any(|(_, record)| is_audited(record))),
        ];
        for (what, _) in has_been.into_iter().filter(|(_, has_been)| *has_been) {
            self.note(what);
        }
        self.notes.extend(fault);
    }

    /// Whether it ended as `late` says, since the application never answered.
    fn is_late(&self, late: &Refused) -> bool {
        let Found { said, answer, recorded, .. } = self.found;
        let is_it = |record: &Record| {
            record.reason == Some(late.verdict.reason) && record.detail == late.detail
        };
        // If both proxies' time is up at once, it may be the server's that says so.
        let of_server = |record: &Record| record.reason == Some("caller-timeout");
        let is_of_server = recorded.inbound.iter().any(|(_, record)| of_server(record));
        let (status, grpc_status) = said.statuses(late);
        (answer.status, answer.grpc_status) == (status, grpc_status)
            && (is_it(self.outbound) || (self.outbound.reason.is_none() && is_of_server))
    }

    /// Whether it was tried as often as the rule says.
    fn tries(&self, way: &Way) -> Checked<()> {
        let Found { said, recorded, .. } = self.found;
        let outbound = self.outbound;
        let retries = outbound.attempts.saturating_sub(1);
        let policy = said.rule.as_ref().and_then(|chosen| chosen.rule().retry.as_ref());
        let retries_max = policy.map_or(0, |retry| retry.retries_max);
        let end_of = |workload: &str| {
            let mut ends =
                way.endpoints.iter().filter(|one| name(one).as_deref() == Some(workload));
            ends.next().map(|one| &one.end)
        };
        let is_listed = |end: &End| match end {
            // That a call failed does not stand in the status of HTTP.
            End::Server(refused) => policy.is_some_and(|retry| {
                let (status, _) = said.statuses(refused);
                retry.statuses.iter().any(|listed| Some(listed.get()) == status)
            }),
            // Applications answer as they are asked to.
            End::Application => policy.is_some_and(|retry| {
                retry.statuses.iter().any(|listed| listed.get() == status(&said.head))
            }),
            End::Caller { .. } => false,
        };
        // Nobody has processed what a tunnel was refused for.
        let is_free = |end: &End| matches!(end, End::Caller { server: Some(_), .. });
        let inside = recorded.inbound.iter().filter_map(|(workload, _)| end_of(workload));
        // No proxy records what applications outside get.
        let outside = recorded.arrived.iter().filter(|arrived| arrived.is_outside());
        let ends: Vec<_> = inside.chain(outside.map(|_| &End::Application)).collect();
        let again = ends.iter().filter(|end| is_listed(end) || is_free(end)).count();
        check(again >= retries as usize, "that it is tried again")?;
        let last = match outbound.workload.as_deref() {
            Some(workload) => end_of(workload),
            None => outbound.upstream.map(|_| &End::Application),
        };
        let is_asked_for = outbound.reason.is_none() && last.is_some_and(is_listed);
        let is_over = retries >= retries_max || outbound.retry_denied.is_some();
        check(!is_asked_for || is_over, "that it is not tried again")?;
        check(ends.iter().any(|end| is_free(end)) || retries <= retries_max, "how often")
    }

    /// Whether the answer that was passed on is what is said of the endpoint `last`.
    fn carried(&self, way: &Way, last: &Endpoint) -> Checked<String> {
        let Found { said, answer, .. } = self.found;
        match &last.end {
            End::Application => self.by_application(way, name(last)),
            End::Server(refused) => {
                let (status, grpc_status) = said.statuses(refused);
                check(status == answer.status, "the status")?;
                check(grpc_status == answer.grpc_status, "the status of gRPC")?;
                check(answer.reason().as_deref() == Some(refused.verdict.reason), "the reason")?;
                self.answer_fields(Some(way), &Fields::default())?;
                Ok(refused.verdict.reason.to_owned())
            }
            End::Caller { .. } => Err("whose answer it is".to_owned()),
        }
    }

    /// Whether the answer is that of the application of `workload`, or of one outside, after what
    /// filters do to it.
    fn by_application(&self, way: &Way, workload: Option<String>) -> Checked<String> {
        let Found { said, answer, .. } = self.found;
        check(answer.reason().is_none(), "the application's answer")?;
        let place = self.outbound.upstream.map(|at| at.ip().to_string());
        check(answer.app == workload.or(place), "who answers")?;
        if said.is_http() {
            check(answer.status == Some(status(&said.head)), "the status of the application")?;
            let mut fields = Fields::default();
            fields.append(NAME, answer.app.as_deref().unwrap_or_default().as_bytes());
            ANSWER.iter().for_each(|(name, value)| fields.append(name, value.as_bytes()));
            self.answer_fields(Some(way), &fields)?;
            self.stays(way)?;
        }
        Ok("answered".to_owned())
    }

    /// Whether `refused` is what the caller's own proxy has answered.
    fn refused(&self, refused: &Refused, server: Option<&Refused>) -> Checked<String> {
        let Found { said, answer, .. } = self.found;
        let Record { reason, detail, .. } = self.outbound;
        check(*reason == Some(refused.verdict.reason), "the reason")?;
        // A host is called at an address that only its proxy knows.
        let said_detail = refused.detail.replace("0.0.0.0:", &format!("{}:", self.called_ip()));
        check(*detail == said_detail, "the reason in words")?;
        let (status, grpc_status) = said.statuses(refused);
        check(status == answer.status, "the status")?;
        check(grpc_status == answer.grpc_status, "the status of gRPC")?;
        let told = status.map(|_| refused.verdict.reason);
        check(answer.reason().as_deref() == told, "the reason that the caller got")?;
        let server = server.map(|server| format!(" ({})", server.verdict.reason));
        Ok(format!("{}{}", refused.verdict.reason, server.unwrap_or_default()))
    }

    fn called_ip(&self) -> IpAddr {
        self.outbound.destination.ip()
    }

    /// What is done to the answer of what goes `way`.
    fn on_answer(&self, way: Option<&Way>) -> Option<OnAnswer> {
        let said = &self.found.said;
        let chosen = said.rule.as_ref().filter(|_| said.is_http())?;
        let mut on_answer = OnAnswer::new(&chosen.route, chosen.rule_index, &said.head)?;
        if let Some(index) = way.and_then(|way| way.backend_index) {
            on_answer.goes_to(&chosen.rule().backends[index]);
        }
        Some(on_answer)
    }

    /// Whether the answer has the `fields` that were made of it, as the filters on the way say.
    fn answer_fields(&self, way: Option<&Way>, fields: &Fields) -> Checked<()> {
        if self.found.answer.status.is_none() {
            return Ok(());
        }
        let mut expected = fields.clone();
        if let Some(on_answer) = self.on_answer(way) {
            on_answer.apply(&mut expected);
        }
        check(is_alike(&expected, &self.found.answer.fields), "the fields of the answer")
    }

    /// Whether the client is told with whom it stays if it is to.
    fn stays(&self, way: &Way) -> Checked<()> {
        let traffic = way.backend.as_ref().map(|backend| &backend.traffic);
        let carrier = traffic.and_then(|traffic| Some(&traffic.session.as_ref()?.carrier));
        let (mut cookies, mut headers) = match carrier {
            None => (0, 0),
            Some(SessionCarrier::Cookie { .. }) => (1, 0),
            Some(SessionCarrier::Header(_)) => (0, 1),
        };
        if let Some(HashOn::Cookie { name, ttl_seconds: Some(_) }) = &way.hashed {
            let is_it = |pair: &[u8]| pair.trim_ascii().starts_with(format!("{name}=").as_bytes());
            let mut values = self.found.said.head.fields.values("cookie");
            let has_one = values.any(|value| value.split(|byte| *byte == b';').any(is_it));
            cookies += usize::from(!has_one);
        }
        for name in STAYING {
            let told = self.found.answer.fields.values(name).count();
            let expected = std::mem::replace(&mut cookies, std::mem::take(&mut headers));
            // Who is part of a session already is not told again.
            let is_told = told == expected || (self.is_again && told < expected);
            check(is_told, "that the client is told where it stays")?;
        }
        Ok(())
    }

    /// Whether `record` of the server's proxy is one of a request as it is said to be sent.
    fn arrives(&self, way: &Way, record: &Record) -> bool {
        let Some((authority, target)) = &way.sent else { return !record.protocol.has_requests() };
        // What is refused before it is read has none.
        !record.protocol.has_requests()
            || (*authority == record.authority && *target == record.target)
    }

    /// Whether an application got the head that the filters on the way make.
    fn head_arrives(&self, way: &Way, arrived: &Arrived) -> Checked<()> {
        let said = &self.found.said;
        let Some(got) = arrived.head.as_ref().filter(|_| said.is_http()) else {
            return check(!said.is_http(), "that the application gets a request");
        };
        let mut head = said.head.clone();
        if let Some(chosen) = &said.rule {
            filters::on_request(&chosen.rule().filters, &chosen.facts(), &mut head);
            if let Some(index) = way.backend_index {
                let filters = &chosen.rule().backends[index].filters;
                filters::on_request(filters, &chosen.facts(), &mut head);
            }
        }
        check(is_same(&head, got), "what the application gets")
    }
}

fn nothing(copied: &Recorded) -> Checked<()> {
    let is_nothing = copied.inbound.is_empty() && copied.mirrored.is_empty();
    check(is_nothing && copied.arrived.is_empty(), "that nothing is copied")
}

/// The request with this head, as its caller would send it.
fn again(head: &RequestHead) -> Sent {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = head.fields.iter().map(|(name, value)| (text(name).to_lowercase(), text(value)));
    Sent::Http2 {
        method: head.method().to_owned(),
        authority: head.authority().to_owned(),
        path: head.target().to_owned(),
        fields: fields.filter(|(name, _)| name != "host").collect(),
    }
}

/// Whether a head asks for what it is said to ask for.
fn is_same(said: &RequestHead, got: &RequestHead) -> bool {
    [said.method(), said.authority(), said.target()]
        == [got.method(), got.authority(), got.target()]
        && is_alike(&said.fields, &got.fields)
}

/// Whether what is said of an endpoint is what its proxy recorded.
fn judged(endpoint: &Endpoint, record: &Record) -> Checked<()> {
    let audited: Vec<_> =
        endpoint.audits.iter().map(|told| format!("{} {}", told.policy(), told.field())).collect();
    check(audited.join(", ") == record.audited.as_deref().unwrap_or_default(), "the audit")?;
    let refused = match &endpoint.end {
        End::Application => return check(record.upstream.is_some(), "what is let through"),
        End::Server(refused) => refused,
        End::Caller { server: Some(refused), .. } => refused,
        End::Caller { server: None, .. } => return Err("that it arrives".to_owned()),
    };
    check(record.reason == Some(refused.verdict.reason), "why the server's proxy refuses")?;
    check(record.detail == refused.detail, "what the server's proxy recorded")?;
    check(record.upstream.is_none(), "what is not let through")
}

/// The workload that an endpoint is of.
pub(super) fn name(endpoint: &Endpoint) -> Option<String> {
    match &endpoint.spec.reach {
        Reach::Tunnel(target) => Some(target.workload.to_string()),
        Reach::NotInMesh(workload) => Some(workload.to_string()),
        Reach::Application | Reach::Plain | Reach::Tls(_) => None,
    }
}

/// What proxies say to each other and to applications, and which no filter says.
const OF_PROXIES: [&str; 8] = [
    "host",
    "grpc-timeout",
    "te",
    "content-type",
    "content-length",
    "date",
    "grpc-status",
    "grpc-message",
];

/// By what clients are told with whom they stay.
const STAYING: [&str; 2] = ["set-cookie", "x-session"];

/// The fields but for those that proxies make, in lower case, each with its values in their order.
pub(super) fn own_fields(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    let lower = |(name, value): (&[u8], &[u8])| {
        (String::from_utf8_lossy(name).to_lowercase(), value.to_vec())
    };
    let mut all: Vec<_> = fields.iter().map(lower).collect();
    let is_of_proxies = |name: &str| OF_PROXIES.contains(&name) || name.starts_with("weft-");
    all.retain(|(name, _)| !is_of_proxies(name) && !STAYING.contains(&&**name));
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

fn is_alike(one: &Fields, other: &Fields) -> bool {
    own_fields(one) == own_fields(other)
}
