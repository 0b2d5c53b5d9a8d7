//! `weft apply | get | delete | watch | token`: the control plane, from the command line.

mod enforcement;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;
use weft_control::api::{
    Action, ApplyRequest, ConditionStatus, Enforced, ListResponse, ObjectKey, RefusingProxy,
    ResourceStatus, StoredObject, TokenRequest, WatchEvent,
};
use weft_crd::Finding;
use weft_world::UnixTime;

use crate::access::Access;
use crate::files::{self, sources};
use crate::output::{print, print_line, say_all};

/// How often a token may be used where nobody says so: it is a secret that is copied around.
const TOKEN_USES: u32 = 1;

/// How long, in minutes.
const TOKEN_MINUTES: u64 = 60;

/// How long `weft apply --wait` waits where nobody says so: proxies act within a moment.
const WAIT: Duration = Duration::from_secs(60);

/// The arguments of `weft apply`.
#[derive(clap::Args)]
pub struct Apply {
    #[command(flatten)]
    access: Access,
    /// Files or directories with resources; `-` is standard input.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only say what would happen.
    #[arg(long)]
    dry_run: bool,
    /// Wait until it is in force wherever it is to be, at most so long; 60 s if no number is given.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with = "dry_run"
    )]
    wait: Option<Option<u64>>,
}

/// The arguments of `weft get` and `weft watch`.
#[derive(clap::Args)]
pub struct Select {
    #[command(flatten)]
    access: Access,
    /// The kind, as in `HTTPRoute`, `services` or `svc`. Default: all.
    kind: Option<String>,
    /// The name of one object.
    name: Option<String>,
    /// The namespace; for one object `default` if it is not given, else all.
    #[arg(short, long)]
    namespace: Option<String>,
    /// How objects are printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// The arguments of `weft delete`.
#[derive(clap::Args)]
pub struct Delete {
    #[command(flatten)]
    access: Access,
    /// The kind.
    kind: String,
    /// The name.
    name: String,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Delete only if this is still the object's version.
    #[arg(long, value_name = "VERSION")]
    resource_version: Option<u64>,
}

/// The arguments of `weft token`.
#[derive(clap::Args)]
pub struct Token {
    #[command(flatten)]
    access: Access,
    /// The service account whose identity its holder gets.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service_account: String,
    /// A Service that its holder may be registered for; may be repeated.
    #[arg(long = "service", value_name = "NAMESPACE/NAME")]
    services: Vec<String>,
    /// How often it may be used.
    #[arg(long, default_value_t = TOKEN_USES)]
    uses: u32,
    /// How long it may be used, in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = TOKEN_MINUTES)]
    lifetime: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each.
    Table,
    /// As they are written, with what the store says of them.
    Yaml,
    /// The answer of the control plane.
    Json,
}

/// Runs `future` to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the event loop")?;
    runtime.block_on(future)
}

/// `weft apply`.
pub fn apply(arguments: &Apply) -> anyhow::Result<()> {
    let Apply { access, files, namespace, dry_run, wait } = arguments;
    let request =
        ApplyRequest { files: sources(files)?, namespace: namespace.clone(), dry_run: *dry_run };
    let client = access.client()?;
    let response = block_on(async { Ok(client.apply(&request).await?) })?;
    say_all(&response.rendered);
    ensure!(
        !response.objects.is_empty(),
        "there is no object in {}: nothing was applied",
        files::named(files)
    );
    for object in &response.objects {
        let suffix = if *dry_run { " (dry run)" } else { "" };
        let why = object.not_accepted.as_ref();
        let why = why.map(|reason| format!(", and not in force: {reason}"));
        let (title, why) = (title(&object.key), why.unwrap_or_default());
        print_line(format_args!("{title} {}{why}{suffix}", action(object.action)))?;
    }
    let Some(seconds) = wait else { return Ok(()) };
    let limit = seconds.map_or(WAIT, Duration::from_secs);
    block_on(enforcement::wait(&client, &weft_net::world(), &response.objects, limit))
}

