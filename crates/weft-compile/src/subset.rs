//! Which of a Service's endpoints requests are for, from what a BackendPolicy says.

use std::collections::BTreeMap;

use weft_crd as crd;
use weft_model::{HeaderName, Label, ObjectName, Subset, SubsetFallback, SubsetLabel};

use crate::backend_policy;
use crate::findings::listed;
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

/// What of `written` leads to none of the workloads of `services`, as far as these have any: for
/// each where it stands, and why.
pub(crate) fn without_workloads(
    reader: &Reader<'_>,
    services: &[ObjectName],
    written: &crd::Subset,
) -> Vec<(String, String)> {
    let selectors = services.iter().filter_map(|name| {
        let (_, service) = reader.service(name)?;
        let selector = &service.selector;
        let has_any = !selector.is_empty() && reader.has_selected(name.namespace(), selector);
        has_any.then_some((name, selector))
    });
    let selectors: Vec<_> = selectors.collect();
    if selectors.is_empty() {
        return vec![];
    }
    let named = listed(&selectors.iter().map(|(name, _)| name.to_string()).collect());
    let mut found = Vec::new();
    for (index, label) in written.labels.iter().enumerate() {
        let crd::SubsetLabel { name, header: _, default } = label;
        let path = format!("spec.loadBalancing.subset.labels[{index}]");
        let mut each = selectors.iter();
        if !each.any(|(service, selector)| reader.has_labelled(service.namespace(), selector, name))
        {
            let message = format!("no workload of Service {named} has the label `{name}`");
            found.push((format!("{path}.name"), message));
            continue;
        }
        let Some(default) = default else { continue };
        let mut each = selectors.iter();
        if !each.any(|(service, selector)| {
            let mut labels = (*selector).clone();
            labels.insert(name.clone(), default.clone());
            // One that the selector contradicts is on none of them.
            selector.get(name).is_none_or(|own| own == default)
                && reader.has_selected(service.namespace(), &labels)
        }) {
            let message = format!("no workload of Service {named} has `{name}: {default}`");
            found.push((format!("{path}.default"), message));
        }
    }
    found
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
