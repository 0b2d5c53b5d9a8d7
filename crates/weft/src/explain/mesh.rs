//! The mesh that a request is explained in: resources from files or from a control plane, and what
//! any proxy would know of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use weft_compile::{Assignment, Change, Compiler, Options, Update};
use weft_control::Client;
use weft_control::api::{ResourceStatus, SourceFile, StoredObject};
use weft_crd::{Key, Kind, Object, Position, Resource};
use weft_decide::explain::Cause;
use weft_model::{
    Address, Health, MeshSettings, Namespace, Network, ObjectName, Port, SpiffeId, TrustDomain,
    Workload,
};
use weft_proxy::snapshot::{Builder, DestinationName, OwnWorkload, Snapshot, check};
use weft_wire::discovery::{self, ServerStream, Subscription};
use weft_wire::{Object as WireObject, ObjectKey, Release, SourceVersion};
use weft_world::Moment;

use crate::files;
use crate::output::say_all;

/// What a position in the text of the control plane's store is called.
const STORED: &str = "stored";

/// A mesh, compiled.
pub struct Mesh {
    objects: BTreeMap<Key, Arc<Object>>,
    compiler: Compiler,
    world: discovery::World,
    /// What it says of itself.
    pub settings: Arc<MeshSettings>,
}

/// What a proxy knows.
pub struct Known {
    /// What it goes by.
    pub snapshot: Arc<Snapshot>,
    /// What it was told and does not take, with the reasons.
    pub refused: Vec<(ObjectKey, String)>,
}

impl Mesh {
    /// The mesh that `files` describe. `namespace` is that of objects that name none.
    ///
    /// # Errors
    /// All that is wrong with the files. What is only doubtful is said on standard error.
    pub fn of_files(files: &[SourceFile], namespace: Option<&str>) -> anyhow::Result<Mesh> {
        let mut parsed = files::parse(files, namespace);
        if parsed.has_errors() {
            say_all(&parsed.render());
            bail!("nothing is explained of resources that are wrong: correct the above");
        }
        let mut objects = std::mem::take(&mut parsed.objects);
        objects.extend(files::missing_mesh(&objects));
        let made = Mesh::new(objects, Vec::new());
        let statuses = made.as_ref().map(|(_, update)| &*update.statuses).unwrap_or_default();
        parsed.add(statuses.iter().flat_map(|status| status.findings.iter().cloned()));
        say_all(&parsed.render());
        let (mesh, _) = made?;
        Ok(mesh)
    }

    /// The mesh of the control plane that `client` calls, as it is now.
    ///
    /// # Errors
    /// If it cannot be asked. What of its store this version cannot read is said on standard error.
    pub async fn of_control(client: &Client) -> anyhow::Result<Mesh> {
        let listed = client.list(None, None).await?;
        let (mut objects, mut changes) = (Vec::new(), Vec::new());
        for StoredObject { key, yaml, status, .. } in &listed.objects {
            let mut parsed =
                weft_crd::parse(STORED, yaml.as_bytes(), &weft_crd::Options::default());
            let [object] = parsed.objects.as_mut_slice() else {
                let name = format!("{} {}/{}", key.kind, key.namespace, key.name);
                weft_control::say!("weft explain: {name} cannot be read, and is left out");
                continue;
            };
            if let Some(status) = status {
                changes.extend(assigned(&object.key(), status));
            }
            objects.extend(parsed.objects);
        }
        Ok(Mesh::new(objects, changes)?.0)
    }

    fn new(objects: Vec<Object>, changes: Vec<Change>) -> anyhow::Result<(Mesh, Update)> {
        let objects: BTreeMap<Key, Arc<Object>> =
            objects.into_iter().map(|object| (object.key(), Arc::new(object))).collect();
        let mut compiler = Compiler::new(Options::default());
        let source = SourceVersion { epoch: 0, revision: 1 };
        let put = objects.values().cloned().map(Change::Put);
        let update = compiler.update(put.chain(changes), source);
        let mut world = discovery::World::new();
        world.apply(update.changed.iter().cloned(), [], source);
        world.set_fully_listed();
        let settings = match world.get(&ObjectKey::Mesh).map(|object| object.object()) {
            Some(WireObject::Mesh(settings)) => settings.clone(),
            _ => bail!("no Mesh is in force: see what `weft get mesh -o yaml` says of it"),
        };
        Ok((Mesh { objects, compiler, world, settings }, update))
    }

