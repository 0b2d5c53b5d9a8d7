//! Which of a Service's endpoints requests are for, from what a BackendPolicy says.

use std::collections::BTreeMap;

use weft_crd as crd;
use weft_model::{HeaderName, Label, ObjectName, Subset, SubsetFallback, SubsetLabel};

use crate::backend_policy;
use crate::reader::Reader;

/// What `written` means; none if it holds what cannot be, which no checked one does.
pub(crate) fn to_subset(written: &crd::Subset) -> Option<Subset> {
    let crd::Subset { labels, fallback } = written;
    let label = |written: &crd::SubsetLabel| {
        let crd::SubsetLabel { name, header, default } = written;
        let (name, header) = (Label::new(name).ok()?, HeaderName::new(header).ok()?);
        let default = default.as_deref().map(Label::new).transpose().ok()?;
        Some(SubsetLabel { name, header, default })
    };
    let fallback = match fallback {
        crd::SubsetFallback::None => SubsetFallback::None,
        crd::SubsetFallback::Default => SubsetFallback::Default,
        crd::SubsetFallback::Any => SubsetFallback::Any,
    };
    Some(Subset { labels: labels.iter().map(label).collect::<Option<_>>()?, fallback })
}

/// Those of the labels of `workload` by which requests for `service`, or one of its ports, choose.
pub(crate) fn labels(
    reader: &Reader<'_>,
    service: &ObjectName,
    workload: &crd::Workload,
) -> BTreeMap<Label, Label> {
    let ports = reader.service(service).into_iter().flat_map(|(_, found)| &found.ports);
    let of_ports = ports.filter_map(|port| {
        let port = port.name.as_deref()?;
        let is_own = backend_policy::is_for_port(reader, service, port);
        is_own.then(|| backend_policy::subset(reader, service, Some(port))).flatten()
    });
    let subsets = of_ports.chain(backend_policy::subset(reader, service, None));
    let wanted = subsets.flat_map(|subset| &subset.labels);
    let label = |wanted: &crd::SubsetLabel| {
        let value = workload.metadata.labels.get(&wanted.name)?;
        Some((Label::new(&wanted.name).ok()?, Label::new(value).ok()?))
    };
    wanted.filter_map(label).collect()
}
