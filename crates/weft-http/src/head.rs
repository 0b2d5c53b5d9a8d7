//! Heads of requests and responses, whatever protocol brought them.

use crate::fields::{Fields, Span};

/// The protocol version that a message came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// The head of a request. Made once for a connection and filled again for each request.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub(crate) method: Span,
    pub(crate) target: Span,
    pub(crate) authority: Span,
    /// The protocol version that it came in.
    pub version: Version,
    /// Whether the caller asked to speak WebSocket on this connection.
    pub upgrade: bool,
    /// The fields, without those that speak of one connection only.
    pub fields: Fields,
}

impl RequestHead {
    /// Forgets the request, and keeps the memory.
    pub fn clear(&mut self) {
        let RequestHead { method, target, authority, version, upgrade, fields } = self;
        (*method, *target, *authority) = (Span::default(), Span::default(), Span::default());
        (*version, *upgrade) = (Version::default(), false);
        fields.clear();
    }

    /// The method, as in `GET`.
    pub fn method(&self) -> &str {
        self.text(self.method)
    }

    /// Path and query as sent, as in `/items?page=2`; `*` in `OPTIONS *`; empty in `CONNECT`.
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// The path alone, without the query.
    pub fn path(&self) -> &str {
        let target = self.target();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// Host and port as sent, as in `cart:8080`. Empty where HTTP/1.0 gave none.
    pub fn authority(&self) -> &str {
        self.text(self.authority)
    }

    /// Changes path and query.
    pub fn set_target(&mut self, target: &str) {
        self.target = self.fields.add_text(target.as_bytes());
    }

    /// Changes the authority, and the `Host` field with it.
    pub fn set_authority(&mut self, authority: &str) {
        self.authority = self.fields.add_text(authority.as_bytes());
        self.fields.set("Host", authority.as_bytes());
    }

    /// Whether sending it twice does no more than sending it once.
    ///
    /// Source: RFC 9110, section 9.2.2.
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.fields.slice(span)).expect("start lines are checked to be ASCII")
    }
}

/// The head of a response.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// The status code, 100 to 999.
    pub status: u16,
    pub(crate) reason: Span,
    /// The protocol version that it came in.
    pub version: Version,
    /// The fields, without those that speak of one connection only.
    pub fields: Fields,
}

impl ResponseHead {
    /// A head with this status, the standard phrase for it and no fields.
    pub fn with_status(status: u16) -> ResponseHead {
        let mut head = ResponseHead { status, ..ResponseHead::default() };
        head.reason = head.fields.add_text(phrase(status).as_bytes());
        head
    }

    /// Forgets the response, and keeps the memory.
    pub fn clear(&mut self) {
        let ResponseHead { status, reason, version, fields } = self;
        (*status, *reason, *version) = (0, Span::default(), Version::default());
        fields.clear();
    }

    /// The reason phrase as sent. It may be empty and is not always ASCII.
    pub fn reason(&self) -> &[u8] {
        self.fields.slice(self.reason)
    }
}

/// The standard phrase of the status codes that Weft itself answers with.
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
