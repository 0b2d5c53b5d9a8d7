//! One direction of a connection: what waits to be sent, what is on its way, what waits to be read.
//!
//! Plain data and rules, without a clock: the caller says when things arrive.
//!
//! Deliberately absent: acknowledgements and window updates as packets. The sender knows at once
//! what has arrived and what was read.

use std::collections::VecDeque;
use std::time::Duration;

use crate::entropy::Random;

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// The last part of the handshake: the listener may hand out the connection.
    Established,
    /// Bytes, at least one.
    Data(Vec<u8>),
    /// Nothing follows.
    Fin,
    /// The connection is broken.
    Reset,
}

/// The limits of a direction, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PipeLimits {
    /// Bytes that the sender's system keeps until they have arrived.
    pub(crate) send_buffer: usize,
    /// Bytes on their way and not yet read.
    pub(crate) receive_buffer: usize,
    /// Bytes in one segment.
    pub(crate) segment: usize,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    unsent: VecDeque<u8>,
    in_flight: VecDeque<(Duration, Segment)>,
    in_flight_bytes: usize,
    received: VecDeque<u8>,
    last_due: Duration,
    /// The sender has said that nothing follows.
    pub(crate) ended: bool,
    fin_sent: bool,
    /// What was written is lost, and nothing more is cut from it.
    broken: bool,
    /// The receiver knows that nothing follows.
    pub(crate) fin_received: bool,
    /// Since when the first segment on its way cannot arrive, and the wait before its next try.
    pub(crate) stalled: Option<(Duration, Duration)>,
    /// The arrival of the first segment on its way is on the line of events.
    pub(crate) scheduled: bool,
}

impl Pipe {
    /// How many bytes can be written now.
    pub(crate) fn room(&self, limits: &PipeLimits) -> usize {
        limits.send_buffer.saturating_sub(self.outstanding())
    }

    /// How many bytes were written that have not arrived.
    pub(crate) fn outstanding(&self) -> usize {
        self.unsent.len() + self.in_flight_bytes
    }

