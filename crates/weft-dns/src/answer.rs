//! What a resolver says of a host: where it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::name::Name;
use crate::query::{
    CLASS_IN, HEADER_BYTES, NAME_ERROR, Query, RECURSION_DESIRED, TRUNCATED, TYPE_A, TYPE_AAAA,
    TYPE_OPT, u16_at,
};
use crate::reply::UDP_BYTES_TAKEN;

const TYPE_CNAME: u16 = 5;
const TYPE_SVCB: u16 = 64;
const TYPE_HTTPS: u16 = 65;

/// How many names an answer may lead over. Common resolvers stop after as many.
const ALIASES_MAX: usize = 16;

/// How many records of an answer are looked at.
const RECORDS_MAX: usize = 512;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

/// What a resolver says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has these addresses of the family, perhaps none, for so many seconds.
    Addresses {
        /// The addresses, in the resolver's order.
        addresses: Vec<IpAddr>,
        /// The least that any record on the way to them says.
        ttl: u32,
    },
    /// There is no such host.
    NoSuchName,
    /// The answer is too long for a datagram: ask over TCP.
    Truncated,
    /// It does not say, for this reason.
    Failed(String),
}

impl Query {
    /// A query of one's own for the addresses of `host`; none if that is no name.
    pub fn for_addresses(host: &str, family: Family) -> Option<Query> {
        let name = Name::of(host)?;
        let kind = match family {
            Family::V4 => TYPE_A,
            Family::V6 => TYPE_AAAA,
        };
        let mut message = vec![0; HEADER_BYTES];
        message[2..4].copy_from_slice(&RECURSION_DESIRED.to_be_bytes());
        (message[5], message[11]) = (1, 1);
        message.extend_from_slice(name.wire());
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        message.push(0);
        message.extend_from_slice(&TYPE_OPT.to_be_bytes());
        message.extend_from_slice(&UDP_BYTES_TAKEN.to_be_bytes());
        message.extend_from_slice(&[0; 6]);
        Query::parse(&message).ok()
    }

    /// Whether it asks where a host is, by which a program decides what to connect to. What comes
    /// in records of the types HTTPS and SVCB does so too.
    pub fn asks_where(&self) -> bool {
        self.class == CLASS_IN && matches!(self.kind, TYPE_A | TYPE_AAAA | TYPE_SVCB | TYPE_HTTPS)
    }

    /// What `answer`, for which [`Query::is_answered_by`] holds, says. Other addresses than those
    /// of the host that was asked for, over aliases, are passed over.
    pub fn said(&self, answer: &[u8]) -> Said {
        let failed = |why: &str| Said::Failed(why.to_owned());
        let malformed = || failed("the answer is malformed");
        let Some(flags) = u16_at(answer, 2) else { return malformed() };
        match flags & 0xf {
            _ if flags & TRUNCATED != 0 => return Said::Truncated,
            0 => {}
            NAME_ERROR => return Said::NoSuchName,
            code => return failed(&format!("the name server answers with code {code}")),
        }
        let Some(records) = records(answer) else { return malformed() };
        let (mut name, mut ttl) = (self.name.clone(), u32::MAX);
        for _ in 0..ALIASES_MAX {
            let mut own = records.iter().filter(|record| record.owner == name);
            if let Some(alias) = own.clone().find_map(|record| record.alias.as_ref()) {
                let is_alias = |record: &&Record| record.alias.is_some();
                ttl = own.find(is_alias).map_or(ttl, |record| ttl.min(record.ttl));
                name = alias.clone();
                continue;
            }
            let found: Vec<_> = own.filter(|record| record.kind == self.kind).collect();
            let ttl = found.iter().map(|record| record.ttl).fold(ttl, u32::min);
            let addresses: Vec<IpAddr> = found.iter().filter_map(|it| it.address).collect();
            let ttl = if addresses.is_empty() { 0 } else { ttl };
            return Said::Addresses { addresses, ttl };
        }
        failed("the answer leads from alias to alias")
    }
}

/// A record of an answer, as far as it matters here.
struct Record {
    owner: Name,
    kind: u16,
    ttl: u32,
    address: Option<IpAddr>,
    alias: Option<Name>,
}

