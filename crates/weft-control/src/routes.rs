//! The API over HTTP: which request does what, and who may.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde::Deserialize;
use weft_identity::{AdminRecord, Bearer, CertificateDer};
use weft_world::Clock;

use crate::api::{
    ApplyRequest, BackupRequest, HealthRequest, InstanceRequest, IssueRequest, ObjectKey, Refusal,
    RegisterRequest, RevokeRequest, RevokeResponse, RotateRequest, StoredObject, TokenRequest,
    WatchEvent,
};
use crate::ca::{self, CaError};
use crate::discovery::Discovery;
use crate::issuing::{IssueError, Issuer};
use crate::registration::RegistrationError;
use crate::resources::{ApplyError, Resources, Watch};

/// The most bytes of a request.
pub(crate) const REQUEST_BYTES_MAX: usize = 32 << 20;

/// The most bytes of a request for a certificate, or of a registration.
const ISSUE_BYTES_MAX: usize = 64 << 10;

/// What the client of a connection proved itself with, leaf first.
#[derive(Clone)]
pub(crate) struct Proof(pub(crate) Arc<[CertificateDer<'static>]>);

/// The place of a namespace in a path, for objects that are in none.
pub(crate) const NO_NAMESPACE: &str = "-";

/// What the routes work on.
#[derive(Clone)]
pub struct Api {
    /// The resources.
    pub resources: Resources,
    /// Hands out identities.
    pub issuer: Issuer,
    /// What proxies are told.
    pub discovery: Discovery,
    /// Who may use the API.
    pub admins: Arc<[AdminRecord]>,
    /// The time.
    pub clock: Arc<dyn Clock + Send + Sync>,
}

impl Api {
    /// The API as a service. Every route asks for an admin credential, but for those of workloads:
    /// to get a certificate, which asks for a join token, and to renew it, to give it back and to
    /// register, which ask for a certificate.
    pub fn router(self) -> Router {
        let object = get(get_object).delete(delete_object);
        let open = Router::new()
            .route("/api/v1/join", post(join))
            .route("/api/v1/renew", post(renew))
            .route("/api/v1/installed", post(installed))
            .route("/api/v1/register", post(register))
            .route("/api/v1/leave", post(leave))
            .route("/api/v1/ended", post(ended))
            .route("/api/v1/drain", post(drain))
            .route("/api/v1/health", post(health))
            .layer(axum::extract::DefaultBodyLimit::max(ISSUE_BYTES_MAX))
            .with_state(self.clone());
        let guarded = Router::new()
            .route("/api/v1/tokens", post(token))
            .route("/api/v1/apply", post(apply))
            .route("/api/v1/objects", get(list))
            .route("/api/v1/objects/{kind}/{namespace}/{name}", object)
            .route("/api/v1/watch", get(watch))
            .route("/api/v1/status", get(status))
            .route("/api/v1/backup", post(backup))
            .route("/api/v1/ca", get(ca_status))
            .route("/api/v1/ca/revoke", post(revoke))
            .route("/api/v1/ca/rotate", post(rotate))
            .fallback(async || refuse(StatusCode::NOT_FOUND, "not-found", "there is no such path"))
            .layer(axum::extract::DefaultBodyLimit::max(REQUEST_BYTES_MAX))
            .layer(from_fn_with_state(self.clone(), admit))
            .with_state(self);
        open.merge(guarded)
    }
}

/// Lets only holders of an admin credential pass.
async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    match bearer(request.headers()) {
        Some(bearer) if api.admins.iter().any(|record| record.admits(&bearer)) => {
            next.run(request).await
        }
        Some(_) => refuse(
            StatusCode::UNAUTHORIZED,
            "credential-refused",
            "this admin credential is not one of this control plane's",
        ),
        None => refuse(
            StatusCode::UNAUTHORIZED,
            "credential-missing",
            "an admin credential is needed: `Authorization: Bearer ID.SECRET`",
        ),
    }
}

fn bearer(headers: &HeaderMap) -> Option<Bearer> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    Bearer::parse(value.strip_prefix("Bearer ")?).ok()
}

async fn apply(State(api): State<Api>, Json(request): Json<ApplyRequest>) -> Response {
    let discovery = api.discovery.clone();
    let work = move || {
        let (now, wall) = (api.clock.now(), api.clock.wall());
        api.resources.apply(&request, now, wall)
    };
    let applied = match blocking(work).await {
        Ok(applied) => applied,
        Err(error) => return refusal(error),
    };
    discovery.caught_up(applied.version).await;
    let work = move || {
        let statuses = discovery.foresee(applied.objects());
        applied.response(statuses)
    };
    Json(blocking(work).await).into_response()
}

async fn token(State(api): State<Api>, Json(request): Json<TokenRequest>) -> Response {
    let work = move || api.issuer.token(&request, api.clock.now(), api.clock.wall());
    issued(blocking(work).await)
}

