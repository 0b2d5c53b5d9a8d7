//! What holds for every input of the parsers of foreign bytes, whatever it is.
//!
//! Each function takes any bytes and panics if a promise is broken. `fuzz/` looks for such bytes,
//! and a test replays those that it kept.

use weft_http::response::{Framing, Keep};
use weft_http::{
    BodyDecoder, BodyEncoder, BodySize, Fields, GrammarError, HeadLimits, RequestHead,
    ResponseHead, Step, request, response,
};
use weft_wire::tunnel::{Answer, Preface, decode, encode};

// Found from here whether a test or a target of `fuzz/` takes this file in.
#[path = "checks/dns.rs"]
mod dns;
#[path = "checks/http2.rs"]
mod http2;
#[path = "checks/identity.rs"]
mod identity;
#[path = "checks/requests.rs"]
mod requests;
#[path = "checks/resources.rs"]
mod resources;
#[path = "checks/wire.rs"]
mod wire;

pub use dns::{dns_answer, dns_message};
pub use http2::http2_head;
pub use identity::{certificate_request, identity_text, join_token};
pub use requests::{
    cors_fields, protocol, request_target, timeout_field, tls_hello, trace_context,
};
pub use resources::resources;
pub use wire::{
    discovered_object, discovery_request, discovery_response, grpc_frames, mux_frames, saved_state,
};

/// A check of one parser.
pub type Check = fn(&[u8]);

/// Every check, with the name of its target and corpus.
pub const CHECKS: &[(&str, Check)] = &[
    ("request_head", request_head),
    ("response_head", response_head),
    ("chunked_body", chunked_body),
    ("tunnel_frames", tunnel_frames),
    ("mux_frames", mux_frames),
    ("http2_head", http2_head),
    ("protocol", protocol),
    ("tls_hello", tls_hello),
    ("request_target", request_target),
    ("cors_fields", cors_fields),
    ("timeout_field", timeout_field),
    ("trace_context", trace_context),
    ("dns_message", dns_message),
    ("dns_answer", dns_answer),
    ("grpc_frames", grpc_frames),
    ("discovery_request", discovery_request),
    ("discovery_response", discovery_response),
    ("discovered_object", discovered_object),
    ("saved_state", saved_state),
    ("join_token", join_token),
    ("identity_text", identity_text),
    ("certificate_request", certificate_request),
    ("resources", resources),
];

/// Some ends of prefixes of `input`: all for a short one.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(1 + length / 100)
}

type Written = Vec<(Vec<u8>, Vec<u8>)>;

fn fields_of(fields: &Fields) -> Written {
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// A written head is lines that all readers see alike.
fn assert_plain_lines(head: &[u8], lines: usize) {
    let text = head.strip_suffix(b"\r\n\r\n").expect("a head ends with an empty line");
    let found: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    assert_eq!(found.len(), lines, "{}", head.escape_ascii());
    for (number, line) in found.iter().enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_plain = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        assert!(line.iter().all(is_plain) && !line.is_empty(), "{}", head.escape_ascii());
        assert!(number == 0 || line[0] > b' ', "{} is folded", head.escape_ascii());
    }
}

