//! DNS for the programs of a mesh: names of services are answered, others are handed on.
//!
//! Messages in, messages out. A message is read strictly: one question, nothing behind the end, no
//! pointers where none belong. What is not a well-formed query is answered as RFC 1035 says or not
//! at all, and never handed on.
//!
//! The codec is written here, since it needs little: one question is read, and addresses are read
//! and written. `hickory-proto` 0.26.3 without its default features would bring 38,000 lines and
//! some forty other crates for that.
//!
//! Deliberately absent: sockets, time, caches, and any knowledge of which services there are.
//!
//! ```
//! use weft_dns::{Answer, Response, Transport, Zones, respond};
//! use weft_model::{DnsZone, Namespace};
//!
//! let zones = Zones::new(DnsZone::new("cluster.local").unwrap(), Namespace::new("shop").unwrap());
//! let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04cart\x00\x00\x01\x00\x01";
//! let response = respond(query, &zones, Transport::Udp, |service| {
//!     assert_eq!(service.to_string(), "shop/cart");
//!     Answer::Addresses { v4: vec![[10, 96, 0, 1].into()], v6: vec![], ttl: 30 }
//! });
//! let Response::Reply(message) = response else { panic!("it is the mesh's to answer") };
//! assert_eq!(message[message.len() - 4..], [10, 96, 0, 1]);
//! ```

mod answer;
mod name;
mod query;
mod reply;
mod resolv_conf;
mod zones;

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_model::ObjectName;

pub use answer::{Family, Said};
pub use name::Name;
pub use query::{Malformed, Query, id_of, set_id};
pub use resolv_conf::{NAME_SERVERS_MAX, name_servers};
pub use zones::{Subject, Zones};

/// How a message came, which bounds the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram of its own: 512 bytes, or as many as the query allows.
    Udp,
    /// In a stream, behind its length in two bytes: 65,535 bytes.
    Tcp,
}

/// What is known about a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there, at these addresses; perhaps at none.
    Addresses {
        /// For questions of type A.
        v4: Vec<Ipv4Addr>,
        /// For questions of type AAAA.
        v6: Vec<Ipv6Addr>,
        /// How long this may be kept, in seconds.
        ttl: u32,
    },
    /// There is no such service, and the name is the mesh's.
    NoSuchName,
    /// The mesh knows nothing of that namespace: `example.com` is not the service `example`.
    NotOurs,
}

/// What is to be done about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Send this back.
    Reply(Vec<u8>),
    /// Ask a resolver of the host's: send it the message with an id of one's own, by [`set_id`],
    /// then take what [`Query::is_answered_by`] says is the answer, and send back what
    /// [`Query::relayed`] makes of it. If none comes, send back [`Query::failed`].
    Forward(Query),
    /// Do nothing: it is not a query.
    Ignore,
}

/// Says what to do about `message`. `lookup` is asked at most once.
pub fn respond(
    message: &[u8],
    zones: &Zones,
    transport: Transport,
    lookup: impl FnOnce(&ObjectName) -> Answer,
) -> Response {
    let query = match Query::parse(message) {
        Ok(query) => query,
        Err(Malformed::Answered(reply)) => return Response::Reply(reply),
        Err(Malformed::Ignored) => return Response::Ignore,
    };
    let answer = match zones.subject(&query) {
        Subject::Outside => return Response::Forward(query),
        Subject::Service { name, maybe_outside } => match lookup(&name) {
            Answer::NotOurs if maybe_outside => return Response::Forward(query),
            answer => Some(answer),
        },
        Subject::Known(answer) => Some(answer),
        Subject::Refused => None,
    };
    Response::Reply(match answer {
        Some(answer) => query.answered(&answer, zones, transport),
        None => query.refused(),
    })
}
