//! What is spoken on a port.

/// What is spoken on a port, above TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Nothing is declared: the first bytes decide, HTTP or opaque. The default, since most
    /// Services declare nothing.
    #[default]
    Detect,
    /// HTTP, in the version that the client speaks.
    Http,
    /// HTTP/2 in plaintext.
    Http2,
    /// gRPC, which is HTTP/2.
    Grpc,
    /// WebSocket, which begins as HTTP/1.1.
    WebSocket,
    /// The application's own TLS, passed through.
    Tls,
    /// Bytes that only the applications understand.
    Opaque,
}

impl Protocol {
    /// Whether requests can be seen: rules about them hold here, and other bytes are refused.
    pub fn is_http(self) -> bool {
        match self {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::WebSocket => true,
            Protocol::Detect | Protocol::Tls | Protocol::Opaque => false,
        }
    }
}