async fn join(
    State(api): State<Api>,
    headers: HeaderMap,
    Json(request): Json<IssueRequest>,
) -> Response {
    let Some(bearer) = bearer(&headers) else {
        let message = "a join token is needed: `Authorization: Bearer ID.SECRET`";
        return refuse(StatusCode::UNAUTHORIZED, "token-missing", message);
    };
    let work = move || api.issuer.join(&bearer, &request, api.clock.now(), api.clock.wall());
    issued(blocking(work).await)
}

async fn renew(
    State(api): State<Api>,
    Extension(Proof(certificates)): Extension<Proof>,
    Json(request): Json<IssueRequest>,
) -> Response {
    let work = move || {
        let (now, wall) = (api.clock.now(), api.clock.wall());
        api.issuer.renew(&certificates, &request, now, wall)
    };
    issued(blocking(work).await)
}

async fn installed(
    State(api): State<Api>,
    Extension(Proof(certificates)): Extension<Proof>,
) -> Response {
    let work = move || api.issuer.installed(&certificates, api.clock.wall());
    issued(blocking(work).await.map(|()| serde_json::json!({})))
}

/// Writes a copy of the store into a new file of this machine.
async fn backup(State(api): State<Api>, Json(request): Json<BackupRequest>) -> Response {
    let path = PathBuf::from(request.path);
    if !path.is_absolute() {
        let message = format!("{}: give a path that begins with /", path.display());
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid", &message);
    }
    match blocking(move || api.discovery.store().backup(&path)).await {
        Ok(()) => Json(serde_json::json!({})).into_response(),
        Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, "backup-failed", &error.to_string()),
    }
}

async fn ca_status(State(api): State<Api>) -> Response {
    authority(ca::described(&api.issuer.ca, &api.discovery))
}

async fn revoke(State(api): State<Api>, Json(request): Json<RevokeRequest>) -> Response {
    let ca = api.issuer.ca.clone();
    // What it says is lost with the bundle that it keeps, once it takes the next one.
    let refusal = api.discovery.trust_refusal();
    let revoked = blocking(move || ca.revoke(&request)).await;
    let told = revoked.and_then(|revoked| ca::tell(&api.discovery).map(|()| revoked));
    authority(told.map(|revoked| RevokeResponse {
        note: [revoked.note, refusal].into_iter().flatten().reduce(|one, two| one + "; " + &two),
        ..revoked
    }))
}

async fn rotate(State(api): State<Api>, Json(request): Json<RotateRequest>) -> Response {
    let ca = api.issuer.ca.clone();
    let work = move || if request.abort { ca.abort() } else { ca.rotate() };
    let begun = blocking(work).await.and_then(|()| ca::tell(&api.discovery));
    authority(begun.and_then(|()| ca::described(&api.issuer.ca, &api.discovery)))
}

fn authority<T: serde::Serialize>(result: Result<T, CaError>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => {
            let (reason, status) = error.reason();
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refuse(status, reason, &error.to_string())
        }
    }
}

async fn register(
    State(api): State<Api>,
    Extension(Proof(certificates)): Extension<Proof>,
    Json(request): Json<RegisterRequest>,
) -> Response {
    // The addresses of the mesh must be known, lest somebody claims one of them.
    api.discovery.caught_up(1).await;
    let (discovery, registration) = (api.discovery.clone(), request.clone());
    let registered = blocking(move || discovery.register(&certificates, &registration)).await;
    match registered {
        Ok(version) => {
            // Whoever asks for its own workload from now on finds it.
            api.discovery.caught_up(version).await;
            Json(api.discovery.registered(&request)).into_response()
        }
        Err(error) => failed(&error),
    }
}

async fn leave(
    State(api): State<Api>,
    Extension(Proof(certificates)): Extension<Proof>,
    Json(request): Json<InstanceRequest>,
) -> Response {
    let (discovery, proof) = (api.discovery.clone(), certificates.clone());
    let left = blocking(move || discovery.leave(&proof, &request)).await;
    // One that ends before it has registered ends as well; if a newer instance has the name, the
    // certificate may be in use there.
    if matches!(left, Ok(_) | Err(RegistrationError::Unknown(_))) {
        let noted = give_back(&api, certificates).await;
        if noted.is_err() {
            return issued(noted);
        }
    }
    changed(&api, left).await
}

/// Who has registered nothing gives back its certificate.
async fn ended(
    State(api): State<Api>,
    Extension(Proof(certificates)): Extension<Proof>,
) -> Response {
    issued(give_back(&api, certificates).await.map(|()| serde_json::json!({})))
}

