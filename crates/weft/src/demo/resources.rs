//! The resources of the demo, written to files so that they can be read, changed and applied again.

use std::path::Path;

use weft_control::Client;
use weft_control::api::{ApplyRequest, SourceFile};
use weft_world::World;

/// The Services of the shop, and how they are called.
const SHOP: &str = "\
# The services of the shop. A proxy that registers for one gets the labels that it selects.
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  selector: { app: web }
  ports: [{ port: 80, targetPort: 8080, appProtocol: http }]
---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec:
  selector: { app: cart }
  ports: [{ port: 80, targetPort: 8080, appProtocol: http }]
---
apiVersion: v1
kind: Service
metadata: { name: cart-v1, namespace: shop }
spec:
  selector: { app: cart, version: v1 }
  ports: [{ port: 80, targetPort: 8080, appProtocol: http }]
---
apiVersion: v1
kind: Service
metadata: { name: cart-v2, namespace: shop }
spec:
  selector: { app: cart, version: v2 }
  ports: [{ port: 80, targetPort: 8080, appProtocol: http }]
---
apiVersion: v1
kind: Service
metadata: { name: catalog, namespace: shop }
spec:
  selector: { app: catalog }
  ports: [{ port: 80, targetPort: 8080, appProtocol: grpc }]
---
apiVersion: v1
kind: Service
metadata: { name: motto, namespace: shop }
spec:
  selector: { app: motto }
  ports: [{ port: 7000, targetPort: 7000, appProtocol: tcp }]
---
# The instances of version 1 take turns. One that fails three times in a row is left out for five
# seconds, then longer.
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: { name: cart, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: cart-v1 }]
  loadBalancing: { algorithm: RoundRobin }
  ejection: { consecutiveFailures: 3, baseTime: 5s, maxEjectedPercent: 50 }
";

/// Who may not call the cart: the page.
const DENY: &str = "\
# The page may not call the cart any more.
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: deny, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: cart }]
  deny:
  - from: [{ serviceAccount: shop/web }]
";

/// The route that gives version 2 of the cart `percent` of the requests.
fn canary(percent: u32) -> String {
    let rest = 100 - percent;
    format!(
        "\
# Version 2 of the cart answers {percent} of 100 requests. What failed is asked for once more.
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: cart, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: cart, port: 80 }}]
  rules:
  - backendRefs:
    - {{ name: cart-v1, port: 80, weight: {rest} }}
    - {{ name: cart-v2, port: 80, weight: {percent} }}
    retry: {{ attempts: 2, backoff: 5ms, codes: [500, 502, 503, 504] }}
"
    )
}

/// Writes all files to `directory`, and applies those that the demo begins with.
pub async fn prepare(world: &World, client: &Client, directory: &Path) -> anyhow::Result<()> {
    let files = [
        ("shop.yaml", SHOP.to_owned()),
        ("canary-5.yaml", canary(5)),
        ("canary-50.yaml", canary(50)),
        ("deny.yaml", DENY.to_owned()),
    ];
    for (name, text) in &files {
        world.files.replace(&directory.join(name), text.as_bytes())?;
    }
    let source =
        |(name, text): &(&str, String)| SourceFile { name: (*name).to_owned(), text: text.clone() };
    let files = files.iter().take(2).map(source).collect();
    client.apply(&ApplyRequest { files, namespace: None, dry_run: false }).await?;
    Ok(())
}
