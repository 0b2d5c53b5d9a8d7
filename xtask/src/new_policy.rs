//! `cargo xtask new-policy`: the skeleton of a new kind of policy, from what users write to what a
//! proxy decides. It compiles, is read, checked and given a status, and has no effect yet.
//!
//! What is new are files of its own, made from `new_policy/*.txt`. What other kinds have too is one
//! line each, put in behind that of `FaultPolicy`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Where a skeleton's files go, `{name}` being the policy's, and what is in them.
const FILES: &[(&str, &str)] = &[
    ("crates/weft-model/src/{noun}.rs", include_str!("new_policy/model.txt")),
    ("crates/weft-crd/src/{name}.rs", include_str!("new_policy/crd.txt")),
    ("crates/weft-compile/src/{name}.rs", include_str!("new_policy/compile.txt")),
    ("crates/weft-decide/src/{noun}.rs", include_str!("new_policy/decide.txt")),
    ("crates/weft-compile/tests/cases/{name}/in.yaml", include_str!("new_policy/case.txt")),
    ("docs/{name}.md", include_str!("new_policy/page.txt")),
];

/// A line or two that another file gets.
struct Edit {
    file: &'static str,
    /// The text behind which it is put. It is there once.
    behind: &'static str,
    new: &'static str,
}

const fn edit(file: &'static str, behind: &'static str, new: &'static str) -> Edit {
    Edit { file, behind, new }
}

const MODEL: &str = "crates/weft-model/src/lib.rs";
const CRD: &str = "crates/weft-crd/src/lib.rs";
const KIND: &str = "crates/weft-crd/src/kind.rs";
const RESOURCE: &str = "crates/weft-crd/src/resource.rs";
const COMPILER: &str = "crates/weft-compile/src/compiler.rs";

const EDITS: &[Edit] = &[
    edit(MODEL, "mod fault;\n", "mod {noun};\n"),
    edit(MODEL, "Delay, Fault};\n", "pub use {noun}::{Noun};\n"),
    edit("crates/weft-decide/src/lib.rs", "pub mod fault;\n", "pub mod {noun};\n"),
    edit(CRD, "mod fault_policy;\n", "mod {name};\n"),
    edit(CRD, "FaultPolicy};\n", "pub use {name}::{Name};\n"),
    edit(
        KIND,
        "FaultPolicy.\n    FaultPolicy,\n",
        "    /// `weft.dev/v1alpha1` {Name}.\n    {Name},\n",
    ),
    edit(KIND, "        Kind::FaultPolicy,\n", "        Kind::{Name},\n"),
    edit(KIND, "            | Kind::FaultPolicy", "\n            | Kind::{Name}"),
    edit(
        KIND,
        "            Kind::FaultPolicy => &[\"FaultPolicy\", \"faultpolicies\", \"fp\"],\n",
        "            Kind::{Name} => &[\"{Name}\", \"{plural}\"],\n",
    ),
    edit(
        RESOURCE,
        "    FaultPolicy(FaultPolicy),\n",
        "    /// What a {Name} says.\n    {Name}({Name}),\n",
    ),
    edit(
        RESOURCE,
        "            Resource::FaultPolicy(_) => Kind::FaultPolicy,\n",
        "            Resource::{Name}(_) => Kind::{Name},\n",
    ),
    edit(
        RESOURCE,
        "            Resource::FaultPolicy(policy) => &policy.metadata,\n",
        "            Resource::{Name}(policy) => &policy.metadata,\n",
    ),
    edit(
        RESOURCE,
        "            Resource::FaultPolicy(policy) => &mut policy.metadata,\n",
        "            Resource::{Name}(policy) => &mut policy.metadata,\n",
    ),
    edit(
        RESOURCE,
        "            Resource::FaultPolicy(policy) => &policy.targets,\n",
        "            Resource::{Name}(policy) => &policy.targets,\n",
    ),
    edit(
        RESOURCE,
        "            Kind::FaultPolicy => Resource::FaultPolicy(fault_policy::read(header, spec)?),\n",
        "            Kind::{Name} => Resource::{Name}({name}::read(header, spec)?),\n",
    ),
    edit(
        RESOURCE,
        "use crate::fault_policy::{self, FaultPolicy};\n",
        "use crate::{name}::{self, {Name}};\n",
    ),
    edit("crates/weft-compile/src/lib.rs", "mod fault_policy;\n", "mod {name};\n"),
    edit(
        "crates/weft-compile/src/memo.rs",
        "    FaultPolicy(ObjectName),\n",
        "    /// Whether a {Name} is in force.\n    {Name}(ObjectName),\n",
    ),
    edit(
        COMPILER,
        "        Kind::FaultPolicy => vec![Unit::FaultPolicy(object)],\n",
        "        Kind::{Name} => vec![Unit::{Name}(object)],\n",
    ),
    edit(
        COMPILER,
        "        Unit::FaultPolicy(name) => fault_policy::status(reader, name),\n",
        "        Unit::{Name}(name) => crate::{name}::status(reader, name),\n",
    ),
];