async fn give_back(
    api: &Api,
    certificates: Arc<[CertificateDer<'static>]>,
) -> Result<(), IssueError> {
    let api = api.clone();
    let work = move || api.issuer.ended(&certificates, api.clock.wall(), &api.discovery);
    blocking(work).await
}

async fn drain(
    State(api): State<Api>,
    Extension(Proof(certificates)): Extension<Proof>,
    Json(request): Json<InstanceRequest>,
) -> Response {
    let discovery = api.discovery.clone();
    let drained = blocking(move || discovery.drain(&certificates, &request)).await;
    changed(&api, drained).await
}

async fn health(
    State(api): State<Api>,
    Extension(Proof(certificates)): Extension<Proof>,
    Json(request): Json<HealthRequest>,
) -> Response {
    let discovery = api.discovery.clone();
    let told = blocking(move || discovery.fares(&certificates, &request)).await;
    changed(&api, told).await
}

/// Answers once those who are connected are told of the change.
async fn changed(api: &Api, result: Result<u64, RegistrationError>) -> Response {
    match result {
        Ok(version) => {
            api.discovery.caught_up(version).await;
            Json(serde_json::json!({})).into_response()
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &RegistrationError) -> Response {
    let (reason, status) = error.reason();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    refuse(status, reason, &error.to_string())
}

fn issued<T: serde::Serialize>(result: Result<T, IssueError>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => {
            let (reason, status) = error.reason();
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refuse(status, reason, &error.to_string())
        }
    }
}

#[derive(Deserialize)]
struct Selection {
    kind: Option<String>,
    namespace: Option<String>,
    #[serde(default)]
    from: u64,
}

async fn list(State(api): State<Api>, Query(selection): Query<Selection>) -> Response {
    let Selection { kind, namespace, .. } = selection;
    let mut listed = api.resources.list(kind.as_deref(), namespace.as_deref());
    if let Ok(listed) = &mut listed {
        add_statuses(&api, listed.resource_version, &mut listed.objects).await;
    }
    answer(listed)
}

async fn get_object(
    State(api): State<Api>,
    Path(path): Path<(String, String, String)>,
) -> Response {
    let mut found = api.resources.get(&key(path));
    if let Ok(found) = &mut found {
        add_statuses(&api, found.resource_version, std::slice::from_mut(found)).await;
    }
    answer(found)
}

/// Adds what became of `objects`, as of `version` or later.
async fn add_statuses(api: &Api, version: u64, objects: &mut [StoredObject]) {
    api.discovery.caught_up(version).await;
    let statuses = api.discovery.status().resources;
    let mut by_key: BTreeMap<_, _> =
        statuses.into_iter().map(|status| (status.key.clone(), status)).collect();
    for object in objects {
        object.status = by_key.remove(&object.key).map(Box::new);
    }
}

async fn status(State(api): State<Api>) -> Response {
    Json(api.discovery.status()).into_response()
}

#[derive(Deserialize)]
struct Precondition {
    version: Option<u64>,
}

async fn delete_object(
    State(api): State<Api>,
    Path(path): Path<(String, String, String)>,
    Query(Precondition { version }): Query<Precondition>,
) -> Response {
    let work = move || {
        let (now, wall) = (api.clock.now(), api.clock.wall());
        api.resources.delete(&key(path), version, now, wall)
    };
    answer(blocking(work).await)
}

fn key((kind, namespace, name): (String, String, String)) -> ObjectKey {
    let namespace = if namespace == NO_NAMESPACE { String::new() } else { namespace };
    ObjectKey { kind, namespace, name }
}

/// Answers with one JSON object a line, as changes come.
async fn watch(State(api): State<Api>, Query(selection): Query<Selection>) -> Response {
    let Selection { kind, namespace, from } = selection;
    let watch = match api.resources.watch(kind.as_deref(), namespace.as_deref(), from) {
        Ok(watch) => watch,
        Err(error) => return refusal(error),
    };
    let lines = stream::unfold(Some(watch), async |watch| {
        let mut watch: Watch = watch?;
        let (events, rest) = match std::future::poll_fn(|cx| watch.poll_next(cx)).await {
            Ok(events) => (events, Some(watch)),
            Err(error) => (vec![WatchEvent::Ended { reason: error.to_string() }], None),
        };
        let mut text = String::new();
        for event in &events {
            text.push_str(&serde_json::to_string(event).unwrap_or_default());
            text.push('\n');
        }
        Some((Ok::<_, Infallible>(text), rest))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// Runs what may wait for the disk where waiting holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn answer<T: serde::Serialize>(result: Result<T, ApplyError>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => refusal(error),
    }
}

fn refusal(error: ApplyError) -> Response {
    let (_, status) = error.reason();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    log(status, &error);
    (status, Json(error.refusal())).into_response()
}

/// Says in the log what went wrong here, and not with the request: a full disk, say.
fn log(status: StatusCode, what: &impl Display) {
    if status.is_server_error() {
        crate::say!("weft control: {what}");
    }
}

fn refuse(status: StatusCode, reason: &str, message: &str) -> Response {
    log(status, &message);
    let (reason, message) = (reason.to_owned(), message.to_owned());
    (status, Json(Refusal { reason, message, findings: Vec::new() })).into_response()
}
