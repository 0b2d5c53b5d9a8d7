//! Trees from text, and what bounds them.

use super::*;
use crate::emit;

/// The documents of `text` as JSON, or what is wrong with each.
fn read(text: &str) -> Vec<Result<String, String>> {
    let read = |document: Document| match (document.root, document.problems.as_slice()) {
        (Some(root), []) => Ok(emit::json(&root)),
        (_, problems) => {
            let lines = problems.iter().map(|Problem { path, span, message, .. }| {
                format!("{}:{}+{} [{path}] {message}", span.line, span.column, span.length)
            });
            Err(lines.collect::<Vec<_>>().join("; "))
        }
    };
    documents(text).into_iter().map(read).collect()
}

#[test]
fn what_is_valid() {
    let cases = [
        ("a: 80\nb: \"80\"\nc: one\nd:\n", r#"{"a":80,"b":"80","c":"one","d":null}"#),
        ("{\n\t\"a\": [1, 2.5, true],\r\n\t\"b\": {}\n}", r#"{"a":[1,2.5,true],"b":{}}"#),
        ("a: &x {b: 1}\nc: *x\n", r#"{"a":{"b":1},"c":{"b":1}}"#),
        ("a: &x 1\nb: &x 2\nc: *x\n", r#"{"a":1,"b":2,"c":2}"#),
        ("a: !!str 80\nb: !!int \"80\"\nc: ! 5\nd: !!str\n", r#"{"a":"80","b":80,"c":"5","d":""}"#),
        ("a: |\n  one\n  two\nb: >\n  one\n  two\n", r#"{"a":"one\ntwo\n","b":"one two\n"}"#),
        ("80: x\ntrue: z\n", r#"{"80":"x","true":"z"}"#),
        ("\"<<\": 1\n", r#"{"<<":1}"#),
        ("# only a comment\na: 1 # and another\n", r#"{"a":1}"#),
        ("? a\n: 1\n", r#"{"a":1}"#),
        ("- - 1\n  - 2\n- - 3\n", "[[1,2],[3]]"),
        ("\u{feff}a: 1\n", r#"{"a":1}"#),
    ];
    for (text, json) in cases {
        assert_eq!(read(text), [Ok(json.to_owned())], "{text}");
    }
}

#[test]
fn several_documents() {
    let ok = |json: &str| Ok(json.to_owned());
    assert_eq!(
        read("a: 1\n---\na: 2\n...\n---\n"),
        [ok(r#"{"a":1}"#), ok(r#"{"a":2}"#), ok("null")]
    );
    // Anchors end with their document.
    let read = read("a: &x 1\n---\nb: *x\n---\nc: 3\n");
    assert_eq!(read[1], Err("3:4+2 [b] no anchor `&x` stands before this".to_owned()));
    assert_eq!(read[2], ok(r#"{"c":3}"#));
}

#[test]
fn what_is_wrong_hides_nothing_after_it() {
    let cases = [
        ("a: 1\na: 2\n", "2:1+1 [a] written twice, first in line 1"),
        ("x: {a: 1, b: 2, a: 3}\n", "1:17+1 [x.a] written twice, first in line 1"),
        (
            "a: .nan\nb: 1e999\n",
            "1:4+4 [a] infinity and not-a-number are not allowed; 2:4+5 [b] the number 1e999 is \
             too large",
        ),
        ("a:\n  <<: {b: 1}\n", "2:3+2 [a] the merge key `<<` is not supported"),
        ("a: &x [*x]\n", "1:8+2 [a[0]] an alias inside the value it stands for"),
        ("a: !mine 1\n", "1:10+1 [a] the tag `!mine` is not supported here"),
        ("a: !!int x\n", "1:10+1 [a] \"x\" is not a `!!int`"),
        ("a: !!set {}\n", "1:10+1 [a] the tag `!!set` is not supported here"),
        ("[a]: 1\nb: 2\n", "1:1+1 [] a key is a string, not a list, a map or an alias"),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text), [Err(expected.to_owned())], "{text}");
    }
}

#[test]
fn a_document_that_does_not_parse_hides_none_after_it() {
    let read = read("a: [1\n---\nb: 2\n");
    assert!(read[0].as_ref().is_err_and(|why| why.contains("not valid YAML")), "{read:?}");
    assert_eq!(read.last(), Some(&Ok(r#"{"b":2}"#.to_owned())));
}

#[test]
fn positions_of_scalars_and_collections() {
    let text = "a: {b: 1, c: [x, y]}\nlist:\n- name: é\n  v: \"q\"\n";
    let root = documents(text).remove(0).root.unwrap();
    let place = |node: &Node| (node.span.line, node.span.column, node.span.length);
    let a = root.get("a").unwrap();
    assert_eq!(place(a), (1, 4, 17));
    assert_eq!(place(a.get("c").unwrap()), (1, 14, 6));
    let item = root.get("list").unwrap().item(0).unwrap();
    assert_eq!(place(item), (3, 3, 4));
    assert_eq!(place(item.get("name").unwrap()), (3, 9, 1));
    assert_eq!(place(item.get("v").unwrap()), (4, 6, 3));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(DEPTH_MAX))[0].is_ok());
    let refused = |text: &str| {
        let read = read(text);
        assert!(read[0].as_ref().is_err_and(|why| why.contains("too deep")), "{read:?}");
    };
    refused(&nested(DEPTH_MAX + 1));
    refused(&"[".repeat(1_000_000));
    refused(&"- ".repeat(100_000));
    refused(&(0..100).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>());
    // By way of aliases, each level adding one.
    let mut text = "a0: &a0 [1]\n".to_owned();
    for n in 1..100 {
        text.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1));
    }
    refused(&text);
}

#[test]
fn aliases_cannot_multiply_without_bound() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..20 {
        let before = vec![format!("*a{}", n - 1); 9].join(", ");
        laughs.push_str(&format!("a{n}: &a{n} [{before}]\n"));
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 100].join(", "));
    for text in [laughs, long] {
        let read = read(&text);
        assert!(read[0].as_ref().is_err_and(|why| why.contains("too much")), "{read:?}");
    }
}

#[test]
fn many_problems_end_the_reading() {
    let text = format!("[{}]", "*a, ".repeat(PROBLEMS_MAX * 10));
    let problems = documents(&text).remove(0).problems;
    assert!(problems.len() <= PROBLEMS_MAX + 2, "{}", problems.len());
}

#[test]
fn many_broken_documents_end_the_reading() {
    let read = read(&"---\n[\n".repeat(BROKEN_DOCUMENTS_MAX * 2));
    assert_eq!(read.len(), BROKEN_DOCUMENTS_MAX);
    let last = read.last().unwrap().as_ref().unwrap_err();
    assert!(last.ends_with("too much is wrong, the rest is not read"), "{last}");
}
