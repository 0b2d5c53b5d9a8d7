//! Queries in, answers out: what is answered, what is handed on, and what hostile bytes do.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod answers;
mod hostile;
mod relaying;

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_dns::{Answer, Query, Response, Transport, Zones, respond};
use weft_model::{DnsZone, Namespace, ObjectName};

const A: u16 = 1;
const NS: u16 = 2;
const AAAA: u16 = 28;
const SRV: u16 = 33;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 1);

fn zones() -> Zones {
    Zones::new(DnsZone::new("cluster.local").unwrap(), Namespace::new("shop").unwrap())
}

/// A mesh with the service `cart` in the namespace `shop`, and the namespace `bank`.
fn lookup(service: &ObjectName) -> Answer {
    match (service.namespace(), service.name()) {
        ("shop", "cart") => Answer::Addresses { v4: vec![VIP], v6: vec![VIP6], ttl: 30 },
        ("shop" | "bank", _) => Answer::NoSuchName,
        _ => Answer::NotOurs,
    }
}

/// A query for `name`, labels joined by dots, as programs send it.
fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len().try_into().unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// The same query with an EDNS record that takes answers of `bytes`.
fn with_edns(mut message: Vec<u8>, bytes: u16, version: u8) -> Vec<u8> {
    message[11] = 1;
    message.extend_from_slice(&[0, 0, 41]);
    message.extend_from_slice(&bytes.to_be_bytes());
    message.extend_from_slice(&[0, version, 0, 0, 0, 0]);
    message
}

fn ask(message: &[u8]) -> Response {
    respond(message, &zones(), Transport::Udp, lookup)
}

fn reply(message: &[u8]) -> Reply {
    match ask(message) {
        Response::Reply(bytes) => Reply::read(&bytes),
        other => panic!("{other:?}"),
    }
}

fn forwarded(message: &[u8]) -> Query {
    match ask(message) {
        Response::Forward(query) => query,
        other => panic!("{other:?}"),
    }
}

/// An answer, taken apart without the crate's own code.
#[derive(Debug)]
struct Reply {
    flags: u16,
    counts: [u16; 4],
    /// Type, time to live and data of each record in the answer section.
    records: Vec<(u16, u32, Vec<u8>)>,
    /// Types in the authority and additional sections.
    others: Vec<u16>,
}

impl Reply {
    fn code(&self) -> u16 {
        self.flags & 0xf
    }

    fn is_truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    fn addresses(&self) -> Vec<&[u8]> {
        self.records.iter().map(|(_, _, data)| &data[..]).collect()
    }

    fn read(bytes: &[u8]) -> Reply {
        let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let counts = [4, 6, 8, 10].map(number);
        let skip_name = |mut at: usize| loop {
            match bytes[at] {
                0 => return at + 1,
                length if length >= 0xc0 => return at + 2,
                length => at += 1 + usize::from(length),
            }
        };
        let mut at = 12;
        for _ in 0..counts[0] {
            at = skip_name(at) + 4;
        }
        let (mut records, mut others) = (Vec::new(), Vec::new());
        for place in 0..counts[1] + counts[2] + counts[3] {
            at = skip_name(at);
            let ttl = u32::from_be_bytes(bytes[at + 4..at + 8].try_into().unwrap());
            let end = at + 10 + usize::from(number(at + 8));
            if place < counts[1] {
                records.push((number(at), ttl, bytes[at + 10..end].to_vec()));
            } else {
                others.push(number(at));
            }
            at = end;
        }
        assert_eq!(at, bytes.len(), "nothing is behind the records: {bytes:?}");
        assert_eq!(number(0), 0x1234, "the id is the query's");
        assert!(bytes[2] & 0x80 != 0, "it is an answer");
        Reply { flags: number(2), counts, records, others }
    }
}
