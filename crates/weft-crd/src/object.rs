//! An accepted object: the checked resource together with the text it came from.

use std::sync::Arc;

use crate::emit;
use crate::finding::{Finding, Position};
use crate::kind::Key;
use crate::metadata::Metadata;
use crate::node::{Node, Value};
use crate::path;
use crate::resource::Resource;
use crate::timestamp::Timestamp;

/// Where the objects are meant to live, which decides what a field can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Outside Kubernetes. Of a Service, what only Kubernetes acts on is taken with a warning.
    Standalone,
    /// In a cluster, whose API server has admitted the objects.
    Kubernetes,
}

/// What a reader must know besides the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the objects are meant to live.
    pub platform: Platform,
    /// The namespace of objects that name none.
    pub namespace: String,
    /// The mesh's own namespace: policies for the whole mesh live there and nowhere else.
    pub mesh_namespace: String,
}

/// For a mesh outside Kubernetes: namespace `default`, and `weft-system` for the mesh itself.
impl Default for Options {
    fn default() -> Options {
        Options {
            platform: Platform::Standalone,
            namespace: "default".to_owned(),
            mesh_namespace: "weft-system".to_owned(),
        }
    }
}

/// An accepted object: the checked resource, the tree it was read from, and what of it has no
/// effect or another than it may seem.
#[derive(Clone, Debug)]
pub struct Object {
    /// The checked resource.
    pub resource: Resource,
    pub(crate) tree: Node,
    pub(crate) warnings: Vec<Finding>,
    pub(crate) file: Arc<str>,
}

impl Object {
    /// What identifies it.
    pub fn key(&self) -> Key {
        self.resource.key()
    }

    /// What every kind has.
    pub fn metadata(&self) -> &Metadata {
        self.resource.metadata()
    }

    /// What is doubtful in it, whatever else there is. It goes where the object goes, so that it is
    /// said wherever its author looks.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// All that was written, what is not read here included.
    pub fn tree(&self) -> &Node {
        &self.tree
    }

    /// The object as YAML, as it was written but for comments, anchors and style.
    pub fn to_yaml(&self) -> String {
        emit::yaml(&self.tree)
    }

    /// The object as JSON on one line.
    pub fn to_json(&self) -> String {
        emit::json(&self.tree)
    }

    /// The object as YAML as a store keeps it: with its namespace, so that it means the same
    /// wherever it is read, and without what the store itself says of it.
    pub fn to_stored(&self) -> String {
        let mut tree = self.tree.clone();
        if let Some(metadata) = tree.map_mut("metadata") {
            metadata.remove("resourceVersion");
            metadata.remove("creationTimestamp");
            if self.resource.kind().is_namespaced() {
                metadata.set("namespace", Value::Text(self.metadata().namespace.clone()));
            }
        }
        emit::yaml(&tree)
    }

    /// Where the field at `path` stands, such as `spec.rules[0].matches`, or the nearest above it
    /// that was written. Nothing if no file holds it.
    pub fn locate(&self, path: &str) -> Option<Position> {
        let span = path::locate(&self.tree, path)?;
        Some(Position {
            file: self.file.to_string(),
            line: span.line,
            column: span.column,
            length: span.length,
        })
    }

    /// Writes down what the store says of it: which version this is and when it was made.
    pub fn stamp(&mut self, resource_version: &str, created: Timestamp) {
        let metadata = self.resource.metadata_mut();
        metadata.resource_version = Some(resource_version.to_owned());
        metadata.creation_timestamp = Some(created);
        if let Some(tree) = self.tree.map_mut("metadata") {
            tree.set("resourceVersion", Value::Text(resource_version.to_owned()));
            tree.set("creationTimestamp", Value::Text(created.to_string()));
        }
    }
}
