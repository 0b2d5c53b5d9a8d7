//! What several kinds of objects are made of.

use std::net::IpAddr;

use prost::Message;
use weft_model::{Address, Cidr, MtlsMode, Network, Percent, Port, Protocol, TimeBound};

use crate::error::{At, FieldError};

/// The most items of a list within an object: far above what people write, far below what hurts.
const ITEMS_MAX: usize = 4096;

/// The two ways between a model's enumeration and its numbers on the wire. 0 is never one of them,
/// so that an absent field is no choice.
macro_rules! numbered {
    ($encode:ident, $decode:ident, $type:ident, {
        $($variant:ident = $number:literal),+ $(,)?
    }) => {
        pub(super) fn $encode(value: $type) -> i32 {
            match value {
                $($type::$variant => $number,)+
            }
        }

        pub(super) fn $decode(number: i32) -> Result<$type, FieldError> {
            match number {
                $($number => Ok($type::$variant),)+
                _ => Err(FieldError::new(format!("the choice {number} is not known here"))),
            }
        }
    };
}
pub(super) use numbered;

numbered!(from_protocol, to_protocol, Protocol, {
    Detect = 1, Http = 2, Http2 = 3, Grpc = 4, WebSocket = 5, Tls = 6, Opaque = 7,
});

numbered!(from_mtls, to_mtls, MtlsMode, { Strict = 1, Permissive = 2 });

/// A list whose items are checked one by one.
pub(super) fn list<W, T, C: FromIterator<T>>(
    field: &str,
    items: Vec<W>,
    check: impl Fn(W) -> Result<T, FieldError>,
) -> Result<C, FieldError> {
    list_within(ITEMS_MAX, field, items, check)
}

/// The same with a bound of its own.
pub(super) fn list_within<W, T, C: FromIterator<T>>(
    max: usize,
    field: &str,
    items: Vec<W>,
    check: impl Fn(W) -> Result<T, FieldError>,
) -> Result<C, FieldError> {
    if items.len() > max {
        let problem = format!("{} items are not allowed, the most is {max}", items.len());
        return Err(FieldError::new(problem).within(field));
    }
    let checked = |(index, item)| check(item).at(&format!("{field}[{index}]"));
    items.into_iter().enumerate().map(checked).collect()
}

/// A message that must be there.
pub(super) fn needed<T>(field: &str, value: Option<T>) -> Result<T, FieldError> {
    value.ok_or_else(|| FieldError::new("is missing").within(field))
}

pub(super) fn to_port(number: u32) -> Result<Port, FieldError> {
    let narrow = u16::try_from(number).ok().and_then(|number| Port::new(number).ok());
    narrow.ok_or_else(|| FieldError::new(format!("{number} is not a port")))
}

pub(super) fn from_port(port: Port) -> u32 {
    port.get().into()
}

pub(super) fn to_bound(millis: u64) -> Result<TimeBound, FieldError> {
    TimeBound::from_millis(millis).ok_or_else(|| FieldError::new("0 ms bounds nothing"))
}

pub(super) fn to_percent(number: u32) -> Result<Percent, FieldError> {
    let narrow = u8::try_from(number).ok().and_then(Percent::new);
    narrow.ok_or_else(|| FieldError::new(format!("{number} is not a percentage")))
}

pub(super) fn from_ip(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

pub(super) fn to_ip(bytes: &[u8]) -> Result<IpAddr, FieldError> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let ip = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    ip.map_err(|_| FieldError::new(format!("{} bytes are no IP address", bytes.len())))
}

/// An IP address in its network.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AddressMessage {
    #[prost(string, tag = "1")]
    network: String,
    #[prost(bytes = "vec", tag = "2")]
    ip: Vec<u8>,
}

impl From<&Address> for AddressMessage {
    fn from(address: &Address) -> AddressMessage {
        let Address { network, ip } = address;
        AddressMessage { network: network.to_string(), ip: from_ip(*ip) }
    }
}

impl AddressMessage {
    pub(super) fn check(self) -> Result<Address, FieldError> {
        let AddressMessage { network, ip } = self;
        Ok(Address { network: Network::new(&network).at("network")?, ip: to_ip(&ip).at("ip")? })
    }
}

/// A block of addresses.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CidrMessage {
    #[prost(bytes = "vec", tag = "1")]
    first: Vec<u8>,
    #[prost(uint32, tag = "2")]
    prefix: u32,
}

impl From<&Cidr> for CidrMessage {
    fn from(cidr: &Cidr) -> CidrMessage {
        CidrMessage { first: from_ip(cidr.first()), prefix: cidr.prefix().into() }
    }
}

impl CidrMessage {
    pub(super) fn check(self) -> Result<Cidr, FieldError> {
        let CidrMessage { first, prefix } = self;
        let narrow = u8::try_from(prefix).map_err(|_| FieldError::new("is too long"));
        Ok(Cidr::new(to_ip(&first).at("first")?, narrow.at("prefix")?)?)
    }
}

/// A port, and the one that it leads to.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PortPair {
    #[prost(uint32, tag = "1")]
    from: u32,
    #[prost(uint32, tag = "2")]
    to: u32,
}

impl PortPair {
    pub(super) fn new((from, to): (&Port, &Port)) -> PortPair {
        PortPair { from: from_port(*from), to: from_port(*to) }
    }

    pub(super) fn check(self) -> Result<(Port, Port), FieldError> {
        let PortPair { from, to } = self;
        Ok((to_port(from).at("from")?, to_port(to).at("to")?))
    }
}
