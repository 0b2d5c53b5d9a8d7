//! Sends what was drawn, as the program of a caller.

use weft_http::http2::{Pseudo, read_request};
use weft_http::{Fields, HeadLimits, RequestHead, ResponseHead, response};
use weft_model::ObjectName;
use weft_proxy::explain::{Called, Sent};
use weft_sim::port;

use super::agree::Found;
use super::called::{EXTRA, Extra, called};
use super::generated::{self, Case};
use super::mesh::{Lab, NAME};
use crate::shop::within;
use crate::*;

/// How long an answer is waited for.
const PATIENCE: Duration = seconds(90);

/// How long it takes until all has been recorded, and until a caller may try again as often as
/// before.
const REST: Duration = seconds(2);

/// What a program was answered. Where it was answered nothing, all is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// The status of HTTP.
    pub(super) status: Option<u16>,
    /// The status of gRPC.
    pub(super) grpc_status: Option<u32>,
    /// The fields of its head.
    pub(super) fields: Fields,
    /// The application that answered.
    pub(super) app: Option<String>,
}

impl Answer {
    fn of(head: &ResponseHead, grpc_status: Option<u32>) -> Answer {
        let app = head.fields.get(NAME).map(|name| String::from_utf8_lossy(name).into_owned());
        Answer { status: Some(head.status), grpc_status, fields: head.fields.clone(), app }
    }

    /// Its `Weft-Reason`.
    pub(super) fn reason(&self) -> Option<String> {
        let reason = self.fields.get("Weft-Reason")?;
        Some(String::from_utf8_lossy(reason).into_owned())
    }
}

/// What the case is on the wire.
pub(super) fn sent(case: &Case) -> Sent {
    let authority = &case.authority;
    match &case.sent {
        generated::Sent::Opaque => Sent::Opaque,
        generated::Sent::Raw(text) => Sent::Http1(text.replace("HOST", authority).into_bytes()),
        generated::Sent::Tls(name) => Sent::Tls(name.map(str::to_owned)),
        generated::Sent::Request { is_http2: false, method, target, headers } => {
            let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
            let text = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n{lines}\r\n");
            Sent::Http1(text.into_bytes())
        }
        generated::Sent::Request { is_http2: true, method, target, headers } => Sent::Http2 {
            method: (*method).to_owned(),
            authority: authority.clone(),
            path: target.clone(),
            fields: fields(headers),
        },
        generated::Sent::Call { path, headers, waits } => {
            let of_grpc = [("te", "trailers"), ("content-type", "application/grpc")];
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let mut fields = fields(headers);
            fields.extend(of_grpc.map(owned));
            fields.extend(waits.map(|waits| owned(("grpc-timeout", waits))));
            Sent::Http2 {
                method: "POST".to_owned(),
                authority: authority.clone(),
                path: (*path).to_owned(),
                fields,
            }
        }
    }
}

fn fields(headers: &[String]) -> Vec<(String, String)> {
    let field = |header: &String| {
        let (name, value) = header.split_once(": ").unwrap();
        (name.to_lowercase(), value.to_owned())
    };
    headers.iter().map(field).collect()
}

/// What the case calls.
pub(super) fn of_case(case: &Case) -> Called {
    let all = called(true);
    match case.called.checked_sub(all.len()).map(|extra| &EXTRA[extra]) {
        None => {
            let called = &all[case.called];
            let name: ObjectName = format!("shop/{}", called.name).parse().unwrap();
            Called::Service(name, port(called.port))
        }
        Some(Extra::Host(host, number)) => Called::Host((*host).into(), port(*number)),
        Some(Extra::Address(ip, number)) => {
            Called::Address(SocketAddr::new(ip.parse().unwrap(), *number))
        }
    }
}

/// Explains the case, then sends it, and collects what all recorded.
pub(super) async fn send(lab: &Lab, case: &Case) -> Found {
    send_as(lab, case, sent(case)).await
}

async fn send_as(lab: &Lab, case: &Case, sent: Sent) -> Found {
    let said = lab.explain(case.caller, &of_case(case), &sent);
    let answer = within(&lab.sim, PATIENCE, ask(lab, case, &sent)).await;
    lab.sim.sleep(REST).await;
    let (recorded, copied) = lab.take();
    Found { said, answer: answer.expect("whatever is sent ends"), recorded, copied }
}

