//! Findings of the reader itself, without any kind.

use super::*;
use crate::finding::Finding;
use crate::object::Options;
use crate::report::FINDINGS_MAX;
use crate::yaml;

/// What `read` finds in `text`, opened as an object with the fields `a`, `b` and, not yet, `later`.
fn findings(text: &str, read: impl Fn(&Object<'_>)) -> Vec<String> {
    let node = yaml::documents(text).remove(0).root.unwrap();
    let options = Options::default();
    let report = Report::new("test.yaml".into(), None, &options);
    let fields = Fields {
        known: &["a", "alpha"],
        not_yet: &["later"],
        ignored: &["status"],
        no_nulls: false,
    };
    if let Some(object) = At::root(&node, &report).object(fields) {
        read(&object);
    }
    let show = |finding: Finding| match &finding.help {
        Some(help) => format!("{finding} ({help})"),
        None => finding.to_string(),
    };
    report.findings().into_iter().map(show).collect()
}

#[test]
fn fields_that_do_not_belong() {
    let cases: [(&str, &[&str]); 6] = [
        ("{a: 1, status: 2}", &[]),
        ("{later: null}", &[]),
        ("{later: 1}", &["later: not supported yet by this version"]),
        ("{alhpa: 1}", &["alhpa: unknown field (did you mean `alpha`?)"]),
        (
            "{zzz: 1, latr: 2}",
            &[
                "zzz: unknown field (known here: a, alpha)",
                "latr: unknown field (did you mean `later`?)",
            ],
        ),
        ("[1]", &["a map is needed, this is a list"]),
    ];
    for (text, expected) in cases {
        assert_eq!(findings(text, |_| {}), expected, "{text}");
    }
}

#[test]
fn types_that_do_not_fit() {
    let cases: [(&str, &str); 5] = [
        ("{a: 80}", "a: a string is needed, this is the number 80 (put it in quotes: \"80\")"),
        (
            "{a: true}",
            "a: a string is needed, this is the boolean true (put it in quotes: \"true\")",
        ),
        ("{a: [x]}", "a: a string is needed, this is a list"),
        ("{}", "a: is required"),
        ("{a: null}", "a: is required"),
    ];
    for (text, expected) in cases {
        let found = findings(text, |object| {
            object.need("a", At::text);
        });
        assert_eq!(found, [expected], "{text}");
    }
    let cases: [(&str, &str); 6] = [
        (
            "{a: \"80\"}",
            "a: a number is needed, this is the string \"80\" (leave out the quotes: 80)",
        ),
        ("{a: x}", "a: a whole number is needed, this is the string \"x\""),
        ("{a: 1.5}", "a: a whole number is needed, this is the number 1.5"),
        ("{a: -1}", "a: -1 is not allowed, the least is 0"),
        ("{a: 11}", "a: 11 is not allowed, the most is 10"),
        ("{a: {}}", "a: a whole number is needed, this is a map"),
    ];
    for (text, expected) in cases {
        let found = findings(text, |object| {
            object.need("a", |at| at.number::<u32>(0, 10));
        });
        assert_eq!(found, [expected], "{text}");
    }
}

#[test]
fn one_bad_item_hides_no_other() {
    let found = findings("{a: [1, x, 2, y]}", |object| {
        assert_eq!(object.need("a", |at| at.list(9, |at| at.integer(0, 9))), None);
    });
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("a[1]: ") && found[1].starts_with("a[3]: "), "{found:?}");
}

#[test]
fn findings_are_bounded_and_the_bound_is_an_error() {
    let text = format!("[{}]", "x, ".repeat(1000));
    let found = findings(&format!("{{a: {text}}}"), |object| {
        object.need("a", |at| at.list(5000, |at| at.integer(0, 9)));
    });
    assert_eq!(found.len(), FINDINGS_MAX + 1);
    assert_eq!(found.last().unwrap(), "more than can be shown is wrong");
}

#[test]
fn words_that_are_not_known() {
    let found = |text: &str| {
        findings(text, |object| {
            object.need("a", |at| at.choice(&[("Zone", 1), ("Region", 2)], &["World"]));
        })
    };
    assert_eq!(found("{a: zone}"), ["a: \"zone\" is not known here (did you mean `Zone`?)"]);
    assert_eq!(found("{a: x}"), ["a: \"x\" is not known here (one of: Zone, Region)"]);
    assert_eq!(found("{a: World}"), ["a: \"World\" is not supported yet by this version"]);
    assert_eq!(found("{a: Region}"), Vec::<String>::new());
}
