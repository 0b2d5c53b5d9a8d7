//! One valid document of each kind, with most of what it can hold.

pub const ALL: [&str; 13] = [
    SERVICE,
    ROUTE,
    GRPC_ROUTE,
    TLS_ROUTE,
    TCP_ROUTE,
    MESH,
    WORKLOAD,
    BACKEND_POLICY,
    AUTHORIZATION_POLICY,
    FAULT_POLICY,
    EXTERNAL_SERVICE,
    BACKEND_TLS_POLICY,
    CONFIG_MAP,
];

pub const EXTERNAL_SERVICE: &str = "\
apiVersion: weft.dev/v1alpha1
kind: ExternalService
metadata: { name: api, namespace: shop }
spec:
  hosts: [api.example.com, '*.example.org']
  cidrs: [203.0.113.0/24]
  ports:
  - name: web
    port: 443
    appProtocol: http
    tls:
      hostname: api.example.com
      subjectAltNames: [{ type: URI, uri: 'urn:a' }, { type: Hostname, hostname: b.example }]
      wellKnownCACertificates: System
      clientCertificate: Workload
  endpoints: [{ address: 192.0.2.7, port: 8443 }]
";

pub const BACKEND_TLS_POLICY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: api, namespace: shop }
spec:
  targetRefs:
  - { group: weft.dev, kind: ExternalService, name: api, sectionName: web }
  - { group: '', kind: Service, name: cart }
  validation:
    hostname: api.example.com
    subjectAltNames: [{ type: Hostname, hostname: b.example.com }]
    caCertificateRefs: [{ group: '', kind: ConfigMap, name: ca }]
";

pub const CONFIG_MAP: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: { name: ca, namespace: shop }
immutable: true
data: { ca.crt: '-----BEGIN CERTIFICATE-----' }
";

pub const GRPC_ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: calls, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: calls, sectionName: grpc }]
  rules:
  - name: carts
    matches:
    - method: { type: Exact, service: shop.v1.Cart, method: AddItem }
      headers: [{ type: RegularExpression, name: x-tenant, value: 'a|b' }]
    filters:
    - { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: a, value: b }] } }
    - type: RequestMirror
      requestMirror: { backendRef: { name: shadow, port: 80 }, fraction: { numerator: 1 } }
    backendRefs: [{ name: calls, port: 80, weight: 3 }]
";

pub const TLS_ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: { name: store, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: store, port: 6380 }]
  hostnames: [store.example, '*.store.example']
  rules: [{ name: all, backendRefs: [{ name: store, port: 6380 }] }]
";

pub const TCP_ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: { name: store, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: store, namespace: shop, port: 6379 }]
  rules: [{ backendRefs: [{ group: '', kind: Service, name: store, port: 6379, weight: 0 },
    { name: other, namespace: desk, port: 6379 }] }]
";

pub const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: payments
  namespace: shop
  labels: { app.kubernetes.io/name: payments }
  annotations:
    example.com/note: |
      two lines, and a \"quote\"
      'y: n' # not a comment
spec:
  selector: { app: payments, tier: 'yes' }
  ports:
  - { name: http, port: 80, targetPort: 8080, appProtocol: http }
  - { name: admin, port: 81, targetPort: admin }
";

pub const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: checkout-canary, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: checkout, port: 80 }]
  rules:
  - name: canary
    matches:
    - path: { type: PathPrefix, value: /v2 }
      headers: [{ name: x-canary, value: '1' }]
      queryParams: [{ name: q, value: 'a+b', type: Exact }]
      method: GET
    - path: { type: RegularExpression, value: '/(a|b)+' }
    backendRefs: [{ name: checkout-v2, port: 80 }]
  - backendRefs: [{ name: checkout-v1, port: 80, weight: 95 }, { name: checkout-v2, port: 80, \
  weight: 5 }]
    timeouts: { request: 2s, backendRequest: 500ms }
    retry: { attempts: 2, backoff: 25ms, codes: [502, 503, 504] }
";

pub const MESH: &str = "\
apiVersion: weft.dev/v1alpha1
kind: Mesh
metadata: { name: weft }
spec:
  trustDomain: weft.local
  addressRange: { v4: 240.119.0.0/16, v6: 'fd77:6566:7400::/64' }
  dnsZone: cluster.local
  defaults: { mtls: Strict, outbound: any, authorization: AllowMesh }
";

pub const WORKLOAD: &str = "\
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: { name: payments-1, namespace: shop, labels: { app: payments } }
spec:
  serviceAccount: payments
  addresses: [192.0.2.7, '2001:db8::7']
  ports: [{ name: http, port: 8080 }]
  locality: { region: eu, zone: eu-1 }
  generation: 3
";

pub const BACKEND_POLICY: &str = "\
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: { name: payments, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: payments }]
  loadBalancing: { algorithm: PeakEwma }
  locality: { prefer: Zone, spillAtLoadRatio: 1.3 }
  limits: { requests: 512, pending: 128 }
  ejection: { consecutiveFailures: 5, baseTime: 30s, maxEjectedPercent: 50 }
  retryBudget: { percent: 20, minPerSecond: 10 }
  timeouts: { connect: 2s, idle: 90s }
";

pub const AUTHORIZATION_POLICY: &str = "\
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: payments-callers, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: payments }]
  allow:
  - from: [{ serviceAccount: shop/checkout }, { identity: 'spiffe://weft.local/ns/shop/sa/cart' }]
    to: [{ methods: [POST], paths: [/charges, '/charges/*'] }]
  deny:
  - from: [{ namespace: dev, notCidrs: [10.0.0.0/8] }]
    to: [{ ports: [8080], headers: [{ name: x-debug }] }]
";

pub const FAULT_POLICY: &str = "\
apiVersion: weft.dev/v1alpha1
kind: FaultPolicy
metadata: { name: drill, namespace: shop }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: cart, sectionName: a }]
  match: { headers: [{ name: x-drill, value: '1' }] }
  delay: { duration: 2s, percent: 10 }
  abort: { grpcStatus: 14, percent: 5 }
  maxActive: 20
";
