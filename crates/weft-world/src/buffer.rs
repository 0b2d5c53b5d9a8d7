//! Buffers that a connection borrows while it has bytes in hand, and gives back while it is idle.

use std::cell::{Cell, RefCell};

/// The size of a buffer, in bytes: a whole TLS record with its overhead fits.
pub const BUFFER_BYTES: usize = 18 * 1024;

/// The size of a buffer for heads and bulk transfers, in bytes.
pub const LARGE_BUFFER_BYTES: usize = 128 * 1024;

/// How many idle buffers of each size a thread keeps. Beyond, they go back to the allocator.
const IDLE_MAX: [usize; 2] = [64, 8];

/// How many large buffers a thread lends for bulk transfers: 16 MiB. Further transfers make do with
/// small ones, which costs them some speed and nobody the memory of the whole process.
pub const LARGE_BUFFERS_MAX: usize = 128;

const SIZES: [usize; 2] = [BUFFER_BYTES, LARGE_BUFFER_BYTES];

thread_local! {
    static IDLE: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };

    /// How many buffers of each size are lent.
    static LENT: Cell<[usize; 2]> = const { Cell::new([0, 0]) };
}

fn borrow(class: usize) -> Box<[u8]> {
    let mut lent = LENT.get();
    lent[class] += 1;
    LENT.set(lent);
    let idle = IDLE.with_borrow_mut(|idle| idle[class].pop());
    // The last buffer given back is the one most likely still in the processor's cache.
    idle.unwrap_or_else(|| vec![0; SIZES[class]].into_boxed_slice())
}

fn give_back(bytes: Box<[u8]>) {
    let Some(class) = SIZES.iter().position(|&size| size == bytes.len()) else { return };
    // At the end of a thread nobody counts any more.
    let _ = LENT.try_with(|lent| {
        let mut counts = lent.get();
        counts[class] = counts[class].saturating_sub(1);
        lent.set(counts);
    });
    // At the end of a thread its store may be gone already: then the buffer is simply freed.
    let _ = IDLE.try_with(|idle| {
        let kept = &mut idle.borrow_mut()[class];
        if kept.len() < IDLE_MAX[class] {
            kept.push(bytes);
        }
    });
}

