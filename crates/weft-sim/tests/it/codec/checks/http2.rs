//! Heads that came in HTTP/2, and go on in HTTP/1.

use weft_http::http2::{Pseudo, read_request, read_response, read_trailers};
use weft_http::response::{Framing, Keep};
use weft_http::{BodySize, Fields, HeadLimits, RequestHead, ResponseHead, request, response};

use super::fields_of;

/// The input: a byte of flags, two of a status, then lines: method, authority, path, and fields
/// with a colon between name and value.
struct Input<'i> {
    flags: u8,
    status: u16,
    start: [&'i str; 3],
    fields: Vec<(&'i [u8], &'i [u8])>,
}

impl<'i> Input<'i> {
    fn read(input: &'i [u8]) -> Option<Input<'i>> {
        let (&[flags, high, low], rest) = input.split_first_chunk()?;
        let mut lines = rest.split(|&byte| byte == b'\n');
        let mut text = || std::str::from_utf8(lines.next()?).ok();
        let start = [text()?, text()?, text()?];
        let fields = lines.filter_map(|line| {
            let colon = line.iter().skip(1).position(|&byte| byte == b':')? + 1;
            Some((&line[..colon], &line[colon + 1..]))
        });
        let status = u16::from_be_bytes([high, low]);
        Some(Input { flags, status, start, fields: fields.collect() })
    }

    fn is_set(&self, bit: u8) -> bool {
        self.flags & 1 << bit != 0
    }
}

/// A head that is taken from HTTP/2 is one head, the same, when it is written in HTTP/1.
pub fn http2_head(input: &[u8]) {
    let Some(input) = Input::read(input) else { return };
    as_request(&input);
    as_response(&input);
    let mut trailers = Fields::default();
    if read_trailers(input.fields.iter().copied(), &mut trailers).is_ok() {
        assert!(trailers.iter().all(|(name, _)| name != b"content-length" && name != b"host"));
    }
}

fn as_request(input: &Input<'_>) {
    let [method, authority, path] = input.start;
    let scheme = input.is_set(0).then_some(if input.is_set(1) { "https" } else { "http" });
    let authority = input.is_set(2).then_some(authority);
    let pseudo = Pseudo { method, scheme, authority, path };
    let mut head = RequestHead::default();
    let fields = input.fields.iter().copied();
    let Ok(size) = read_request(&pseudo, fields, input.is_set(3), &mut head) else { return };
    assert_eq!((head.method(), head.target()), (method, path));
    assert!(head.fields.get("host").is_none() && !head.upgrade);
    if method == "CONNECT" {
        return;
    }
    let mut written = Vec::new();
    request::write(&head, size, &mut written);
    let mut again = RequestHead::default();
    let parsed = request::parse_within(HeadLimits::MESH, &written, &mut again)
        .expect("it was written by us");
    let parsed = parsed.expect("it was written in whole");
    assert_eq!((parsed.bytes, parsed.keep_alive), (written.len(), true));
    assert_eq!(parsed.size, size);
    assert_eq!(
        (again.method(), again.target(), again.authority(), again.upgrade),
        (head.method(), head.target(), head.authority(), false),
    );
    again.fields.remove(b"host");
    let mut sent = fields_of(&head.fields);
    let mut taken = fields_of(&again.fields);
    sent.sort();
    taken.sort();
    // Said twice, `te: trailers` is said once in HTTP/1.
    sent.dedup_by(|one, other| one == other && one.0 == b"te");
    assert_eq!(taken, sent);
}

fn as_response(input: &Input<'_>) {
    let (has_ended, to_head) = (input.is_set(3), input.is_set(4));
    let mut head = ResponseHead::default();
    let fields = input.fields.iter().copied();
    let read = read_response(input.status, fields, has_ended, to_head, &mut head);
    let Ok(size) = read else { return };
    assert!(head.status == input.status && head.status != 101);
    // A body whose length nothing states goes on in chunks.
    let is_stated = size != BodySize::Unknown && head.fields.get("content-length").is_some();
    let framing =
        if is_stated || size == BodySize::None { Framing::Plain } else { Framing::Chunked };
    let mut written = Vec::new();
    response::write(&head, size, framing, Keep::Implied, &mut written);
    let mut again = ResponseHead::default();
    let parsed = response::parse_within(HeadLimits::MESH, &written, to_head, &mut again)
        .expect("it was written by us");
    let parsed = parsed.expect("it was written in whole");
    assert_eq!((parsed.bytes, again.status), (written.len(), head.status));
    assert!(!parsed.upgrade && parsed.keep_alive);
    assert_eq!(fields_of(&again.fields), fields_of(&head.fields));
}
