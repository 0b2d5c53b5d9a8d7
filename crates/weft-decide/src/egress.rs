//! What a name or an address outside of the mesh is, and whether it may be called.
//!
//! A name never opens an address, and an address never a name: each is looked for by itself.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use weft_model::{
    Cidr, ExternalService, HostPattern, MeshSettings, Namespace, OutboundPolicy, Port,
};

use crate::balance;

/// The shortest time for which an answer of DNS is used, whatever it says.
pub const TTL_MIN: Duration = Duration::from_secs(1);

/// The longest one.
pub const TTL_MAX: Duration = Duration::from_secs(300);

/// How long the last good answer of DNS is used after its time, while none is to be had.
pub const STALE_MAX: Duration = Duration::from_secs(3_600);

/// How long an answer of DNS is used that says to use it for `ttl`.
pub fn lasts(ttl: Duration) -> Duration {
    ttl.clamp(TTL_MIN, TTL_MAX)
}

/// The destinations outside that the workloads of one namespace know by name.
#[derive(Debug, Default)]
pub struct Egress {
    /// Those of the namespace, which beat those of the mesh.
    own: Layer,
    mesh: Layer,
}

/// Destinations of one namespace, no two of which have the same host or block.
#[derive(Debug, Default)]
struct Layer {
    exact: HashMap<Arc<str>, Arc<ExternalService>>,
    /// By what comes after `*.`.
    below: HashMap<Arc<str>, Arc<ExternalService>>,
    /// The longest prefix first.
    cidrs: BTreeMap<(std::cmp::Reverse<u8>, IpAddr), (Cidr, Arc<ExternalService>)>,
}

impl Egress {
    /// Those of `services` that the workloads of `namespace` may call.
    pub fn new<'s>(
        services: impl IntoIterator<Item = &'s Arc<ExternalService>>,
        namespace: Option<&Namespace>,
    ) -> Egress {
        let mut egress = Egress::default();
        for service in services {
            let is_own = namespace.is_some_and(|own| own.as_str() == service.name.namespace());
            if is_own {
                egress.own.add(service);
            } else if service.is_for_mesh {
                egress.mesh.add(service);
            }
        }
        egress
    }

    /// What has `host`, which is in lower case: what is of the own namespace before what is of the
    /// mesh, and there what says more of it before what says less.
    pub fn of_host(&self, host: &str) -> Option<&Arc<ExternalService>> {
        self.own.of_host(host).or_else(|| self.mesh.of_host(host))
    }

    /// What has `address`, in the same order.
    pub fn of_address(&self, address: IpAddr) -> Option<&Arc<ExternalService>> {
        self.own.of_address(address).or_else(|| self.mesh.of_address(address))
    }
}

impl Layer {
    fn add(&mut self, service: &Arc<ExternalService>) {
        for pattern in &service.hosts {
            let (hosts, host) = match pattern {
                HostPattern::Exact(host) => (&mut self.exact, host),
                HostPattern::Below(parent) => (&mut self.below, parent),
            };
            hosts.insert(host.clone(), service.clone());
        }
        for block in &service.cidrs {
            let key = (std::cmp::Reverse(block.prefix()), block.first());
            self.cidrs.insert(key, (*block, service.clone()));
        }
    }

    fn of_host(&self, host: &str) -> Option<&Arc<ExternalService>> {
        if let Some(found) = self.exact.get(host) {
            return Some(found);
        }
        if self.below.is_empty() {
            return None;
        }
        let mut rest = host;
        std::iter::from_fn(|| {
            rest = rest.split_once('.')?.1;
            Some(rest)
        })
        .find_map(|parent| self.below.get(parent))
    }

    fn of_address(&self, address: IpAddr) -> Option<&Arc<ExternalService>> {
        let mut blocks = self.cidrs.values();
        blocks.find(|(block, _)| block.contains(address)).map(|(_, service)| service)
    }
}

/// What becomes of a connection to the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'e> {
    /// It goes by the rules of this.
    To(&'e Arc<ExternalService>),
    /// It passes, as bytes that nobody looks into.
    Passes {
        /// Whether it would not if the Mesh's `defaults.outbound` was `registered`, which is in
        /// audit.
        is_audited: bool,
    },
    /// It is refused.
    Refused,
}

/// What becomes of a connection to `port` of what is `found` outside, if something is.
pub fn judge(
    policy: OutboundPolicy,
    found: Option<&Arc<ExternalService>>,
    port: Port,
) -> Verdict<'_> {
    match (found.filter(|service| service.ports.contains_key(&port)), policy) {
        (Some(service), _) => Verdict::To(service),
        (None, OutboundPolicy::Any) => Verdict::Passes { is_audited: false },
        (None, OutboundPolicy::Audit) => Verdict::Passes { is_audited: true },
        (None, OutboundPolicy::Registered) => Verdict::Refused,
    }
}

/// The host that `authority` names, in lower case and without a port.
pub fn host_of(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The first of the addresses that stand for hosts: of a block that is nobody's.
const FIRST_V4: Ipv4Addr = Ipv4Addr::new(241, 0, 0, 0);

/// The same for IPv6: of the block next to that from which Services get theirs by default.
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x6566, 0x7401, 0, 0, 0, 0, 0);

/// How many bits tell those addresses apart.
const PLACE_BITS: u32 = 24;

/// The two addresses that stand for the host with this place.
pub fn addresses(place: u32) -> (Ipv4Addr, Ipv6Addr) {
    let place = place & (u32::MAX >> (32 - PLACE_BITS));
    let v4 = Ipv4Addr::from_bits(FIRST_V4.to_bits() | place);
    (v4, Ipv6Addr::from_bits(FIRST_V6.to_bits() | u128::from(place)))
}

/// The place of the host that `address` stands for, if it is one of those.
pub fn place_of(address: IpAddr) -> Option<u32> {
    let place_max = u32::MAX >> (32 - PLACE_BITS);
    match address {
        IpAddr::V4(address) => {
            let place = address.to_bits() ^ FIRST_V4.to_bits();
            (place <= place_max).then_some(place)
        }
        IpAddr::V6(address) => {
            let place = address.to_bits() ^ FIRST_V6.to_bits();
            u32::try_from(place).ok().filter(|place| *place <= place_max)
        }
    }
}

/// The places that `host` may have, the best first: the same each time, so that a proxy that has
/// started again mostly gives the addresses that it gave before.
pub fn places(host: &str) -> impl Iterator<Item = u32> + use<> {
    let mask = u32::MAX >> (32 - PLACE_BITS);
    let bits = balance::hash(host.as_bytes());
    let first = u32::try_from(bits & u64::from(mask)).expect("it has 24 bits");
    // The first and last of a block are not for hosts, by custom.
    let all = (0..=mask).map(move |further| first.wrapping_add(further) & mask);
    all.filter(move |place| (1..mask).contains(place))
}

/// Whether what DNS says of a host outside can be it: neither what is the proxy's own machine, nor
/// an address of the mesh, whose own policies are by names of the mesh.
pub fn may_be_outside(address: IpAddr, mesh: Option<&MeshSettings>) -> bool {
    let of_machine = match address {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.octets()[0] == 0 || ip.is_multicast() || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            let mapped = ip.to_ipv4_mapped().map(IpAddr::V4);
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || mapped.is_some_and(|ip| !may_be_outside(ip, mesh))
        }
    };
    let is_of_mesh = mesh.is_some_and(|mesh| mesh.has(address));
    !of_machine && !is_of_mesh && place_of(address).is_none()
}

#[cfg(test)]
mod tests;
