//! The command's network as the proxy dials it: the command is at loopback, of either family.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use weft_world::{BoxFuture, Listener, ListenerOptions, Network, Splicer, Stream};

/// A network in which a port of 127.0.0.1 that refuses is tried at ::1 too.
///
/// Nobody but the command listens there, so that whoever answers is the one who is meant; and some
/// programs listen at only one of the two, as Node.js does when it is told `localhost`.
pub(super) struct Inside {
    network: Rc<dyn Network>,
}

impl Inside {
    pub(super) fn new(network: Rc<dyn Network>) -> Inside {
        Inside { network }
    }
}

impl Network for Inside {
    fn listen(
        &self,
        address: SocketAddr,
        options: ListenerOptions,
    ) -> io::Result<Box<dyn Listener>> {
        self.network.listen(address, options)
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let first = self.network.connect(address);
        if address.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return first;
        }
        let network = self.network.clone();
        let other = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port());
        Box::pin(async move {
            match first.await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    // If that fails as well, the first is what there is to say.
                    network.connect(other).await.map_err(|_| error)
                }
                result => result,
            }
        })
    }

    fn splicer(&self) -> Option<Box<dyn Splicer>> {
        self.network.splicer()
    }
}
