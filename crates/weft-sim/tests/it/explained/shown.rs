//! What was said of a case and what was found, for who is to mend it.

use std::fmt;

use weft_proxy::explain::{Endpoint, Way};
use weft_telemetry::Record;

use super::agree::{Found, name, own_fields, rule_names};
use super::mesh::Arrived;

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { said, answer, recorded, copied } = self;
        writeln!(f, "said: {:?}, rule {:?}", said.protocol, said.rule.as_ref().map(rule_names))?;
        if let Some(own) = &said.own_answer {
            writeln!(f, "  {own:?}")?;
        }
        match &said.ways {
            Err(refused) => writeln!(f, "  {refused:?}")?,
            Ok(ways) => ways.iter().try_for_each(|way| write_way(f, way))?,
        }
        let fields = own_fields(&answer.fields);
        writeln!(
            f,
            "got: {:?}, gRPC {:?}, {:?} of {:?}, {}",
            answer.status,
            answer.grpc_status,
            answer.reason(),
            answer.app,
            shown(&fields)
        )?;
        recorded.outbound.iter().try_for_each(|record| write_record(f, "caller", record))?;
        if !copied.mirrored.is_empty() {
            writeln!(f, "copies: {:?}", copied.mirrored)?;
        }
        for (workload, record) in recorded.inbound.iter().chain(&copied.inbound) {
            write_record(f, workload, record)?;
        }
        for Arrived { workload, port, head } in recorded.arrived.iter().chain(&copied.arrived) {
            let head = head.as_ref().map(|head| {
                let what = [head.method(), head.authority(), head.target()].join(" ");
                format!("{what}, {}", shown(&own_fields(&head.fields)))
            });
            writeln!(f, "application of {workload}, port {port}: {head:?}")?;
        }
        Ok(())
    }
}

fn shown(fields: &[(String, Vec<u8>)]) -> String {
    let one = |(name, value): &(String, Vec<u8>)| format!("{name}: {}", value.escape_ascii());
    fields.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn write_way(f: &mut fmt::Formatter<'_>, way: &Way) -> fmt::Result {
    let backend = way.backend.as_ref().map(|backend| backend.name.to_string());
    let Way { share, total, sent, hashed, wanted, fault, late, ends, .. } = way;
    writeln!(f, "  {share} in {total} to {backend:?} as {sent:?}, {hashed:?} {wanted} {fault:?}")?;
    for endpoint in &way.endpoints {
        let Endpoint { spec, is_callable, is_preferred, decision, audits, end, .. } = endpoint;
        writeln!(
            f,
            "    {:?} {:?} callable {is_callable}, preferred {is_preferred}: {decision:?} \
             {audits:?} {end:?}",
            name(endpoint),
            spec.health
        )?;
    }
    writeln!(f, "    ends {ends:?}, late {late:?}")
}

fn write_record(f: &mut fmt::Formatter<'_>, of: &str, record: &Record) -> fmt::Result {
    let Record { protocol, method, authority, target, status, grpc_status, .. } = record;
    let Record { reason, detail, backend, backend_port, workload, attempts, .. } = record;
    let Record { route, rule, audited, fault, destination, upstream, retry_denied, .. } = record;
    writeln!(
        f,
        "proxy of {of}: {protocol:?} {method} {authority} {target} at {destination}: {status} \
         {grpc_status:?} {reason:?} ({detail}), {route:?} {rule:?}, {backend:?}:{backend_port:?} \
         {workload:?} {upstream:?}, {attempts} attempts {retry_denied:?}, audit {audited:?}, \
         fault {fault:?}"
    )
}
