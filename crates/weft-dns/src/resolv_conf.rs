//! The host's `resolv.conf`: whom to ask about names that are not the mesh's.

use std::net::{IpAddr, Ipv4Addr};

/// How many name servers are used, as in the C library. Source: resolv.conf(5), `MAXNS`.
pub const NAME_SERVERS_MAX: usize = 3;

/// The name servers that `text`, the content of a `resolv.conf`, names, in its order; without any,
/// the one on this host, as the C library has it. Lines that are not understood are passed over.
///
/// An address with a scope (`fe80::1%eth0`) is passed over too.
pub fn name_servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    };
    let mut servers: Vec<IpAddr> = text.lines().filter_map(server).take(NAME_SERVERS_MAX).collect();
    if servers.is_empty() {
        servers.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_found() {
        let text = "# nameserver 9.9.9.9\nsearch a b\nnameserver 10.0.0.1 # one\n\
             nameserver\tfd00::1\nnameserver x\nnameserver fe80::1%eth0\noptions ndots:2\n\
             nameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let servers: Vec<_> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1", "fd00::1", "10.0.0.2"]);
        assert_eq!(name_servers("").len(), 1);
        assert!(name_servers("options ndots:2")[0].is_loopback());
    }
}
