//! The table: which constants are behind each row of the page, in the order of its numbers.

use super::value::Value::{self, After, Const, Minutes, Says, Seconds};

/// A row of the page.
pub struct Row {
    /// Its first cell.
    pub name: &'static str,
    /// What its second cell says.
    pub values: &'static [Value],
}

const fn row(name: &'static str, values: &'static [Value]) -> Row {
    Row { name, values }
}

/// Every row of the page, in its order.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("`loadBalancing.algorithm`", &[
        Says("weft-model/src/balance.rs", "#[default] PeakEwma", "`PeakEwma`"),
    ]),
    row("`loadBalancing.panicThresholdPercent`", &[
        Const("weft-model/src/balance.rs", "HEALTHY"),
    ]),
    row("`loadBalancing.subset`", &[
        Says("weft-model/src/traffic.rs", "#[derive(Clone, Debug, Default", "none"),
        Says("weft-model/src/traffic.rs", "pub subset: Option<Subset>", "none"),
    ]),
    row("`loadBalancing.subset.fallback`", &[
        Says("weft-crd/src/subset.rs", "object.or(\"fallback\", SubsetFallback::None,", "None"),
    ]),
    row("`slowStart.window`", &[
        Says("weft-model/src/traffic.rs", "#[derive(Clone, Debug, Default", "none"),
        Says("weft-model/src/traffic.rs", "pub slow_start: Option<TimeBound>", "none"),
    ]),
    row("`locality.prefer`", &[
        Says("weft-model/src/locality.rs", "prefer: Prefer::Zone", "`Zone`"),
    ]),
    row("`locality.spillAtLoadRatio`", &[Const("weft-model/src/locality.rs", "SPILL")]),
    row("`limits.requests`", &[Const("weft-model/src/limits.rs", "REQUESTS")]),
    row("`limits.pending`", &[Const("weft-model/src/limits.rs", "PENDING")]),
    row("`limits.connections`", &[
        Const("weft-model/src/limits.rs", "REQUESTS"),
        Says("weft-model/src/limits.rs", "connections: REQUESTS", ""),
    ]),
    row("`limits.requestsPerEndpoint`", &[
        Says("weft-model/src/limits.rs", "requests_per_endpoint: None", "none"),
    ]),
    row("`limits.adaptiveTolerance`", &[
        Says("weft-model/src/limits.rs", "adaptive_tolerance: None", "none"),
    ]),
    row("`ejection.consecutiveFailures`", &[Const("weft-model/src/ejection.rs", "FAILURES")]),
    row("`ejection.baseTime`", &[
        Const("weft-model/src/ejection.rs", "BASE"),
        Const("weft-decide/src/eject.rs", "EJECTED_MAX"),
    ]),
    row("`ejection.maxEjectedPercent`", &[Const("weft-model/src/ejection.rs", "EJECTED_MAX")]),
    row("`ejection.failuresAbovePeersPercent`", &[
        Const("weft-model/src/ejection.rs", "FAILURES_ABOVE"),
    ]),
    row("`ejection.latencyTimesPeers`", &[
        Says("weft-model/src/ejection.rs", "latency: None", "none"),
    ]),
    row("`ejection.interval`", &[Const("weft-model/src/ejection.rs", "INTERVAL")]),
    row("`ejection.minRequests`", &[Const("weft-model/src/ejection.rs", "REQUESTS_MIN")]),
    row("`failover`", &[
        Says("weft-model/src/traffic.rs", "#[derive(Clone, Debug, Default", "none"),
        Says("weft-model/src/traffic.rs", "pub failover: Option<Failover>", "none"),
    ]),
    row("`failover.minHealthyPercent`", &[Const("weft-crd/src/failover.rs", "HEALTHY_MIN")]),
    row("`healthCheck`", &[
        Says("weft-crd/src/backend_policy.rs", "object.maybe(\"healthCheck\"", "none"),
    ]),
    row("`healthCheck.expectedStatuses`", &[
        Says("weft-decide/src/health_check.rs", "(200..300).contains(status)", "every status of success"),
    ]),
    row("`healthCheck.interval`", &[
        Const("weft-crd/src/health_check.rs", "INTERVAL"),
        Says("weft-decide/src/health_check.rs", "0.9 + jitter / 5.0", "a tenth more or less"),
    ]),
    row("`healthCheck.timeout`", &[Const("weft-crd/src/health_check.rs", "TIMEOUT")]),
    row("`healthCheck.failureThreshold`", &[Const("weft-crd/src/health_check.rs", "FAILURES")]),
    row("`healthCheck.successThreshold`", &[Const("weft-crd/src/health_check.rs", "SUCCESSES")]),
    row("`retryBudget.percent`", &[
        Const("weft-model/src/retry.rs", "PERCENT"),
        Seconds("weft-decide/src/budget.rs", "WINDOW_SECONDS"),
    ]),
    row("`retryBudget.minPerSecond`", &[
        After("weft-model/src/retry.rs", "percent: PERCENT, per_second_min: "),
    ]),
    row("`timeouts.connect`: the TCP connection to an endpoint", &[
        Const("weft-model/src/timeouts.rs", "CONNECT"),
    ]),
    row("`timeouts.idle`: a connection kept for later, without use", &[
        Const("weft-model/src/timeouts.rs", "IDLE"),
    ]),
    row("`timeouts.streamIdle`: a request and its answer, an upgraded connection or a \
        stream of bytes, without a byte in either direction", &[
        Const("weft-model/src/timeouts.rs", "STREAM_IDLE"),
        Const("weft-proxy/src/time.rs", "SWEEP_INTERVAL"),
    ]),
    row("`rules.matches`", &[
        Says("weft-crd/src/route.rs", "matches: vec![RouteMatch::default()]", "every path"),
    ]),
    row("`rules.filters`, `rules.backendRefs.filters`", &[
        Says("weft-crd/src/route.rs", "filters: Vec::new()", "none"),
    ]),
    row("`rules.filters.requestRedirect.statusCode`", &[
        Const("weft-crd/src/route/filters/url.rs", "STATUS"),
    ]),
    row("`rules.filters.cors.maxAge`", &[
        Seconds("weft-crd/src/route/filters/cors.rs", "MAX_AGE"),
    ]),
    row("names and values that a header modifier writes", &[
        Const("weft-crd/src/route/filters/headers.rs", "BYTES_MAX"),
    ]),
    row("`rules.backendRefs.weight`", &[
        After("weft-crd/src/route/backend_ref.rs", "object.or(\"weight\", "),
    ]),
    row("`rules.timeouts.request`, `.backendRequest`; both end with an answer that \
        changes protocols (101)", &[
        Says("weft-crd/src/route.rs", "timeouts: Timeouts::default()", "none"),
    ]),
    row("`rules.retry`", &[Says("weft-crd/src/route.rs", "retry: None", "none")]),
    row("`rules.retry.attempts`", &[After("weft-crd/src/retry.rs", "object.or(\"attempts\", ")]),
    row("`rules.retry.backoff`", &[
        Const("weft-model/src/retry.rs", "BASE"),
        Const("weft-model/src/retry.rs", "BACKOFF_MAX"),
    ]),
    row("`rules.retry.codes`", &[
        Says("weft-crd/src/retry.rs", "object.or(\"codes\", Vec::new()", "none"),
    ]),
    row("`mode`", &[
        Says("weft-crd/src/authorization_policy.rs", "object.or(\"mode\", PolicyMode::Enforce", "`Enforce`"),
    ]),
    row("`delay.percent`, `abort.percent`", &[Const("weft-crd/src/fault_policy.rs", "ALL")]),
    row("`maxActive`", &[Const("weft-model/src/fault.rs", "ACTIVE_MAX")]),
    row("`addressRange.v4`, `.v6`", &[
        Says("weft-crd/src/mesh.rs", "Ipv4Addr::new(240, 119, 0, 0)), 16", "`240.119.0.0/16`"),
        Says("weft-crd/src/mesh.rs", "(0xfd77, 0x6566, 0x7400, 0, 0, 0, 0, 0)), 64", "`fd77:6566:7400::/64`"),
    ]),
    row("`dnsZone`", &[
        Says("weft-crd/src/mesh.rs", "object.or(\"dnsZone\", \"cluster.local\"", "`cluster.local`"),
        Says("weft-model/src/mesh.rs", "DnsZone(\"cluster.local\"", "`cluster.local`"),
    ]),
    row("`defaults.mtls`", &[
        Says("weft-crd/src/mesh.rs", "at.choice(&[(\"Strict\", ())], &[])", "`Strict`"),
    ]),
    row("`defaults.outbound`", &[
        Says("weft-crd/src/mesh.rs", "Defaults { outbound: OutboundPolicy::Any", "`any`"),
    ]),
    row("`defaults.authorization`", &[
        Says("weft-crd/src/mesh.rs", "unguarded: UnguardedPolicy::AllowMesh }", "`AllowMesh`"),
    ]),
    row("`--drain-timeout` of `weft proxy`: after SIGTERM", &[
        Seconds("weft/src/proxy.rs", "DRAIN_SECONDS"),
    ]),
    row("`--access-log` of `weft proxy` and `weft run`", &[
        Says("weft/src/proxy.rs", "default_value_t = LogSelect::Failures", "`failures`"),
    ]),
    row("`--access-log-format` of `weft proxy` and `weft run`", &[
        Says("weft/src/proxy.rs", "default_value_t = LogFormat::Text", "`text`"),
    ]),
    row("`protocol` of a port, in `--port` of `weft run` and the file of `weft proxy`", &[
        Says("weft-compile/src/workload.rs", "declared.unwrap_or_default()", ""),
        Says("weft-model/src/protocol.rs", "#[default] Detect", "bytes"),
    ]),
    row("`--namespace` of `weft run`", &[
        Says("weft/src/run/options.rs", "value_name = \"NAMESPACE\", default_value = \"default\"", "`default`"),
    ]),
    row("`--address` of `weft run`: where other proxies reach this one", &[
        Says("weft/src/run/options.rs", "default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST)", "`127.0.0.1`"),
    ]),
    row("`--tunnel-port` of `weft run`", &[
        After("weft/src/run/options.rs", "value_name = \"PORT\", default_value_t = "),
    ]),
    row("`--service-account` of `weft run`", &[]),
    row("`--name` of `weft run`", &[]),
    row("`--data` of `weft run`", &[
        Says("weft/src/run/options.rs", "XDG_STATE_HOME", "`$XDG_STATE_HOME/weft`"),
    ]),
    row("`--advertise` of `weft control`", &[]),
    row("`--trust-domain` of `weft control`", &[
        Says("weft/src/control.rs", "const TRUST_DOMAIN: &str = \"weft.local\"", "`weft.local`"),
    ]),
    row("`--listen` of `weft control`", &[
        Says("weft/src/control.rs", "default_value = \"127.0.0.1:15010\"", "`127.0.0.1:15010`"),
    ]),
    row("`--data` of `weft control`", &[
        Says("weft/src/control.rs", "default_value = \"weft-data\"", "`weft-data`"),
    ]),
    row("`--uses` of `weft token`", &[Const("weft/src/resources.rs", "TOKEN_USES")]),
    row("`--lifetime` of `weft token`", &[
        Minutes("weft/src/resources.rs", "TOKEN_MINUTES"),
        Const("weft-control/src/issuing.rs", "TOKEN_LIFETIME_MAX"),
    ]),
    row("`--wait` of `weft apply`, where no number is given", &[Const("weft/src/resources.rs", "WAIT")]),
    row("`--rate` of `weft demo`", &[Const("weft/src/demo.rs", "RATE")]),
    row("`--credential` of what calls the control plane", &[
        Says("weft/src/access.rs", "default_value = \"weft-data/admin\"", "`weft-data/admin`"),
    ]),
    row("`--namespace` of `weft delete`, and of `weft get` with a name", &[
        Says("weft/src/resources.rs", "default_value = \"default\"", "`default`"),
    ]),
    row("`--output` of `weft get` and `weft watch`", &[
        Says("weft/src/resources.rs", "default_value_t = Output::Table", "`table`"),
    ]),
    row("`--output` of `weft demo`, `weft check`, `weft explain` and `weft ca status`", &[
        Says("weft/src/ca.rs", "default_value_t = Output::Text", "`text`"),
    ]),
    row("`--timeout` of `weft ca rotate`", &[]),
    row("half-life of what is known of an endpoint", &[
        Const("weft-decide/src/balance/ewma.rs", "HALF_LIFE"),
    ]),
    row("time expected of an endpoint that has not answered yet", &[
        Const("weft-decide/src/balance/ewma.rs", "COST_DEFAULT"),
    ]),
    row("difference of loads that counts", &[Const("weft-decide/src/balance.rs", "TOLERANCE")]),
    row("points of an endpoint on a ring; of all, 8 MiB", &[
        Const("weft-decide/src/balance/ring.rs", "POINTS"),
        Const("weft-decide/src/balance/ring.rs", "POINTS_MAX"),
    ]),
    row("slots of a Maglev table, 256 KiB", &[
        Const("weft-decide/src/balance/maglev.rs", "SLOTS"),
    ]),
    row("part of an endpoint that `slowStart` begins with", &[
        Const("weft-decide/src/balance/slow_start.rs", "SHARE_MIN"),
    ]),
    row("first avoidance after a failed dial, doubled each time, up to `baseTime`", &[
        Const("weft-decide/src/eject.rs", "AVOIDED_MIN"),
    ]),
    row("`adaptiveTolerance`: what may be under way at an endpoint at first, and at least", &[
        Const("weft-decide/src/adaptive.rs", "INITIAL"),
        Const("weft-decide/src/adaptive.rs", "LEAST"),
    ]),
    row("the same: how long answers are collected before it changes", &[
        Const("weft-decide/src/adaptive.rs", "WINDOW"),
    ]),
    row("difference of latencies that counts for `latencyTimesPeers`", &[
        Const("weft-decide/src/eject/peers.rs", "LATENCY_ABOVE_MIN"),
    ]),
    row("time of one probe", &[Const("weft-decide/src/eject.rs", "PROBE_MAX")]),
    row("time that a draining endpoint is left out", &[
        Const("weft-proxy/src/backend/endpoint.rs", "DRAINING_FOR"),
    ]),
    row("retries without being asked for, of what nobody has processed", &[
        Const("weft-decide/src/retry.rs", "FREE_RETRIES_MAX"),
    ]),
    row("TCP connection to the own application, or to what is no Service", &[
        Const("weft-model/src/timeouts.rs", "CONNECT"),
    ]),
    row("age of a tunnel that takes new requests", &[
        Const("weft-proxy/src/time.rs", "TUNNEL_AGE"),
        Says("weft-proxy/src/backend/endpoint/dial.rs", "0.75 + fraction / 2.0", "a quarter more or less"),
    ]),
    row("TLS handshake and tunnel's opening, either side", &[
        Const("weft-proxy/src/time.rs", "HANDSHAKE_TIMEOUT"),
    ]),
    row("head of a request, once it has begun", &[Const("weft-proxy/src/time.rs", "HEAD_TIMEOUT")]),
    row("caller's connection between two requests", &[
        Const("weft-proxy/src/time.rs", "DOWNSTREAM_IDLE_TIMEOUT"),
    ]),
    row("connection to the own application without use", &[
        Const("weft-proxy/src/time.rs", "APPLICATION_IDLE_TIMEOUT"),
    ]),
    row("no byte in either direction, at the server's proxy: more than the caller's \
        proxy waits", &[
        Const("weft-decide/src/idle.rs", "SERVER_MARGIN"),
    ]),
    row("rest of a request that Weft itself has answered", &[
        Const("weft-proxy/src/time.rs", "LINGER_TIMEOUT"),
    ]),
    row("answer of Weft's own, until it is read", &[
        Const("weft-proxy/src/time.rs", "ANSWER_TIMEOUT"),
    ]),
    row("connection to an application trusted with what must not be sent twice: after \
        its last use", &[
        Const("weft-proxy/src/time.rs", "FRESH_FOR"),
    ]),
    row("answer of discovery about an unknown name or address", &[
        Const("weft-proxy/src/time.rs", "LOOKUP_TIMEOUT"),
    ]),
    row("where a host outside is: what DNS says, whatever TTL it says", &[
        Const("weft-decide/src/egress.rs", "TTL_MIN"),
        Const("weft-decide/src/egress.rs", "TTL_MAX"),
    ]),
    row("the same after its time, while DNS is silent", &[
        Const("weft-decide/src/egress.rs", "STALE_MAX"),
    ]),
    row("that there is no such host, or that DNS was silent, before it is asked again", &[
        Const("weft-proxy/src/outside/answers.rs", "ASK_AGAIN_AFTER"),
    ]),
    row(
        "hosts outside that have an address of their own, hosts whose place is known, addresses \
         whose name is kept for refusals, destinations kept ready",
        &[
            Const("weft-proxy/src/outside/stand_ins.rs", "HOSTS_MAX"),
            Const("weft-proxy/src/outside/answers.rs", "HOSTS_MAX"),
            Const("weft-proxy/src/outside/told.rs", "ADDRESSES_MAX"),
            Const("weft-proxy/src/outside.rs", "MADE_MAX"),
        ],
    ),
    row("addresses of `cidrs` that are known while nothing is under way towards them", &[
        Const("weft-proxy/src/backend/blocks.rs", "ADDRESSES_MAX"),
    ]),
    row("addresses of one host that are called", &[
        Const("weft-proxy/src/outside/answers.rs", "ADDRESSES_MAX"),
    ]),
    row("silence of a caller before its server is dialled", &[
        Const("weft-proxy/src/time.rs", "SILENCE"),
    ]),
    row("pause between two judgements of what lives", &[
        Const("weft-proxy/src/time.rs", "CHANGES_PAUSE"),
    ]),
    row("what is known of a backend without use", &[
        Const("weft-proxy/src/time.rs", "BACKEND_IDLE_TIMEOUT"),
    ]),
    row("how often discovery is told what is used", &[
        Const("weft-proxy/src/time.rs", "USE_INTERVAL"),
    ]),
    row("start without an answer of the control plane", &[
        Const("weft/src/joined.rs", "READY_TIMEOUT"),
    ]),
    row("start where another process has the directory", &[
        Const("weft/src/joined/lock.rs", "WAIT"),
    ]),
    row("`weft run`: SIGTERM held back while the command is being asked", &[
        Const("weft/src/run.rs", "HELD_MAX"),
    ]),
    row("`weft run`: what the command has sent, after its end", &[
        Const("weft/src/run.rs", "LINGER"),
    ]),
    row("head", &[
        Const("weft-http/src/lib.rs", "HEAD_BYTES_MAX"),
        Const("weft-http/src/lib.rs", "FIELDS_MAX"),
    ]),
    row("head from another proxy: more than that", &[
        Const("weft-http/src/lib.rs", "MESH_BYTES"),
        Const("weft-http/src/lib.rs", "MESH_FIELDS"),
    ]),
    row("trailers", &[
        Const("weft-http/src/body.rs", "TRAILERS_BYTES_MAX"),
        Const("weft-http/src/body.rs", "TRAILERS_MAX"),
    ]),
    row("size line of a chunk", &[Const("weft-http/src/body.rs", "SIZE_LINE_BYTES_MAX")]),
    row("informational responses for a request", &[
        Const("weft-proxy/src/exchange.rs", "INFORMATIONAL_MAX"),
        Const("weft-proxy/src/h1/server.rs", "INFORMATIONAL_BYTES_MAX"),
    ]),
    row("request of Weft's own answer, read to keep the connection", &[
        Const("weft-proxy/src/exchange/discard.rs", "DISCARDED_BYTES_MAX"),
    ]),
    row("idle connections kept to an endpoint", &[
        Const("weft-proxy/src/backend/endpoint.rs", "IDLE_MAX"),
    ]),
    row("connections of HTTP/2, and tunnels and TLS of any kind, that a worker opens to one \
        endpoint at a time; how long others wait for their turn", &[
        Const("weft-proxy/src/backend/dialling.rs", "DIALLING_MAX"),
        Const("weft-proxy/src/time.rs", "TURN_TIMEOUT"),
    ]),
    row("HTTP/1.1 between proxies: streams of a tunnel, then another one is opened", &[
        Const("weft-wire/src/mux.rs", "STREAMS_MAX"),
    ]),
    row("the same: window of a stream; once it has more to say", &[
        Const("weft-wire/src/mux.rs", "WINDOW_BYTES_FIRST"),
        Const("weft-wire/src/mux.rs", "WINDOW_BYTES"),
    ]),
    row("the same: tunnel without a stream, at the server's proxy; what its caller's then \
        has to end it", &[
        Const("weft-proxy/src/time.rs", "DOWNSTREAM_IDLE_TIMEOUT"),
        Const("weft-proxy/src/mux.rs", "FAREWELL_TIMEOUT"),
    ]),
    row("HTTP/2: exchanges of a connection", &[Const("weft-proxy/src/h2.rs", "STREAMS_MAX")]),
    row("HTTP/2: window of a stream, of a connection", &[
        Const("weft-proxy/src/h2.rs", "STREAM_WINDOW"),
        Const("weft-proxy/src/h2.rs", "CONNECTION_WINDOW"),
    ]),
    row("the same where memory is limited", &[
        Const("weft-proxy/src/h2.rs", "NARROW_STREAM_WINDOW"),
        Const("weft-proxy/src/h2.rs", "NARROW_CONNECTION_WINDOW"),
    ]),
    row("HTTP/2: frame, header table", &[
        Const("weft-proxy/src/h2.rs", "FRAME_BYTES_MAX"),
        Const("weft-proxy/src/h2.rs", "HEADER_TABLE_BYTES"),
    ]),
    row("HTTP/2: exchanges a caller may break off", &[
        Const("weft-proxy/src/h2/server.rs", "RESETS_MAX"),
        Const("weft-proxy/src/h2/server.rs", "RESETS_PER_SECOND"),
    ]),
    row("HTTP/2: streams reset before they were looked at", &[
        Const("weft-proxy/src/h2.rs", "UNSEEN_RESETS_MAX"),
    ]),
    row("HTTP/2: header list that is announced", &[
        Const("weft-proxy/src/h2.rs", "HEADER_LIST_BYTES_MAX"),
    ]),
    row("HTTP/2: a caller's connection without exchanges, once it was told to end", &[
        Const("weft-proxy/src/h2/server.rs", "DRAIN_TIMEOUT"),
    ]),
    row("HTTP/2: errors answered by resets", &[
        Const("weft-proxy/src/h2.rs", "CALLER_ERRORS_MAX"),
        Const("weft-proxy/src/h2.rs", "SERVER_ERRORS_MAX"),
    ]),
    row("HTTP/2: silence while exchanges are open: a ping after this time or twice that, \
        the end after the same again", &[
        Const("weft-proxy/src/h2/keepalive.rs", "INTERVAL"),
    ]),
    row("body kept to be sent again, of a request, and of all requests of a worker", &[
        Const("weft-proxy/src/replay.rs", "REQUEST_BYTES_MAX"),
        Const("weft-proxy/src/replay.rs", "WORKER_BYTES_MAX"),
    ]),
    row("body of a copied request that waits to be read", &[
        Const("weft-proxy/src/replay.rs", "REQUEST_BYTES_MAX"),
        Const("weft-proxy/src/replay.rs", "WORKER_BYTES_MAX"),
    ]),
    row(
        "copies of requests under way, in a worker; where memory is limited, fewer",
        &[Const("weft-proxy/src/overload.rs", "COPIES_MAX")],
    ),
    row("copy of a request, at most", &[
        Const("weft-proxy/src/request/mirror.rs", "MIRROR_TIMEOUT"),
    ]),
    row("new requests are refused from", &[
        After("weft-proxy/src/overload.rs", "match percent { 0.."),
    ]),
    row("new connections wait from", &[
        After("weft-proxy/src/overload.rs", "=> Pressure::None, 75.."),
        Const("weft-proxy/src/overload.rs", "CONNECTIONS_MIN"),
    ]),
    row("connections at most: the memory limit, divided by", &[
        Const("weft-proxy/src/overload.rs", "CONNECTION_BYTES"),
    ]),
    row("under way at most: the memory limit, divided by", &[
        Const("weft-proxy/src/overload.rs", "BUSY_BYTES"),
    ]),
    row("streams with the second window at most: the memory limit, divided by", &[
        Const("weft-proxy/src/overload.rs", "WIDE_STREAM_BYTES"),
    ]),
    row("how often memory is looked at, and freed memory given back while it is short", &[
        Const("weft/src/overload.rs", "LOOK_INTERVAL"),
        Const("weft/src/overload.rs", "GIVE_BACK_INTERVAL"),
    ]),
    row("buffers; large ones, and how many are lent at most", &[
        Const("weft-world/src/buffer.rs", "BUFFER_BYTES"),
        Const("weft-world/src/buffer.rs", "LARGE_BUFFER_BYTES"),
        Const("weft-world/src/buffer.rs", "LARGE_BUFFERS_MAX"),
    ]),
    row("longest method looked for", &[Const("weft-proxy/src/detect.rs", "METHOD_BYTES_MAX")]),
    row("longest first line waited for", &[Const("weft-proxy/src/detect.rs", "LINE_BYTES_MAX")]),
    row("first message of TLS, where a TLSRoute asks whom it is for", &[
        Const("weft-proxy/src/detect/hello.rs", "HELLO_BYTES_MAX"),
        Const("weft-proxy/src/time.rs", "HEAD_TIMEOUT"),
    ]),
    row("object", &[Const("weft-wire/src/envelope.rs", "OBJECT_BYTES_MAX")]),
    row("response, after which the next begins", &[
        Const("weft-wire/src/discovery/server.rs", "RESPONSE_BYTES"),
    ]),
    row("reason of a refusal", &[
        Const("weft-wire/src/discovery/server.rs", "REASON_CHARS_MAX"),
    ]),
    row("message", &[Const("weft-control/src/grpc.rs", "MESSAGE_BYTES_MAX")]),
    row("subscriptions of a proxy", &[
        Const("weft-wire/src/discovery/server.rs", "SUBSCRIPTIONS_MAX"),
    ]),
    row("waiting for one subscription", &[
        Const("weft-wire/src/discovery/client.rs", "WAITERS_MAX"),
    ]),
    row("subscription that nobody uses", &[Const("weft-control/src/subscriber.rs", "UNUSED")]),
    row("streams, and those of one service account", &[
        Const("weft-control/src/discovery/state.rs", "STREAMS_MAX"),
        Const("weft-control/src/discovery/state.rs", "STREAMS_OF_ONE_MAX"),
    ]),
    row("sign of life on a connection: how often, and how long it is waited for", &[
        Const("weft-control/src/serve.rs", "PING_INTERVAL"),
    ]),
    row("pause between two attempts to connect", &[
        Const("weft-control/src/subscriber/link.rs", "BACKOFF"),
        Const("weft-control/src/subscriber/link.rs", "BACKOFF_MAX"),
    ]),
    row("health of the own application that the control plane did not take, again after", &[
        Const("weft-control/src/subscriber/health.rs", "AGAIN"),
        Says("weft-control/src/subscriber/health.rs", "AGAIN.mul_f64(0.5 + jitter)", "a half more or less"),
    ]),
    row("registration that was refused, again after", &[
        Const("weft-control/src/subscriber/link.rs", "REGISTER_AGAIN"),
    ]),
    row("registration that somebody took away, again after", &[
        Const("weft-control/src/subscriber/link.rs", "REGISTER_PAUSE"),
    ]),
    row("word to a proxy that it has all there is for it", &[
        Const("weft-control/src/discovery/stream.rs", "CONFIRM_INTERVAL"),
    ]),
    row("root", &[Const("weft-identity/src/authority.rs", "ROOT_LIFETIME")]),
    row("intermediate, renewed after two thirds", &[
        Const("weft-identity/src/authority.rs", "INTERMEDIATE_LIFETIME"),
        Says("weft-identity/src/authority.rs", "lifetime() * 2 / 3", ""),
    ]),
    row("leaf, the least", &[
        Const("weft-identity/src/authority/sign.rs", "LEAF_LIFETIME"),
        Const("weft-identity/src/authority/sign.rs", "LEAF_LIFETIME_MIN"),
    ]),
    row("renewal: between 40 % and 60 % of the life; after failures with doubled pauses, \
        the last by 80 %", &[
        Const("weft-identity/src/renewal.rs", "BACKOFF_BASE"),
        Const("weft-identity/src/renewal.rs", "BACKOFF_MAX"),
        Says("weft-identity/src/renewal.rs", "at(0.4 + 0.2 * jitter)", ""),
        Says("weft-identity/src/renewal.rs", "let latest = at(0.8)", ""),
    ]),
    row("renewal by a proxy at whose clock a new certificate does not hold: the one in \
        use is kept until the new one holds here, or its life is over by the control \
        plane's clock, but for the rest that follows this part; where neither holds, \
        pauses are doubled up to", &[
        Const("weft/src/joined/renewal/schedule.rs", "NEAR_ITS_END"),
        Const("weft/src/joined/renewal/schedule.rs", "RARELY"),
    ]),
    row("first certificate that nobody has used: how long a rotation waits for it", &[
        Const("weft-control/src/ca/records/fleet.rs", "BEGIN_TIME"),
    ]),
    row("question at a start whether a kept certificate still counts", &[
        Const("weft/src/joined.rs", "PROVE_TIMEOUT"),
    ]),
    row("look at civil time: by a proxy, by the control plane for its intermediate, and \
        again for one that could not be renewed", &[
        Const("weft/src/joined/renewal/schedule.rs", "LOOK_AT_TIME"),
        Const("weft-control/src/ca/watch.rs", "LOOK_AT_TIME"),
        Const("weft-control/src/ca/watch.rs", "RENEW_AGAIN"),
    ]),
    row("backdating", &[Const("weft-identity/src/authority.rs", "CLOCK_SKEW")]),
    row("pause before a proxy writes again what its disk did not take", &[
        Const("weft/src/joined/saver.rs", "SAVE_AGAIN"),
    ]),
    row("registration without its stream: healthy", &[
        Const("weft-control/src/discovery/leases.rs", "LEASE"),
    ]),
    row("registration without its stream: kept", &[
        Const("weft-store/src/lease.rs", "EXPIRED_AFTER"),
    ]),
    row("addresses of what was deleted", &[
        Const("weft-control/src/discovery/addresses.rs", "KEPT_FOR"),
    ]),
    row("Services of a workload, workloads of an account", &[
        Const("weft-control/src/registration.rs", "SERVICES_MAX"),
        Const("weft-control/src/registration.rs", "WORKLOADS_MAX"),
    ]),
    row("request, request for a certificate", &[
        Const("weft-control/src/routes.rs", "REQUEST_BYTES_MAX"),
        Const("weft-control/src/routes.rs", "ISSUE_BYTES_MAX"),
    ]),
    row("file of resources", &[
        Const("weft-crd/src/yaml.rs", "FILE_BYTES_MAX"),
        Const("weft-crd/src/yaml.rs", "DEPTH_MAX"),
        Const("weft-crd/src/yaml.rs", "NODES_MAX"),
    ]),
    row("entry of the store", &[Const("weft-store/src/plan.rs", "BYTES_MAX")]),
    row("connections, calls on each", &[
        Const("weft-control/src/serve.rs", "CONNECTIONS_MAX"),
        Const("weft-control/src/serve.rs", "STREAMS_MAX"),
    ]),
    row("revocations at once", &[Const("weft-control/src/ca/kept.rs", "REVOCATIONS_MAX")]),
    row("routes: parents, hostnames, rules, matches of a rule and of all, backends of a rule", &[
        Const("weft-crd/src/route.rs", "PARENTS_MAX"),
        Const("weft-crd/src/route.rs", "HOSTNAMES_MAX"),
        Const("weft-crd/src/route.rs", "RULES_MAX"),
        Const("weft-crd/src/route.rs", "MATCHES_MAX"),
        Const("weft-crd/src/route.rs", "MATCHES_OF_ROUTE_MAX"),
        Const("weft-crd/src/route.rs", "BACKENDS_MAX"),
    ]),
    row("HTTPRoute: headers or parameters of a match, characters of a path and of the values of these", &[
        Const("weft-crd/src/route/matches.rs", "CONDITIONS_MAX"),
        Const("weft-crd/src/route/matches.rs", "PATH_CHARS_MAX"),
        Const("weft-crd/src/route/matches.rs", "HEADER_CHARS_MAX"),
        Const("weft-crd/src/route/matches.rs", "QUERY_CHARS_MAX"),
    ]),
    row("GRPCRoute: characters of the name of a service or method", &[
        Const("weft-crd/src/grpc_route.rs", "NAME_CHARS_MAX"),
    ]),
    row("TLSRoute: hosts", &[Const("weft-crd/src/stream_route.rs", "SERVER_NAMES_MAX")]),
    row("HTTPRoute: `retry.attempts`, `retry.codes`", &[
        Const("weft-crd/src/retry.rs", "ATTEMPTS_MAX"),
        Const("weft-crd/src/retry.rs", "CODES_MAX"),
    ]),
    row("AuthorizationPolicy: rules, entries of a list in one; targets of any policy", &[
        Const("weft-crd/src/authorization_policy.rs", "RULES_MAX"),
        Const("weft-crd/src/authorization_policy/rule.rs", "ITEMS_MAX"),
        Const("weft-crd/src/target.rs", "TARGETS_MAX"),
    ]),
    row("TLS to the outside: certificates of a port, bytes of these as PEM, of one, of all ports", &[
        Const("weft-crd/src/certificates.rs", "CERTIFICATES_MAX"),
        Const("weft-crd/src/certificates.rs", "BYTES_MAX"),
        Const("weft-crd/src/certificates.rs", "CERTIFICATE_BYTES_MAX"),
        Const("weft-crd/src/external_service.rs", "ROOTS_BYTES_MAX"),
    ]),
    row("TLS to the outside: names; references of a BackendTLSPolicy", &[
        Const("weft-crd/src/tls_origination.rs", "NAMES_MAX"),
        Const("weft-crd/src/backend_tls_policy.rs", "AUTHORITIES_MAX"),
    ]),
    row("Service and Workload: ports; addresses of a Workload", &[
        Const("weft-crd/src/workload.rs", "PORTS_MAX"),
        Const("weft-crd/src/workload.rs", "ADDRESSES_MAX"),
    ]),
    row("findings of one object", &[Const("weft-crd/src/report.rs", "FINDINGS_MAX")]),
    row("command to the control plane: a name looked up, then each of its addresses connected to", &[
        Const("weft-control/src/line.rs", "LOOKUP_TIMEOUT"),
        Const("weft-control/src/line.rs", "CONNECT_TIMEOUT"),
    ]),
    row("`--exclude-port` and `--exclude-cidr` of `weft run`", &[
        Const("weft-net/src/nft.rs", "EXCLUDED_MAX"),
    ]),
    row("handshake, head", &[
        Const("weft-control/src/serve.rs", "HANDSHAKE_TIMEOUT"),
        Const("weft-control/src/serve.rs", "HEAD_TIMEOUT"),
    ]),
    row("lines for standard error that wait to be written", &[
        Const("weft-telemetry/src/lines.rs", "QUEUE_LINES"),
        Const("weft-telemetry/src/lines.rs", "QUEUE_BYTES"),
    ]),
    row("more such lines that are not of the access log", &[
        Const("weft-telemetry/src/lines.rs", "SAID_LINES"),
        Const("weft-telemetry/src/lines.rs", "SAID_BYTES"),
    ]),
    row("wait for such lines at the end of the process", &[
        Const("weft-telemetry/src/lines.rs", "FINISH_TIMEOUT"),
    ]),
    row("label sets of a metric, beside `other`", &[
        After("weft-telemetry/src/metrics/registry.rs", "Options { series_max: "),
    ]),
    row("series without a change", &[After("weft-telemetry/src/metrics/registry.rs", ", idle: ")]),
    row("scrapers at once, life of a connection", &[
        Const("weft/src/admin.rs", "CONNECTIONS_MAX"),
        Const("weft/src/admin.rs", "CONNECTION_TIME_MAX"),
    ]),
    row("TTL of an address", &[Seconds("weft/src/run/dns.rs", "TTL")]),
    row("TTL of \"there is none\"", &[Seconds("weft-dns/src/reply.rs", "NEGATIVE_TTL")]),
    row("TTL of an address that stands for a host outside", &[
        Seconds("weft/src/run/dns.rs", "EXTERNAL_TTL"),
    ]),
    row("resolver outside, before the next one", &[
        Const("weft/src/name_servers.rs", "SERVER_TIMEOUT"),
    ]),
    row("lines that say that it is not known where a host is", &[
        Const("weft/src/name_servers.rs", "SAY_INTERVAL"),
    ]),
    row("queries at once, connections, time without use of one", &[
        Const("weft/src/run/dns.rs", "QUERIES_MAX"),
        Const("weft/src/run/dns.rs", "CONNECTIONS_MAX"),
        Const("weft/src/run/dns.rs", "IDLE_TIMEOUT"),
    ]),
    row("answers over UDP, beyond which TCP is asked for", &[
        Const("weft-dns/src/query.rs", "UDP_BYTES_MAX"),
    ]),
];
