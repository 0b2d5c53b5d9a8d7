//! The fields of a message, in order and as they were written.

use std::ops::Range;

use crate::GrammarError;

/// What a field takes on the wire of HTTP/1 besides name and value.
pub(crate) const FIELD_OVERHEAD: usize = ": \r\n".len();

/// The most fields that `Connection` may name for removal: each is compared with every field.
const NOMINATED_MAX: usize = 32;

/// Text beyond this size is given back when a head is forgotten, in bytes.
const KEPT_TEXT_BYTES_MAX: usize = 8 * 1024;

/// A piece of the text that a head keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The span of `piece`, which must lie within `whole`.
    pub(crate) fn of(piece: &[u8], whole: &[u8]) -> Span {
        let start = piece.as_ptr() as usize - whole.as_ptr() as usize;
        debug_assert!(start + piece.len() <= whole.len());
        Span::new(start, start + piece.len())
    }

    pub(crate) fn new(start: usize, end: usize) -> Span {
        let narrow = |n| u32::try_from(n).expect("heads are limited to 64 KiB, and edits to less");
        Span { start: narrow(start), end: narrow(end) }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Fields that the proxy itself reads, so that they are found without comparing names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of that name")]
pub enum Known {
    Other,
    Connection,
    ContentLength,
    Expect,
    Host,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    /// Any name that begins with `weft-`.
    Weft,
}

impl Known {
    /// The field called `name`, whatever its case.
    pub fn from_name(name: &[u8]) -> Known {
        let (known, spelling): (Known, &[u8]) = match name.len() {
            2 => (Known::Te, b"te"),
            4 => (Known::Host, b"host"),
            6 => (Known::Expect, b"expect"),
            7 if name[0] | 0x20 == b't' => (Known::Trailer, b"trailer"),
            7 => (Known::Upgrade, b"upgrade"),
            10 if name[0] | 0x20 == b'k' => (Known::KeepAlive, b"keep-alive"),
            10 => (Known::Connection, b"connection"),
            14 => (Known::ContentLength, b"content-length"),
            16 => (Known::ProxyConnection, b"proxy-connection"),
            17 => (Known::TransferEncoding, b"transfer-encoding"),
            18 => (Known::ProxyAuthenticate, b"proxy-authenticate"),
            19 => (Known::ProxyAuthorization, b"proxy-authorization"),
            _ => (Known::Other, b""),
        };
        if name.eq_ignore_ascii_case(spelling) {
            return known;
        }
        let is_weft = name.len() > 5 && name[..5].eq_ignore_ascii_case(b"weft-");
        if is_weft { Known::Weft } else { Known::Other }
    }

    /// Whether the field speaks of one connection only and is never passed on.
    ///
    /// `TE`, `Trailer` and `Upgrade` are judged by their values instead.
    /// Source: RFC 9110, section 7.6.1.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::KeepAlive
                | Known::ProxyAuthenticate
                | Known::ProxyAuthorization
                | Known::ProxyConnection
                | Known::TransferEncoding
        )
    }

    /// Whether a sender can have the field removed by naming it in `Connection`.
    fn may_be_nominated(self) -> bool {
        matches!(self, Known::Other | Known::Expect | Known::Weft)
    }
}

#[derive(Clone, Copy, Debug)]
struct Field {
    known: Known,
    name: Span,
    value: Span,
}

/// The fields of a head or a trailer section, in order and as they were written.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// Everything that spans point into: the head as received, and behind it what was added.
    pub(crate) text: Vec<u8>,
    list: Vec<Field>,
}

