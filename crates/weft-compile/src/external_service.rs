//! Destinations outside of the mesh: of two of a namespace that name the same the older one has it,
//! and none has what is the mesh's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use weft_crd as crd;
use weft_model::{
    Cidr, ExternalEndpoint, ExternalPort, ExternalService, HostPattern, ObjectName, Protocol,
    TlsRoots,
};
use weft_wire::{Object, ObjectKey};

use crate::backend_policy;
use crate::backend_tls_policy;
use crate::compiler::Output;
use crate::findings::{Findings, listed};
use crate::mesh;
use crate::reader::Reader;
use crate::route;
use crate::service::{declared, to_port};
use crate::status::Condition;

pub(crate) fn compile(reader: &Reader<'_>, name: &ObjectName) -> Output {
    let Some((object, external)) = reader.external(name) else { return Output::default() };
    let mut findings = Findings::new(object);
    let Named { hosts, cidrs, is_conflicted } = named(reader, external, &mut findings);
    let accepted = match hosts.is_empty() && cidrs.is_empty() {
        false => Condition::accepted(true, "Accepted"),
        true if is_conflicted => Condition::accepted(false, "Conflicted"),
        true => Condition::accepted(false, "Invalid"),
    };
    if !accepted.holds {
        return Output { object: None, status: Some(findings.status(vec![accepted], vec![])) };
    }
    let compiled = ExternalService {
        name: name.clone(),
        is_for_mesh: name.namespace() == reader.options.mesh_namespace,
        hosts,
        cidrs,
        ports: ports(reader, name, external, &mut findings),
        endpoints: external.endpoints.iter().map(to_endpoint).collect(),
        traffic: backend_policy::of_external(reader, name, None),
        routes: route::of_external(reader, name),
    };
    let status = findings.status(vec![accepted], vec![ObjectKey::External(name.clone())]);
    Output { object: Some(Object::External(Arc::new(compiled))), status: Some(status) }
}

/// What of the mesh's outside an ExternalService names, and no other has.
#[derive(Default)]
struct Named {
    hosts: BTreeSet<HostPattern>,
    cidrs: BTreeSet<Cidr>,
    is_conflicted: bool,
}

fn named(
    reader: &Reader<'_>,
    external: &crd::ExternalService,
    findings: &mut Findings<'_>,
) -> Named {
    let others = Others::new(reader, external);
    let mut named = Named::default();
    for (index, host) in external.hosts.iter().enumerate() {
        let path = format!("spec.hosts[{index}]");
        if let Some(why) = of_mesh(reader, host) {
            findings.error(&path, why);
        } else if others.has_older(&path, host, |other| other.hosts.contains(host), findings) {
            named.is_conflicted = true;
        } else {
            // The reader lets no other hosts through.
            named.hosts.extend(HostPattern::new(host));
        }
    }
    for (index, block) in external.cidrs.iter().enumerate() {
        let path = format!("spec.cidrs[{index}]");
        if let Some(range) = overlapped(reader, *block) {
            let message = format!("{block} overlaps {range} of the Mesh's addressRange");
            findings.error(&path, message);
        } else if others.has_older(&path, block, |other| other.cidrs.contains(block), findings) {
            named.is_conflicted = true;
        } else {
            named.cidrs.extend(Cidr::new(block.first(), block.prefix()));
        }
    }
    named
}

/// Whether the ExternalService `name` is there, and has anything.
pub(crate) fn is_accepted(reader: &Reader<'_>, name: &ObjectName) -> bool {
    reader.external(name).is_some_and(|(object, external)| {
        let Named { hosts, cidrs, .. } = named(reader, external, &mut Findings::new(object));
        !(hosts.is_empty() && cidrs.is_empty())
    })
}

