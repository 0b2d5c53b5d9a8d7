//! Loopback as the only link: up, with an address of its own, and with routes to everywhere.
//!
//! Source: rtnetlink(7); `linux/rtnetlink.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::{CREATE, EXCLUSIVE, Netlink, NetlinkError, Payload, Request};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const IFF_UP: u32 = 1;

/// The index of loopback, which is the first link of every network namespace.
const LOOPBACK: u32 = 1;

/// The namespace's own IPv4 address: the source of connections that leave loopback.
///
/// Programs look for an address that is not loopback's before they ask DNS for others of the
/// family (`AI_ADDRCONFIG`). Source: RFC 7600, section 4.8 (the IPv4 dummy address).
pub const OWN_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// The namespace's own IPv6 address, a unique local one: with it as the source, IPv4 is preferred
/// for addresses of the Internet. Source: RFC 4193; RFC 6724, section 2.1.
pub const OWN_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x6566, 0x7400, 0, 0, 0, 0, 1);

/// Lets loopback carry `own` and all routes, in the calling thread's network namespace, which must
/// be new.
///
/// # Errors
/// If the kernel refuses.
pub fn set_up(own: &[IpAddr]) -> Result<(), NetlinkError> {
    let mut netlink = Netlink::route().map_err(|source| NetlinkError {
        what: "open a netlink socket to routing".to_owned(),
        source,
        said: None,
    })?;
    netlink.ask(&[up()])?;
    for &address in own {
        netlink.ask(&[add(address), route(address)])?;
    }
    Ok(())
}

fn up() -> Request {
    let mut head = [0; 16]; // struct ifinfomsg
    head[4..8].copy_from_slice(&LOOPBACK.to_ne_bytes());
    head[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
    head[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    request("bring up loopback", RTM_NEWLINK, 0, Payload::new(&head))
}

fn add(address: IpAddr) -> Request {
    let (family, bytes, prefix) = parts(address);
    let mut head = [0; 8]; // struct ifaddrmsg
    // Nobody else is on this link who could have the address.
    [head[0], head[1], head[2]] = [family, prefix, IFA_F_NODAD];
    head[4..8].copy_from_slice(&LOOPBACK.to_ne_bytes());
    let payload = Payload::new(&head).with(IFA_LOCAL, &bytes).with(IFA_ADDRESS, &bytes);
    request(&format!("give {address} to loopback"), RTM_NEWADDR, CREATE | EXCLUSIVE, payload)
}

/// The way to everywhere, with `source` as the source.
fn route(source: IpAddr) -> Request {
    let (family, bytes, _) = parts(source);
    // IPv6 has no other than local routes over loopback: where others are accepted, they refuse.
    // It stands with those of the own addresses, which the kernel adds some time later: until
    // then, it leads there too.
    let (table, scope, kind) = match source {
        IpAddr::V4(_) => (RT_TABLE_MAIN, RT_SCOPE_LINK, RTN_UNICAST),
        IpAddr::V6(_) => (RT_TABLE_LOCAL, RT_SCOPE_UNIVERSE, RTN_LOCAL),
    };
    let head = [family, 0, 0, 0, table, RTPROT_STATIC, scope, kind, 0, 0, 0, 0];
    let payload =
        Payload::new(&head).with(RTA_OIF, &LOOPBACK.to_ne_bytes()).with(RTA_PREFSRC, &bytes);
    let what = format!("route everything over loopback from {source}");
    request(&what, RTM_NEWROUTE, CREATE | EXCLUSIVE, payload)
}

fn parts(address: IpAddr) -> (u8, Vec<u8>, u8) {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let family = u8::try_from(family).expect("address families are small numbers");
    (family, bytes, if address.is_ipv4() { 32 } else { 128 })
}

fn request(what: &str, kind: u16, flags: u16, payload: Payload) -> Request {
    Request { what: what.to_owned(), kind, flags, payload, acknowledged: true }
}