impl Fields {
    /// Forgets all fields, and keeps the memory, unless it is that of an unusually large head.
    pub fn clear(&mut self) {
        self.text.clear();
        if self.text.capacity() > KEPT_TEXT_BYTES_MAX {
            self.text = Vec::new();
        }
        self.list.clear();
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|field| (self.slice(field.name), self.slice(field.value)))
    }

    /// The values of the fields called `name`, whatever the case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The value of the first field called `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.list
            .iter()
            .find(|field| self.slice(field.name).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| self.slice(field.value))
    }

    /// The values of a known field.
    pub fn known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.list
            .iter()
            .filter(move |field| field.known == known)
            .map(|field| self.slice(field.value))
    }

    /// Adds a field behind the others.
    pub fn append(&mut self, name: &str, value: &[u8]) {
        debug_assert!(is_token(name.as_bytes()) && value.iter().all(|&byte| is_value(byte)));
        self.add(Known::from_name(name.as_bytes()), name.as_bytes(), value);
    }

    /// Adds a field that was checked.
    pub(crate) fn add(&mut self, known: Known, name: &[u8], value: &[u8]) {
        let (name, value) = (self.add_text(name), self.add_text(value));
        self.list.push(Field { known, name, value });
    }

    /// Gives the first field called `name` this value, removes its further ones, or adds it.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        let value_span = self.add_text(value);
        let Fields { text, list } = self;
        let mut is_set = false;
        list.retain_mut(|field| {
            if !text[field.name.range()].eq_ignore_ascii_case(name.as_bytes()) {
                return true;
            }
            field.value = value_span;
            !std::mem::replace(&mut is_set, true)
        });
        if !is_set {
            let name_span = self.add_text(name.as_bytes());
            let known = Known::from_name(name.as_bytes());
            self.list.push(Field { known, name: name_span, value: value_span });
        }
    }

    /// Puts `value`, behind `joint`, to the end of the last field called `name`, or adds a field.
    pub fn join(&mut self, name: &str, joint: &[u8], value: &[u8]) {
        let Fields { text, list } = self;
        let is_it =
            |field: &&mut Field| text[field.name.range()].eq_ignore_ascii_case(name.as_bytes());
        let Some(field) = list.iter_mut().rev().find(is_it) else {
            return self.append(name, value);
        };
        let start = text.len();
        text.extend_from_within(field.value.range());
        // What is empty is no item of a list.
        if text.len() > start {
            text.extend_from_slice(joint);
        }
        text.extend_from_slice(value);
        field.value = Span::new(start, text.len());
    }

    /// Removes all fields called `name`, whatever the case.
    pub fn remove(&mut self, name: &[u8]) {
        let Fields { text, list } = self;
        list.retain(|field| !text[field.name.range()].eq_ignore_ascii_case(name));
    }

    /// Removes the known fields for which `condition` holds.
    pub fn remove_known(&mut self, mut condition: impl FnMut(Known) -> bool) {
        self.list.retain(|field| field.known == Known::Other || !condition(field.known));
    }

    /// Writes the fields as lines, without the empty line behind them.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    pub(crate) fn slice(&self, span: Span) -> &[u8] {
        &self.text[span.range()]
    }

    pub(crate) fn add_text(&mut self, bytes: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        Span::new(start, self.text.len())
    }

    /// Takes over what `httparse` found. `whole` is what it parsed, already copied to `text`.
    pub(crate) fn adopt(&mut self, parsed: &[httparse::Header<'_>], whole: &[u8]) {
        self.list.clear();
        self.list.extend(parsed.iter().map(|header| Field {
            known: Known::from_name(header.name.as_bytes()),
            name: Span::of(header.name.as_bytes(), whole),
            value: Span::of(header.value, whole),
        }));
    }

    /// Removes what speaks of one connection only, the fields that `Connection` names among it.
    ///
    /// # Errors
    /// [`GrammarError::Head`] if it names more than anybody has reason to.
    /// Source: RFC 9110, section 7.6.1.
    pub(crate) fn strip_hop_by_hop(&mut self) -> Result<(), GrammarError> {
        if self.list.iter().any(|field| field.known == Known::Connection) {
            self.strip_nominated()?;
        }
        self.remove_known(Known::is_hop_by_hop);
        Ok(())
    }

    fn strip_nominated(&mut self) -> Result<(), GrammarError> {
        let Fields { text, list } = self;
        let mut nominated = [Span::default(); NOMINATED_MAX];
        let mut count = 0;
        for field in list.iter().filter(|field| field.known == Known::Connection) {
            // What is known is judged elsewhere: a sender may not take away what frames or
            // addresses the message.
            let items = list_items(&text[field.value.range()]);
            for item in items.filter(|item| Known::from_name(item).may_be_nominated()) {
                let place = nominated.get_mut(count);
                *place.ok_or(GrammarError::Head("connection names more than 32 fields"))? =
                    Span::of(item, text);
                count += 1;
            }
        }
        let nominated = &nominated[..count];
        if nominated.is_empty() {
            return Ok(());
        }
        list.retain(|field| {
            let name = &text[field.name.range()];
            let is_named = |item: &Span| text[item.range()].eq_ignore_ascii_case(name);
            !nominated.iter().any(is_named)
        });
        Ok(())
    }
}

