//! What proxies and the control plane say to each other, and what a proxy keeps of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message;
use weft_control::Framer;
use weft_model::{Address, MtlsMode, Network, Port, Protocol, Service, ServicePort, TrafficPolicy};
use weft_proxy::mux;
use weft_wire::discovery::message::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, OBJECT_TYPE};
use weft_wire::discovery::{Client, ServerStream, World, sealed};
use weft_wire::mux::{Frame, HEADER_BYTES, WINDOW_BYTES, WINDOW_BYTES_FIRST};
use weft_wire::{Object, Release, SourceVersion, WireObject};
use weft_world::{Buffer, Moment, Stream};

use super::cuts;

const NOW: Moment = Moment::from_nanos(0);

const SOURCE: SourceVersion = SourceVersion { epoch: 1, revision: 1 };

/// A Service `shop/cart` with one port.
fn cart() -> Arc<WireObject> {
    let port = ServicePort {
        name: None,
        protocol: Protocol::Detect,
        mtls: MtlsMode::Strict,
        traffic: None,
    };
    let address = Address { network: Network::default(), ip: [240, 119, 0, 1].into() };
    let service = Service {
        name: "shop/cart".parse().expect("a name"),
        vips: BTreeSet::from([address]),
        ports: BTreeMap::from([(Port::new(80).expect("a port"), port)]),
        traffic: TrafficPolicy::default(),
    };
    WireObject::new(Object::Service(Arc::new(service)), SOURCE).expect("it is small")
}

/// A client that wants some of the mesh and has a stream.
fn client() -> Client {
    let mut client = Client::new("shop/web-1", Release::this());
    for subscription in ["self", "service/shop/cart", "service/shop/gone"] {
        client.subscribe(&subscription.parse().expect("a subscription"), NOW, None);
    }
    client.connected();
    while client.next_request().is_some() {}
    client
}

/// An object that is taken is the bytes that came, whole and in their one form.
pub fn discovered_object(input: &[u8]) {
    match WireObject::decode("any", input, &Release::this()) {
        Ok(object) => {
            assert_eq!(object.bytes(), input);
            assert_eq!(object.object().key(), *object.key());
            let again = WireObject::decode("again", object.bytes(), &Release::this())
                .expect("it was taken before");
            assert_eq!((again.key(), again.version()), (object.key(), object.version()));
            weft_proxy::snapshot::check(object.object()).ok();
        }
        Err(error) => assert!(error.to_string().len() < 2048, "{error}"),
    }
}

/// Whatever a proxy says, what it is told after that is whole, and ends.
pub fn discovery_request(input: &[u8]) {
    let Ok(request) = DeltaDiscoveryRequest::decode(input) else { return };
    let again = DeltaDiscoveryRequest::decode(request.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(&request));
    let mut world = World::new();
    world.apply([cart()], [], SOURCE);
    world.set_fully_listed();
    let mut server = ServerStream::new(Some("shop/web-1".parse().expect("a name")));
    for _ in 0..3 {
        if server.on_request(request.clone()).is_err() {
            return;
        }
        if let Some(response) = server.next_response(&world) {
            assert!(!response.nonce.is_empty());
            assert_eq!(response.type_url, OBJECT_TYPE);
            let encoded = response.encode_to_vec();
            let read = DeltaDiscoveryResponse::decode(encoded.as_slice());
            assert_eq!(read, Ok(response));
            assert!(server.next_response(&world).is_none(), "the last one is not acknowledged");
        }
    }
}

/// Whatever a server says, it is answered by its nonce, and what was taken of it is kept and found
/// again.
pub fn discovery_response(input: &[u8]) {
    let Ok(response) = DeltaDiscoveryResponse::decode(input) else { return };
    let mut client = client();
    let nonce = response.nonce.clone();
    let Ok(outcome) = client.on_response(response, &|_| Ok(())) else { return };
    assert!(outcome.changed.iter().all(|key| client.get(key).is_some()));
    assert!(outcome.removed.iter().all(|key| client.get(key).is_none()));
    let request = client.next_request().expect("it is answered");
    assert_eq!(request.response_nonce, nonce);
    assert_eq!(request.error_detail.is_some(), !outcome.refused.is_empty());
    let saved = client.save();
    let mut again = Client::new("shop/web-1", Release::this());
    assert_eq!(again.restore(&saved, NOW), Ok(vec![]));
    assert_eq!(again.save(), saved);
}

/// What a proxy kept is taken up if it is as it was written; and what is taken up is kept the same.
pub fn saved_state(input: &[u8]) {
    let mut client = Client::new("shop/web-1", Release::this());
    let before = client.save();
    if client.restore(input, NOW).is_err() {
        assert_eq!(client.save(), before, "something was taken of what was refused");
    }
    // Who can write the file can write its checksum, too.
    let mut client = Client::new("shop/web-1", Release::this());
    if client.restore(&sealed(input), NOW).is_ok() {
        let saved = client.save();
        let mut again = Client::new("shop/web-1", Release::this());
        assert_eq!(again.restore(&saved, NOW), Ok(vec![]));
        assert_eq!(again.save(), saved);
    }
}

/// Messages are found alike wherever their bytes are cut.
pub fn grpc_frames(input: &[u8]) {
    let whole = messages(&[input]);
    for cut in cuts(input.len()) {
        let (one, two) = input.split_at(cut);
        assert_eq!(messages(&[one, two]), whole, "cut at {cut}");
    }
    let bytes: usize = whole.0.iter().map(|message| message.len() + 5).sum();
    assert!(bytes <= input.len());
    assert_eq!(whole.1.is_ok(), bytes == input.len());
}

