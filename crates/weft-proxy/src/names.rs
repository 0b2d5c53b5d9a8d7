//! What the names of the mesh mean, for whoever answers DNS queries.

use std::net::IpAddr;

use weft_model::ObjectName;
use weft_wire::discovery::{Lookup, Subscription};

use crate::Proxy;
use crate::snapshot::Snapshot;
use crate::time::{LOOKUP_TIMEOUT, within};

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A Service, which has these addresses.
    Addresses(Vec<IpAddr>),
    /// Nothing, and nobody else is to be asked.
    Nothing,
    /// It is not a name of the mesh.
    NotOurs,
    /// It is one of the mesh, and it cannot be found out what it means.
    Unknown,
}

impl Proxy {
    /// What `name` means to a workload of `namespace`: of the mesh are `SERVICE.NS.svc.ZONE`,
    /// `SERVICE.NS.svc`, `SERVICE`, and `SERVICE.NS` where that Service is known already, since two
    /// labels are most often a name of the world outside. Case and a dot at the end do not count.
    pub async fn resolve(&self, namespace: &str, name: &str) -> Meaning {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let zone = {
            let snapshot = self.configuration.load();
            let mesh = snapshot.mesh.as_ref();
            mesh.map(|mesh| mesh.dns_zone.as_str().to_owned())
        };
        let Some((service, must_exist)) = service_of(&name, namespace, zone.as_deref()) else {
            let is_in_zone = zone.is_some_and(|zone| is_within(&name, &zone));
            return if is_in_zone { Meaning::Nothing } else { Meaning::NotOurs };
        };
        if let Some(found) = addresses(&self.configuration.load(), &service) {
            return found;
        }
        if !must_exist {
            return Meaning::NotOurs;
        }
        let Some(discovery) = &self.discovery else { return Meaning::Unknown };
        let asked = discovery.look(Subscription::Service(service.clone()));
        let answer = within(&*self.world.clock, LOOKUP_TIMEOUT, asked).await;
        if let Some(found) = addresses(&self.configuration.load(), &service) {
            return found;
        }
        match answer {
            Some(Lookup::Absent) => Meaning::Nothing,
            _ => Meaning::Unknown,
        }
    }
}

/// The Service that `name` may mean, and whether it means nothing else.
fn service_of(name: &str, namespace: &str, zone: Option<&str>) -> Option<(ObjectName, bool)> {
    let before_zone = zone.and_then(|zone| name.strip_suffix(zone)?.strip_suffix('.'));
    let name = before_zone.filter(|rest| rest.ends_with(".svc")).unwrap_or(name);
    let (path, is_ours) = match name.strip_suffix(".svc") {
        Some(path) => (path, true),
        None => (name, !name.contains('.')),
    };
    let mut labels = path.split('.');
    let (service, found) = (labels.next()?, labels.next());
    let is_long = labels.next().is_some();
    if is_long || (name.ends_with(".svc") && found.is_none()) {
        return None;
    }
    let object = ObjectName::new(found.unwrap_or(namespace), service).ok()?;
    Some((object, is_ours))
}

fn is_within(name: &str, zone: &str) -> bool {
    name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

fn addresses(snapshot: &Snapshot, service: &ObjectName) -> Option<Meaning> {
    let view = snapshot.services.get(service)?;
    Some(Meaning::Addresses(view.vips.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_are_told_from_others() {
        let of = |name: &str| {
            let found = service_of(name, "shop", Some("cluster.local"));
            found.map(|(service, is_ours)| (service.to_string(), is_ours))
        };
        let service = |name: &str, is_ours| Some((name.to_owned(), is_ours));
        assert_eq!(of("cart"), service("shop/cart", true));
        assert_eq!(of("cart.shop"), service("shop/cart", false));
        assert_eq!(of("cart.other.svc"), service("other/cart", true));
        assert_eq!(of("cart.other.svc.cluster.local"), service("other/cart", true));
        assert_eq!(of("example.com"), service("com/example", false));
        for other in ["www.example.com", "cart.svc", "a.b.c.svc", "svc.cluster.local", "", "a_b"] {
            assert_eq!(of(other), None, "{other}");
        }
        assert!(is_within("a.cluster.local", "cluster.local"));
        assert!(!is_within("acluster.local", "cluster.local"));
    }
}
