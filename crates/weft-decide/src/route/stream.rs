//! Which rule a connection falls under, of whose bytes no more is looked at than the name of the
//! server that TLS says at its beginning.

use std::cmp::Reverse;
use std::sync::Arc;

use weft_model::{Route, RouteKind};

use super::{RouteTable, Selected};

/// A route for connections, by one of its hosts if it is for some only.
#[derive(Clone, Debug)]
pub(super) struct StreamEntry {
    route: Arc<Route>,
    host: Option<String>,
}

/// Those of `routes` that are for connections, in the order in which they are asked: hosts before
/// all that end alike, the longer before the shorter; then the older route, then its name.
///
/// Source: Gateway API, TLSRouteSpec.
pub(super) fn entries(routes: &[&Arc<Route>]) -> Vec<StreamEntry> {
    let mut entries = Vec::new();
    for route in routes {
        let entry =
            |host: Option<&String>| StreamEntry { route: Arc::clone(route), host: host.cloned() };
        match route.name.kind {
            RouteKind::Tls => entries.extend(route.hostnames.iter().map(|host| entry(Some(host)))),
            RouteKind::Tcp => entries.push(entry(None)),
            RouteKind::Grpc | RouteKind::Http => {}
        }
    }
    entries.sort_by_cached_key(|StreamEntry { route, host }| {
        let host = host.as_deref().unwrap_or_default();
        (host.starts_with('*'), Reverse(host.len()), route.created, route.name.clone())
    });
    entries
}

impl RouteTable {
    /// Whether the name of the server decides on the rule of a connection.
    pub fn needs_server_name(&self) -> bool {
        self.streams.iter().any(|entry| entry.host.is_some())
    }

    /// The rule that a connection falls under, which is for the server `name` if it says one.
    pub fn select_stream(&self, name: Option<&str>) -> Option<Selected<'_>> {
        let covers = |host: &String| name.is_some_and(|name| covers(host, name));
        let entry = self.streams.iter().find(|entry| entry.host.as_ref().is_none_or(covers))?;
        let rule = entry.route.rules.first()?;
        Some(Selected { route: &entry.route, rule_index: 0, rule })
    }
}

/// Whether `name` is `host`, or of a host that begins with `*`, one below the rest.
fn covers(host: &str, name: &str) -> bool {
    match host.strip_prefix('*') {
        Some(end) => name.len() > end.len() && name.ends_with(end),
        None => host == name,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use weft_model::{
        Backend, Parent, Port, RouteParent, RouteRule, Timeouts, Weight, WeightedBackend,
    };

    use super::*;

    fn route(name: &str, created: i64, hosts: &[&str]) -> Arc<Route> {
        let backend = WeightedBackend {
            backend: Backend::Missing { reason: "it is a test".to_owned() },
            weight: Weight::new(1).unwrap(),
            filters: vec![],
        };
        let rule = RouteRule {
            name: None,
            matches: vec![],
            filters: vec![],
            backends: vec![backend],
            timeouts: Timeouts::default(),
            retry: None,
            faults: vec![],
        };
        Arc::new(Route {
            name: name.parse().unwrap(),
            created,
            parents: BTreeSet::from([RouteParent {
                parent: Parent::Service("shop/db".parse().unwrap()),
                port: None,
            }]),
            hostnames: hosts.iter().map(|host| (*host).to_owned()).collect(),
            rules: vec![rule],
        })
    }

    fn table(routes: &[Arc<Route>]) -> RouteTable {
        let parent = Parent::Service("shop/db".parse().unwrap());
        RouteTable::new(routes, &parent, Port::new(443).unwrap(), None).unwrap()
    }

    fn selected(table: &RouteTable, name: Option<&str>) -> Option<String> {
        Some(table.select_stream(name)?.route.name.object.name().to_owned())
    }

    #[test]
    fn the_host_that_says_most_decides() {
        let routes = [
            route("tls/shop/wide", 1, &["*.example"]),
            route("tls/shop/narrow", 3, &["*.shop.example", "shop.example"]),
            route("tls/shop/exact", 4, &["a.shop.example"]),
            route("tls/shop/late", 5, &["a.shop.example", "b.shop.example"]),
        ];
        for turned in [false, true] {
            let mut routes = routes.to_vec();
            if turned {
                routes.reverse();
            }
            let table = table(&routes);
            assert!(table.needs_server_name());
            for (name, expected) in [
                ("a.shop.example", Some("exact")),
                ("b.shop.example", Some("late")),
                ("c.shop.example", Some("narrow")),
                ("d.c.shop.example", Some("narrow")),
                ("shop.example", Some("narrow")),
                ("other.example", Some("wide")),
                ("xshop.example", Some("wide")),
                ("example", None),
            ] {
                assert_eq!(selected(&table, Some(name)).as_deref(), expected, "{name}");
            }
            assert_eq!(selected(&table, None), None);
        }
    }

    #[test]
    fn of_routes_for_all_connections_the_oldest_has_them() {
        let routes =
            [route("tcp/shop/c", 2, &[]), route("tcp/shop/b", 1, &[]), route("tcp/shop/a", 1, &[])];
        let table = table(&routes);
        assert!(!table.needs_server_name());
        assert_eq!(selected(&table, None).as_deref(), Some("a"));
    }

    #[test]
    fn names_of_servers_go_before_all_connections() {
        let routes = [route("tcp/shop/all", 1, &[]), route("tls/shop/one", 2, &["a.example"])];
        let table = table(&routes);
        assert_eq!(selected(&table, Some("a.example")).as_deref(), Some("one"));
        assert_eq!(selected(&table, Some("b.example")), None);
    }
}
