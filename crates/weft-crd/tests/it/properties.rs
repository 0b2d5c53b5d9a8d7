//! What holds for every input.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use weft_crd::{Node, Options, Parsed, Platform, parse};

use crate::samples;

fn read(bytes: &[u8]) -> Parsed {
    let parsed = parse("any.yaml", bytes, &Options::default());
    // Showing what was found must not fail either.
    let _ = parsed.render();
    let in_cluster = Options { platform: Platform::Kubernetes, ..Options::default() };
    let _ = parse("any.yaml", bytes, &in_cluster);
    for object in &parsed.objects {
        holds_what_it_was_read_from(object);
    }
    parsed
}

/// Written as YAML or as JSON, an object reads as the same tree and the same resource.
fn holds_what_it_was_read_from(object: &weft_crd::Object) {
    for text in [object.to_yaml(), object.to_json()] {
        let again = parse("again.yaml", text.as_bytes(), &Options::default());
        assert!(!again.has_errors(), "{text}\n{}", again.render());
        assert_eq!(again.objects.len(), 1, "{text}");
        assert_eq!(again.objects[0].tree(), object.tree(), "{text}");
        assert_eq!(again.objects[0].resource, object.resource, "{text}");
    }
}

/// A Mesh with `annotation`, the one field that holds any text.
fn with_annotation(annotation: &str) -> Parsed {
    let json = serde_json::json!({
        "apiVersion": "weft.dev/v1alpha1",
        "kind": "Mesh",
        "metadata": { "name": "a", "annotations": { "note": annotation } },
        "spec": { "trustDomain": "a" },
    });
    read(json.to_string().as_bytes())
}

/// Text of what YAML finds interesting.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b: ",
        ": ",
        "- ",
        "? ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\n",
        "\n  ",
        "\n    ",
        "\t",
        " ",
        "&x ",
        "*x",
        "<<: ",
        "!!str ",
        "!t ",
        "|\n",
        ">-\n",
        "\"",
        "'",
        "\\",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "~",
        "1",
        "-1",
        ".5",
        "1e9",
        ".inf",
        "true",
        "spec",
        "kind: ",
        "List",
        "items: ",
        "apiVersion: v1\n",
        "metadata: ",
        "\u{feff}",
        "\r",
        "\u{2028}",
        "é",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// A change that mostly makes a wrong object of a right one.
#[derive(Clone, Debug)]
enum Mutation {
    /// A field or item goes.
    Removed,
    /// A field is called something else.
    Renamed,
    /// Something else stands there.
    Replaced(Value),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let values = [
        json!(null),
        json!(-1),
        json!(0),
        json!(99_999),
        json!(1.5),
        json!(true),
        json!(""),
        json!("A b"),
        json!("(("),
        json!([]),
        json!({}),
        json!([{}]),
        json!({ "a": "b" }),
    ];
    prop_oneof![
        1 => Just(Mutation::Removed),
        1 => Just(Mutation::Renamed),
        4 => prop::sample::select(values.to_vec()).prop_map(Mutation::Replaced),
    ]
}

/// The places in `value` below its `spec` and `metadata`, each as the way there.
fn places(value: &Value, way: &str, found: &mut Vec<String>) {
    let mut step = |next: &Value, part: String| {
        let way = format!("{way}/{part}");
        places(next, &way, found);
        found.push(way);
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, next)| step(next, name.replace('~', "~0").replace('/', "~1"))),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, next)| step(next, index.to_string()));
        }
        _ => {}
    }
}

/// Does `mutation` at the place that `way` leads to.
fn mutate(object: &mut Value, way: &str, mutation: Mutation) {
    let (parent, last) = way.rsplit_once('/').expect("it begins with one");
    let last = last.replace("~1", "/").replace("~0", "~");
    match (object.pointer_mut(parent).expect("it is there"), mutation) {
        (Value::Object(fields), Mutation::Renamed) => {
            let value = fields.remove(&last).expect("it is there");
            fields.insert(format!("{last}x"), value);
        }
        (Value::Object(fields), Mutation::Removed) => drop(fields.remove(&last)),
        (Value::Object(fields), Mutation::Replaced(value)) => drop(fields.insert(last, value)),
        (Value::Array(items), mutation) => {
            let index: usize = last.parse().expect("it is a number");
            match mutation {
                Mutation::Replaced(value) => items[index] = value,
                Mutation::Removed | Mutation::Renamed => drop(items.remove(index)),
            }
        }
        _ => unreachable!("it has what is below it"),
    }
}

