//! Health checks of workloads, from what the policies of their Services say.

use std::collections::BTreeMap;

use weft_crd as crd;
use weft_model::{HealthCheck, HttpPath, ObjectName, Port, Probe, TimeBound};

use crate::backend_policy;
use crate::reader::Reader;
use crate::service::to_port;

/// The check that the policies for `service` ask of a workload, in which its ports lead to those of
/// `leads_to`. None where they ask for none, or for one of a port that leads nowhere there.
pub(crate) fn of_workload(
    reader: &Reader<'_>,
    service: &ObjectName,
    leads_to: &BTreeMap<Port, Port>,
) -> Option<HealthCheck> {
    let (_, written) = reader.service(service)?;
    let check = backend_policy::health_check(reader, service)?;
    let port = leads_to.get(&checked_port(check, written)?)?;
    to_check(check, *port)
}

/// The port of `service` that `check` is of: the one that it names, or the first of TCP.
pub(crate) fn checked_port(check: &crd::HealthCheck, service: &crd::Service) -> Option<Port> {
    let mut ports = service.ports.iter().filter(|port| port.protocol == crd::Protocol::Tcp);
    let found = ports.find(|port| check.port.is_none_or(|wanted| wanted == port.port));
    found.map(|port| to_port(port.port))
}

/// What `written` means for `port` of an application; none if it holds what cannot be, which no
/// checked one does.
fn to_check(written: &crd::HealthCheck, port: Port) -> Option<HealthCheck> {
    let crd::HealthCheck {
        probe,
        port: _,
        interval,
        timeout,
        failure_threshold,
        success_threshold,
    } = written;
    let probe = match probe {
        crd::Probe::Http { path, expected_statuses } => {
            let statuses = expected_statuses.iter().copied().collect();
            Probe::Http { path: HttpPath::new(path).ok()?, statuses }
        }
        crd::Probe::Grpc { service } => Probe::Grpc { service: service.as_str().into() },
        crd::Probe::Tcp => Probe::Tcp,
    };
    Some(HealthCheck {
        port,
        probe,
        interval: TimeBound::new(*interval).ok()?,
        timeout: TimeBound::new(*timeout).ok()?,
        failures: *failure_threshold,
        successes: *success_threshold,
    })
}
