//! A TLS session over a stream, with buffers that are borrowed only while bytes are in hand.
//!
//! rustls' buffered interface reads 4 KiB at a time and keeps its buffers while a connection is
//! idle; this one reads as much as there is, and an idle connection holds none.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus,
    WriteTraffic,
};
use rustls_pki_types::CertificateDer;
use weft_world::{BUFFER_BYTES, Buffer, Stream, StreamExt};

use crate::tls::HandshakeError;

/// The most plaintext that one record carries, in bytes. Source: RFC 8446, section 5.1.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// What encryption adds to a record, at most, in bytes: header, nonce of TLS 1.2 (of TLS 1.3 it is
/// one byte for the type), and tag.
const RECORD_OVERHEAD_MAX: usize = 5 + 8 + 16;

/// Encrypted bytes that may wait to be written before more is taken.
const OUTGOING_BYTES_MAX: usize = 64 * 1024;

/// Either side of a session.
pub(crate) enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What rustls offers for both sides alike, but under no common name.
trait Side {
    type Data;

    /// Whether there is something to say before anything more is read.
    fn has_to_say(&self) -> bool;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedConnectionCommon<ClientConnectionData> {
    type Data = ClientConnectionData;

    fn has_to_say(&self) -> bool {
        self.wants_write()
    }

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

impl Side for UnbufferedConnectionCommon<ServerConnectionData> {
    type Data = ServerConnectionData;

    fn has_to_say(&self) -> bool {
        self.wants_write()
    }

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

/// Calls `$body` with whichever side it is.
macro_rules! either {
    ($session:expr, $side:ident => $body:expr) => {
        match $session {
            Session::Client($side) => $body,
            Session::Server($side) => $body,
        }
    };
}

/// Where a session stands after a step.
enum Progress {
    /// So many bytes of plaintext were put out.
    Plaintext(usize),
    /// Something was put into the outgoing buffer that must reach the peer.
    Transmit,
    /// Nothing is left to be done without more bytes from the peer.
    Waiting,
    /// The peer has ended its direction.
    PeerClosed,
}

/// The bytes in hand. All three are empty while the connection is idle.
#[derive(Default)]
struct Buffers {
    /// Encrypted bytes from the peer.
    incoming: Buffer,
    /// Decrypted bytes that found no room at the reader's.
    plaintext: Buffer,
    /// Encrypted bytes for the peer.
    outgoing: Buffer,
}

/// An encrypted stream.
pub(crate) struct TlsStream {
    socket: Box<dyn Stream>,
    session: Session,
    buffers: Buffers,
    /// The peer ended its direction, and said so under encryption.
    has_ended: bool,
    has_sent_close: bool,
}

impl TlsStream {
    /// Leads `session` to the point where both sides know each other.
    pub(crate) async fn handshake(
        socket: Box<dyn Stream>,
        session: Session,
    ) -> Result<TlsStream, HandshakeError> {
        let mut stream = TlsStream {
            socket,
            session,
            buffers: Buffers::default(),
            has_ended: false,
            has_sent_close: false,
        };
        // The client's last flight leaves with its first bytes.
        while either!(&stream.session, side => side.is_handshaking()) {
            let progress = stream.step(&mut []);
            if progress.is_err() {
                // The alert tells the peer why; whether it arrives makes no difference here.
                let _ = std::future::poll_fn(|cx| stream.poll_outgoing(cx)).await;
            }
            match progress.map_err(HandshakeError::Tls)? {
                // Of TLS 1.2, the last word of a handshake is the server's.
                Progress::Waiting if !either!(&stream.session, side => side.is_handshaking()) => {}
                Progress::Waiting => {
                    let flushed = std::future::poll_fn(|cx| stream.poll_outgoing(cx)).await;
                    flushed.map_err(HandshakeError::Io)?;
                    let socket = &mut stream.socket;
                    let room = stream.buffers.incoming.room(1);
                    let count = socket.read(room).await.map_err(HandshakeError::Io)?;
                    if count == 0 {
                        return Err(HandshakeError::Io(io::ErrorKind::UnexpectedEof.into()));
                    }
                    stream.buffers.incoming.fill(count);
                }
                Progress::Transmit | Progress::Plaintext(_) => {}
                Progress::PeerClosed => {
                    return Err(HandshakeError::Io(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
        Ok(stream)
    }

    /// Has the peer see the end of the handshake, which else leaves with the first bytes: those may
    /// be the peer's to say.
    pub(crate) async fn settle(&mut self) -> Result<(), HandshakeError> {
        loop {
            match self.step(&mut []).map_err(HandshakeError::Tls)? {
                Progress::Waiting => break,
                Progress::Transmit | Progress::Plaintext(_) => {}
                Progress::PeerClosed => {
                    self.has_ended = true;
                    break;
                }
            }
        }
        std::future::poll_fn(|cx| self.poll_outgoing(cx)).await.map_err(HandshakeError::Io)
    }

    #[cfg(test)]
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        either!(&self.session, side => side.alpn_protocol())
    }

    /// What the peer has shown, leaf first.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        either!(&self.session, side => side.peer_certificates())
    }

    /// Lets the session work on the bytes at hand. Plaintext goes to `out`, the rest of a record
    /// that does not fit is kept.
    fn step(&mut self, out: &mut [u8]) -> Result<Progress, rustls::Error> {
        let TlsStream { session, buffers, .. } = self;
        either!(session, side => step(&mut **side, buffers, out))
    }

    /// Writes what is in the outgoing buffer to the socket.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffers.outgoing.is_empty() {
            let slices = [IoSlice::new(self.buffers.outgoing.filled())];
            let count = ready!(self.socket.poll_write(cx, &slices))?;
            self.buffers.outgoing.consume(count);
        }
        self.socket.poll_flush(cx)
    }

    /// Puts `bytes` into the outgoing buffer as one record, behind what the session itself has to
    /// say.
    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<()> {
        let TlsStream { session, buffers, has_ended, .. } = self;
        either!(session, side => with_traffic(&mut **side, buffers, has_ended, |traffic, outgoing| {
            let count = traffic.encrypt(bytes, outgoing.room(bytes.len() + RECORD_OVERHEAD_MAX));
            count.map(|count| outgoing.fill(count))
        }))
    }

    /// Says under encryption that nothing more will come.
    fn queue_close(&mut self) -> io::Result<()> {
        let TlsStream { session, buffers, has_ended, .. } = self;
        either!(session, side => with_traffic(&mut **side, buffers, has_ended, |traffic, outgoing| {
            let count = traffic.queue_close_notify(outgoing.room(RECORD_OVERHEAD_MAX + 2));
            count.map(|count| outgoing.fill(count))
        }))
    }
}

/// One step of either side.
///
/// rustls is always shown all incoming bytes, also where only writing is wanted: it may remember
/// where in them the first part of a handshake message lies.
fn step<S: Side>(
    side: &mut S,
    buffers: &mut Buffers,
    out: &mut [u8],
) -> Result<Progress, rustls::Error> {
    let Buffers { incoming, plaintext, outgoing } = buffers;
    let UnbufferedStatus { mut discard, state, .. } = side.process(incoming.filled_mut());
    let progress = match state {
        Err(error) => {
            incoming.consume(discard);
            // The alert, behind what was begun to be said.
            while side.has_to_say() {
                let state = side.process(incoming.filled_mut()).state;
                let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { break };
                encode(|room| data.encode(room), outgoing);
            }
            return Err(error);
        }
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut count = 0;
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                let fits = record.payload.len().min(out.len() - count);
                let (now, later) = record.payload.split_at(fits);
                out[count..count + fits].copy_from_slice(now);
                count += fits;
                if !later.is_empty() {
                    plaintext.room(later.len())[..later.len()].copy_from_slice(later);
                    plaintext.fill(later.len());
                }
            }
            Progress::Plaintext(count)
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(|room| data.encode(room), outgoing);
            Progress::Transmit
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done(); // It is in the outgoing buffer, which is flushed before anything waits.
            Progress::Transmit
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Progress::PeerClosed,
        Ok(_) => Progress::Waiting,
    };
    incoming.consume(discard);
    Ok(progress)
}

/// Calls `action` with the means to write, once the session needs nothing else first.
fn with_traffic<S: Side>(
    side: &mut S,
    buffers: &mut Buffers,
    has_ended: &mut bool,
    action: impl FnOnce(&mut WriteTraffic<'_, S::Data>, &mut Buffer) -> Result<(), EncryptError>,
) -> io::Result<()> {
    loop {
        match step(side, buffers, &mut []).map_err(broken)? {
            Progress::Waiting => break,
            Progress::Plaintext(_) | Progress::Transmit => {}
            // rustls says it once, and goes on writing afterwards.
            Progress::PeerClosed if *has_ended => return Err(io::ErrorKind::BrokenPipe.into()),
            Progress::PeerClosed => *has_ended = true,
        }
    }
    let UnbufferedStatus { discard, state, .. } = side.process(buffers.incoming.filled_mut());
    debug_assert_eq!(discard, 0, "the step before has left nothing to do");
    match state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            action(&mut traffic, &mut buffers.outgoing).map_err(io::Error::other)
        }
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Puts a handshake message or an alert into the outgoing buffer.
fn encode(mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>, outgoing: &mut Buffer) {
    let mut least = 1024;
    loop {
        match write(outgoing.room(least)) {
            Ok(count) => return outgoing.fill(count),
            Err(EncodeError::InsufficientSize(size)) if size.required_size > least => {
                least = size.required_size;
            }
            Err(_) => return,
        }
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Stream for TlsStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.buffers.plaintext.is_empty() {
            let count = self.buffers.plaintext.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.buffers.plaintext.filled()[..count]);
            self.buffers.plaintext.consume(count);
            return Poll::Ready(Ok(count));
        }
        if self.has_ended {
            return Poll::Ready(Ok(0));
        }
        loop {
            let (mut count, mut go_on) = (0, !self.buffers.incoming.is_empty());
            // Several records may have come with one read: give as many as there is room for.
            while go_on {
                match self.step(&mut buffer[count..]).map_err(broken)? {
                    Progress::Plaintext(more) => count += more,
                    Progress::Transmit => continue,
                    Progress::PeerClosed => {
                        self.has_ended = true;
                        self.buffers.incoming.consume(self.buffers.incoming.len());
                        return Poll::Ready(Ok(count));
                    }
                    Progress::Waiting => break,
                }
                let has_room = buffer.len() - count >= RECORD_BYTES_MAX / 4;
                go_on = !self.buffers.incoming.is_empty()
                    && self.buffers.plaintext.is_empty()
                    && has_room;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            if !self.buffers.outgoing.is_empty() {
                // An answer to a key update, or an alert; or what found no room a moment ago. That
                // it cannot leave is no reason not to read what has come.
                let _ = self.poll_outgoing(cx);
            }
            let least = if self.buffers.incoming.is_empty() { 1 } else { BUFFER_BYTES };
            match self.socket.poll_read(cx, self.buffers.incoming.room(least)) {
                Poll::Pending => {
                    self.buffers.incoming.release_if_empty();
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // Without close_notify, the end may be somebody else's doing.
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(Ok(more)) => self.buffers.incoming.fill(more),
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        for bytes in buffers.iter().flat_map(|buffer| buffer.chunks(RECORD_BYTES_MAX)) {
            if self.buffers.outgoing.len() >= OUTGOING_BYTES_MAX {
                if taken > 0 {
                    break;
                }
                ready!(self.poll_outgoing(cx))?;
            }
            self.encrypt(bytes)?;
            taken += bytes.len();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_outgoing(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_sent_close {
            self.has_sent_close = true;
            self.queue_close()?;
        }
        ready!(self.poll_outgoing(cx))?;
        self.socket.poll_close(cx)
    }
}
