//! Messages of DNS: from programs that ask, and from the name servers of the host.

use std::net::IpAddr;

use weft_dns::{Answer, Family, Malformed, Query, Response, Said, Transport, Zones, respond};
use weft_model::{DnsZone, Namespace, ObjectName};

const HEADER_BYTES: usize = 12;

/// The most bytes of an answer in a datagram.
const UDP_BYTES_MAX: usize = 4096;

fn lookup(service: &ObjectName) -> Answer {
    match (service.namespace(), service.name()) {
        ("shop", "cart") => {
            let v4 = (1..=60).map(|last| [10, 96, 0, last].into()).collect();
            Answer::Addresses { v4, v6: vec![], ttl: 30 }
        }
        ("shop" | "bank", _) => Answer::NoSuchName,
        _ => Answer::NotOurs,
    }
}

/// A message is answered within bounds, handed on in whole, or passed over; as an answer of a name
/// server it is taken for that of its own question only.
pub fn dns_message(input: &[u8]) {
    let zone = DnsZone::new("cluster.local").expect("a zone");
    let zones = Zones::new(zone, Namespace::new("shop").expect("a namespace"));
    for transport in [Transport::Udp, Transport::Tcp] {
        match respond(input, &zones, transport, lookup) {
            Response::Ignore => assert!(input.len() < HEADER_BYTES || input[2] & 0x80 != 0),
            Response::Forward(query) => {
                assert_eq!(query.message(), input);
                assert_eq!(Query::parse(query.message()), Ok(query));
            }
            Response::Reply(answer) => {
                assert!(answer.len() >= HEADER_BYTES && answer[..2] == input[..2]);
                assert!(transport == Transport::Tcp || answer.len() <= UDP_BYTES_MAX);
                // An answer must not look like a query: two servers would talk for ever.
                assert_eq!(Query::parse(&answer), Err(Malformed::Ignored));
            }
        }
    }
    let asked = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
    let asked = Query::parse(asked).expect("a query");
    let is_answered = asked.is_answered_by(input, 7);
    if is_answered {
        assert!(input[..2] == [0, 7] && input[2] & 0x80 != 0);
        // Names are the same in any case.
        let question = &asked.message()[HEADER_BYTES..];
        assert!(input[HEADER_BYTES..][..question.len()].eq_ignore_ascii_case(question));
        for transport in [Transport::Udp, Transport::Tcp] {
            let relayed = asked.relayed(input.to_vec(), transport);
            assert_eq!(relayed[..2], [0x12, 0x34]);
            assert!(transport == Transport::Tcp || relayed.len() <= UDP_BYTES_MAX);
        }
    }
}

/// What a name server says of a host is a bounded number of addresses of the family that was asked
/// for, each of which stands in its answer.
pub fn dns_answer(input: &[u8]) {
    for family in [Family::V4, Family::V6] {
        let query = Query::for_addresses("api.example.com", family).expect("a name");
        assert_eq!(Query::parse(query.message()), Ok(query.clone()));
        let Said::Addresses { addresses, ttl } = query.said(input) else { continue };
        assert!(addresses.len() <= 512 && ttl <= i32::MAX.unsigned_abs());
        for address in &addresses {
            assert_eq!(address.is_ipv4(), family == Family::V4);
            let bytes = match address {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            assert!(input.windows(bytes.len()).any(|window| window == bytes));
        }
    }
}
