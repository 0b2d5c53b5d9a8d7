//! The kinds of objects, each with its message and the way from and to the model.
//!
//! Conversions take both sides apart field by field, so that a new field cannot be forgotten. A
//! message is written in one way only: sets and maps in order, and nothing that can be left out.

mod authorization_policy;
mod balance;
mod common;
mod external_service;
mod fault;
mod guards;
mod health_check;
mod mesh;
mod route;
mod service;
mod session;
mod subset;
mod tls_origination;
mod traffic;
mod trust;
mod workload;

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;
use weft_model::{
    ExternalService, Guards, MeshSettings, ObjectName, Policy, PolicyKind, Route, Service, Trust,
    Workload,
};

use crate::error::FieldError;
use crate::key::ObjectKey;

/// What an object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// What holds for the whole mesh.
    Mesh(Arc<MeshSettings>),
    /// The roots and revocations of a trust domain.
    Trust(Arc<Trust>),
    /// A policy.
    Policy(Arc<Policy>),
    /// The policies of a scope.
    Guards(Arc<Guards>),
    /// A Service.
    Service(Arc<Service>),
    /// A workload.
    Workload(Arc<Workload>),
    /// A destination outside of the mesh.
    External(Arc<ExternalService>),
    /// A route.
    Route(Arc<Route>),
}

impl Object {
    /// Its name.
    pub fn key(&self) -> ObjectKey {
        match self {
            Object::Mesh(_) => ObjectKey::Mesh,
            Object::Trust(trust) => ObjectKey::Trust(trust.domain.clone()),
            Object::Policy(policy) => ObjectKey::Policy(policy.name()),
            Object::Guards(guards) => ObjectKey::Guards(guards.scope.clone()),
            Object::Service(service) => ObjectKey::Service(service.name.clone()),
            Object::Workload(workload) => ObjectKey::Workload(workload.name.clone()),
            Object::External(external) => ObjectKey::External(external.name.clone()),
            Object::Route(route) => ObjectKey::Route(route.name.clone()),
        }
    }

    /// The objects without which it does not mean what it says.
    pub fn references(&self) -> Vec<ObjectKey> {
        match self {
            Object::Mesh(_) | Object::Trust(_) | Object::Policy(_) => vec![],
            // A client of one of its Services has no use for the others.
            Object::Service(_) | Object::Workload(_) | Object::External(_) => vec![],
            Object::Guards(guards) => {
                guards.policies.keys().cloned().map(ObjectKey::Policy).collect()
            }
            Object::Route(route) => {
                let services = route.backends().cloned().map(ObjectKey::Service);
                services
                    .chain(route.external_backends().cloned().map(ObjectKey::External))
                    .collect()
            }
        }
    }

    /// The Services that go by the rules of the object called `key`, be its `body` readable or not.
    pub(crate) fn ruled_by(key: &ObjectKey, body: &[u8]) -> BTreeSet<ObjectName> {
        match key {
            ObjectKey::Route(_) => route::services_of(body),
            _ => BTreeSet::new(),
        }
    }

    /// Its message, encoded. The name is not in it.
    pub(crate) fn to_body(&self) -> Vec<u8> {
        match self {
            Object::Mesh(mesh) => mesh::MeshBody::from(&**mesh).encode_to_vec(),
            Object::Trust(trust) => trust::TrustBody::from(&**trust).encode_to_vec(),
            Object::Policy(policy) => match &**policy {
                Policy::Authorization(policy) => {
                    authorization_policy::AuthorizationBody::from(policy).encode_to_vec()
                }
            },
            Object::Guards(guards) => guards::GuardsBody::from(&**guards).encode_to_vec(),
            Object::Service(service) => service::ServiceBody::from(&**service).encode_to_vec(),
            Object::Workload(workload) => workload::WorkloadBody::from(&**workload).encode_to_vec(),
            Object::External(external) => {
                external_service::ExternalBody::from(&**external).encode_to_vec()
            }
            Object::Route(route) => route::RouteBody::from(&**route).encode_to_vec(),
        }
    }

    /// The object called `key` whose message `body` is.
    ///
    /// # Errors
    /// What is wrong with a field; `None` if it is no such message at all.
    pub(crate) fn from_body(key: &ObjectKey, body: &[u8]) -> Result<Object, Option<FieldError>> {
        fn read<M: Message + Default, T>(
            body: &[u8],
            check: impl FnOnce(M) -> Result<T, FieldError>,
        ) -> Result<Arc<T>, Option<FieldError>> {
            let message = M::decode(body).map_err(|_| None)?;
            check(message).map(Arc::new).map_err(Some)
        }
        Ok(match key {
            ObjectKey::Mesh => Object::Mesh(read(body, mesh::MeshBody::check)?),
            ObjectKey::Trust(domain) => {
                Object::Trust(read(body, |body| trust::TrustBody::check(body, domain.clone()))?)
            }
            ObjectKey::Policy(name) => match name.kind {
                PolicyKind::Authorization => Object::Policy(read(body, |body| {
                    authorization_policy::AuthorizationBody::check(body, name.object.clone())
                        .map(Policy::Authorization)
                })?),
            },
            ObjectKey::Guards(scope) => {
                Object::Guards(read(body, |body| guards::GuardsBody::check(body, scope.clone()))?)
            }
            ObjectKey::Service(name) => {
                Object::Service(read(body, |body| service::ServiceBody::check(body, name.clone()))?)
            }
            ObjectKey::Workload(name) => Object::Workload(read(body, |body| {
                workload::WorkloadBody::check(body, name.clone())
            })?),
            ObjectKey::External(name) => Object::External(read(body, |body| {
                external_service::ExternalBody::check(body, name.clone())
            })?),
            ObjectKey::Route(name) => {
                Object::Route(read(body, |body| route::RouteBody::check(body, name.clone()))?)
            }
        })
    }
}
