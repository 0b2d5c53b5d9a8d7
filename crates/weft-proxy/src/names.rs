//! What the names of the mesh mean, for whoever answers DNS queries.

use std::net::IpAddr;

use weft_model::{DnsZone, ObjectName};
use weft_wire::discovery::{Lookup, Subscription};

use crate::Proxy;
use crate::outbound::said;
use crate::snapshot::Snapshot;
use crate::time::{LOOKUP_TIMEOUT, within};

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A Service, which has these addresses, or a host outside, for which they stand.
    Addresses(Vec<IpAddr>),
    /// Nothing, and nobody else is to be asked.
    Nothing,
    /// It is not a name of the mesh.
    NotOurs,
    /// It is one of the mesh, and it cannot be found out what it means, for this reason.
    Unknown(String),
}

impl Proxy {
    /// The end of the full names of the mesh's Services: what its Mesh says, or the default while
    /// that is not known.
    pub fn dns_zone(&self) -> DnsZone {
        let snapshot = self.configuration.load();
        snapshot.mesh.as_ref().map(|mesh| mesh.dns_zone.clone()).unwrap_or_default()
    }

    /// What `host`, which is in lower case, means if an ExternalService that the own workload may
    /// call has it: addresses that stand for it.
    pub fn outside_host(&self, host: &str) -> Meaning {
        if self.configuration.load().egress.of_host(host).is_none() {
            return Meaning::NotOurs;
        }
        match self.outside.stand_in(self, host) {
            Some((v4, v6)) => Meaning::Addresses(vec![v4.into(), v6.into()]),
            None => Meaning::Unknown("so many hosts are called that no address is left".to_owned()),
        }
    }

    /// Notes that a program was told that `host` has these addresses, which are real ones.
    pub fn told(&self, host: &str, addresses: &[IpAddr]) {
        self.outside.tell(self, host, addresses);
    }

    /// What the name of `service` means. With `maybe_outside` it could as well be a name of the
    /// world outside, and means a Service only if that is known already.
    pub async fn addresses_of(&self, service: &ObjectName, maybe_outside: bool) -> Meaning {
        if let Some(found) = addresses(&self.configuration.load(), service) {
            return found;
        }
        if maybe_outside {
            return Meaning::NotOurs;
        }
        let Some(discovery) = &self.discovery else {
            return Meaning::Unknown("there is no control plane to ask".to_owned());
        };
        let asked = discovery.look(Subscription::Service(service.clone()));
        let answer = within(&*self.world.clock, LOOKUP_TIMEOUT, asked).await;
        if let Some(found) = addresses(&self.configuration.load(), service) {
            return found;
        }
        match answer {
            Some(Lookup::Absent) => Meaning::Nothing,
            other => Meaning::Unknown(said(other)),
        }
    }
}

fn addresses(snapshot: &Snapshot, service: &ObjectName) -> Option<Meaning> {
    let view = snapshot.services.get(service)?;
    Some(Meaning::Addresses(view.vips.clone()))
}
