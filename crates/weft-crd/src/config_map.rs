//! `v1` ConfigMap: certificates of authorities, which policies refer to.
//!
//! Deliberately absent: all of its data but `ca.crt`; whether that can be read, which whoever
//! refers to it says.

use crate::metadata::{self, Metadata};
use crate::reader::{At, Fields};

/// The key of what is read.
const CA: &str = "ca.crt";

/// Certificates of authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMap {
    /// What every object has.
    pub metadata: Metadata,
    /// What stands under `ca.crt`: certificates as PEM, if they can be read.
    pub ca: Option<String>,
}

const FIELDS: Fields = Fields {
    known: &["apiVersion", "kind", "metadata", "data", "immutable"],
    not_yet: &[],
    ignored: &["binaryData", "status"],
    no_nulls: false,
};

pub(crate) fn read(root: &At<'_>) -> Option<ConfigMap> {
    let object = root.object(FIELDS)?;
    let metadata = object.need("metadata", |at| metadata::read(at, crate::kind::Kind::ConfigMap));
    let data = object.maybe("data", |at| at.text_map(|_| Ok(()), |_| Ok(())));
    let immutable = object.maybe("immutable", At::boolean);
    let (metadata, mut data) = (metadata?, data?.unwrap_or_default());
    immutable?;
    let ca = data.remove(CA);
    if ca.is_none() && root.is_standalone() {
        let message = format!("no effect: what is read of a ConfigMap is {CA}, which it lacks");
        root.below("data").warning(message);
    }
    Some(ConfigMap { metadata, ca })
}

#[cfg(test)]
mod tests {
    use crate::resource::Resource;
    use crate::testing::{parsed, valid};

    const HEAD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: ca, namespace: shop }";

    #[test]
    fn what_is_read_of_it() {
        let read = |rest: &str| match valid(&format!("{HEAD}\n{rest}")).resource {
            Resource::ConfigMap(map) => map.ca,
            other => panic!("not a ConfigMap: {other:?}"),
        };
        assert_eq!(read("data: { ca.crt: a, other: b }\nimmutable: true").as_deref(), Some("a"));
        for (rest, expected) in [
            ("", "data: no effect: what is read of a ConfigMap is ca.crt, which it lacks"),
            ("data: { ca.crt: 1 }", "data[ca.crt]: a string is needed, this is the number 1"),
            ("data: { ca.crt: a }\nspec: {}", "spec: unknown field"),
        ] {
            let found = parsed(&format!("{HEAD}\n{rest}\n")).findings;
            assert_eq!(found[0].to_string(), expected);
        }
    }
}
