//! Addresses: an IP address means something only within its network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use crate::error::ValueError;
use crate::name::is_label;

/// A set of machines that reach each other by IP addresses, each address meaning one of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(Arc<str>);

impl Network {
    /// The network called `name`.
    ///
    /// # Errors
    /// If it is not a DNS label.
    pub fn new(name: &str) -> Result<Network, ValueError> {
        if !is_label(name) {
            let allowed = "at most 63 lower-case letters, digits and inner hyphens";
            return Err(ValueError::new(name, "a network", allowed));
        }
        Ok(Network(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `default`: the network of a mesh that has only one.
impl Default for Network {
    fn default() -> Network {
        Network("default".into())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An IP address in its network, written `NETWORK/IP`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The network.
    pub network: Network,
    /// The address in it.
    pub ip: IpAddr,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.ip)
    }
}

impl FromStr for Address {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Address, ValueError> {
        let error = || ValueError::new(text, "an address", "NETWORK/IP");
        let (network, ip) = text.split_once('/').ok_or_else(error)?;
        let parsed: IpAddr = ip.parse().map_err(|_| error())?;
        // One spelling only, since addresses are compared as names too.
        if parsed.to_string() != ip {
            return Err(error());
        }
        Ok(Address { network: Network::new(network)?, ip: parsed })
    }
}

/// A block of addresses, given by its first one and the length of what all have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    first: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The block that begins at `first`, all of whose addresses share the first `prefix` bits.
    ///
    /// # Errors
    /// If the prefix is longer than the address, or `first` is not the first of the block.
    pub fn new(first: IpAddr, prefix: u8) -> Result<Cidr, ValueError> {
        let most = if first.is_ipv4() { 32 } else { 128 };
        if prefix > most || masked(first, prefix) != first {
            let allowed = "the first address of the block, `/`, and at most 32 or 128 bits";
            return Err(ValueError::new(format!("{first}/{prefix}"), "a block", allowed));
        }
        Ok(Cidr { first, prefix })
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// How many leading bits all its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` is in it. An IPv4 address is never in an IPv6 block, nor the other way.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.first
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// `address` with all bits after the first `prefix` cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        let text = "default/2001:db8::1";
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        for wrong in ["default", "default/", "default/2001:0db8::1", "Default/10.0.0.1", "/::1"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_block_contains_what_shares_its_prefix() {
        let block = Cidr::new("10.1.0.0".parse().unwrap(), 16).unwrap();
        assert!(block.contains("10.1.255.255".parse().unwrap()));
        assert!(!block.contains("10.2.0.0".parse().unwrap()));
        assert!(!block.contains("::ffff:10.1.0.1".parse().unwrap()));
        let all = Cidr::new("::".parse().unwrap(), 0).unwrap();
        assert!(all.contains("::1".parse().unwrap()));
        assert!(Cidr::new("10.1.0.1".parse().unwrap(), 16).is_err());
        assert!(Cidr::new("10.1.0.0".parse().unwrap(), 33).is_err());
    }
}
