//! Workloads that register themselves: what they may write, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use thiserror::Error;
use weft_compile::{REGISTERED_BY, REGISTERED_FOR};
use weft_crd::{Kind, Platform, Resource, TargetPort};
use weft_identity::{CertificateDer, PeerFacts};
use weft_model::{NameError, ObjectName};
use weft_store::{Batch, Document, DocumentKey, Expectation, Item, Lease, LeaseState, StoreError};

use crate::api::{
    HealthRequest, InstanceRequest, RegisterRequest, RegisterResponse, RegisteredPort,
};
use crate::discovery::Discovery;
use crate::discovery::addresses::Owner;
use crate::discovery::documents;
use crate::discovery::leases::Instance;
use crate::grants;

/// The label by which a Service that a registration made selects its workloads.
const SERVICE_LABEL: &str = "weft.dev/service";

/// How often a registration is tried again after somebody else has changed the same meanwhile.
const TRIES: u32 = 16;

/// The most Services of one workload.
const SERVICES_MAX: usize = 64;

/// The most workloads of one service account: each has addresses of the mesh's range.
const WORKLOADS_MAX: usize = 4_000;

/// Why a registration was not changed.
#[derive(Debug, Error)]
pub(crate) enum RegistrationError {
    /// The peer proved nothing, or is not to be trusted any more.
    #[error("a registration needs a valid certificate of this mesh: {0}")]
    Unproved(String),
    /// The certificate does not allow it.
    #[error("{0}")]
    Denied(String),
    /// The request names something that is no name.
    #[error("{field}: {source}")]
    Name {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
    /// The request has a value that is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// Somebody wrote a Workload of that name.
    #[error(
        "Workload {0} was written by somebody, and is not overwritten: delete it, or register \
         another name"
    )]
    Taken(ObjectName),
    /// A newer instance has that name, and lives.
    #[error(
        "another instance has the name {workload}: generation {held} is registered, and this is \
         {offered}, an older one, which counts once the other has ended; to have both, give one of \
         them another name"
    )]
    Superseded {
        /// The workload.
        workload: ObjectName,
        /// The generation that is registered.
        held: u64,
        /// That of the request.
        offered: u64,
    },
    /// There is no such registration.
    #[error("{0} is not registered")]
    Unknown(ObjectName),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistrationError {
    /// The stable code of the reason, and the HTTP status that goes with it.
    pub(crate) fn reason(&self) -> (&'static str, u16) {
        match self {
            RegistrationError::Unproved(_) => ("not-proved", 401),
            RegistrationError::Denied(_) => ("not-allowed", 403),
            RegistrationError::Name { .. } | RegistrationError::Invalid(_) => ("invalid", 422),
            RegistrationError::Taken(_) => ("taken", 409),
            RegistrationError::Superseded { .. } => ("superseded", 409),
            RegistrationError::Unknown(_) => ("not-registered", 404),
            RegistrationError::Store(StoreError::Conflict(_)) => ("conflict", 409),
            RegistrationError::Store(_) => ("store-failed", 503),
        }
    }
}

/// The store's name of the Workload `name`.
pub(crate) fn workload_key(name: &ObjectName) -> DocumentKey {
    DocumentKey::new(Kind::Workload.name(), name.namespace(), name.name())
}

/// Who registered `document`; nothing if somebody wrote it.
pub(crate) fn registered_by(document: &Document) -> Option<String> {
    // A Workload is the same everywhere.
    let object = documents::read(document, Platform::Standalone).ok()?;
    object.metadata().annotations.get(REGISTERED_BY).cloned()
}

/// A request that is allowed as far as its certificate goes.
struct Claim<'r> {
    request: &'r RegisterRequest,
    workload: ObjectName,
    services: BTreeSet<ObjectName>,
    facts: PeerFacts,
}

