//! Whom a connection of TLS is for, which its first message says for all to read.
//!
//! No more is looked at than leads there: what TLS makes of the rest is its two ends' affair.
//! Source: RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3.

use thiserror::Error;

/// How much of a connection is looked through for its first message, in bytes. Those of today's
/// clients have 2,000.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// What the first message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The host that the connection is for, in lower case, if it says one.
    pub server_name: Option<String>,
}

/// Why there is no first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HelloError {
    /// It begins like none of TLS.
    #[error("the connection does not begin with TLS")]
    NotTls,
    /// It has more than one reading, or none.
    #[error("the first message of TLS breaks its rules")]
    Malformed,
    /// It is too long.
    #[error("the first message of TLS has more than 16 KiB")]
    TooLarge,
}

/// What `bytes`, the first of a connection, say; `None` if only more of them can tell.
///
/// # Errors
/// [`HelloError`], which more bytes do not change.
pub fn hello(bytes: &[u8]) -> Result<Option<Hello>, HelloError> {
    let looked_at = &bytes[..bytes.len().min(HELLO_BYTES_MAX)];
    match message(looked_at)? {
        Some(body) => server_name(&body).map(|server_name| Some(Hello { server_name })),
        None if bytes.len() >= HELLO_BYTES_MAX => Err(HelloError::TooLarge),
        None => Ok(None),
    }
}

/// The body of the first message, which may be spread over several records.
fn message(bytes: &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
    const HANDSHAKE: u8 = 22;
    const VERSION_MAJOR: u8 = 3;
    const RECORD_BYTES_MAX: usize = 1 << 14;
    let (mut rest, mut message) = (Reader(bytes), Vec::new());
    loop {
        if let Some(body) = body(&message)? {
            return Ok(Some(body.to_vec()));
        }
        let begins = [HANDSHAKE, VERSION_MAJOR];
        if !rest.0.iter().zip(begins).all(|(found, wanted)| *found == wanted) {
            return Err(HelloError::NotTls);
        }
        let Ok(header) = rest.take(5) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > RECORD_BYTES_MAX {
            return Err(HelloError::Malformed);
        }
        let Ok(payload) = rest.take(length) else { return Ok(None) };
        message.extend_from_slice(payload);
    }
}

/// The body of the handshake message that `message` begins with, once it is whole.
fn body(message: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    const CLIENT_HELLO: u8 = 1;
    let mut rest = Reader(message);
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(HelloError::NotTls);
    }
    if message.len() < 4 {
        return Ok(None);
    }
    rest.take(1)?;
    let length = rest.number(3)?;
    if length > HELLO_BYTES_MAX {
        return Err(HelloError::TooLarge);
    }
    Ok(rest.take(length).ok())
}

/// The host that a ClientHello with this body is for.
fn server_name(body: &[u8]) -> Result<Option<String>, HelloError> {
    const RANDOM_BYTES: usize = 32;
    const SERVER_NAME: usize = 0;
    let mut rest = Reader(body);
    rest.take(2 + RANDOM_BYTES)?;
    let (_session, _ciphers, _compressions) = (rest.block(1)?, rest.block(2)?, rest.block(1)?);
    if rest.is_empty() {
        return Ok(None);
    }
    let mut extensions = rest.block(2)?;
    let mut found = None;
    while !extensions.is_empty() {
        let (kind, content) = (extensions.number(2)?, extensions.block(2)?);
        if kind == SERVER_NAME && found.replace(host(content)?).is_some() {
            return Err(HelloError::Malformed);
        }
    }
    if rest.is_empty() { Ok(found) } else { Err(HelloError::Malformed) }
}

/// The one host of a list of names.
fn host(mut content: Reader<'_>) -> Result<String, HelloError> {
    const HOST_NAME: usize = 0;
    let mut names = content.block(2)?;
    let (kind, name) = (names.number(1)?, names.block(2)?);
    let is_name = !name.is_empty() && name.0.iter().all(u8::is_ascii_graphic);
    if kind != HOST_NAME || !names.is_empty() || !content.is_empty() || !is_name {
        return Err(HelloError::Malformed);
    }
    let name = std::str::from_utf8(name.0).map_err(|_| HelloError::Malformed)?;
    Ok(name.to_ascii_lowercase())
}