/// `weft get`.
pub fn get(arguments: &Select) -> anyhow::Result<()> {
    let Select { access, kind, name, namespace, output } = arguments;
    let client = access.client()?;
    let listed = block_on(async {
        let (Some(kind), Some(name)) = (kind, name) else {
            return Ok(client.list(kind.as_deref(), namespace.as_deref()).await?);
        };
        let namespace = namespace.clone().unwrap_or_else(|| "default".to_owned());
        let key = ObjectKey { kind: kind.clone(), namespace, name: name.clone() };
        let object = client.get(&key).await?;
        Ok(ListResponse { resource_version: object.resource_version, objects: vec![object] })
    })?;
    match output {
        Output::Json => print_line(serde_json::to_string_pretty(&listed)?),
        Output::Yaml => {
            let texts: Vec<_> = listed.objects.iter().map(yaml).collect::<Result<_, _>>()?;
            print(texts.join("---\n"))
        }
        Output::Table => print(table(&listed.objects, weft_net::world().clock.wall())),
    }
}

/// `weft token`: prints the token, and nothing else, on standard output.
pub fn token(arguments: &Token) -> anyhow::Result<()> {
    let Token { access, service_account, services, uses, lifetime } = arguments;
    let request = TokenRequest {
        service_account: service_account.clone(),
        services: services.clone(),
        uses: *uses,
        lifetime_seconds: lifetime.saturating_mul(60),
    };
    let client = access.client()?;
    let made = block_on(async { Ok(client.token(&request).await?) })?;
    weft_control::say!(
        "weft token: {} for {service_account}, {uses} uses, {lifetime} minutes",
        made.id
    );
    print_line(made.token)
}

/// `weft delete`.
pub fn delete(arguments: &Delete) -> anyhow::Result<()> {
    let Delete { access, kind, name, namespace, resource_version } = arguments;
    let client = access.client()?;
    let key = ObjectKey { kind: kind.clone(), namespace: namespace.clone(), name: name.clone() };
    let deleted = block_on(async { Ok(client.delete(&key, *resource_version).await?) })?;
    print_line(format_args!("{} {}", title(&deleted.key), action(deleted.action)))
}

/// `weft watch`: what is there, then what changes, until it is interrupted.
pub fn watch(arguments: &Select) -> anyhow::Result<()> {
    let Select { access, kind, name, namespace, output } = arguments;
    ensure!(*output != Output::Yaml, "-o yaml is for `weft get`; watch prints lines or JSON");
    let client = access.client()?;
    let is_meant = |key: &ObjectKey| name.as_ref().is_none_or(|name| *name == key.name);
    let show = |event: &WatchEvent| -> anyhow::Result<()> {
        let line = match (event, output) {
            (WatchEvent::Ended { reason }, _) => bail!("the watch has ended: {reason}"),
            (WatchEvent::Put { object }, _) if !is_meant(&object.key) => return Ok(()),
            (WatchEvent::Deleted { key, .. }, _) if !is_meant(key) => return Ok(()),
            (event, Output::Json) => serde_json::to_string(event)?,
            (WatchEvent::Put { object }, _) => {
                format!("{} at version {}", title(&object.key), object.resource_version)
            }
            (WatchEvent::Deleted { key, resource_version }, _) => {
                format!("{} deleted at version {resource_version}", title(key))
            }
        };
        print_line(line)
    };
    block_on(async {
        let (kind, namespace) = (kind.as_deref(), namespace.as_deref());
        let listed = client.list(kind, namespace).await?;
        for object in listed.objects {
            show(&WatchEvent::Put { object })?;
        }
        let mut result = Ok(());
        let each = |event: WatchEvent| {
            result = show(&event);
            result.is_ok()
        };
        client.watch(kind, namespace, listed.resource_version, each).await?;
        result
    })
}

/// Kind, namespace and name as people write them.
pub(crate) fn title(key: &ObjectKey) -> String {
    let ObjectKey { kind, namespace, name } = key;
    if namespace.is_empty() {
        format!("{kind} {name}")
    } else {
        format!("{kind} {namespace}/{name}")
    }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Created => "created",
        Action::Configured => "configured",
        Action::Unchanged => "unchanged",
        Action::Deleted => "deleted",
    }
}