/// Sends the case again with what the answer in `found` says its client is to stay by; nothing if
/// it says nothing.
pub(super) async fn send_again(lab: &Lab, case: &Case, found: &Found) -> Option<Found> {
    let text = |name: &str| {
        let value = found.answer.fields.get(name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let cookie = || {
        let told = text("set-cookie")?;
        Some(("cookie", told.split(';').next().unwrap_or_default().to_owned()))
    };
    let (name, value) = text("x-session").map(|token| ("x-session", token)).or_else(cookie)?;
    let sent = match sent(case) {
        Sent::Http1(mut bytes) => {
            let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
            let line = format!("\r\n{name}: {value}");
            bytes.splice(end..end, line.into_bytes());
            Sent::Http1(bytes)
        }
        Sent::Http2 { method, authority, path, mut fields } => {
            fields.push((name.to_owned(), value));
            Sent::Http2 { method, authority, path, fields }
        }
        Sent::Tls(_) | Sent::Opaque => return None,
    };
    Some(send_as(lab, case, sent).await)
}

async fn ask(lab: &Lab, case: &Case, sent: &Sent) -> Answer {
    match sent {
        Sent::Http2 { method, authority, path, fields } => {
            let pseudo = Pseudo { method, scheme: Some("http"), authority: Some(authority), path };
            let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let mut head = RequestHead::default();
            let read = read_request(&pseudo, fields, false, &mut head);
            read.expect("no program that speaks HTTP/2 sends anything else");
            let client = lab.client(case.caller, case.called).await;
            match client.ask(&head, b"").await {
                Ok(answer) => Answer::of(&answer.head, answer.grpc_status()),
                Err(_) => Answer::default(),
            }
        }
        Sent::Http1(bytes) => exchange(lab, case, bytes).await,
        Sent::Tls(name) => exchange(lab, case, &hello(name.as_deref())).await,
        Sent::Opaque => exchange(lab, case, OPAQUE).await,
    }
}

/// What is no HTTP.
const OPAQUE: &[u8] = b"*1\r\n$4\r\nNAME\r\n";

/// What TLS begins with, for the server `name` if for one.
///
/// Source: RFC 8446, section 4.1.2; RFC 6066, section 3.
fn hello(name: Option<&str>) -> Vec<u8> {
    fn block(length_bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - length_bytes..], content].concat()
    }
    let extension = |kind: u8, content: &[u8]| [&[0, kind][..], &block(2, content)].concat();
    let named = |name: &str| block(2, &[&[0][..], &block(2, name.as_bytes())].concat());
    let mut extensions = extension(43, &[2, 3, 4]);
    extensions.extend(name.map(|name| extension(0, &named(name))).unwrap_or_default());
    let start = [&[3, 3][..], &[7; 32], &[0], &block(2, &[0x13, 1]), &block(1, &[0])].concat();
    let message = [&[1][..], &block(3, &[start, block(2, &extensions)].concat())].concat();
    [&[22, 3, 1][..], &block(2, &message)].concat()
}

/// Sends `bytes` on a connection of their own, and reads what comes back.
async fn exchange(lab: &Lab, case: &Case, bytes: &[u8]) -> Answer {
    let mut stream = lab.connect(case.caller, case.called).await;
    if stream.write_all(bytes).await.is_err() {
        return Answer::default();
    }
    let (mut got, mut buffer) = (Vec::new(), [0; 4_096]);
    let is_head = bytes.starts_with(b"HEAD ");
    loop {
        let mut head = ResponseHead::default();
        let parsed = response::parse_within(HeadLimits::MESH, &got, is_head, &mut head);
        if matches!(parsed, Ok(Some(_))) && head.status >= 200 {
            return Answer::of(&head, None);
        }
        match stream.read(&mut buffer).await {
            Ok(count @ 1..) => got.extend_from_slice(&buffer[..count]),
            Ok(0) | Err(_) => break,
        }
    }
    let app = (!got.is_empty()).then(|| String::from_utf8_lossy(&got).into_owned());
    Answer { app, ..Answer::default() }
}