/// The items of a comma-separated list, without white space and empty items.
pub(crate) fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// Whether `bytes` is a token. Source: RFC 9110, section 5.6.2.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// Whether a field value may hold `byte`. Source: RFC 9110, section 5.5.
pub(crate) fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in list {
            fields.append(name, value.as_bytes());
        }
        fields
    }

    fn written(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_are_known_whatever_their_case() {
        for (name, known) in [
            ("HOST", Known::Host),
            ("Te", Known::Te),
            ("trailer", Known::Trailer),
            ("Upgrade", Known::Upgrade),
            ("keep-Alive", Known::KeepAlive),
            ("connection", Known::Connection),
            ("Transfer-Encoding", Known::TransferEncoding),
            ("Weft-Reason", Known::Weft),
            ("weft", Known::Other),
            ("hast", Known::Other),
            ("", Known::Other),
        ] {
            assert_eq!(Known::from_name(name.as_bytes()), known, "{name}");
        }
    }

    #[test]
    fn set_replaces_the_first_and_removes_the_rest() {
        let mut fields = fields(&[("a", "1"), ("X", "old"), ("b", "2"), ("x", "older")]);
        fields.set("x", b"new");
        assert_eq!(written(&fields), "a: 1\r\nX: new\r\nb: 2\r\n");
        fields.set("y", b"added");
        assert_eq!(fields.get("Y"), Some(&b"added"[..]));
    }

    #[test]
    fn what_is_joined_stands_in_the_last_field_of_its_name() {
        let mut fields = fields(&[("X", "1"), ("a", "2"), ("x", "3"), ("empty", "")]);
        for (name, value) in [("X", "4"), ("X", "5"), ("Empty", "6"), ("New", "7")] {
            fields.join(name, b",", value.as_bytes());
        }
        assert_eq!(written(&fields), "X: 1\r\na: 2\r\nx: 3,4,5\r\nempty: 6\r\nNew: 7\r\n");
    }

    #[test]
    fn hop_by_hop_fields_and_those_that_connection_names_are_stripped() {
        let mut fields = fields(&[
            ("Host", "a"),
            ("Connection", "close, X-Secret , host"),
            ("x-secret", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("X-Kept", "2"),
        ]);
        fields.strip_hop_by_hop().unwrap();
        assert_eq!(written(&fields), "Host: a\r\nX-Kept: 2\r\n");
    }

    #[test]
    fn connection_names_a_limited_number_of_fields() {
        let names = |count: usize| {
            (0..count).map(|number| format!("x-{number}, close, te")).collect::<Vec<_>>().join(",")
        };
        // "close" is the name of a field like any other.
        let mut few = fields(&[("X-3", "1"), ("Connection", &names(NOMINATED_MAX / 2))]);
        few.strip_hop_by_hop().unwrap();
        assert!(few.is_empty());
        let mut many = fields(&[("Connection", &names(NOMINATED_MAX))]);
        assert!(matches!(many.strip_hop_by_hop(), Err(GrammarError::Head(_))));
    }

    #[test]
    fn the_memory_of_a_large_head_is_given_back() {
        let mut fields = fields(&[("a", &"v".repeat(60_000))]);
        fields.clear();
        assert_eq!(fields.text.capacity(), 0);
        fields.append("a", b"1");
        let kept = fields.text.capacity();
        fields.clear();
        assert_eq!(fields.text.capacity(), kept);
    }
}
