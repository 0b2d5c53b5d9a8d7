//! Resources in YAML or JSON.

use weft_crd::{Object, Options, Platform, parse};

/// An object that is taken reads the same when it is written again, and all that is wrong can be
/// shown, at a place in the file.
pub fn resources(input: &[u8]) {
    let parsed = parse("any.yaml", input, &Options::default());
    let _ = parsed.render();
    let text = String::from_utf8_lossy(input);
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
    for place in parsed.findings.iter().filter_map(|finding| finding.position.as_ref()) {
        assert!(place.line >= 1 && place.line as usize <= lines + 1, "{place} of {lines}");
        assert!(place.column >= 1, "{place}");
    }
    let in_cluster = Options { platform: Platform::Kubernetes, ..Options::default() };
    let _ = parse("any.yaml", input, &in_cluster);
    parsed.objects.iter().for_each(reads_as_the_same);
}

fn reads_as_the_same(object: &Object) {
    for text in [object.to_yaml(), object.to_json()] {
        let again = parse("again.yaml", text.as_bytes(), &Options::default());
        assert!(!again.has_errors(), "{text}\n{}", again.render());
        assert_eq!(again.objects.len(), 1, "{text}");
        assert_eq!(again.objects[0].tree(), object.tree(), "{text}");
        assert_eq!(again.objects[0].resource, object.resource, "{text}");
    }
}