/// The records of the answer section of `message`; none if it is malformed.
fn records(message: &[u8]) -> Option<Vec<Record>> {
    let (questions, answers) = (u16_at(message, 4)?, u16_at(message, 6)?);
    let mut at = HEADER_BYTES;
    for _ in 0..questions {
        at = Name::read(message, at)?.1 + 4;
    }
    let mut records = Vec::new();
    for _ in 0..usize::from(answers).min(RECORDS_MAX) {
        let (owner, end) = Name::read(message, at)?;
        let (kind, class) = (u16_at(message, end)?, u16_at(message, end + 2)?);
        let ttl = u32::from_be_bytes(*message.get(end + 4..)?.first_chunk()?);
        let length = usize::from(u16_at(message, end + 8)?);
        let begin = end + 10;
        let data = message.get(begin..begin + length)?;
        at = begin + length;
        if class != CLASS_IN {
            continue;
        }
        let v4 = <[u8; 4]>::try_from(data).ok().filter(|_| kind == TYPE_A);
        let v6 = <[u8; 16]>::try_from(data).ok().filter(|_| kind == TYPE_AAAA);
        let address = v4.map(|it| IpAddr::V4(Ipv4Addr::from(it)));
        let address = address.or(v6.map(|it| IpAddr::V6(Ipv6Addr::from(it))));
        let alias = match kind {
            TYPE_CNAME => {
                let (alias, end) = Name::read(message, begin)?;
                Some(alias).filter(|_| end == at)
            }
            _ => None,
        };
        // Source: RFC 2181, section 8: with the highest bit set it counts as zero.
        let ttl = if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl };
        records.push(Record { owner, kind, ttl, address, alias });
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to `query` with these records: owner, type, TTL and data.
    fn answer(query: &Query, code: u8, records: &[(&[u8], u16, u32, &[u8])]) -> Vec<u8> {
        let mut message = query.message()[..HEADER_BYTES].to_vec();
        (message[2], message[3]) = (0x81, 0x80 | code);
        (message[7], message[11]) = (u8::try_from(records.len()).unwrap(), 0);
        message.extend_from_slice(query.name.wire());
        message.extend_from_slice(&query.kind.to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        for (owner, kind, ttl, data) in records {
            message.extend_from_slice(owner);
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&CLASS_IN.to_be_bytes());
            message.extend_from_slice(&ttl.to_be_bytes());
            message.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    const QUESTION: &[u8] = b"\xc0\x0c";

    fn addresses(texts: &[&str], ttl: u32) -> Said {
        Said::Addresses { addresses: texts.iter().map(|it| it.parse().unwrap()).collect(), ttl }
    }

    #[test]
    fn addresses_are_those_of_the_host_over_its_aliases() {
        let query = Query::for_addresses("api.example.com", Family::V4).unwrap();
        assert!(query.asks_where());
        let direct = [(QUESTION, 1, 60, &[192, 0, 2, 1][..]), (QUESTION, 1, 30, &[192, 0, 2, 2])];
        let direct = answer(&query, 0, &direct);
        assert!(query.is_answered_by(&direct, 0));
        assert_eq!(query.said(&direct), addresses(&["192.0.2.1", "192.0.2.2"], 30));
        let cdn: &[u8] = b"\x03cdn\x03net\0";
        let aliased: [(&[u8], u16, u32, &[u8]); 4] = [
            (cdn, 1, 60, &[192, 0, 2, 3]),
            (QUESTION, 5, 20, cdn),
            (b"\x05other\0", 1, 1, &[192, 0, 2, 9]),
            (b"\x03CDN\x03net\0", 28, 1, &[0; 16]),
        ];
        let aliased = answer(&query, 0, &aliased);
        assert_eq!(query.said(&aliased), addresses(&["192.0.2.3"], 20));
        let query = Query::for_addresses("api.example.com", Family::V6).unwrap();
        let v6 = answer(&query, 0, &[(QUESTION, 28, 5, &[0x20; 16])]);
        assert_eq!(query.said(&v6), addresses(&["2020:2020:2020:2020:2020:2020:2020:2020"], 5));
    }

    #[test]
    fn what_is_no_answer_says_so() {
        let query = Query::for_addresses("api.example.com", Family::V4).unwrap();
        assert_eq!(query.said(&answer(&query, 3, &[])), Said::NoSuchName);
        assert_eq!(query.said(&answer(&query, 0, &[])), addresses(&[], 0));
        assert!(matches!(query.said(&answer(&query, 2, &[])), Said::Failed(_)));
        let mut cut = answer(&query, 0, &[(QUESTION, 1, 60, &[192, 0, 2, 1])]);
        cut.pop();
        assert!(matches!(query.said(&cut), Said::Failed(_)));
        cut[2] |= 2;
        assert_eq!(query.said(&cut), Said::Truncated);
        // It is its own alias.
        let circle = answer(&query, 0, &[(QUESTION, 5, 60, QUESTION)]);
        assert!(matches!(query.said(&circle), Said::Failed(_)));
        // A pointer that points to itself.
        let own = u8::try_from(HEADER_BYTES + query.name.wire().len() + 4).unwrap();
        let pointer = answer(&query, 0, &[(&[0xc0, own], 1, 60, &[192, 0, 2, 1])]);
        assert!(matches!(query.said(&pointer), Said::Failed(_)));
        assert!(Query::for_addresses("a..b", Family::V4).is_none());
    }
}