    /// Takes bytes to be sent.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        debug_assert!(!self.ended, "nothing follows the end");
        self.unsent.extend(bytes);
    }

    /// The next segment to send, if the receiver has room or there is nothing but the end to tell.
    pub(crate) fn cut(&mut self, limits: &PipeLimits, random: &mut Random) -> Option<Segment> {
        if self.broken {
            return None;
        }
        if self.unsent.is_empty() {
            let end = self.ended && !self.fin_sent;
            self.fin_sent |= end;
            return end.then_some(Segment::Fin);
        }
        let window =
            limits.receive_buffer.saturating_sub(self.in_flight_bytes + self.received.len());
        let most = window.min(limits.segment).min(self.unsent.len());
        if most == 0 {
            return None;
        }
        // Mostly of any size, but each boundary of a short message is to be met, too.
        let bytes = match random.below(8) {
            0 => 1,
            1 => random.size(1, most.min(16)),
            2 => most,
            _ => random.size(1, most),
        };
        Some(Segment::Data(self.unsent.drain(..bytes).collect()))
    }

    /// Puts a segment on its way, to arrive at `due` but never before an earlier one.
    pub(crate) fn send(&mut self, segment: Segment, due: Duration) {
        self.last_due = self.last_due.max(due);
        if let Segment::Data(bytes) = &segment {
            self.in_flight_bytes += bytes.len();
        }
        self.in_flight.push_back((self.last_due, segment));
    }

    /// When the first segment on its way arrives.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.in_flight.front().map(|(due, _)| *due)
    }

    /// Whether the first segment on its way is the last part of the handshake.
    pub(crate) fn is_first_established(&self) -> bool {
        matches!(self.in_flight.front(), Some((_, Segment::Established)))
    }

    /// Takes the first segment on its way.
    pub(crate) fn arrive(&mut self) -> Option<Segment> {
        let (_, segment) = self.in_flight.pop_front()?;
        if let Segment::Data(bytes) = &segment {
            self.in_flight_bytes -= bytes.len();
        }
        Some(segment)
    }

    /// Keeps what arrived until it is read.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.received.extend(bytes);
    }

    /// Bytes that can be read now.
    pub(crate) fn readable(&self) -> usize {
        self.received.len()
    }

    /// Moves the first bytes that arrived into `buffer`, which must not be longer than those.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) {
        let bytes = buffer.len();
        for (place, byte) in buffer.iter_mut().zip(self.received.drain(..bytes)) {
            *place = byte;
        }
    }

    /// Forgets what has not been sent, for good, and with `in_flight` what is on its way.
    pub(crate) fn discard(&mut self, in_flight: bool) {
        self.broken = true;
        self.unsent.clear();
        if in_flight {
            self.in_flight.clear();
            self.in_flight_bytes = 0;
        }
    }

    /// Nothing is left to be sent or to arrive.
    pub(crate) fn is_idle(&self) -> bool {
        self.unsent.is_empty() && self.in_flight.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: PipeLimits = PipeLimits { send_buffer: 100, receive_buffer: 60, segment: 20 };

    /// Sends all that may be sent, each segment being due at a random time.
    fn transmit(pipe: &mut Pipe, random: &mut Random) {
        while let Some(segment) = pipe.cut(&LIMITS, random) {
            let due = Duration::from_millis(random.below(50));
            pipe.send(segment, due);
        }
    }

    proptest! {
        /// Whatever the sizes and the times, the bytes read are the bytes written, within the
        /// limits.
        #[test]
        fn bytes_keep_their_order_and_the_limits(seed: u64, total in 0usize..2_000) {
            let mut random = Random::new(seed);
            let mut pipe = Pipe::default();
            let content: Vec<u8> = (0..total).map(|_| random.next().to_le_bytes()[0]).collect();
            let (mut written, mut read) = (0, Vec::new());
            let mut last_due = Duration::ZERO;
            while !pipe.fin_received {
                if written < total {
                    let bytes = pipe.room(&LIMITS).min(total - written).min(random.size(0, 70));
                    pipe.write(&content[written..written + bytes]);
                    written += bytes;
                } else {
                    pipe.ended = true;
                }
                transmit(&mut pipe, &mut random);
                prop_assert!(pipe.unsent.len() + pipe.in_flight_bytes <= LIMITS.send_buffer);
                prop_assert!(pipe.in_flight_bytes + pipe.received.len() <= LIMITS.receive_buffer);
                if let Some(due) = pipe.next_due() {
                    prop_assert!(due >= last_due, "segments overtake each other");
                    last_due = due;
                }
                match pipe.arrive() {
                    Some(Segment::Data(bytes)) => {
                        prop_assert!((1..=LIMITS.segment).contains(&bytes.len()));
                        pipe.receive(&bytes);
                    }
                    Some(Segment::Fin) => pipe.fin_received = true,
                    _ => {}
                }
                let mut buffer = vec![0; random.size(0, pipe.readable())];
                pipe.read(&mut buffer);
                read.extend(buffer);
            }
            let mut rest = vec![0; pipe.readable()];
            pipe.read(&mut rest);
            read.extend(rest);
            prop_assert_eq!(read, content);
        }
    }

    #[test]
    fn an_unread_direction_fills_up_and_goes_on_when_read() {
        let mut random = Random::new(1);
        let mut pipe = Pipe::default();
        pipe.write(&[7; 100]);
        assert_eq!(pipe.room(&LIMITS), 0);
        transmit(&mut pipe, &mut random);
        while let Some(Segment::Data(bytes)) = pipe.arrive() {
            pipe.receive(&bytes);
        }
        assert_eq!((pipe.readable(), pipe.room(&LIMITS)), (60, 60));
        assert_eq!(pipe.cut(&LIMITS, &mut random), None);
        pipe.read(&mut [0; 10]);
        assert!(pipe.cut(&LIMITS, &mut random).is_some());
    }

    #[test]
    fn the_end_follows_the_last_byte_once() {
        let mut random = Random::new(1);
        let mut pipe = Pipe::default();
        pipe.write(b"x");
        pipe.ended = true;
        assert_eq!(pipe.cut(&LIMITS, &mut random), Some(Segment::Data(b"x".to_vec())));
        assert_eq!(pipe.cut(&LIMITS, &mut random), Some(Segment::Fin));
        assert_eq!(pipe.cut(&LIMITS, &mut random), None);
    }
}