/// The objects as a table.
fn table(objects: &[StoredObject], now: UnixTime) -> String {
    if objects.is_empty() {
        return "no objects\n".to_owned();
    }
    let header = ["KIND", "NAMESPACE", "NAME", "VERSION", "ACCEPTED", "ENFORCED", "AGE"];
    let rows = objects.iter().map(|object| {
        let ObjectKey { kind, namespace, name } = object.key.clone();
        let age = now.0.saturating_sub(Duration::from_millis(object.created_ms));
        let status = object.status.as_deref();
        let version = object.resource_version.to_string();
        [kind, namespace, name, version, accepted(status), enforced(status), rounded(age)]
    });
    aligned(header, rows)
}

/// Whether the object is in force, and why it is not.
fn accepted(status: Option<&ResourceStatus>) -> String {
    let Some(status) = status else { return "-".to_owned() };
    let of_this = status.conditions.iter().filter(|condition| condition.kind == "Accepted");
    match of_this.clone().find(|condition| !condition.holds) {
        Some(condition) => format!("no: {}", condition.reason),
        None if of_this.count() == 0 => "-".to_owned(),
        None => "yes".to_owned(),
    }
}

/// How many of the proxies that are told of the object have it in force, as `1/2, 12s behind`.
fn enforced(status: Option<&ResourceStatus>) -> String {
    let Some(enforced) = status.and_then(|status| status.enforced.as_ref()) else {
        return "-".to_owned();
    };
    let Enforced { by, of, behind_ms, refused, pending: _, away: _ } = enforced;
    let mut text = format!("{by}/{of}");
    if let Some(behind) = behind_ms {
        text.push_str(&format!(", {} behind", rounded(Duration::from_millis(*behind))));
    }
    if !refused.is_empty() {
        text.push_str(&format!(", {} refused", refused.len()));
    }
    text
}

/// The object as YAML, with what became of it.
fn yaml(object: &StoredObject) -> anyhow::Result<String> {
    let mut text = object.yaml.clone();
    if let Some(status) = &object.status {
        let status = Shown { status: WrittenStatus::new(status) };
        text.push_str(&serde_saphyr::to_string(&status).context("the status as YAML")?);
    }
    Ok(text)
}

/// The end of an object as YAML.
#[derive(Serialize)]
struct Shown<'s> {
    status: WrittenStatus<'s>,
}

/// What became of an object, in the words of Kubernetes where it has them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenStatus<'s> {
    conditions: Vec<WrittenCondition<'s>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforced: Option<WrittenEnforced<'s>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenCondition<'s> {
    r#type: &'s str,
    status: &'static str,
    reason: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_ref: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEnforced<'s> {
    by: usize,
    of: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    refused: &'s [RefusingProxy],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pending: &'s [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    away: &'s [String],
}

impl WrittenStatus<'_> {
    fn new(status: &ResourceStatus) -> WrittenStatus<'_> {
        let ResourceStatus { key: _, conditions, findings, addresses, health, enforced } = status;
        let finding = |finding: &Finding| format!("{}: {finding}", finding.severity);
        WrittenStatus {
            conditions: conditions.iter().map(WrittenCondition::new).collect(),
            findings: findings.iter().map(finding).collect(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            health: health.as_deref(),
            enforced: enforced.as_ref().map(|enforced| WrittenEnforced {
                by: enforced.by,
                of: enforced.of,
                behind: enforced.behind_ms.map(|ms| rounded(Duration::from_millis(ms))),
                refused: &enforced.refused,
                pending: &enforced.pending,
                away: &enforced.away,
            }),
        }
    }
}

impl WrittenCondition<'_> {
    fn new(condition: &ConditionStatus) -> WrittenCondition<'_> {
        let ConditionStatus { kind, holds, reason, parent } = condition;
        let status = if *holds { "True" } else { "False" };
        WrittenCondition { r#type: kind, status, reason, parent_ref: *parent }
    }
}

/// Rows under a header, each column as wide as its widest cell.
pub(crate) fn aligned<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let rows: Vec<_> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A duration by its largest unit, as in `3h`.
pub(crate) fn rounded(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
