//! What requests and responses have in common on the wire.

use crate::fields::{Fields, Known, list_items};
use crate::{BodySize, GrammarError};

/// The length of the body that the fields state, if they state one.
///
/// # Errors
/// [`GrammarError::Length`] or [`GrammarError::TransferEncoding`] where there is more than one
/// reading. Source: RFC 9112, sections 6.1 to 6.3, strictly.
pub(crate) fn stated_size(
    fields: &Fields,
    is_http10: bool,
) -> Result<Option<BodySize>, GrammarError> {
    let mut codings = fields.known(Known::TransferEncoding);
    let coding = codings.next();
    if codings.next().is_some() {
        return Err(GrammarError::TransferEncoding);
    }
    let length = stated_length(fields)?;
    let Some(coding) = coding else {
        return Ok(length.map(BodySize::Length));
    };
    if !coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Err(GrammarError::TransferEncoding);
    }
    if is_http10 {
        return Err(GrammarError::Length("transfer-encoding in HTTP/1.0"));
    }
    if length.is_some() {
        return Err(GrammarError::Length("both transfer-encoding and content-length"));
    }
    Ok(Some(BodySize::Unknown))
}

pub(crate) fn stated_length(fields: &Fields) -> Result<Option<u64>, GrammarError> {
    let mut stated = None;
    for value in fields.known(Known::ContentLength) {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().filter(|_| is_number);
        let Some(length) = length.and_then(|text| text.parse::<u64>().ok()) else {
            return Err(GrammarError::Length("content-length is not a number"));
        };
        // The same length twice has only one reading, but no honest sender writes it.
        if stated.replace(length).is_some() {
            return Err(GrammarError::Length("content-length is given twice"));
        }
    }
    Ok(stated)
}

/// Whether the sender will keep the connection open, and whether it wants to change protocols.
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

pub(crate) fn connection_options(fields: &Fields) -> ConnectionOptions {
    let mut options = ConnectionOptions { close: false, keep_alive: false, upgrade: false };
    for item in fields.known(Known::Connection).flat_map(list_items) {
        options.close |= item.eq_ignore_ascii_case(b"close");
        options.keep_alive |= item.eq_ignore_ascii_case(b"keep-alive");
        options.upgrade |= item.eq_ignore_ascii_case(b"upgrade");
    }
    options
}

/// Whether the fields ask for WebSocket, the one protocol that may be changed to, and for no other.
pub(crate) fn asks_for_websocket(fields: &Fields, options: &ConnectionOptions) -> bool {
    let mut wanted = fields.known(Known::Upgrade);
    let is_websocket = wanted.next().is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"));
    options.upgrade && is_websocket && wanted.next().is_none()
}

/// Keeps of `TE` what may be passed on: whether trailers are welcome.
pub(crate) fn reduce_te(fields: &mut Fields) {
    if fields.known(Known::Te).next().is_none() {
        return;
    }
    let wants_trailers = fields
        .known(Known::Te)
        .flat_map(list_items)
        .any(|item| item.eq_ignore_ascii_case(b"trailers"));
    if wants_trailers {
        fields.set("TE", b"trailers");
    } else {
        fields.remove_known(|known| known == Known::Te);
    }
}

/// The error that `httparse` reported, in our words.
pub(crate) fn head_error(error: httparse::Error) -> GrammarError {
    match error {
        httparse::Error::HeaderName => GrammarError::Head("invalid field name"),
        httparse::Error::HeaderValue => GrammarError::Head("invalid field value"),
        httparse::Error::NewLine => GrammarError::Head("invalid line end"),
        httparse::Error::Status => GrammarError::Head("invalid status"),
        httparse::Error::Token => GrammarError::Head("invalid start line"),
        httparse::Error::TooManyHeaders => GrammarError::TooLarge,
        httparse::Error::Version => GrammarError::Version,
    }
}
