//! Which fields the file of a proxy may have: for a message that names all that are not among them,
//! rather than the first.

use std::path::Path;

use serde_json::Value;

/// The fields of an object, each with those of what is in it.
type Fields = &'static [(&'static str, Option<Shape>)];

/// What is in a field.
#[derive(Clone, Copy)]
enum Shape {
    Object(Fields),
    List(Fields),
}

const FILE: Fields = &[
    ("data", None),
    ("identity", Some(Shape::Object(IDENTITY))),
    ("inbound", Some(Shape::List(INBOUND))),
    ("outbound", Some(Shape::List(OUTBOUND))),
    ("workload", Some(Shape::Object(WORKLOAD))),
];

const IDENTITY: Fields = &[
    ("certificates", None),
    ("joinToken", None),
    ("key", None),
    ("roots", None),
    ("serviceAccount", None),
    ("services", None),
];

const INBOUND: Fields = &[
    ("generation", None),
    ("listen", None),
    ("ports", Some(Shape::List(&[("application", None), ("port", None), ("protocol", None)]))),
    ("workload", None),
];

const OUTBOUND: Fields = &[
    ("endpoints", Some(Shape::List(ENDPOINT))),
    ("host", None),
    ("listen", None),
    ("port", None),
    ("protocol", None),
    ("service", None),
    ("tls", Some(Shape::Object(TLS))),
];

const TLS: Fields = &[
    ("clientCertificate", None),
    ("hostname", None),
    ("roots", None),
    ("subjectAltNames", Some(Shape::List(&[("hostname", None), ("type", None), ("uri", None)]))),
];

const ENDPOINT: Fields = &[
    ("address", None),
    ("generation", None),
    ("identity", None),
    ("port", None),
    ("tunnel", None),
    ("workload", None),
];

const WORKLOAD: Fields = &[
    ("address", None),
    ("listen", None),
    ("locality", Some(Shape::Object(&[("region", None), ("zone", None)]))),
    ("name", None),
    ("ports", Some(Shape::List(PORT))),
    ("services", None),
];

const PORT: Fields =
    &[("application", None), ("port", None), ("protocol", None), ("servicePort", None)];

/// What is wrong with the `text` of the file at `path`, for which `error` was said.
pub(super) fn malformed(path: &Path, text: &str, error: &serde_saphyr::Error) -> anyhow::Error {
    let path = path.display();
    let said = error.to_string().replace("<input>", &path.to_string());
    let mut unknown = Vec::new();
    if let Ok(file) = serde_saphyr::from_str::<Value>(text) {
        look("", FILE, &file, &mut unknown);
    }
    let unknown = match &unknown[..] {
        [] | [_] => String::new(),
        unknown => format!("\nnone of these fields is known:\n  {}", unknown.join("\n  ")),
    };
    anyhow::anyhow!("{path} is malformed: {}{unknown}", said.trim_end())
}

/// Adds to `unknown` the fields in `value`, which is at `at`, that are not among `fields`.
fn look(at: &str, fields: Fields, value: &Value, unknown: &mut Vec<String>) {
    let Value::Object(object) = value else { return };
    for (name, value) in object {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        match fields.iter().find(|(known, _)| known == name) {
            None => {
                let known: Vec<_> = fields.iter().map(|(known, _)| *known).collect();
                unknown.push(format!("{path}: there are {}", known.join(", ")));
            }
            Some((_, None)) => {}
            Some((_, Some(Shape::Object(fields)))) => look(&path, fields, value, unknown),
            Some((_, Some(Shape::List(fields)))) => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    look(&format!("{path}[{index}]"), fields, item, unknown);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RawFile;
    use super::*;

    fn said(text: &str) -> String {
        let error = serde_saphyr::from_str::<RawFile>(text).err().expect("it is malformed");
        malformed(Path::new("web.yaml"), text, &error).to_string()
    }

    #[test]
    fn all_unknown_fields_are_named_and_the_first_with_its_place_in_the_file() {
        let text = "identity: { joinToken: a, serviceAcount: shop/web }\noutbond: []\n\
                    outbound: [{ listen: '127.0.0.1:0', sevice: a/b }]\n";
        let said = said(text);
        assert!(said.contains("web.yaml:1:") && !said.contains("<input>"), "{said}");
        let lines: Vec<_> = said.lines().filter(|line| line.contains(": there are ")).collect();
        let expected = [
            "  identity.serviceAcount: there are certificates, joinToken, key, roots, \
             serviceAccount, services",
            "  outbond: there are data, identity, inbound, outbound, workload",
            "  outbound[0].sevice: there are endpoints, host, listen, port, protocol, \
             service, tls",
        ];
        assert_eq!(lines, expected, "{said}");
    }

    #[test]
    fn one_unknown_field_is_said_once_and_what_is_no_yaml_is_located() {
        let one = said("outbond: []\n");
        assert!(one.contains("web.yaml:1:1") && !one.contains("none of these"), "{one}");
        assert!(said("identity: [\nfoo").contains("web.yaml:1:11"));
    }

    /// What is not in the table here would be called unknown.
    #[test]
    fn the_table_has_all_fields() {
        fn check(at: &str, fields: Fields) {
            for (name, shape) in fields {
                match shape {
                    None => {}
                    Some(Shape::Object(inner)) => check(&format!("{at}{name}: {{ "), inner),
                    Some(Shape::List(inner)) => check(&format!("{at}{name}: [{{ "), inner),
                }
            }
            let open = format!("{at}made-up: 1");
            let close: String = open
                .chars()
                .rev()
                .filter_map(|it| match it {
                    '{' => Some('}'),
                    '[' => Some(']'),
                    _ => None,
                })
                .collect();
            let text = format!("{{ {open} {close} }}");
            let error = serde_saphyr::from_str::<RawFile>(&text).err().expect("it is malformed");
            let said = error.to_string();
            let first = said.lines().next().unwrap_or_default();
            let (_, known) = first.split_once("expected ").expect(&said);
            let known = known.strip_prefix("one of ").unwrap_or(known).replace(" or ", ", ");
            let mut known: Vec<_> = known.split(", ").collect();
            known.sort_unstable();
            let table: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
            assert_eq!(table, known, "{at}");
        }
        check("", FILE);
    }
}
