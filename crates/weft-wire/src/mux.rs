//! Many streams of bytes in one tunnel, in frames.
//!
//! A frame begins with eight bytes: its kind, a number of three bytes and the stream's number of
//! four, most significant first. Behind a frame of data come as many bytes as its number says;
//! nothing comes behind the others.
//!
//! The client opens streams, by the first frame that it sends on each; their numbers grow, from 1.
//! Each direction of a stream begins with room for [`WINDOW_BYTES_FIRST`]. [`Frame::Credit`] adds
//! to it as bytes are read, and up to [`WINDOW_BYTES`] where the reader has as much memory for it.
//! What comes for a stream that has ended is ignored: it was under way.

use thiserror::Error;

/// The length of a frame without its data, in bytes.
pub const HEADER_BYTES: usize = 8;

/// The most data in one frame, in bytes: together they fill one TLS record.
pub const DATA_BYTES_MAX: usize = 16 * 1024 - HEADER_BYTES;

/// How many bytes may be on their way in one direction of a stream before any were read: a frame.
pub const WINDOW_BYTES_FIRST: u32 = 16_376;

/// How many bytes may ever be on their way in one direction of a stream.
pub const WINDOW_BYTES: u32 = 128 * 1024;

/// The most streams that a client has open at a time.
pub const STREAMS_MAX: usize = 128;

/// The largest number that a frame carries.
const NUMBER_MAX: u32 = (1 << 24) - 1;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// So many bytes of the stream follow, from 1 to [`DATA_BYTES_MAX`].
    Data(usize),
    /// The sender has ended its direction of the stream.
    End,
    /// The sender has given up the stream, in both directions.
    Reset,
    /// The receiver may send so many bytes more, from 1 to [`WINDOW_BYTES`].
    Credit(u32),
    /// The sender, a server, has not processed and will not process any stream with a number above
    /// this frame's, which may be 0. It is about to end.
    GoAway,
    /// The sender, a server, has not processed and will not process this stream: too many are open.
    Refused,
}

/// A frame that its rules do not allow. The connection cannot be used further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MuxError {
    /// There is no such kind of frame.
    #[error("there is no kind {0} of frames")]
    Kind(u8),
    /// Its number is out of range.
    #[error("the number {0} in a frame is out of range")]
    Number(u32),
    /// It is for no stream, or for one that was never opened.
    #[error("a frame for stream {0}, which was never opened")]
    Stream(u32),
    /// More bytes came than the window allows.
    #[error("more bytes on stream {0} than its window allows")]
    Window(u32),
    /// It is said not to be processed, and something came on it.
    #[error("stream {0} is answered, and is said not to be processed")]
    Answered(u32),
    /// So many frames came that had to be answered, and no answer was read.
    #[error("it is told what it asks for and does not read it")]
    Unread,
}

impl Frame {
    /// The bytes with which this frame begins, on `stream`.
    pub fn encode(self, stream: u32) -> [u8; HEADER_BYTES] {
        let (kind, number) = match self {
            Frame::Data(length) => (1, u32::try_from(length).unwrap_or(NUMBER_MAX)),
            Frame::End => (2, 0),
            Frame::Reset => (3, 0),
            Frame::Credit(bytes) => (4, bytes),
            Frame::GoAway => (5, 0),
            Frame::Refused => (6, 0),
        };
        debug_assert!(number <= NUMBER_MAX);
        let ([_, high, middle, low], stream) = (number.to_be_bytes(), stream.to_be_bytes());
        [kind, high, middle, low, stream[0], stream[1], stream[2], stream[3]]
    }

    /// The frame at the start of `input` and its stream; `None` if it is not complete yet.
    ///
    /// # Errors
    /// [`MuxError`] if there is no such frame.
    pub fn decode(input: &[u8]) -> Result<Option<(Frame, u32)>, MuxError> {
        let Some(&[kind, high, middle, low, a, b, c, d]) = input.first_chunk() else {
            return Ok(None);
        };
        let number = u32::from_be_bytes([0, high, middle, low]);
        let stream = u32::from_be_bytes([a, b, c, d]);
        let frame = match (kind, number) {
            (1, 1..) if number as usize <= DATA_BYTES_MAX => Frame::Data(number as usize),
            (2, 0) => Frame::End,
            (3, 0) => Frame::Reset,
            (4, 1..=WINDOW_BYTES) => Frame::Credit(number),
            (5, 0) => Frame::GoAway,
            (6, 0) => Frame::Refused,
            (1..=6, _) => return Err(MuxError::Number(number)),
            _ => return Err(MuxError::Kind(kind)),
        };
        if stream == 0 && frame != Frame::GoAway {
            return Err(MuxError::Stream(0));
        }
        Ok(Some((frame, stream)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let frames = [
            Frame::Data(1),
            Frame::Data(DATA_BYTES_MAX),
            Frame::End,
            Frame::Reset,
            Frame::Credit(1),
            Frame::Credit(WINDOW_BYTES),
            Frame::GoAway,
            Frame::Refused,
        ];
        for frame in frames {
            for stream in [1, 77, u32::MAX] {
                let bytes = frame.encode(stream);
                assert_eq!(Frame::decode(&bytes), Ok(Some((frame, stream))));
                assert_eq!(Frame::decode(&bytes[..7]), Ok(None));
            }
        }
        assert_eq!(WINDOW_BYTES_FIRST as usize, DATA_BYTES_MAX);
        assert_eq!(Frame::Data(0x123).encode(0x0456_789a), *b"\x01\x00\x01\x23\x04\x56\x78\x9a");
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let refused = |bytes: &[u8; 8]| Frame::decode(bytes).unwrap_err();
        assert_eq!(refused(b"\0\0\0\0\0\0\0\x01"), MuxError::Kind(0));
        assert_eq!(refused(b"\x07\0\0\0\0\0\0\x01"), MuxError::Kind(7));
        assert_eq!(refused(b"\x01\0\0\0\0\0\0\x01"), MuxError::Number(0));
        assert_eq!(refused(b"\x01\0\x40\0\0\0\0\x01"), MuxError::Number(16_384));
        assert_eq!(refused(b"\x02\0\0\x01\0\0\0\x01"), MuxError::Number(1));
        assert_eq!(refused(b"\x04\0\0\0\0\0\0\x01"), MuxError::Number(0));
        assert_eq!(refused(b"\x04\x02\0\x01\0\0\0\x01"), MuxError::Number(131_073));
        assert_eq!(refused(b"\x01\0\0\x01\0\0\0\0"), MuxError::Stream(0));
    }
}