/// The messages in `pieces`, as they come, and what is wrong with the rest.
fn messages(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), String>) {
    let (mut framer, mut found) = (Framer::default(), Vec::new());
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next() {
                Ok(Some(message)) => found.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => return (found, Err(error.to_string())),
            }
        }
    }
    (found, framer.finish().map_err(|error| error.to_string()))
}

/// Whatever a peer says in a tunnel that carries many streams, on either side, what it is told is
/// what the rules allow, and nothing is kept of it.
pub fn mux_frames(input: &[u8]) {
    if let Ok(Some((frame, stream))) = Frame::decode(input) {
        assert_eq!(frame.encode(stream), input[..HEADER_BYTES]);
    }
    let lent = Buffer::lent_bytes();
    for is_client in [false, true] {
        // Who takes all that he is told, and who takes little.
        for (cut, takes) in [(1, usize::MAX), (7, 11), (5_000, usize::MAX), (5_000, 100)] {
            // Small pieces of much take long, and say nothing new.
            if input.len() / cut > 2_000 {
                continue;
            }
            let pieces = input.chunks(cut).map(<[u8]>::to_vec).collect();
            let told = Rc::<RefCell<Vec<u8>>>::default();
            let said = Said { pieces, takes, is_full: false, told: told.clone() };
            mux::hear(Box::new(said), is_client);
            assert_eq!(Buffer::lent_bytes(), lent, "a buffer was kept");
            assert_allowed(&told.borrow(), &spoken(input), is_client);
        }
    }
}

/// What was said on one stream.
#[derive(Default)]
struct Spoken {
    data: u64,
    credit: u64,
    has_ended: bool,
    is_over: bool,
}

/// The frames at the start of `bytes`, as far as there are any.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (Frame, u32)> {
    std::iter::from_fn(move || {
        let (frame, stream) = Frame::decode(bytes).ok().flatten()?;
        let length = if let Frame::Data(length) = frame { length } else { 0 };
        bytes = bytes.get(HEADER_BYTES + length..).unwrap_or_default();
        Some((frame, stream))
    })
}

/// What a peer says with `bytes`, by stream.
fn spoken(bytes: &[u8]) -> BTreeMap<u32, Spoken> {
    let mut all = BTreeMap::<u32, Spoken>::new();
    for (frame, stream) in frames(bytes) {
        let spoken = all.entry(stream).or_default();
        match frame {
            Frame::Data(length) => spoken.data += length as u64,
            Frame::Credit(bytes) => spoken.credit += u64::from(bytes),
            _ => {}
        }
    }
    all
}

/// Fails if a side has told its peer what it must not, where the peer has said so much.
fn assert_allowed(told: &[u8], said: &BTreeMap<u32, Spoken>, is_client: bool) {
    let (mut all, none) = (BTreeMap::<u32, Spoken>::new(), Spoken::default());
    for (frame, stream) in frames(told) {
        let is_new = !all.contains_key(&stream);
        let heard = said.get(&stream).unwrap_or(&none);
        if is_client && is_new {
            let next = all.last_key_value().map_or(1, |(last, _)| last + 1);
            assert!(stream == next && matches!(frame, Frame::Data(_)), "{frame:?} on {stream}");
        }
        assert!(is_client || heard.data > 0, "{frame:?} on {stream}, which was not opened");
        let own = all.entry(stream).or_default();
        assert!(!own.is_over, "{frame:?} on {stream}, which is over");
        match frame {
            Frame::Data(length) => {
                assert!(!own.has_ended, "{frame:?} on {stream}, which has ended");
                own.data += length as u64;
            }
            Frame::Credit(bytes) => own.credit += u64::from(bytes),
            Frame::End => own.has_ended = true,
            Frame::Reset => own.is_over = true,
            Frame::Refused | Frame::GoAway => {
                assert!(!is_client && is_new, "{frame:?} on {stream}");
                own.is_over = true;
            }
        }
        let (first, whole) = (u64::from(WINDOW_BYTES_FIRST), u64::from(WINDOW_BYTES));
        assert!(own.data <= first + heard.credit, "more on {stream} than its window allows");
        assert!(first + own.credit <= whole + heard.data, "too much credit on {stream}");
    }
}

/// A peer that says these pieces, each after a pause, takes so much of what it is told, with pauses
/// where that is not all, and goes.
struct Said {
    pieces: VecDeque<Vec<u8>>,
    takes: usize,
    is_full: bool,
    told: Rc<RefCell<Vec<u8>>>,
}

impl Stream for Said {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(mut piece) = self.pieces.pop_front() else { return Poll::Ready(Ok(0)) };
        if piece.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let rest = piece.split_off(piece.len().min(buffer.len()));
        if !rest.is_empty() {
            self.pieces.push_front(rest);
        }
        // The streams get their turn before the next piece comes.
        self.pieces.push_front(Vec::new());
        buffer[..piece.len()].copy_from_slice(&piece);
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_full = self.takes < usize::MAX && !self.is_full;
        if self.is_full {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut told = self.told.borrow_mut();
        let before = told.len();
        for buffer in buffers {
            let left = self.takes.saturating_sub(told.len() - before);
            told.extend_from_slice(&buffer[..buffer.len().min(left)]);
        }
        Poll::Ready(Ok(told.len() - before))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
