//! All objects of a kind as they are, and how they change.
//!
//! What breaks off is begun again with a list, with growing pauses: so an event that was lost is
//! made good by the next list, which says what is there and so what is gone.

use futures_util::{Stream, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config};
use weft_crd::Kind;

use crate::access::{Cluster, chain};
use crate::reduce;

/// How many objects are listed at a time.
const PAGE: u32 = 500;

/// An object, reduced to what is used of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its namespace; empty if its kind is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is used of it, in JSON.
    pub text: String,
}

/// What is heard of the objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A list begins: what it does not hold until it ends is gone.
    Listing,
    /// An object that is new, changed, or in the list.
    Put(Found),
    /// An object of this namespace and name that is gone, or is nothing to the mesh any more.
    Gone(String, String),
    /// The list has ended.
    Listed,
    /// The server does not know the kind. It is asked again after a pause.
    NotServed,
    /// The server cannot be asked, for this reason. It is asked again after a pause.
    Failed(String),
}

/// Follows the objects of `kind`, without end.
pub fn follow(cluster: &Cluster, kind: Kind) -> impl Stream<Item = Event> + Send + use<> {
    let (group, version) = kind.api_version().split_once('/').unwrap_or(("", kind.api_version()));
    let named = GroupVersionKind::gvk(group, version, kind.name());
    let resource = ApiResource::from_gvk_with_plural(&named, kind.plural());
    let api = Api::<DynamicObject>::all_with(cluster.client.clone(), &resource);
    let config = Config::default().page_size(PAGE);
    let heard = watcher::watcher(api, config).default_backoff();
    heard.map(move |event| match event {
        Ok(watcher::Event::Init) => Event::Listing,
        Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
            found(kind, object)
        }
        Ok(watcher::Event::Delete(object)) => {
            let DynamicObject { metadata, .. } = object;
            let namespace = metadata.namespace.unwrap_or_default();
            Event::Gone(namespace, metadata.name.unwrap_or_default())
        }
        Ok(watcher::Event::InitDone) => Event::Listed,
        Err(watcher::Error::InitialListFailed(kube::Error::Api(status))) if status.code == 404 => {
            Event::NotServed
        }
        Err(error) => Event::Failed(chain(&error)),
    })
}

fn found(kind: Kind, object: DynamicObject) -> Event {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    match reduce::document(kind, object) {
        Some(text) => Event::Put(Found { namespace, name, text }),
        None => Event::Gone(namespace, name),
    }
}
