//! Proxies on simulated hosts, with a stand-in for their TLS.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use weft_identity::{HandshakeError, PeerFacts, Reason, Secured, Tls};
use weft_model::SpiffeId;
use weft_proxy::config::{Inbound, Outbound};
use weft_proxy::{Parts, Proxy, start};
use weft_telemetry::{Record, Recorder};
use weft_world::{BoxFuture, Stream, UnixTime};

use crate::host::Host;
use crate::sealed::{Sealed, seal_client, seal_server};

/// [`Tls`] by greetings: each side says who it is, and is believed.
pub struct SimTls {
    identity: SpiffeId,
}

impl SimTls {
    /// The stand-in for the TLS of `identity`.
    pub fn new(identity: SpiffeId) -> SimTls {
        SimTls { identity }
    }
}

/// The stream, if its peer greeted with an identity.
fn secured(sealed: Sealed) -> Result<Secured, HandshakeError> {
    let greeting = std::str::from_utf8(sealed.peer_hello()).ok();
    let peer = greeting.and_then(|text| text.parse().ok());
    let peer = peer.ok_or_else(|| HandshakeError::Io(io::ErrorKind::InvalidData.into()))?;
    Ok(Secured { stream: Box::new(sealed), peer, facts: None })
}

impl Tls for SimTls {
    fn connect(
        &self,
        socket: Box<dyn Stream>,
        _server_name: Option<&str>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        let hello = self.identity.to_string();
        Box::pin(async move {
            secured(seal_client(socket, hello.as_bytes()).await.map_err(HandshakeError::Io)?)
        })
    }

    fn accept(
        &self,
        socket: Box<dyn Stream>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        let hello = self.identity.to_string().into_bytes();
        Box::pin(async move {
            secured(seal_server(socket, |_| Ok(hello)).await.map_err(HandshakeError::Io)?)
        })
    }

    fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    fn judge(&self, _peer: &PeerFacts, _now: UnixTime) -> Result<(), Reason> {
        Ok(())
    }
}

/// Puts every record on the trace, so that two runs must agree on what was recorded.
struct Tracer {
    host: Host,
}

impl Recorder for Tracer {
    fn finish(&self, record: &Record) {
        let Record { direction, protocol, method, target, status, reason, attempts, .. } = record;
        let (sent, received) = (record.bytes_sent, record.bytes_received);
        self.host.note(format!(
            "{direction:?} {protocol:?} {method} {target}: {status} {}, {attempts} attempts, \
             {received} bytes in, {sent} bytes out, {:?}",
            reason.unwrap_or("fine"),
            record.duration,
        ));
    }
}

/// Starts a proxy on `host`, which ends with the host. If it cannot start, the run fails.
pub fn start_proxy(
    host: &Host,
    identity: SpiffeId,
    outbound: Vec<Outbound>,
    inbound: Vec<Inbound>,
) {
    let world = host.world();
    let proxy = Rc::new(Proxy::new(Parts {
        inside: world.network.clone(),
        world,
        tls: Some(Rc::new(SimTls::new(identity))),
        recorder: Rc::new(Tracer { host: host.clone() }),
        configuration: Arc::default(),
        discovery: None,
        overload: weft_proxy::Overload::default(),
    }));
    // Its tasks must be the host's own, so that a crash ends them: it starts within one.
    drop(host.spawn(async move {
        let mut running = start(&proxy, outbound, inbound).expect("the addresses are the host's");
        running.wait().await;
    }));
}
