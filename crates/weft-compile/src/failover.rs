//! Which Service takes over for another, from what a BackendPolicy says.

use weft_crd as crd;
use weft_model::{Failover, ObjectName, Percent};

use crate::reader::Reader;
use crate::service::to_port;

/// What `written` means for the Service `name`.
///
/// # Errors
/// Why nothing takes over, for people.
pub(crate) fn of_service(
    reader: &Reader<'_>,
    name: &ObjectName,
    written: &crd::Failover,
) -> Result<Failover, String> {
    let crd::Failover { service: other, port, healthy_min } = written;
    let service = ObjectName::new(name.namespace(), other).map_err(|error| error.to_string())?;
    if service == *name {
        return Err("a Service cannot take over from itself".to_owned());
    }
    let (_, found) = reader.service(&service).ok_or(format!("Service {service} is not there"))?;
    let is_there = |port: &crd::Port| {
        let is_it = |one: &crd::ServicePort| one.port == *port;
        found.ports.iter().any(|one| one.protocol == crd::Protocol::Tcp && is_it(one))
    };
    if let Some(port) = port.filter(|port| !is_there(port)) {
        return Err(format!("Service {service} has no port {port}"));
    }
    let healthy_min = Percent::new(healthy_min.get()).ok_or("more than all is no share")?;
    Ok(Failover { service, port: port.map(to_port), healthy_min })
}