/// A name in the forms that the skeleton needs.
struct Names {
    /// As in `RateLimitPolicy`.
    name: String,
    /// The same without `Policy`.
    noun: String,
}

impl Names {
    fn new(name: &str) -> Result<Names> {
        let noun = name.strip_suffix("Policy").unwrap_or_default();
        let is_camel = noun.starts_with(|first: char| first.is_ascii_uppercase())
            && noun.bytes().all(|byte| byte.is_ascii_alphanumeric());
        ensure!(is_camel, "`{name}` is no name of a policy: write it as in RateLimitPolicy");
        Ok(Names { name: name.to_owned(), noun: noun.to_owned() })
    }

    /// `template` for this policy.
    fn fill(&self, template: &str) -> String {
        let Names { name, noun } = self;
        let plural = format!("{}ies", name.to_lowercase().trim_end_matches('y'));
        let forms = [
            ("{Name}", name.clone()),
            ("{Noun}", noun.clone()),
            ("{name}", snake(name)),
            ("{noun}", snake(noun)),
            ("{plural}", plural),
        ];
        forms.iter().fold(template.to_owned(), |text, (form, value)| text.replace(form, value))
    }
}

/// `CamelCase` as `snake_case`.
fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for (index, character) in camel.chars().enumerate() {
        if character.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// Writes the skeleton of the policy `name` into the checkout at `root`, and says what comes next.
///
/// # Errors
/// If there is such a policy, or the checkout is not as it is taken to be. Then nothing is written.
pub fn write(root: &Path, name: &str) -> Result<String> {
    let names = Names::new(name)?;
    let mut written: Vec<(String, String)> = Vec::new();
    for (path, template) in FILES {
        let path = names.fill(path);
        ensure!(!root.join(&path).exists(), "{path} is there already");
        written.push((path, names.fill(template)));
    }
    for Edit { file, behind, new } in EDITS {
        let place = match written.iter().position(|(path, _)| path == file) {
            Some(place) => place,
            None => {
                let text = fs::read_to_string(root.join(file));
                let text = text.with_context(|| format!("{file} cannot be read"))?;
                written.push(((*file).to_owned(), text));
                written.len() - 1
            }
        };
        let text = &mut written[place].1;
        *text = put_behind(text, behind, &names.fill(new)).with_context(|| (*file).to_owned())?;
        if *file == KIND {
            count_one_more(text)?;
            *text = text.replace(&format!("            \"{name}\",\n"), "");
        }
    }
    for (path, text) in &written {
        let target = root.join(path);
        let folder = target.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder of {path}"))?;
        fs::write(&target, text).with_context(|| format!("{path} cannot be written"))?;
    }
    let files: Vec<_> = written.iter().take(FILES.len()).map(|(path, _)| path.as_str()).collect();
    Ok(format!(
        "{name} is a kind now, and has no effect yet. Its files:\n  {}\n\
         Next: cargo fmt --all; UPDATE_EXPECT=1 cargo test -p weft-compile (writes out.yaml).\n\
         Then put what it says into a Service or a route in weft-model, weft-wire (and its \
         feature) and weft-compile, and act on it in weft-proxy, as `fault` does.\n",
        files.join("\n  ")
    ))
}

fn put_behind(text: &str, behind: &str, new: &str) -> Result<String> {
    let mut parts = text.split(behind);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(before), Some(after), None) => Ok(format!("{before}{behind}{new}{after}")),
        (_, None, _) => bail!("there is no `{}`", behind.trim()),
        _ => bail!("there is more than one `{}`", behind.trim()),
    }
}

/// Makes the list of all kinds as long as it has entries.
fn count_one_more(text: &mut String) -> Result<()> {
    let (_, rest) = text.split_once("const ALL: [Kind; ").context("there is no list of kinds")?;
    let (before, list) = rest.split_once("] = [").context("the list of kinds has no length")?;
    let (list, _) = list.split_once("];").context("the list of kinds has no end")?;
    let count = list.matches("Kind::").count();
    *text = text
        .replace(&format!("const ALL: [Kind; {before}]"), &format!("const ALL: [Kind; {count}]"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_all_the_forms() {
        let names = Names::new("RateLimitPolicy").unwrap();
        let filled = names.fill("{Name} {Noun} {name} {noun} {plural}");
        assert_eq!(
            filled,
            "RateLimitPolicy RateLimit rate_limit_policy rate_limit ratelimitpolicies"
        );
        for wrong in ["Policy", "RateLimit", "rateLimitPolicy", "Rate-LimitPolicy", ""] {
            assert!(Names::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_as_it_should_be_is_said_and_nothing_is_written() {
        assert_eq!(put_behind("a\nb\n", "a\n", "x\n").unwrap(), "a\nx\nb\n");
        assert!(put_behind("a\na\n", "a\n", "x\n").is_err());
        assert!(put_behind("b\n", "a\n", "x\n").is_err());
        let empty = std::env::temp_dir().join(format!("xtask-policy-{}", std::process::id()));
        fs::create_dir_all(&empty).unwrap();
        assert!(write(&empty, "RateLimitPolicy").is_err());
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
        fs::remove_dir(&empty).unwrap();
    }
}
