//! Where a body ends: by length, in chunks, or with the connection.

use crate::GrammarError;
use crate::fields::{FIELD_OVERHEAD, Fields, is_value};
use crate::message::head_error;

/// The most bytes that framing adds around one piece of a chunked body.
pub const CHUNK_OVERHEAD_MAX: usize = 16 + 2 + 2;

/// The most bytes of a chunk's size line, extensions included.
const SIZE_LINE_BYTES_MAX: usize = 1024;

/// The most bytes of a trailer section.
pub(crate) const TRAILERS_BYTES_MAX: usize = 16 * 1024;

/// The most fields of a trailer section.
pub(crate) const TRAILERS_MAX: usize = 32;

/// What is known of a body before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodySize {
    /// There can be none, whatever the fields say: a response to `HEAD`, 1xx, 204 and 304.
    None,
    /// So many bytes; zero where a request states nothing.
    Length(u64),
    /// It comes in pieces until its end is marked.
    Unknown,
}

impl BodySize {
    /// Whether no byte will come.
    pub fn is_empty(self) -> bool {
        matches!(self, BodySize::None | BodySize::Length(0))
    }
}

/// What a decoder makes of the bytes that it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first so many bytes are framing: drop them and ask again.
    Skip(usize),
    /// The first so many bytes are body. After using some, say so by [`BodyDecoder::consume`].
    Data(usize),
    /// More bytes are needed.
    More,
    /// The body has ended.
    End,
}

/// Finds the body in the bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyDecoder {
    /// So many bytes are left.
    Length(u64),
    /// A body in chunks.
    Chunked(ChunkState),
    /// All bytes until the connection ends.
    UntilClose,
}

/// Where in a chunked body the reader stands. Source: RFC 9112, section 7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkState {
    /// Before a size line.
    Size,
    /// So many bytes of the chunk are left.
    Data(u64),
    /// Before the line end that closes a chunk.
    DataEnd,
    /// Before the trailer section.
    Trailers,
    /// Behind it.
    Ended,
}

impl BodyDecoder {
    /// A decoder for a body of which the head said `size`, where `chunked` bodies can be told from
    /// those that end with the connection.
    pub fn new(size: BodySize, ends_with_connection: bool) -> BodyDecoder {
        match size {
            BodySize::None => BodyDecoder::Length(0),
            BodySize::Length(length) => BodyDecoder::Length(length),
            BodySize::Unknown if ends_with_connection => BodyDecoder::UntilClose,
            BodySize::Unknown => BodyDecoder::Chunked(ChunkState::Size),
        }
    }

    /// Whether nothing of the body is left to be read.
    pub fn has_ended(&self) -> bool {
        matches!(self, BodyDecoder::Length(0) | BodyDecoder::Chunked(ChunkState::Ended))
    }

    /// What the bytes of `input` are. Trailers, once complete, are put into `trailers`.
    ///
    /// # Errors
    /// [`GrammarError`]: the connection cannot be used further.
    pub fn step(&mut self, input: &[u8], trailers: &mut Fields) -> Result<Step, GrammarError> {
        let available = input.len() as u64;
        let data = |left: u64| match usize::try_from(left.min(available)) {
            Ok(0) | Err(_) => Step::More,
            Ok(count) => Step::Data(count),
        };
        match self {
            BodyDecoder::Length(0) | BodyDecoder::Chunked(ChunkState::Ended) => Ok(Step::End),
            BodyDecoder::Length(left) => Ok(data(*left)),
            BodyDecoder::UntilClose => Ok(data(u64::MAX)),
            BodyDecoder::Chunked(ChunkState::Data(left)) => Ok(data(*left)),
            BodyDecoder::Chunked(state) => chunk_framing(state, input, trailers),
        }
    }