    /// The trust domain of its identities.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.settings.trust_domain
    }

    /// What the proxy of `own` knows, whose identity is of `namespace` and that asks for
    /// `subscriptions`, beside what guards itself.
    pub fn known(
        &self,
        own: Option<OwnWorkload>,
        namespace: Namespace,
        subscriptions: &[Subscription],
    ) -> anyhow::Result<Known> {
        let name = own.as_ref().map(|own| own.name.clone());
        let mut client = discovery::Client::new("explain", Release::this());
        for subscription in [Subscription::SelfWorkload].iter().chain(subscriptions) {
            client.subscribe(subscription, Moment::default(), None);
        }
        client.connected();
        let mut stream = ServerStream::new(name).of_namespace(namespace.clone());
        loop {
            while let Some(request) = client.next_request() {
                stream.on_request(request).context("what the proxy asks for")?;
            }
            let Some(response) = stream.next_response(&self.world) else { break };
            client.on_response(response, &check).context("what the proxy is told")?;
        }
        let builder = Builder::new(self.trust_domain().clone(), own);
        let snapshot = builder.of_namespace(namespace).rebuild(&client);
        let refused = client.refused().map(|(key, why)| (key.clone(), why.to_owned())).collect();
        Ok(Known { snapshot, refused })
    }

    /// The workload called `name`.
    pub fn workload(&self, name: &ObjectName) -> Option<&Workload> {
        match self.world.get(&ObjectKey::Workload(name.clone()))?.object() {
            WireObject::Workload(workload) => Some(workload),
            _ => None,
        }
    }

    /// The workloads whose identity is `identity`, by name.
    pub fn workloads_of(&self, identity: &SpiffeId) -> Vec<&Workload> {
        let workloads = self.world.objects().filter_map(|object| match object.object() {
            WireObject::Workload(workload) => Some(&**workload),
            _ => None,
        });
        workloads.filter(|workload| workload.identity.as_ref() == Some(identity)).collect()
    }

    /// Whether there is a Service of that name.
    pub fn has_service(&self, name: &ObjectName) -> bool {
        self.world.get(&ObjectKey::Service(name.clone())).is_some()
    }

    /// The port of a Service as its author wrote it: its place among the ports, and whether what is
    /// spoken there is declared.
    pub fn service_port(&self, service: &ObjectName, port: Port) -> Option<(usize, bool)> {
        let key = key_of(Kind::Service, service);
        let Resource::Service(service) = &self.objects.get(&key)?.resource else { return None };
        let place = service.ports.iter().position(|one| {
            one.port.get() == port.get() && one.protocol == weft_crd::Protocol::Tcp
        })?;
        Some((place, service.ports[place].app_protocol.is_some()))
    }

    /// The same of an ExternalService.
    pub fn external_port(&self, external: &ObjectName, port: Port) -> Option<(usize, bool)> {
        let key = key_of(Kind::ExternalService, external);
        let Resource::ExternalService(external) = &self.objects.get(&key)?.resource else {
            return None;
        };
        let place = external.ports.iter().position(|one| one.port.get() == port.get())?;
        Some((place, external.ports[place].app_protocol.is_some()))
    }

    /// The BackendPolicy that says `field` for a backend, if one does.
    pub fn traffic_source(&self, backend: &DestinationName, field: &'static str) -> Option<Cause> {
        let sources = match backend {
            DestinationName::Service(service, port) => {
                self.compiler.traffic_sources(service, *port)
            }
            DestinationName::External(external, _, port) => {
                self.compiler.external_sources(external, *port)
            }
            _ => return None,
        };
        let Key { namespace, name, .. } = sources.get(field)?;
        Some(Cause {
            kind: Kind::BackendPolicy.name(),
            object: ObjectName::new(namespace, name).ok(),
            field: field.to_owned(),
            note: String::new(),
        })
    }

    /// What says how TLS is opened to a port of an ExternalService.
    pub fn tls_source(&self, external: &ObjectName, port: Port) -> Option<Cause> {
        let Key { kind, namespace, name } = self.compiler.tls_source(external, port)?;
        let field = match kind {
            Kind::ExternalService => {
                let (place, _) = self.external_port(external, port)?;
                format!("spec.ports[{place}].tls")
            }
            _ => "spec.validation".to_owned(),
        };
        let object = ObjectName::new(&namespace, &name).ok();
        Some(Cause { kind: kind.name(), object, field, note: String::new() })
    }

    /// Whose resource `cause` is of, and where it stands there.
    pub fn place(&self, cause: &Cause) -> (Option<Key>, Option<Position>) {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == cause.kind);
        let key = match (&cause.object, kind) {
            (Some(name), Some(kind)) => Some(key_of(kind, name)),
            (None, Some(Kind::Mesh)) => {
                let name = self.compiler.mesh_in_force().unwrap_or_default().to_owned();
                Some(Key { kind: Kind::Mesh, namespace: String::new(), name })
            }
            _ => None,
        };
        let object = key.as_ref().and_then(|key| self.objects.get(key));
        let path = if cause.field.is_empty() { "metadata.name" } else { &cause.field };
        (key.clone(), object.and_then(|object| object.locate(path)))
    }
}

fn key_of(kind: Kind, name: &ObjectName) -> Key {
    let (namespace, name) = (name.namespace().to_owned(), name.name().to_owned());
    Key { kind, namespace, name }
}

/// What only the control plane knows of a resource: its addresses, and how it fares.
fn assigned(key: &Key, status: &ResourceStatus) -> Vec<Change> {
    let Ok(name) = ObjectName::new(&key.namespace, &key.name) else { return vec![] };
    let address = |ip: &std::net::IpAddr| Address { network: Network::default(), ip: *ip };
    let given = Assignment::Given(status.addresses.iter().map(address).collect());
    let given = (!status.addresses.is_empty()).then_some(given);
    match key.kind {
        Kind::Service => vec![Change::Assign(name, given)],
        Kind::Workload => {
            let health = match status.health.as_deref() {
                Some("healthy") => Some(Health::Healthy),
                Some("unhealthy") => Some(Health::Unhealthy),
                Some("draining") => Some(Health::Draining),
                _ => None,
            };
            vec![Change::AssignWorkload(name.clone(), given), Change::Health(name, health)]
        }
        _ => vec![],
    }
}