/// Whether `path` is one of `object`, or of something that it lacks.
fn leads_into(object: &Value, path: &str) -> bool {
    let mut at = object;
    let mut rest = path;
    while !rest.is_empty() {
        let (next, name) = match rest.strip_prefix('[') {
            Some(index) => {
                let Some((index, after)) = index.split_once(']') else { return false };
                let named = at.get(index);
                (named.or_else(|| at.get(index.parse::<usize>().ok()?)), after)
            }
            None => {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                (at.get(&rest[..end]), &rest[end..])
            }
        };
        let name = name.strip_prefix('.').unwrap_or(name);
        match next {
            Some(next) => at = next,
            // Only the last part may be missing.
            None => return name.is_empty(),
        }
        rest = name;
    }
    true
}

#[test]
fn all_samples_survive_writing() {
    for sample in samples::ALL {
        let parsed = read(sample.as_bytes());
        assert!(parsed.findings.is_empty(), "{}", parsed.render());
        assert_eq!(parsed.objects.len(), 1);
    }
}

proptest! {
    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }

    #[test]
    fn yaml_like_text_never_panics(text in yaml_like()) {
        read(text.as_bytes());
    }

    #[test]
    fn samples_with_pieces_put_in_never_panic(
        index in 0..samples::ALL.len(),
        edits in prop::collection::vec((any::<Index>(), 0usize..12, yaml_like()), 1..4),
    ) {
        let mut bytes = samples::ALL[index].as_bytes().to_vec();
        for (place, cut, piece) in edits {
            let from = place.index(bytes.len() + 1);
            let to = (from + cut).min(bytes.len());
            let piece: String = piece.chars().take(8).collect();
            bytes.splice(from..to, piece.into_bytes());
        }
        read(&bytes);
    }

    #[test]
    fn samples_with_bytes_changed_never_panic(
        index in 0..samples::ALL.len(),
        edits in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = samples::ALL[index].as_bytes().to_vec();
        for (place, byte) in edits {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        read(&bytes);
    }

    #[test]
    fn any_text_survives_writing(text in any::<String>()) {
        let parsed = with_annotation(&text);
        prop_assert!(!parsed.has_errors(), "{}", parsed.render());
        let note = parsed.objects[0].tree().get("metadata")
            .and_then(|metadata| metadata.get("annotations")?.get("note")).and_then(Node::as_text);
        prop_assert_eq!(note, Some(text.as_str()));
    }

    #[test]
    fn interesting_text_survives_writing(text in yaml_like()) {
        prop_assert!(!with_annotation(&text).has_errors());
    }

    #[test]
    fn numbers_survive_writing(number in any::<f64>(), whole in any::<i64>()) {
        prop_assume!(number.is_finite());
        let yaml = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: a}}, status: [{number:?}, \
             {whole}], \
             spec: {{selector: {{a: b}}, ports: [{{port: 1}}]}}}}"
        );
        prop_assert_eq!(read(yaml.as_bytes()).objects.len(), 1);
    }

    #[test]
    fn what_is_refused_names_a_field(
        index in 0..samples::ALL.len(),
        edits in prop::collection::vec((any::<Index>(), mutation()), 1..3),
    ) {
        let sample = parse("sample.yaml", samples::ALL[index].as_bytes(), &Options::default());
        let mut object: Value = serde_json::from_str(&sample.objects[0].to_json()).unwrap();
        for (place, mutation) in edits {
            let mut found = Vec::new();
            for part in ["metadata", "spec"] {
                let value = object.get(part).cloned().unwrap_or_default();
                places(&value, &format!("/{part}"), &mut found);
            }
            if !found.is_empty() {
                mutate(&mut object, &found[place.index(found.len())], mutation);
            }
        }
        let parsed = parse("wrong.yaml", object.to_string().as_bytes(), &Options::default());
        prop_assert!(parsed.has_errors() || parsed.objects.len() == 1, "{}", object);
        for finding in parsed.findings {
            let path = &finding.path;
            prop_assert!(!path.is_empty() && leads_into(&object, path), "{}: {}", finding, object);
            prop_assert!(finding.position.is_some() && finding.object.is_some(), "{}", finding);
        }
    }

    #[test]
    fn findings_point_into_the_file(text in yaml_like()) {
        let lines = u32::try_from(text.split(['\n', '\r']).count()).unwrap();
        for finding in read(text.as_bytes()).findings {
            if let Some(place) = finding.position {
                prop_assert!(place.line >= 1 && place.line <= lines + 1, "{}", place);
                prop_assert!(place.column >= 1);
            }
        }
    }
}
