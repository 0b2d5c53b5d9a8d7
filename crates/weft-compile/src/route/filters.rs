//! The filters of a route.

use weft_crd as crd;
use weft_model::{
    AllowedNames, AllowedOrigin, Backend, Cors, ExactValue, Filter, Fraction, HeaderEdits,
    HeaderName, HeaderValue, HttpPath, Method, Mirror, PathRewrite, PreciseHost, Redirect,
    RedirectStatus, Scheme, UrlRewrite, ValueError,
};

use crate::service::to_port;

/// The filters, in their order. `mirror_to` says what gets the copies of the one at that place.
///
/// # Errors
/// In words, if one cannot be said on the wire.
pub(super) fn convert(
    filters: &[crd::Filter],
    mut mirror_to: impl FnMut(usize, &crd::Mirror) -> Backend,
) -> Result<Vec<Filter>, String> {
    let mut to_filter = |(index, filter): (usize, &crd::Filter)| {
        to_filter(filter, |mirror| mirror_to(index, mirror))
    };
    let converted: Result<_, ValueError> = filters.iter().enumerate().map(&mut to_filter).collect();
    converted.map_err(|error| error.to_string())
}

fn to_filter(
    filter: &crd::Filter,
    mirror_to: impl FnOnce(&crd::Mirror) -> Backend,
) -> Result<Filter, ValueError> {
    Ok(match filter {
        crd::Filter::RequestHeaders(edits) => Filter::RequestHeaders(to_edits(edits)?),
        crd::Filter::ResponseHeaders(edits) => Filter::ResponseHeaders(to_edits(edits)?),
        crd::Filter::Redirect(redirect) => Filter::Redirect(to_redirect(redirect)?),
        crd::Filter::Rewrite(crd::UrlRewrite { hostname, path }) => Filter::Rewrite(UrlRewrite {
            hostname: to_host(hostname.as_ref())?,
            path: to_path(path.as_ref())?,
        }),
        crd::Filter::Cors(cors) => Filter::Cors(to_cors(cors)?),
        crd::Filter::Mirror(mirror) => {
            let crd::Share { numerator, denominator } = mirror.share;
            let share = Fraction::new(numerator, denominator)?;
            Filter::Mirror(Mirror { backend: mirror_to(mirror), share })
        }
    })
}

fn to_edits(edits: &crd::HeaderEdits) -> Result<HeaderEdits, ValueError> {
    let crd::HeaderEdits { set, add, remove } = edits;
    let field = |header: &crd::HeaderValue| -> Result<HeaderValue, ValueError> {
        let crd::HeaderValue { name, value } = header;
        Ok((HeaderName::new(name)?, ExactValue::new(value)?))
    };
    HeaderEdits::new(
        set.iter().map(field).collect::<Result<_, _>>()?,
        add.iter().map(field).collect::<Result<_, _>>()?,
        remove.iter().map(|name| HeaderName::new(name)).collect::<Result<_, _>>()?,
    )
}

fn to_redirect(redirect: &crd::Redirect) -> Result<Redirect, ValueError> {
    let crd::Redirect { scheme, hostname, port, path, status } = redirect;
    Ok(Redirect {
        scheme: scheme.map(|scheme| match scheme {
            crd::Scheme::Http => Scheme::Http,
            crd::Scheme::Https => Scheme::Https,
        }),
        hostname: to_host(hostname.as_ref())?,
        port: port.map(to_port),
        path: to_path(path.as_ref())?,
        status: RedirectStatus::new(*status)?,
    })
}

fn to_host(hostname: Option<&String>) -> Result<Option<PreciseHost>, ValueError> {
    hostname.map(|host| PreciseHost::new(host)).transpose()
}

fn to_path(path: Option<&crd::PathRewrite>) -> Result<Option<PathRewrite>, ValueError> {
    let rewrite = |path: &crd::PathRewrite| {
        Ok(match path {
            crd::PathRewrite::Full(path) => PathRewrite::Full(HttpPath::new(path)?),
            // Both take the prefix away.
            crd::PathRewrite::Prefix(path) if path.is_empty() => {
                PathRewrite::Prefix(HttpPath::new("/")?)
            }
            crd::PathRewrite::Prefix(path) => PathRewrite::Prefix(HttpPath::new(path)?),
        })
    };
    path.map(rewrite).transpose()
}

fn to_cors(cors: &crd::Cors) -> Result<Cors, ValueError> {
    let crd::Cors { origins, credentials, methods, headers, expose, max_age } = cors;
    Ok(Cors {
        origins: origins.iter().map(|text| AllowedOrigin::new(text)).collect::<Result<_, _>>()?,
        credentials: *credentials,
        methods: to_names(methods, Method::new)?,
        headers: to_names(headers, HeaderName::new)?,
        expose: to_names(expose, HeaderName::new)?,
        max_age_s: *max_age,
    })
}

fn to_names<T>(
    names: &[String],
    read: fn(&str) -> Result<T, ValueError>,
) -> Result<AllowedNames<T>, ValueError> {
    if names.iter().any(|name| name == "*") {
        return Ok(AllowedNames::Any);
    }
    names.iter().map(|name| read(name)).collect::<Result<_, _>>().map(AllowedNames::These)
}