    /// Says that `count` bytes of the piece found by [`BodyDecoder::step`] were used.
    pub fn consume(&mut self, count: usize) {
        let count = count as u64;
        match self {
            BodyDecoder::Length(left) => *left -= count,
            BodyDecoder::UntilClose => {}
            BodyDecoder::Chunked(state) => {
                let ChunkState::Data(left) = state else { unreachable!("only data is consumed") };
                *left -= count;
                if *left == 0 {
                    *state = ChunkState::DataEnd;
                }
            }
        }
    }

    /// Judges the end of the connection: the body's proper end, or an early one.
    ///
    /// # Errors
    /// [`GrammarError::Truncated`].
    pub fn connection_ended(&mut self) -> Result<(), GrammarError> {
        match self {
            BodyDecoder::UntilClose => {
                *self = BodyDecoder::Length(0);
                Ok(())
            }
            _ if self.has_ended() => Ok(()),
            _ => Err(GrammarError::Truncated),
        }
    }
}

fn chunk_framing(
    state: &mut ChunkState,
    input: &[u8],
    trailers: &mut Fields,
) -> Result<Step, GrammarError> {
    match state {
        ChunkState::Size => {
            let Some((size, bytes)) = size_line(input)? else { return Ok(Step::More) };
            *state = if size == 0 { ChunkState::Trailers } else { ChunkState::Data(size) };
            Ok(Step::Skip(bytes))
        }
        ChunkState::DataEnd => match input {
            [b'\r', b'\n', ..] => {
                *state = ChunkState::Size;
                Ok(Step::Skip(2))
            }
            [] | [b'\r'] => Ok(Step::More),
            _ => Err(GrammarError::Chunk("a chunk is longer than its size")),
        },
        ChunkState::Trailers => {
            let Some(bytes) = trailer_section(input, trailers)? else { return Ok(Step::More) };
            *state = ChunkState::Ended;
            Ok(Step::Skip(bytes))
        }
        ChunkState::Data(_) | ChunkState::Ended => unreachable!("no framing is read in this state"),
    }
}

/// The size that a size line states, and how many bytes the line takes.
fn size_line(input: &[u8]) -> Result<Option<(u64, usize)>, GrammarError> {
    let window = &input[..input.len().min(SIZE_LINE_BYTES_MAX)];
    let digits = window.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits > 15 {
        return Err(GrammarError::Chunk("the chunk size is too large"));
    }
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        if window.len() == SIZE_LINE_BYTES_MAX {
            return Err(GrammarError::Chunk("the size line is longer than 1024 bytes"));
        }
        // What can be seen already may be wrong already.
        let rest = &window[digits..];
        check_extension(rest.strip_suffix(b"\r").unwrap_or(rest), digits)?;
        return Ok(None);
    };
    let Some(line) = window[..end].strip_suffix(b"\r") else {
        return Err(GrammarError::Chunk("a line ends without a carriage return"));
    };
    check_extension(&line[digits..], digits)?;
    if digits == 0 {
        return Err(GrammarError::Chunk("the chunk size is not a hexadecimal number"));
    }
    let text = std::str::from_utf8(&line[..digits]).expect("hexadecimal digits are ASCII");
    let size = u64::from_str_radix(text, 16).expect("fifteen hexadecimal digits fit");
    Ok(Some((size, end + 1)))
}

/// What may follow the digits: nothing or extensions, which are passed over.
///
/// White space may stand before an extension only: with `1 0` one reader sees one byte, and another
/// sixteen. Source: RFC 9112, section 7.1.1.
fn check_extension(rest: &[u8], digits: usize) -> Result<(), GrammarError> {
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let begins_well = matches!(rest.iter().find(|byte| !is_space(byte)), None | Some(b';'));
    if rest.is_empty() || (digits > 0 && begins_well && rest.iter().all(|&byte| is_value(byte))) {
        return Ok(());
    }
    Err(GrammarError::Chunk("the chunk size is not a hexadecimal number"))
}

