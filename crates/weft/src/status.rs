//! `weft status`: the proxies that are connected, and how far they are.

use std::time::Duration;

use weft_control::api::{ProxyStatus, RefusedObject, StatusResponse};

use crate::access::Access;
use crate::output::{print, print_line};
use crate::resources::{aligned, block_on, rounded};

/// The arguments of `weft status`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    access: Access,
    /// Print the answer of the control plane as JSON, with what became of each resource.
    #[arg(long)]
    json: bool,
}

/// `weft status`.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { access, json } = arguments;
    let client = access.client()?;
    let status = block_on(async { Ok(client.status().await?) })?;
    match json {
        true => print_line(serde_json::to_string_pretty(&status)?),
        false => print(text(&status)),
    }
}

/// The proxies as a table, and below it what they refuse.
fn text(status: &StatusResponse) -> String {
    let StatusResponse { proxies, resources: _ } = status;
    if proxies.is_empty() {
        return "no proxies are connected\n".to_owned();
    }
    let header = [
        "WORKLOAD",
        "IDENTITY",
        "CERTIFICATE",
        "VERSION",
        "CONNECTED",
        "CONFIGURATION",
        "OBJECTS",
        "PENDING",
        "REFUSED",
    ];
    let ago = |ms: u64| rounded(Duration::from_millis(ms));
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let row = |proxy: &ProxyStatus| {
        [
            or_none(&proxy.workload),
            proxy.identity.clone(),
            match proxy.certificate_left_ms {
                0 => "expired".to_owned(),
                left => ago(left),
            },
            or_none(&proxy.version),
            ago(proxy.connected_ms),
            proxy.configuration_age_ms.map_or("-".to_owned(), ago),
            proxy.objects.to_string(),
            proxy.pending.to_string(),
            proxy.refused.len().to_string(),
        ]
    };
    let mut text = aligned(header, proxies.iter().map(row));
    for proxy in proxies {
        let who = if proxy.workload.is_empty() { &proxy.identity } else { &proxy.workload };
        if let Some(reason) = &proxy.unregistered {
            text.push_str(&format!("{who} is not registered by this proxy: {reason}\n"));
        }
        for RefusedObject { object, reason } in &proxy.refused {
            text.push_str(&format!("{who} refuses {object}: {reason}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_stand_in_a_table_and_say_what_they_refuse() {
        let status = StatusResponse { proxies: vec![], resources: vec![] };
        assert_eq!(text(&status), "no proxies are connected\n");
        let refused = RefusedObject { object: "route/http/shop/a".into(), reason: "no".into() };
        let proxy = ProxyStatus {
            workload: "shop/cart-1".into(),
            identity: "spiffe://weft.local/ns/shop/sa/cart".into(),
            version: "0.1.0".into(),
            certificate_left_ms: 86_000_000,
            connected_ms: 90_000,
            configuration_age_ms: None,
            objects: 12,
            pending: 1,
            refused: vec![refused],
            unregistered: Some("another instance has its name".into()),
        };
        let status = StatusResponse { proxies: vec![proxy], resources: vec![] };
        let lines = [
            "WORKLOAD     IDENTITY                             CERTIFICATE  VERSION  CONNECTED  \
             CONFIGURATION  OBJECTS  PENDING  REFUSED",
            "shop/cart-1  spiffe://weft.local/ns/shop/sa/cart  23h          0.1.0    90s        \
             -              12       1        1",
            "shop/cart-1 is not registered by this proxy: another instance has its name",
            "shop/cart-1 refuses route/http/shop/a: no",
            "",
        ];
        let expected = lines.join("\n");
        assert_eq!(text(&status), expected);
    }
}