/// A queue of bytes that owns memory only while it holds some, or while it is being filled.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The bytes in it.
    pub fn filled(&self) -> &[u8] {
        self.bytes.as_deref().map_or(&[], |bytes| &bytes[self.start..self.end])
    }

    /// The bytes in it, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.start, self.end);
        self.bytes.as_deref_mut().map_or(&mut [], |bytes| &mut bytes[start..end])
    }

    /// How many bytes are in it.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether no byte is in it.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether it holds as much as it can without growing.
    pub fn is_full(&self) -> bool {
        self.bytes.as_ref().is_some_and(|bytes| self.len() == bytes.len())
    }

    /// The room behind the bytes, at least `least` bytes if the largest size allows it. It is to be
    /// filled and then claimed by [`Buffer::fill`]: what it holds before may be another's bytes.
    pub fn room(&mut self, least: usize) -> &mut [u8] {
        let wanted = self.len() + least;
        match &self.bytes {
            None => self.bytes = Some(borrow(usize::from(wanted > BUFFER_BYTES))),
            Some(bytes) if bytes.len() - self.end >= least => {}
            Some(bytes) if wanted <= bytes.len() || bytes.len() == LARGE_BUFFER_BYTES => {
                self.compact()
            }
            Some(_) => self.grow(),
        }
        let end = self.end;
        self.bytes.as_deref_mut().map_or(&mut [], |bytes| &mut bytes[end..])
    }

    /// Whether so many large buffers are lent that bulk transfers make do with small ones.
    pub fn is_scarce() -> bool {
        LENT.get()[1] >= LARGE_BUFFERS_MAX
    }

    /// How much memory this thread has lent, in bytes.
    pub fn lent_bytes() -> usize {
        let [small, large] = LENT.get();
        small * BUFFER_BYTES + large * LARGE_BUFFER_BYTES
    }

    /// As much room as a bulk transfer gets: that of a large buffer, while they are not scarce.
    pub fn bulk_room(&mut self) -> &mut [u8] {
        let has_large = self.bytes.as_ref().is_some_and(|bytes| bytes.len() == LARGE_BUFFER_BYTES);
        let is_large = has_large || !Buffer::is_scarce();
        let least = if is_large && self.is_empty() { LARGE_BUFFER_BYTES } else { 1 };
        self.room(least)
    }

    /// Says that the first `count` bytes of the room were filled.
    pub fn fill(&mut self, count: usize) {
        debug_assert!(self.bytes.as_ref().is_some_and(|bytes| self.end + count <= bytes.len()));
        self.end += count;
    }

    /// Adds `bytes` behind the others.
    ///
    /// # Panics
    /// If they do not fit into the largest size: callers bound what they queue.
    pub fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
            self.fill(bytes.len());
        }
    }

    /// Drops `count` bytes from the front. Memory is given back with the last one.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len());
        self.start += count;
        if self.start == self.end {
            self.release();
        }
    }

    /// Gives the memory back if no byte is in it: to be called before waiting.
    pub fn release_if_empty(&mut self) {
        if self.start == self.end {
            self.release();
        }
    }

    fn release(&mut self) {
        (self.start, self.end) = (0, 0);
        if let Some(bytes) = self.bytes.take() {
            give_back(bytes);
        }
    }

    fn compact(&mut self) {
        if let Some(bytes) = &mut self.bytes {
            bytes.copy_within(self.start..self.end, 0);
        }
        (self.start, self.end) = (0, self.end - self.start);
    }

    fn grow(&mut self) {
        let mut larger = borrow(1);
        let length = self.len();
        larger[..length].copy_from_slice(self.filled());
        self.release();
        self.bytes = Some(larger);
        self.end = length;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_transfers_share_what_large_buffers_there_are() {
        let lend = || {
            let mut buffer = Buffer::default();
            let room = buffer.bulk_room().len();
            (buffer, room)
        };
        let mut lent: Vec<_> = (0..LARGE_BUFFERS_MAX).map(|_| lend()).collect();
        assert!(lent.iter().all(|(_, room)| *room == LARGE_BUFFER_BYTES));
        assert!(Buffer::is_scarce());
        assert_eq!(lend().1, BUFFER_BYTES);
        lent.pop();
        assert!(!Buffer::is_scarce());
        assert_eq!(lend().1, LARGE_BUFFER_BYTES);
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buffer = Buffer::default();
        let (mut pushed, mut read) = (Vec::new(), Vec::new());
        for byte in 0..200u8 {
            let round = usize::from(byte);
            let piece = vec![byte; round * 7 % 1000];
            buffer.push(&piece);
            pushed.extend_from_slice(&piece);
            let take = buffer.len() * (round % 4) / 3;
            read.extend_from_slice(&buffer.filled()[..take.min(buffer.len())]);
            buffer.consume(take.min(buffer.len()));
        }
        read.extend_from_slice(buffer.filled());
        assert!(read == pushed);
    }

    #[test]
    fn an_empty_buffer_holds_no_memory() {
        let mut buffer = Buffer::default();
        assert!(buffer.room(1).len() == BUFFER_BYTES);
        buffer.release_if_empty();
        assert!(buffer.bytes.is_none());
        buffer.push(b"abc");
        buffer.release_if_empty();
        assert_eq!(buffer.filled(), b"abc");
        buffer.consume(3);
        assert!(buffer.bytes.is_none());
    }

    #[test]
    fn it_grows_once_and_is_then_full() {
        let mut buffer = Buffer::default();
        buffer.push(&vec![1; BUFFER_BYTES]);
        assert!(buffer.is_full());
        let room = buffer.room(1).len();
        assert_eq!(room, LARGE_BUFFER_BYTES - BUFFER_BYTES);
        buffer.fill(room);
        assert!(buffer.is_full() && buffer.room(1).is_empty());
    }

    #[test]
    fn whatever_is_done_it_holds_what_was_put_in_and_nothing_of_others() {
        // Another connection's bytes, in every buffer that will be lent.
        let mut others: Vec<Buffer> = (0..20).map(|_| Buffer::default()).collect();
        for (number, other) in others.iter_mut().enumerate() {
            let room = other.room(if number % 2 == 0 { 1 } else { LARGE_BUFFER_BYTES });
            room.fill(0xee);
        }
        drop(others);

        let mut state = 1u64;
        let mut below = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % end.max(1)
        };
        let (mut buffer, mut model) = (Buffer::default(), Vec::new());
        for _ in 0..20_000 {
            let free = LARGE_BUFFER_BYTES - model.len();
            match below(5) {
                0 => {
                    let piece = vec![b'p'; below(free.min(30_000) + 1)];
                    buffer.push(&piece);
                    model.extend_from_slice(&piece);
                }
                1 if free > 0 => {
                    let least = 1 + below(free.min(5_000));
                    let room = buffer.room(least);
                    assert!(room.len() >= least);
                    let count = below(room.len() + 1);
                    room[..count].fill(b'r');
                    buffer.fill(count);
                    model.extend(std::iter::repeat_n(b'r', count));
                }
                2 => buffer.release_if_empty(),
                3 => {
                    buffer.consume(model.len());
                    model.clear();
                }
                _ => {
                    let count = below(model.len() + 1);
                    buffer.consume(count);
                    model.drain(..count);
                }
            }
            assert!(buffer.filled() == model && buffer.filled_mut() == model);
            assert_eq!((buffer.len(), buffer.is_empty()), (model.len(), model.is_empty()));
        }
    }
}
