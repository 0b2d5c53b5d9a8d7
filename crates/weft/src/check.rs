//! `weft check`: what is wrong with resources in files, before anybody applies them.
//!
//! They are read and compiled together, as if they were applied to a mesh in which nothing is yet.
//! No control plane is asked, so that no credential is needed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::ensure;
use serde::Serialize;
use weft_compile::{Change, Compiler, Options, Status};
use weft_control::api::ObjectKey;
use weft_crd::{Finding, Key, Object, Parsed};
use weft_wire::SourceVersion;

use crate::files;
use crate::output::Output;
use crate::resources::title;

/// The arguments of `weft check`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Files or directories with resources; `-` is standard input.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The namespace of objects that name none.
    #[arg(short, long)]
    namespace: Option<String>,

    /// Count warnings as errors.
    #[arg(long)]
    strict: bool,

    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// The exit code where something is wrong.
const WRONG: u8 = 1;

/// The exit code where nothing could be checked.
const FAILED: u8 = 2;

/// Checks, and says by the exit code what came of it: 0 if nothing is wrong, 1 if something is, 2
/// if it could not be checked.
pub fn run(arguments: &Arguments) -> ExitCode {
    match check(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(WRONG),
        Err(error) => {
            weft_control::say!("{}", crate::explained(&error).trim_end());
            ExitCode::from(FAILED)
        }
    }
}

fn check(arguments: &Arguments) -> anyhow::Result<bool> {
    let Arguments { files, namespace, strict, output } = arguments;
    let checked = Checked::new(files::parse(&files::sources(files)?, namespace.as_deref()));
    let is_empty = checked.objects.is_empty() && checked.parsed.findings.is_empty();
    ensure!(!is_empty, "there is no object in {}", files::named(files));
    let passed = checked.is_in_force() && !(*strict && checked.warnings() > 0);
    crate::output::print(match output {
        Output::Text => checked.text(),
        Output::Json => format!("{:#}\n", serde_json::to_value(checked.report(passed))?),
    })?;
    Ok(passed)
}

/// What came of the files.
struct Checked {
    /// With what was found once all objects were seen together.
    parsed: Parsed,
    objects: Vec<CheckedObject>,
}

/// An object that can be read.
#[derive(Serialize)]
struct CheckedObject {
    #[serde(flatten)]
    key: ObjectKey,
    /// Why it would not be in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_accepted: Option<&'static str>,
}

/// What is said to programs.
#[derive(Serialize)]
struct Report<'c> {
    passed: bool,
    objects: &'c [CheckedObject],
    findings: &'c [Finding],
}

impl Checked {
    /// Nothing is compiled of files with an error in them, as nothing would be applied.
    fn new(mut parsed: Parsed) -> Checked {
        let mut statuses =
            if parsed.has_errors() { BTreeMap::new() } else { compiled(&parsed.objects) };
        let (mut objects, mut found) = (Vec::new(), Vec::new());
        for key in parsed.objects.iter().map(Object::key) {
            let status = statuses.remove(&key);
            let not_accepted = status.as_ref().and_then(Status::not_accepted);
            found.extend(status.into_iter().flat_map(|status| status.findings));
            let Key { kind, namespace, name } = key;
            let key = ObjectKey { kind: kind.name().to_owned(), namespace, name };
            objects.push(CheckedObject { key, not_accepted });
        }
        parsed.add(found);
        Checked { parsed, objects }
    }

    fn is_in_force(&self) -> bool {
        self.errors() == 0 && self.objects.iter().all(|object| object.not_accepted.is_none())
    }

    fn errors(&self) -> usize {
        self.parsed.findings.iter().filter(|finding| finding.is_error()).count()
    }

    fn warnings(&self) -> usize {
        self.parsed.findings.len() - self.errors()
    }

    fn report(&self, passed: bool) -> Report<'_> {
        Report { passed, objects: &self.objects, findings: &self.parsed.findings }
    }

    fn text(&self) -> String {
        let mut text = self.parsed.render();
        if !text.is_empty() {
            text.push('\n');
        }
        for CheckedObject { key, not_accepted } in &self.objects {
            if let Some(reason) = not_accepted {
                text.push_str(&format!("{} would not be in force: {reason}\n", title(key)));
            }
        }
        let [objects, errors, warnings] = [
            counted(self.objects.len(), "object"),
            counted(self.errors(), "error"),
            counted(self.warnings(), "warning"),
        ];
        text.push_str(&match self.parsed.findings.as_slice() {
            [] => format!("{objects}, nothing is wrong\n"),
            _ => format!("{errors}, {warnings}\n"),
        });
        text
    }
}

/// What becomes of `objects` in a mesh that has nothing else.
fn compiled(objects: &[Object]) -> BTreeMap<Key, Status> {
    let mesh = files::missing_mesh(objects);
    let put = objects.iter().cloned().chain(mesh).map(|object| Change::Put(Arc::new(object)));
    let mut compiler = Compiler::new(Options::default());
    let update = compiler.update(put, SourceVersion { epoch: 0, revision: 1 });
    update.statuses.into_iter().map(|status| (status.key.clone(), status)).collect()
}

pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
