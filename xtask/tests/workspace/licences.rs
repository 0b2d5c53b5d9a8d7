//! Licences: what may be linked into Weft, by evaluating each package's SPDX expression.

use std::collections::BTreeSet;

use crate::Resolved;

/// Licences that ask for nothing but a notice.
pub const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// A package, its licence as it states it, and why it is used all the same.
pub type Exception = (&'static str, Option<&'static str>, &'static str);

/// Packages whose licence is not in [`ALLOWED`].
pub const EXCEPTIONS: &[Exception] = &[(
    "webpki-root-certs",
    Some("CDLA-Permissive-2.0"),
    "Mozilla's roots, which kube's verifier takes on systems that have none; not built for Linux",
)];

/// Those of `packages` that may not be used, and those of `exceptions` that are not needed.
pub fn findings(allowed: &[&str], exceptions: &[Exception], packages: &[Resolved]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut unused: BTreeSet<&str> = exceptions.iter().map(|(name, ..)| *name).collect();
    for Resolved { name, version, licence } in packages {
        let verdict = match licence {
            None => Err("it states no licence".to_owned()),
            Some(expression) => match permits(expression, allowed) {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("`{expression}` is not on the list")),
                Err(error) => Err(format!("`{expression}` is not an SPDX expression: {error}")),
            },
        };
        let Err(reason) = verdict else { continue };
        if exceptions.iter().any(|(known, as_, _)| known == name && *as_ == licence.as_deref()) {
            unused.remove(name.as_str());
        } else {
            findings.push(format!(
                "Cargo.lock: the licence of {name} {version} is not allowed: {reason}; do without \
                 it, or have it agreed and listed in xtask/tests/workspace/licences.rs"
            ));
        }
    }
    findings.extend(unused.iter().map(|name| {
        format!(
            "xtask/tests/workspace/licences.rs: the exception for {name} is not needed: remove it"
        )
    }));
    findings
}

/// True if some choice that `expression` leaves open is made of `allowed` licences only.
///
/// `WITH` binds closer than `AND`, `AND` closer than `OR`; `/` is an old way to write `OR`.
/// Source: SPDX specification 2.3, annex D.
fn permits(expression: &str, allowed: &[&str]) -> Result<bool, String> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut parser = Parser { words: spaced.split_whitespace().collect(), allowed };
    parser.words.reverse();
    let permitted = parser.alternatives()?;
    match parser.words.pop() {
        None => Ok(permitted),
        Some(word) => Err(format!("`{word}` is too much")),
    }
}

struct Parser<'a> {
    /// What is left of the expression, the next word last.
    words: Vec<&'a str>,
    allowed: &'a [&'a str],
}

impl Parser<'_> {
    fn alternatives(&mut self) -> Result<bool, String> {
        let mut permitted = self.all()?;
        while self.takes("OR") {
            permitted |= self.all()?;
        }
        Ok(permitted)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut permitted = self.one()?;
        while self.takes("AND") {
            permitted &= self.one()?;
        }
        Ok(permitted)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.takes("(") {
            let permitted = self.alternatives()?;
            return if self.takes(")") { Ok(permitted) } else { Err("`)` is missing".into()) };
        }
        let licence = self.name()?;
        if self.takes("WITH") {
            let exception = self.name()?;
            return Ok(self.allowed.contains(&format!("{licence} WITH {exception}").as_str()));
        }
        Ok(self.allowed.contains(&licence.as_str()))
    }

    fn name(&mut self) -> Result<String, String> {
        match self.words.pop() {
            None => Err("a licence is missing at the end".into()),
            Some(word @ ("OR" | "AND" | "WITH" | "(" | ")")) => {
                Err(format!("a licence is missing before `{word}`"))
            }
            Some(word) => Ok(word.to_owned()),
        }
    }

    fn takes(&mut self, word: &str) -> bool {
        let next = self.words.last() == Some(&word);
        if next {
            self.words.pop();
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_evaluated() {
        let permits = |expression| permits(expression, &["MIT", "ISC", "A WITH E"]);
        for fine in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0 OR MIT",
            "GPL-3.0/MIT",
            "MIT AND ISC",
            "A WITH E",
            "GPL-3.0 AND A OR MIT",
            "MIT OR ISC AND GPL-3.0",
            "(MIT OR GPL-3.0) AND (GPL-3.0 OR ISC)",
            "ISC AND (MIT OR GPL-3.0) AND (A WITH E)",
        ] {
            assert_eq!(permits(fine), Ok(true), "{fine}");
        }
        for wrong in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "A",
            "MIT WITH E",
            "A WITH F",
            "(MIT OR ISC) AND GPL-3.0",
            "MIT+",
            "mit",
        ] {
            assert_eq!(permits(wrong), Ok(false), "{wrong}");
        }
        for broken in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT ISC", "A WITH", "()"] {
            assert!(permits(broken).is_err(), "{broken}");
        }
    }

    fn package(name: &str, licence: Option<&str>) -> Resolved {
        Resolved { name: name.into(), version: "1.0.0".into(), licence: licence.map(Into::into) }
    }

    #[test]
    fn wrong_missing_and_broken_licences_are_found() {
        let packages = [
            package("fine", Some("MIT OR Apache-2.0")),
            package("copyleft", Some("GPL-3.0-only")),
            package("silent", None),
            package("broken", Some("MIT OR")),
        ];
        let found = findings(ALLOWED, &[], &packages);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("copyleft 1.0.0 is not allowed: `GPL-3.0-only`"), "{found:?}");
        assert!(found[1].contains("it states no licence"), "{found:?}");
        assert!(found[2].contains("not an SPDX expression"), "{found:?}");
    }

    #[test]
    fn an_exception_is_for_one_licence_and_must_be_needed() {
        let exceptions: &[Exception] = &[("data", Some("CDLA-Permissive-2.0"), "only tables")];
        let as_agreed = package("data", Some("CDLA-Permissive-2.0"));
        assert_eq!(findings(ALLOWED, exceptions, &[as_agreed]), [""; 0]);
        let changed = findings(ALLOWED, exceptions, &[package("data", Some("GPL-3.0-only"))]);
        assert_eq!(changed.len(), 2, "{changed:?}");
        let stale = findings(ALLOWED, exceptions, &[]);
        assert!(stale[0].contains("the exception for data is not needed"), "{stale:?}");
    }
}