/// Bytes that are read from the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, HelloError> {
        let taken = self.take(bytes)?;
        Ok(taken.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    /// What stands behind its length, which has so many bytes.
    fn block(&mut self, bytes: usize) -> Result<Reader<'b>, HelloError> {
        let length = self.number(bytes)?;
        self.take(length).map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - bytes..], content].concat()
    }

    fn extension(kind: u8, content: &[u8]) -> Vec<u8> {
        [&[0, kind][..], &block(2, content)].concat()
    }

    fn named(name: &[u8]) -> Vec<u8> {
        extension(0, &block(2, &[&[0][..], &block(2, name)].concat()))
    }

    /// The message with these extensions.
    fn message_with(extensions: &[Vec<u8>]) -> Vec<u8> {
        let start = [&[3, 3][..], &[7; 32], &block(1, &[9; 32]), &block(2, &[0x13, 1])].concat();
        let body = [start, block(1, &[0]), block(2, &extensions.concat())].concat();
        [&[1][..], &block(3, &body)].concat()
    }

    /// It in records of so many bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[22, 3, 1][..], &block(2, part)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    #[test]
    fn the_name_is_found_however_it_is_divided() {
        let extensions =
            [extension(43, &[2, 3, 4]), named(b"Shop.Example"), extension(21, &[0; 9])];
        let message = message_with(&extensions);
        let expected = Hello { server_name: Some("shop.example".to_owned()) };
        for size in [1, 3, 50, 16_384] {
            let bytes = [records(&message, size), b"what comes then".to_vec()].concat();
            let whole = records(&message, size).len();
            for count in 0..whole {
                assert_eq!(hello(&bytes[..count]), Ok(None), "{count} of {whole}");
            }
            assert_eq!(hello(&bytes), Ok(Some(expected.clone())));
        }
    }

    #[test]
    fn without_a_name_there_is_none() {
        let none = Ok(Some(Hello { server_name: None }));
        assert_eq!(hello(&records(&message_with(&[extension(43, &[0])]), 999)), none);
        // As TLS began, without extensions.
        let body = [&[3, 1][..], &[7; 32], &[0], &block(2, &[0, 47]), &block(1, &[0])].concat();
        let message = [&[1][..], &block(3, &body)].concat();
        assert_eq!(hello(&records(&message, 999)), none);
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        let twice = message_with(&[named(b"a"), named(b"b")]);
        let two = [&[0][..], &block(2, b"a"), &[0], &block(2, b"b")].concat();
        let two = message_with(&[extension(0, &block(2, &two))]);
        let empty = message_with(&[named(b"")]);
        let other_kind = message_with(&[extension(0, &block(2, &[1, 0, 1, b'a']))]);
        let control = message_with(&[named(b"a\0b")]);
        for message in [twice, two, empty, other_kind, control] {
            assert_eq!(hello(&records(&message, 999)), Err(HelloError::Malformed));
        }
        let mut longer = message_with(&[named(b"a")]);
        longer.push(0);
        longer[3] += 1;
        assert_eq!(hello(&records(&longer, 999)), Err(HelloError::Malformed));
        assert_eq!(hello(&[22, 3, 1, 0, 0]), Err(HelloError::Malformed));
        for other in [&b"GET / HTTP/1.1"[..], &[22, 2], &[22, 3, 1, 0, 1, 2], &[0x80, 46]] {
            assert_eq!(hello(other), Err(HelloError::NotTls), "{other:?}");
        }
    }

    #[test]
    fn a_message_is_not_waited_for_without_end() {
        let long = records(&message_with(&[extension(21, &[0; 20_000])]), 16_384);
        assert_eq!(hello(&long), Err(HelloError::TooLarge));
        let small = records(&message_with(&[extension(21, &[0; 9_000])]), 1);
        assert_eq!(hello(&small), Err(HelloError::TooLarge));
        assert_eq!(hello(&small[..HELLO_BYTES_MAX - 1]), Ok(None));
    }
}
