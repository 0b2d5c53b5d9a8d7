//! With which endpoint clients stay, from what a BackendPolicy says.

use weft_crd as crd;
use weft_model::{
    CookieName, HeaderName, HttpPath, ObjectName, SessionCarrier, SessionPersistence, TimeBound,
};

/// What `written` means for `service`; none if it holds what cannot be, which no checked one does.
pub(crate) fn of_service(
    service: &ObjectName,
    written: &crd::SessionPersistence,
) -> Option<SessionPersistence> {
    let crd::SessionPersistence { carrier, absolute, idle } = written;
    let bound = |duration: Option<_>| duration.map(TimeBound::new).transpose().ok();
    let carrier = match carrier {
        crd::SessionCarrier::Header(name) => SessionCarrier::Header(HeaderName::new(name).ok()?),
        crd::SessionCarrier::Cookie { name, path, is_permanent } => {
            // Those of other Services that the same client calls are others.
            let own = || format!("weft-session.{}.{}", service.namespace(), service.name());
            SessionCarrier::Cookie {
                name: CookieName::new(&name.clone().unwrap_or_else(own)).ok()?,
                path: HttpPath::new(path).ok()?,
                is_permanent: *is_permanent,
            }
        }
    };
    Some(SessionPersistence { carrier, absolute: bound(*absolute)?, idle: bound(*idle)? })
}