fn ports(
    reader: &Reader<'_>,
    name: &ObjectName,
    external: &crd::ExternalService,
    findings: &mut Findings<'_>,
) -> BTreeMap<weft_model::Port, ExternalPort> {
    let (mut ports, mut bytes) = (BTreeMap::new(), 0);
    for (index, port) in external.ports.iter().enumerate() {
        let protocol = declared(port.app_protocol).unwrap_or(Protocol::Detect);
        let mut tls = backend_tls_policy::of_port(reader, external, port);
        bytes += tls.as_ref().map_or(0, |tls| tls.roots.bytes());
        if let Some(tls) = &mut tls
            && bytes > crd::ROOTS_BYTES_MAX
        {
            let most = crd::ROOTS_BYTES_MAX;
            let why = format!("{bytes} bytes of certificates, of at most {most} for all ports");
            findings.error(&format!("spec.ports[{index}]"), format!("nobody is trusted: {why}"));
            tls.roots = TlsRoots::Nobody(why.into());
        }
        let own = port.name.as_deref();
        let own = own.filter(|port| backend_policy::is_for_external_port(reader, name, port));
        let of_port = |port| backend_policy::of_external(reader, name, Some(port));
        let (own_name, traffic) = (port.name.clone(), own.map(of_port).map(Box::new));
        let settings = ExternalPort { name: own_name, protocol, tls, traffic };
        ports.insert(to_port(port.port), settings);
    }
    ports
}

fn to_endpoint(endpoint: &crd::ExternalEndpoint) -> ExternalEndpoint {
    ExternalEndpoint { ip: endpoint.address, port: endpoint.port.map(to_port) }
}

/// Why `host` is not outside, if it is not.
fn of_mesh(reader: &Reader<'_>, host: &str) -> Option<String> {
    let plain = host.strip_prefix("*.").unwrap_or(host);
    if let Some(mesh) = mesh::in_force(reader) {
        let zone = &mesh.dns_zone;
        if plain == zone || plain.strip_suffix(zone.as_str()).is_some_and(|it| it.ends_with('.')) {
            return Some(format!("{host} is in the Mesh's dnsZone, {zone}"));
        }
    }
    let (name, namespace) = host.split_once('.')?;
    let service = ObjectName::new(namespace, name).ok()?;
    reader.service(&service)?;
    Some(format!("{host} is what Service {service} is called"))
}

/// The block of the mesh's own addresses that `block` overlaps, if it does.
fn overlapped(reader: &Reader<'_>, block: crd::Cidr) -> Option<crd::Cidr> {
    let crd::AddressRange { v4, v6 } = mesh::in_force(reader)?.address_range;
    let overlaps =
        |range: &crd::Cidr| range.contains(block.first()) || block.contains(range.first());
    [v4, v6].into_iter().find(overlaps)
}

fn age(external: &crd::ExternalService) -> (i64, &str) {
    (mesh::created(&external.metadata), &external.metadata.name)
}

/// The others of the same namespace.
struct Others<'s> {
    own: &'s crd::Metadata,
    older: Vec<&'s crd::ExternalService>,
    younger: Vec<&'s crd::ExternalService>,
}

impl<'s> Others<'s> {
    fn new(reader: &Reader<'s>, external: &'s crd::ExternalService) -> Others<'s> {
        let crd::Metadata { namespace, name, .. } = &external.metadata;
        let mut others = reader.externals_of(namespace);
        others.retain(|other| other.metadata.name != *name);
        others.sort_by_key(|other| age(other));
        let (older, younger) = others.into_iter().partition(|other| age(other) < age(external));
        Others { own: &external.metadata, older, younger }
    }

    /// Whether an older one `has` what stands at `path`; of younger ones that do it is said that
    /// they have no effect.
    fn has_older(
        &self,
        path: &str,
        what: &dyn Display,
        has: impl Fn(&crd::ExternalService) -> bool,
        findings: &mut Findings<'_>,
    ) -> bool {
        if let Some(older) = self.older.iter().find(|other| has(other)) {
            let first = mesh::goes_first(&older.metadata, [self.own]);
            let older = &older.metadata.name;
            let message = format!("no effect: ExternalService {older} is {first}, and has {what}");
            findings.error(path, message);
            return true;
        }
        let younger = self.younger.iter().filter(|other| has(other));
        let younger: Vec<_> = younger.map(|other| &other.metadata).collect();
        if !younger.is_empty() {
            let first = mesh::goes_first(self.own, younger.iter().copied());
            let younger = listed(&younger.into_iter().map(|other| other.name.clone()).collect());
            let message = format!(
                "no effect of ExternalService {younger}: this one is {first}, and has {what}"
            );
            findings.warning(path, message);
        }
        false
    }
}

/// What `port` of `external` is called, if it has a name.
pub(crate) fn name_of(external: &crd::ExternalService, port: weft_model::Port) -> Option<&str> {
    let found = external.ports.iter().find(|one| to_port(one.port) == port);
    found.and_then(|port| port.name.as_deref())
}
