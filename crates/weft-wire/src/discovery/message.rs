//! The messages of delta xDS, with Envoy's field numbers.
//!
//! Of Envoy's messages only those fields are here that this discovery uses; others are passed over
//! when read, as protobuf does.
//!
//! Source: `envoy/service/discovery/v3/discovery.proto`, `envoy/config/core/v3/base.proto`,
//! `google/rpc/status.proto`, `google/protobuf/any.proto`, `google/protobuf/struct.proto`.

use std::collections::BTreeMap;

use prost::Message;

/// What a stream of this discovery is about, and what its objects are.
pub const OBJECT_TYPE: &str = "type.weft.dev/weft.v1.Object";

/// The type of an [`AnswerMessage`].
pub const ANSWER_TYPE: &str = "type.weft.dev/weft.v1.Answer";

/// The type of a [`RefusalMessage`].
pub const REFUSAL_TYPE: &str = "type.weft.dev/weft.v1.Refusal";

/// The name by which [`Metadata`] says which of the instances of its workload a proxy is of.
pub const GENERATION: &str = "generation";

/// The code of a [`Status`] that refuses something: INVALID_ARGUMENT of gRPC.
pub const INVALID_ARGUMENT: i32 = 3;

/// A message of any type.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {
    /// Which type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message, encoded.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Status {
    /// A code of gRPC.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// In words.
    #[prost(string, tag = "2")]
    pub message: String,
    /// More of it; here a [`RefusalMessage`] for each resource that was refused.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// More that is said of somebody, by names: `google.protobuf.Struct` with texts only.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Metadata {
    /// What is said.
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, MetadataValue>,
}

/// A value of [`Metadata`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MetadataValue {
    /// It, if it is a text.
    #[prost(string, optional, tag = "3")]
    pub text: Option<String>,
}

impl Metadata {
    /// Of `name` that it is `text`.
    pub fn new(name: &str, text: &str) -> Metadata {
        let value = MetadataValue { text: Some(text.to_owned()) };
        Metadata { fields: BTreeMap::from([(name.to_owned(), value)]) }
    }

    /// What is said of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.text.as_deref()
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Node {
    /// The name of this proxy, for people: `NAMESPACE/NAME`. Nothing is decided by it.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Which instance of its workload this proxy is of, as [`GENERATION`], if it is of one.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Metadata>,
    /// The name of its program.
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
    /// The version of its program.
    #[prost(string, optional, tag = "7")]
    pub user_agent_version: Option<String>,
}

/// What a client says: whom it is interested in, and what became of the last response.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeltaDiscoveryRequest {
    /// Who asks; in the first request of a stream.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// Always [`OBJECT_TYPE`].
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// New subscriptions.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Subscriptions that are no longer wanted.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// The version of each resource that is held; in the first request of a stream.
    #[prost(btree_map = "string, string", tag = "5")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// The response that this answers, if any.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// What of that response was refused, if anything.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<Status>,
}

/// What a server says: which resources are new or changed, and which must go.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeltaDiscoveryResponse {
    /// How recent the server's sources are, as [`SourceVersion`](crate::SourceVersion) is written.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// What is new or changed, in the order in which it is to be taken. None, and nothing that must
    /// go: the client has all that there is for it.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Resource>,
    /// Always [`OBJECT_TYPE`].
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// By which a request answers this response.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// What must go, after the above is taken.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
}

/// A resource with its name and version.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Resource {
    /// The version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The resource itself.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// The name.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// What a subscription led to.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AnswerMessage {
    /// Found, absent or refused.
    #[prost(int32, tag = "1")]
    pub outcome: i32,
    /// Why, if it was refused.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// The names of the objects that it is about.
    #[prost(string, repeated, tag = "3")]
    pub objects: Vec<String>,
}

/// One resource of a response that the client does not take, or whose removal it does not make.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RefusalMessage {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
}

impl Any {
    /// `message`, which is of type `type_url`.
    pub(crate) fn new(type_url: &str, message: &impl Message) -> Any {
        Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Any {
        Any { type_url: "t".to_owned(), value: vec![9] }
    }

    /// By hand from the field numbers that Envoy publishes.
    #[test]
    fn a_request_has_envoys_field_numbers() {
        let request = DeltaDiscoveryRequest {
            node: Some(Node {
                id: "a".to_owned(),
                metadata: Some(Metadata::new("g", "7")),
                user_agent_name: "b".to_owned(),
                user_agent_version: Some("c".to_owned()),
            }),
            type_url: "u".to_owned(),
            resource_names_subscribe: vec!["s".to_owned()],
            resource_names_unsubscribe: vec!["n".to_owned()],
            initial_resource_versions: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            response_nonce: "o".to_owned(),
            error_detail: Some(Status { code: 3, message: "m".to_owned(), details: vec![any()] }),
        };
        let bytes = b"\x0a\x15\x0a\x01a\x1a\x0a\x0a\x08\x0a\x01g\x12\x03\x1a\x017\
            \x32\x01b\x3a\x01c\
            \x12\x01u\x1a\x01s\x22\x01n\
            \x2a\x06\x0a\x01k\x12\x01v\
            \x32\x01o\
            \x3a\x0d\x08\x03\x12\x01m\x1a\x06\x0a\x01t\x12\x01\x09";
        assert_eq!(request.encode_to_vec(), bytes);
        assert_eq!(DeltaDiscoveryRequest::decode(bytes.as_slice()), Ok(request));
    }

    #[test]
    fn a_response_has_envoys_field_numbers() {
        let response = DeltaDiscoveryResponse {
            system_version_info: "i".to_owned(),
            resources: vec![Resource {
                version: "v".to_owned(),
                resource: Some(any()),
                name: "n".to_owned(),
            }],
            type_url: "u".to_owned(),
            nonce: "o".to_owned(),
            removed_resources: vec!["r".to_owned()],
        };
        let bytes = b"\x0a\x01i\
            \x12\x0e\x0a\x01v\x12\x06\x0a\x01t\x12\x01\x09\x1a\x01n\
            \x22\x01u\x2a\x01o\x32\x01r";
        assert_eq!(response.encode_to_vec(), bytes);
        // Envoy's own fields, such as `aliases` (4) of a resource, are passed over.
        let with_alias = b"\x12\x06\x22\x01x\x1a\x01n";
        let read = DeltaDiscoveryResponse::decode(with_alias.as_slice()).unwrap();
        assert_eq!(read.resources[0].name, "n");
    }
}