fn trailer_section(input: &[u8], trailers: &mut Fields) -> Result<Option<usize>, GrammarError> {
    match input {
        [b'\r', b'\n', ..] => return Ok(Some(2)),
        [b'\n', ..] => return Err(GrammarError::Chunk("a line ends without a carriage return")),
        _ => {}
    }
    let window = &input[..input.len().min(TRAILERS_BYTES_MAX)];
    let mut space = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    match httparse::parse_headers(window, &mut space).map_err(head_error)? {
        httparse::Status::Partial if window.len() == TRAILERS_BYTES_MAX => {
            Err(GrammarError::TooLarge)
        }
        httparse::Status::Partial => Ok(None),
        // `httparse` takes a bare line feed for a line end. Where others do not, the body would end
        // elsewhere.
        httparse::Status::Complete((bytes, _)) if has_bare_line_feed(&window[..bytes]) => {
            Err(GrammarError::Chunk("a line ends without a carriage return"))
        }
        // However it is spelled: the next reader must not find it too large.
        httparse::Status::Complete((_, headers)) if written(headers) > TRAILERS_BYTES_MAX => {
            Err(GrammarError::TooLarge)
        }
        httparse::Status::Complete((bytes, headers)) => {
            trailers.clear();
            trailers.text.extend_from_slice(&window[..bytes]);
            trailers.adopt(headers, window);
            // A trailer may not say what only a head can. Source: RFC 9110, section 6.5.1.
            trailers.remove_known(|_| true);
            Ok(Some(bytes))
        }
    }
}

/// How many bytes a trailer section of `headers` is when this side writes it.
fn written(headers: &[httparse::Header<'_>]) -> usize {
    let fields = headers.iter().map(|one| one.name.len() + one.value.len() + FIELD_OVERHEAD);
    fields.sum::<usize>() + "\r\n".len()
}

fn has_bare_line_feed(lines: &[u8]) -> bool {
    lines.starts_with(b"\n") || lines.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
}

/// Frames a body for the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoder {
    /// So many bytes are still owed.
    Length(u64),
    /// In chunks.
    Chunked,
    /// As it comes; the connection's end is the body's.
    UntilClose,
}

impl BodyEncoder {
    /// Writes what goes before a piece of `length` bytes.
    pub fn before(&self, length: usize, out: &mut Vec<u8>) {
        debug_assert!(length > 0, "an empty chunk would end the body");
        if *self == BodyEncoder::Chunked {
            write_hexadecimal(length as u64, out);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Writes what goes behind a piece of `length` bytes.
    ///
    /// # Errors
    /// [`GrammarError::Length`] if the body grows longer than was stated.
    pub fn after(&mut self, length: usize, out: &mut Vec<u8>) -> Result<(), GrammarError> {
        match self {
            BodyEncoder::Chunked => out.extend_from_slice(b"\r\n"),
            BodyEncoder::UntilClose => {}
            BodyEncoder::Length(left) => {
                *left = left
                    .checked_sub(length as u64)
                    .ok_or(GrammarError::Length("the body is longer than stated"))?;
            }
        }
        Ok(())
    }

    /// Writes the end of the body.
    ///
    /// # Errors
    /// [`GrammarError::Truncated`] if the body is shorter than was stated.
    pub fn end(&mut self, trailers: &Fields, out: &mut Vec<u8>) -> Result<(), GrammarError> {
        match self {
            BodyEncoder::Length(0) | BodyEncoder::UntilClose => Ok(()),
            BodyEncoder::Length(_) => Err(GrammarError::Truncated),
            BodyEncoder::Chunked => {
                out.extend_from_slice(b"0\r\n");
                trailers.write(out);
                out.extend_from_slice(b"\r\n");
                *self = BodyEncoder::Length(0);
                Ok(())
            }
        }
    }
}

/// Writes `number` in decimal digits.
pub(crate) fn write_decimal(number: u64, out: &mut Vec<u8>) {
    write_digits(number, 10, out);
}

fn write_hexadecimal(number: u64, out: &mut Vec<u8>) {
    write_digits(number, 16, out);
}

fn write_digits(mut number: u64, base: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdef"[usize::from((number % base).to_le_bytes()[0])];
        number /= base;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests;