/// A request head is read alike wherever it is cut, and what is written is read as what was meant.
pub fn request_head(input: &[u8]) {
    let mut head = RequestHead::default();
    let whole = request::parse(input, &mut head);
    let mut other = RequestHead::default();
    let end = whole.ok().flatten().map_or(input.len(), |parsed| parsed.bytes);
    for cut in cuts(end) {
        match request::parse(&input[..cut], &mut other) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("a head of {end} bytes was complete after {cut}"),
            Err(_) => assert!(whole.is_err(), "refused at {cut}, but not in whole"),
        }
    }
    let Ok(Some(parsed)) = whole else { return };
    assert!(parsed.bytes <= input.len());
    assert_eq!(request::parse(&input[..parsed.bytes], &mut other), Ok(Some(parsed)));
    if head.method() == "CONNECT" {
        assert!(!parsed.keep_alive && head.target().is_empty());
        return;
    }

    assert!(head.target().starts_with('/') || head.target() == "*");
    assert!(head.fields.values("host").count() <= 1);
    let mut written = Vec::new();
    request::write(&head, parsed.size, &mut written);
    let mut again = RequestHead::default();
    let reparsed = request::parse_within(HeadLimits::MESH, &written, &mut again)
        .expect("it was written by us");
    let reparsed = reparsed.expect("it was written in whole");
    assert_eq!(reparsed.bytes, written.len());
    assert_eq!(reparsed.size, parsed.size);
    assert!(reparsed.keep_alive);
    assert_eq!(
        (again.method(), again.target(), again.authority(), again.upgrade),
        (head.method(), head.target(), head.authority(), head.upgrade),
    );
    let mut twice = Vec::new();
    request::write(&again, reparsed.size, &mut twice);
    assert_eq!(twice, written, "written twice it differs");
    let mut lines = 1 + fields_of(&head.fields).len();
    lines += usize::from(head.fields.get("host").is_none());
    lines += usize::from(parsed.size == BodySize::Unknown) + usize::from(head.upgrade);
    assert_plain_lines(&written, lines);
    assert_eq!(
        fields_of(&again.fields).len(),
        fields_of(&head.fields).len() + usize::from(head.fields.get("host").is_none())
    );
}

/// A response head is read alike wherever it is cut, and what is written is read as what was meant.
pub fn response_head(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else { return };
    let to_head = first & 1 == 1;
    let mut head = ResponseHead::default();
    let whole = response::parse(input, to_head, &mut head);
    let mut other = ResponseHead::default();
    let end = whole.ok().flatten().map_or(input.len(), |parsed| parsed.bytes);
    for cut in cuts(end) {
        match response::parse(&input[..cut], to_head, &mut other) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("a head of {end} bytes was complete after {cut}"),
            Err(_) => assert!(whole.is_err(), "refused at {cut}, but not in whole"),
        }
    }
    let Ok(Some(parsed)) = whole else { return };
    assert!(parsed.bytes <= input.len() && (100..=999).contains(&head.status));
    if head.status < 200 || head.status == 204 || head.status == 304 || to_head {
        assert_eq!(parsed.size, BodySize::None);
    }

    let mut written = Vec::new();
    let framing = if parsed.size == BodySize::Unknown { Framing::Chunked } else { Framing::Plain };
    let keep = if parsed.upgrade { Keep::Upgrade } else { Keep::Implied };
    response::write(&head, parsed.size, framing, keep, &mut written);
    let mut again = ResponseHead::default();
    let reparsed = response::parse_within(HeadLimits::MESH, &written, to_head, &mut again)
        .expect("it was written by us");
    let reparsed = reparsed.expect("it was written in whole");
    assert_eq!((reparsed.bytes, reparsed.size), (written.len(), parsed.size));
    assert_eq!((again.status, again.reason()), (head.status, head.reason()));
    assert_eq!((reparsed.upgrade, reparsed.keep_alive), (parsed.upgrade, true));
    assert_eq!(fields_of(&again.fields), fields_of(&head.fields));
    let further = usize::from(framing == Framing::Chunked) + usize::from(parsed.upgrade);
    assert_plain_lines(&written, 1 + fields_of(&head.fields).len() + further);
}

/// What became of a chunked body.
#[derive(Debug, PartialEq, Eq)]
enum Decoded {
    /// Its bytes, its trailers, and how many bytes follow it.
    Whole(Vec<u8>, Written, usize),
    Unfinished(Vec<u8>),
    Refused,
}

/// Decodes `input`, of which a further piece is shown when the decoder has asked for more.
fn decoded(input: &[u8], mut next_piece: impl FnMut() -> usize) -> Decoded {
    let mut decoder = BodyDecoder::new(BodySize::Unknown, false);
    let (mut body, mut trailers) = (Vec::new(), Fields::default());
    let (mut start, mut shown) = (0, 0);
    loop {
        match decoder.step(&input[start..shown], &mut trailers) {
            Ok(Step::Skip(count)) => {
                assert!(count > 0, "no progress");
                start += count;
            }
            Ok(Step::Data(count)) => {
                assert!(count > 0, "no progress");
                // A sink may take less than it is offered.
                let taken = count.min(next_piece());
                body.extend_from_slice(&input[start..start + taken]);
                decoder.consume(taken);
                start += taken;
            }
            Ok(Step::More) if shown == input.len() => {
                assert_eq!(decoder.connection_ended(), Err(GrammarError::Truncated));
                return Decoded::Unfinished(body);
            }
            Ok(Step::More) => shown = (shown + next_piece()).min(input.len()),
            Ok(Step::End) => {
                return Decoded::Whole(body, fields_of(&trailers), input.len() - start);
            }
            Err(_) => return Decoded::Refused,
        }
    }
}