impl Discovery {
    /// Registers a workload, or does so again. Waits for the disk.
    ///
    /// # Errors
    /// [`RegistrationError`]; nothing was changed, but that after [`RegistrationError::Store`] it
    /// may be registered.
    pub(crate) fn register(
        &self,
        certificates: &[CertificateDer<'static>],
        request: &RegisterRequest,
    ) -> Result<u64, RegistrationError> {
        let facts = self.prove(certificates)?;
        let workload = named("workload", &request.workload)?;
        let services: BTreeSet<ObjectName> = request
            .services
            .iter()
            .map(|text| named("services", text))
            .collect::<Result<_, _>>()?;
        self.admit(&facts, &workload)?;
        self.check(&facts, &workload, &services, request)?;
        let claim = Claim { request, workload, services, facts };
        let mut tries = TRIES;
        loop {
            let items = self.items(&claim)?;
            match self.apply(items) {
                Err(StoreError::Conflict(_)) if tries > 0 => tries -= 1,
                Err(error) => return Err(error.into()),
                Ok(version) => {
                    self.ca().registered(&claim.facts, &claim.workload);
                    self.ca().save()?;
                    return Ok(version);
                }
            }
        }
    }

    /// What to tell the workload of `request`, once its registration was compiled.
    pub(crate) fn registered(&self, request: &RegisterRequest) -> RegisterResponse {
        let name = request.workload.parse().ok().map(Owner::Workload);
        let addresses = name.and_then(|owner| self.addresses().of(&owner));
        RegisterResponse {
            mesh_addresses: addresses.map(Vec::from).unwrap_or_default(),
            services: request
                .services
                .iter()
                .cloned()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        }
    }

    /// Takes a registration away, unless a newer instance has the name. Waits for the disk.
    ///
    /// # Errors
    /// [`RegistrationError`]; nothing was changed.
    pub(crate) fn leave(
        &self,
        certificates: &[CertificateDer<'static>],
        request: &InstanceRequest,
    ) -> Result<u64, RegistrationError> {
        self.change_instance(certificates, request, |workload, document, _| {
            let mut items = vec![Item::deregister(workload.to_string())];
            if let Some(document) = document {
                let expected = Expectation::Version(document.version);
                items.push(Item::delete(document.key).expecting(expected));
            }
            items
        })
    }

    /// Has it known that nothing new is to be sent to a workload. Waits for the disk.
    ///
    /// # Errors
    /// [`RegistrationError`]; nothing was changed.
    pub(crate) fn drain(
        &self,
        certificates: &[CertificateDer<'static>],
        request: &InstanceRequest,
    ) -> Result<u64, RegistrationError> {
        self.change_instance(certificates, request, |workload, _, instance| {
            vec![Instance { draining: true, ..instance }.item(workload)]
        })
    }

    /// Has it known how the application of a workload fares. Waits for the disk.
    ///
    /// # Errors
    /// [`RegistrationError`]; nothing was changed.
    pub(crate) fn fares(
        &self,
        certificates: &[CertificateDer<'static>],
        request: &HealthRequest,
    ) -> Result<u64, RegistrationError> {
        let HealthRequest { instance, healthy } = request;
        self.change_instance(certificates, instance, |workload, _, instance| {
            vec![Instance { unhealthy: !healthy, ..instance }.item(workload)]
        })
    }

    /// Applies what `items` says of the instance, of which there may be a document.
    fn change_instance(
        &self,
        certificates: &[CertificateDer<'static>],
        request: &InstanceRequest,
        items: impl Fn(&ObjectName, Option<Document>, Instance) -> Vec<Item>,
    ) -> Result<u64, RegistrationError> {
        let facts = self.prove(certificates)?;
        let workload = named("workload", &request.workload)?;
        self.admit(&facts, &workload)?;
        let mut tries = TRIES;
        loop {
            let document = self.store().get(&workload_key(&workload))?;
            let document = document.filter(|document| registered_by(document).is_some());
            let Some(instance) = self.instance(&workload)? else {
                return Err(RegistrationError::Unknown(workload));
            };
            check_generation(&workload, instance.generation, request.generation)?;
            match self.apply(items(&workload, document, instance)) {
                Err(StoreError::Conflict(_)) if tries > 0 => tries -= 1,
                Err(error) => return Err(error.into()),
                Ok(version) => return Ok(version),
            }
        }
    }

    /// Who the peer is.
    fn prove(
        &self,
        certificates: &[CertificateDer<'static>],
    ) -> Result<PeerFacts, RegistrationError> {
        let wall = self.clock().wall();
        self.ca().prove(certificates, wall).map_err(RegistrationError::Unproved)
    }

    /// Whether the peer may speak for `workload` at all.
    fn admit(&self, facts: &PeerFacts, workload: &ObjectName) -> Result<(), RegistrationError> {
        let against = self.state().against(workload, facts.identity.service_account());
        against.map_or(Ok(()), |reason| Err(RegistrationError::Denied(reason)))
    }

    fn check(
        &self,
        facts: &PeerFacts,
        workload: &ObjectName,
        services: &BTreeSet<ObjectName>,
        request: &RegisterRequest,
    ) -> Result<(), RegistrationError> {
        if services.len() > SERVICES_MAX {
            let found = services.len();
            let message = format!("services: {found} are not allowed, the most is {SERVICES_MAX}");
            return Err(RegistrationError::Invalid(message));
        }
        let account = facts.identity.service_account();
        let granted = grants::of(&**self.store(), account)?;
        for service in services {
            if service.namespace() != workload.namespace() {
                let message = format!(
                    "services: {service} is in another namespace than {workload}: a Service \
                     selects workloads of its own"
                );
                return Err(RegistrationError::Invalid(message));
            }
            if !granted.contains(service) {
                return Err(RegistrationError::Denied(format!(
                    "no join token lets {account} serve {service}: have one made with \
                     `weft token --service-account {account} --service {service}`, and join by it"
                )));
            }
        }
        let addresses = self.addresses();
        if let Some(ip) = request.addresses.iter().find(|ip| addresses.is_in_range(**ip)) {
            let message = format!(
                "addresses: {ip} belongs to the mesh's own addressRange: give the addresses of \
                 the machine"
            );
            return Err(RegistrationError::Invalid(message));
        }
        Ok(())
    }

    /// Notes that the proxy of `workload` is or was there just now. If it is not of the instance
    /// that is registered, that one lives no longer for it.
    pub(crate) fn renew(&self, workload: &ObjectName, generation: Option<u64>) {
        let held = self.instance(workload).ok().flatten();
        let is_it = |held: Instance| generation.is_none_or(|it| it == held.generation);
        if held.is_none_or(is_it) {
            drop(self.store().renew(&workload.to_string(), self.clock().now()));
        }
        self.stir();
    }

    /// What is registered under the name, if anything is.
    fn instance(&self, workload: &ObjectName) -> Result<Option<Instance>, StoreError> {
        Ok(self.lease(workload)?.as_ref().and_then(Instance::of))
    }

    fn lease(&self, workload: &ObjectName) -> Result<Option<Lease>, StoreError> {
        self.store().lease(&workload.to_string())
    }

    /// Whether the proxy of the instance that has `lease` is there, or was a moment ago.
    fn is_alive(&self, workload: &ObjectName, lease: &Lease) -> bool {
        let generation = Instance::of(lease).map(|instance| instance.generation);
        lease.state(self.clock().now()) == LeaseState::Healthy
            || self.state().live().has(workload, generation)
    }

    /// All that the registration writes.
    fn items(&self, claim: &Claim<'_>) -> Result<Vec<Item>, RegistrationError> {
        let Claim { request, workload, services, facts } = claim;
        let key = workload_key(workload);
        let before = self.store().get(&key)?;
        if before.as_ref().is_some_and(|document| registered_by(document).is_none()) {
            return Err(RegistrationError::Taken(workload.clone()));
        }
        if before.is_none() {
            self.check_count(facts)?;
        }
        let lease = self.lease(workload)?;
        let held = lease.as_ref().and_then(Instance::of);
        // An older instance may have outlived the one that took its place.
        if let (Some(held), Some(lease)) = (held, &lease)
            && self.is_alive(workload, lease)
        {
            check_generation(workload, held.generation, request.generation)?;
        }
        let mut labels = BTreeMap::new();
        let mut names = BTreeMap::new();
        let mut items = Vec::new();
        for service in services {
            let key = DocumentKey::new(Kind::Service.name(), service.namespace(), service.name());
            let selector = match self.store().get(&key)? {
                Some(document) => existing(service, &document, self.platform(), &mut names)?,
                None if self.platform() == Platform::Kubernetes => {
                    let message = format!("there is no Service {service} in Kubernetes: make it");
                    return Err(RegistrationError::Invalid(message));
                }
                None => {
                    let text = written(&made_service(service, request, &facts.identity))?;
                    items.push(Item::put(key, text.into_bytes()).expecting(Expectation::Absent));
                    BTreeMap::from([(SERVICE_LABEL.to_owned(), service.name().to_owned())])
                }
            };
            for (label, value) in selector {
                if let Some(other) = labels.insert(label.clone(), value.clone())
                    && other != value
                {
                    let message = format!(
                        "{service} selects workloads with the label {label}={value}, and {other} \
                         is asked for: a workload has one value of it"
                    );
                    return Err(RegistrationError::Invalid(message));
                }
            }
        }
        let text = written(&made_workload(claim, &labels, &names))?;
        let expected = before.map_or(Expectation::Absent, |it| Expectation::Version(it.version));
        items.push(Item::put(key, text.into_bytes()).expecting(expected));
        // The same instance stays as it is, also if it is about to end.
        let generation = request.generation;
        let held = held.filter(|held| held.generation == generation);
        items.push(held.unwrap_or(Instance::new(generation)).item(workload));
        Ok(items)
    }

    /// Whether there is room for one more workload of the peer's service account.
    fn check_count(&self, facts: &PeerFacts) -> Result<(), RegistrationError> {
        let account = facts.identity.service_account();
        let state = self.state();
        let of_it = state.accounts.iter().filter(|(workload, name)| {
            workload.namespace() == account.namespace() && *name == account.name()
        });
        if of_it.count() >= WORKLOADS_MAX {
            let message = format!("{WORKLOADS_MAX} workloads of {account} are the most");
            return Err(RegistrationError::Denied(message));
        }
        Ok(())
    }

    fn apply(&self, items: Vec<Item>) -> Result<u64, StoreError> {
        let batch = Batch { now: self.clock().now(), wall: self.clock().wall(), items };
        Ok(self.store().apply(batch)?.version.number())
    }
}

fn named(field: &'static str, text: &str) -> Result<ObjectName, RegistrationError> {
    text.parse().map_err(|source| RegistrationError::Name { field, source })
}

fn check_generation(
    workload: &ObjectName,
    held: u64,
    offered: u64,
) -> Result<(), RegistrationError> {
    if offered < held {
        let workload = workload.clone();
        return Err(RegistrationError::Superseded { workload, held, offered });
    }
    Ok(())
}

/// The labels that an existing Service selects. Where it means ports by name, `names` gets these.
fn existing(
    service: &ObjectName,
    document: &Document,
    platform: Platform,
    names: &mut BTreeMap<u16, String>,
) -> Result<BTreeMap<String, String>, RegistrationError> {
    let unreadable = |reason| RegistrationError::Invalid(format!("Service {service}: {reason}"));
    let object = documents::read(document, platform).map_err(unreadable)?;
    let Resource::Service(found) = &object.resource else {
        return Err(unreadable("it is none".to_owned()));
    };
    if found.selector.is_empty() {
        return Err(unreadable("it has no selector, so no workload can belong to it".to_owned()));
    }
    for port in &found.ports {
        if let TargetPort::Name(name) = &port.target_port {
            names.insert(port.port.get(), name.clone());
        }
    }
    Ok(found.selector.clone())
}

/// The Service that is made for a registration, where there is none.
fn made_service(
    service: &ObjectName,
    request: &RegisterRequest,
    identity: &weft_model::SpiffeId,
) -> Value {
    let port = |port: &RegisteredPort| {
        let number = port.service_port.unwrap_or(port.port);
        json!({
            "name": format!("port-{number}"),
            "port": number,
            "targetPort": port.port,
            "appProtocol": port.protocol,
        })
    };
    json!({
        "apiVersion": Kind::Service.api_version(),
        "kind": Kind::Service.name(),
        "metadata": {
            "namespace": service.namespace(),
            "name": service.name(),
            "annotations": { REGISTERED_BY: identity.to_string() },
        },
        "spec": {
            "selector": { SERVICE_LABEL: service.name() },
            "ports": request.ports.iter().map(port).map(without_nulls).collect::<Vec<_>>(),
        },
    })
}

/// The Workload of a registration.
fn made_workload(
    claim: &Claim<'_>,
    labels: &BTreeMap<String, String>,
    names: &BTreeMap<u16, String>,
) -> Value {
    let Claim { request, workload, services, facts } = claim;
    let services: Vec<&str> = services.iter().map(ObjectName::name).collect();
    let port = |port: &RegisteredPort| {
        let name = names.get(&port.service_port.unwrap_or(port.port));
        json!({ "name": name, "port": port.port, "appProtocol": port.protocol })
    };
    let locality = request
        .region
        .as_ref()
        .map(|region| without_nulls(json!({ "region": region, "zone": request.zone })));
    let spec = json!({
        "serviceAccount": facts.identity.service_account().name(),
        "addresses": request.addresses,
        "ports": request.ports.iter().map(port).map(without_nulls).collect::<Vec<_>>(),
        "tunnelPort": request.tunnel_port,
        "locality": locality,
        "generation": request.generation,
    });
    json!({
        "apiVersion": Kind::Workload.api_version(),
        "kind": Kind::Workload.name(),
        "metadata": {
            "namespace": workload.namespace(),
            "name": workload.name(),
            "labels": labels,
            "annotations": {
                REGISTERED_BY: facts.identity.to_string(),
                REGISTERED_FOR: services.join(","),
            },
        },
        "spec": without_nulls(spec),
    })
}

/// `object` without the fields that say nothing.
fn without_nulls(mut object: Value) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.retain(|_, value| !value.is_null());
    }
    object
}

fn written(object: &Value) -> Result<String, RegistrationError> {
    documents::written(object).map_err(RegistrationError::Invalid)
}