/// The same by a reader that sees all at once and knows no limits: RFC 9112, section 7.1, with
/// trailers left as they are.
fn read_at_once(mut input: &[u8]) -> Option<(Vec<u8>, usize)> {
    fn line<'i>(input: &mut &'i [u8]) -> Option<&'i [u8]> {
        let end = input.iter().position(|&byte| byte == b'\n')?;
        let (line, rest) = input.split_at(end + 1);
        *input = rest;
        line.strip_suffix(b"\r\n")
    }
    let mut body = Vec::new();
    loop {
        let size = line(&mut input)?;
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extensions) = size.split_at(digits);
        if !matches!(extensions.trim_ascii_start(), [] | [b';', ..]) {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        if input.len() < size + 2 || &input[size..size + 2] != b"\r\n" {
            return None;
        }
        body.extend_from_slice(&input[..size]);
        input = &input[size + 2..];
    }
    while !line(&mut input)?.is_empty() {}
    Some((body, input.len()))
}

/// A chunked body is decoded alike wherever it is cut, as a simple reader would; and what is
/// encoded again is decoded as the same.
pub fn chunked_body(input: &[u8]) {
    let Some((&seed, input)) = input.split_first() else { return };
    let mut state = u32::from(seed) + 1;
    let random_piece = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + (state >> 24) as usize % 7
    };
    let whole = decoded(input, || input.len().max(1));
    match (decoded(input, random_piece), &whole) {
        // Of what is refused in the end, more or less may be decoded before.
        (Decoded::Unfinished(_) | Decoded::Refused, Decoded::Refused) => {}
        (cut, whole) => assert_eq!(cut, *whole),
    }
    let Decoded::Whole(body, trailers, left) = whole else { return };
    assert_eq!(read_at_once(input), Some((body.clone(), left)));

    let mut encoder = BodyEncoder::Chunked;
    let mut wire = Vec::new();
    for piece in body.chunks(1 + usize::from(seed)) {
        encoder.before(piece.len(), &mut wire);
        wire.extend_from_slice(piece);
        encoder.after(piece.len(), &mut wire).expect("chunks have no length to keep to");
    }
    let mut fields = Fields::default();
    for (name, value) in &trailers {
        fields.append(std::str::from_utf8(name).expect("names are ASCII"), value);
    }
    encoder.end(&fields, &mut wire).expect("chunks have no length to keep to");
    assert_eq!(decoded(&wire, || 3), Decoded::Whole(body, trailers, 0));
}

/// The frames that open a tunnel are read alike wherever they are cut, and none is misread.
pub fn tunnel_frames(input: &[u8]) {
    let preface = decode::<Preface>(input);
    for cut in cuts(input.len()) {
        match (decode::<Preface>(&input[..cut]), &preface) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (found, whole) => assert_eq!(found, *whole, "cut at {cut}"),
        }
    }
    if let Ok(Some((preface, length))) = preface {
        assert!(length <= input.len());
        let _ = (preface.port(), preface.address(), preface.protocol());
        let frame = encode(&preface);
        // What was sent with unknown fields or defaults written out is shorter when written again.
        if let Ok(frame) = frame {
            let length = frame.len();
            assert_eq!(decode::<Preface>(&frame), Ok(Some((preface, length))));
        }
    }
    if let Ok(Some((answer, length))) = decode::<Answer>(input) {
        assert!(length <= input.len());
        let _ = answer.verdict();
        if let Ok(frame) = encode(&answer) {
            let length = frame.len();
            assert_eq!(decode::<Answer>(&frame), Ok(Some((answer, length))));
        }
    }
}
