//! Pages of other origins: the cases of Gateway API's conformance test with curl, and a browser.

use std::process::Command;

use crate::filters::{Answer, Shop, VERSIONS};
use crate::lab::{Process, output, succeeded, wait_until};

const RULES: &str = "
  - matches: [{ path: { value: /cors-1 } }]
    filters:
    - type: CORS
      cors:
        allowOrigins: ['https://www.foo.com', 'https://*.bar.com']
        allowMethods: [GET, OPTIONS]
        allowHeaders: [x-header-1, x-header-2]
        exposeHeaders: [x-header-3, x-header-4]
        allowCredentials: true
        maxAge: 3600
    backendRefs: [{ name: web-v1, port: 80 }]
  - matches: [{ path: { value: /cors-2 } }]
    filters:
    - { type: CORS, cors: { allowOrigins: ['https://www.foo.com'], allowMethods: ['*'] } }
    backendRefs: [{ name: web-v1, port: 80 }]
  - matches: [{ path: { value: /cors-wildcard-origin } }]
    filters:
    - { type: CORS, cors: { allowOrigins: ['*'], allowMethods: [PUT] } }
    backendRefs: [{ name: web-v1, port: 80 }]
  - matches: [{ path: { value: /cors-wildcard-methods-headers } }]
    filters:
    - type: CORS
      cors:
        { allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], allowCredentials: true }
    backendRefs: [{ name: web-v1, port: 80 }]
  - matches: [{ path: { value: /cors-wildcard-methods-headers-unauth } }]
    filters:
    - { type: CORS, cors: { allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'] } }
    backendRefs: [{ name: web-v1, port: 80 }]
  - matches: [{ path: { value: /nowhere } }]
    filters: [{ type: CORS, cors: { allowOrigins: ['https://www.foo.com'] } }]
";

/// One case: what is asked, and what the answer has. `None` is a field that must not be there.
struct Case {
    what: &'static str,
    path: &'static str,
    method: &'static str,
    fields: &'static [&'static str],
    answer: &'static [(&'static str, Option<&'static str>)],
}

const ORIGIN: &str = "access-control-allow-origin";
const CREDENTIALS: &str = "access-control-allow-credentials";
const METHODS: &str = "access-control-allow-methods";
const HEADERS: &str = "access-control-allow-headers";
const EXPOSE: &str = "access-control-expose-headers";
const MAX_AGE: &str = "access-control-max-age";

const ASKS_GET: &str = "access-control-request-method: GET";
const ASKS_POST: &str = "access-control-request-method: POST";
const ASKS_PUT: &str = "access-control-request-method: PUT";
const ASKS_HEADERS: &str = "access-control-request-headers: x-header-1, x-header-2";

/// What a preflight of `/cors-1` is answered, but for the origin.
macro_rules! of_cors_1 {
    ($origin:literal) => {
        &[
            (ORIGIN, Some($origin)),
            (METHODS, Some("GET, OPTIONS")),
            (HEADERS, Some("x-header-1, x-header-2")),
            (EXPOSE, Some("x-header-3, x-header-4")),
            (MAX_AGE, Some("3600")),
            (CREDENTIALS, Some("true")),
        ]
    };
}

/// Source: Gateway API, `conformance/tests/httproute-cors.go`, in its order; where that leaves a
/// choice, what is chosen here.
const CASES: [Case; 17] = [
    Case {
        what: "a preflight of an exact origin",
        path: "/cors-1",
        method: "OPTIONS",
        fields: &["Origin: https://www.foo.com", ASKS_GET, ASKS_HEADERS],
        answer: of_cors_1!("https://www.foo.com"),
    },
    Case {
        what: "a preflight of an origin that a wildcard covers",
        path: "/cors-1",
        method: "OPTIONS",
        fields: &["Origin: https://www.bar.com", ASKS_GET, ASKS_HEADERS],
        answer: of_cors_1!("https://www.bar.com"),
    },
    Case {
        what: "a preflight of one with more labels left of it",
        path: "/cors-1",
        method: "OPTIONS",
        fields: &["Origin: https://xpto.www.bar.com", ASKS_GET, ASKS_HEADERS],
        answer: of_cors_1!("https://xpto.www.bar.com"),
    },
    Case {
        what: "a preflight of another origin",
        path: "/cors-1",
        method: "OPTIONS",
        fields: &["Origin: https://foobar.com", ASKS_GET],
        answer: &[(ORIGIN, None), (METHODS, None), (CREDENTIALS, None)],
    },
    Case {
        what: "a request of an exact origin",
        path: "/cors-1",
        method: "GET",
        fields: &["Origin: https://www.foo.com", ASKS_GET, ASKS_HEADERS],
        answer: &[(ORIGIN, Some("https://www.foo.com")), (METHODS, None)],
    },
    Case {
        what: "a request of an origin that a wildcard covers",
        path: "/cors-1",
        method: "GET",
        fields: &["Origin: https://www.bar.com", ASKS_GET, ASKS_HEADERS],
        answer: &[(ORIGIN, Some("https://www.bar.com"))],
    },
    Case {
        what: "a request of another origin, whatever the application says",
        path: "/cors-1?cors",
        method: "GET",
        fields: &["Origin: https://foobar.com", ASKS_GET],
        answer: &[(ORIGIN, None), (CREDENTIALS, None)],
    },
    Case {
        what: "a preflight where all methods are allowed",
        path: "/cors-2",
        method: "OPTIONS",
        fields: &["Origin: https://www.foo.com", ASKS_POST],
        answer: &[
            (METHODS, Some("POST")),
            (ORIGIN, Some("https://www.foo.com")),
            (CREDENTIALS, None),
        ],
    },
    Case {
        what: "a preflight without credentials",
        path: "/cors-2",
        method: "OPTIONS",
        fields: &["Origin: https://www.foo.com", ASKS_POST],
        answer: &[(CREDENTIALS, None), (MAX_AGE, Some("5"))],
    },
    Case {
        what: "a preflight where all origins are allowed",
        path: "/cors-wildcard-origin",
        method: "OPTIONS",
        fields: &["Origin: https://foobar.com", ASKS_PUT],
        answer: &[
            (ORIGIN, Some("https://foobar.com")),
            (METHODS, Some("PUT")),
            (CREDENTIALS, None),
        ],
    },
    Case {
        what: "a preflight of an origin with a port",
        path: "/cors-wildcard-origin",
        method: "OPTIONS",
        fields: &["Origin: https://foobar.com:12345", ASKS_PUT],
        answer: &[
            (ORIGIN, Some("https://foobar.com:12345")),
            (METHODS, Some("PUT")),
            (CREDENTIALS, None),
        ],
    },
    Case {
        what: "a request of an origin with a port",
        path: "/cors-wildcard-origin",
        method: "PUT",
        fields: &["Origin: https://foobar.com:12345"],
        answer: &[(ORIGIN, Some("https://foobar.com:12345"))],
    },
    Case {
        what: "a request where all origins are allowed",
        path: "/cors-wildcard-origin",
        method: "PUT",
        fields: &["Origin: https://foobar.com"],
        answer: &[(ORIGIN, Some("https://foobar.com")), (CREDENTIALS, None)],
    },
    Case {
        what: "a preflight with credentials, where all is allowed",
        path: "/cors-wildcard-methods-headers",
        method: "OPTIONS",
        fields: &["Origin: https://other.foo.com", ASKS_PUT, ASKS_HEADERS],
        answer: &[
            (ORIGIN, Some("https://other.foo.com")),
            (METHODS, Some("PUT")),
            (HEADERS, Some("x-header-1, x-header-2")),
            (CREDENTIALS, Some("true")),
        ],
    },
    Case {
        what: "a preflight without, where all is allowed",
        path: "/cors-wildcard-methods-headers-unauth",
        method: "OPTIONS",
        fields: &["Origin: https://other.foo.com", ASKS_PUT, ASKS_HEADERS],
        answer: &[
            (ORIGIN, Some("https://other.foo.com")),
            (METHODS, Some("PUT")),
            (HEADERS, Some("x-header-1, x-header-2")),
            (CREDENTIALS, None),
        ],
    },
    Case {
        what: "a request with credentials",
        path: "/cors-wildcard-methods-headers",
        method: "GET",
        fields: &["Origin: https://other.foo.com", "Authorization: Bearer test"],
        answer: &[(ORIGIN, Some("https://other.foo.com")), (CREDENTIALS, Some("true"))],
    },
    Case {
        what: "a request with credentials where none are allowed, whatever the application says",
        path: "/cors-wildcard-methods-headers-unauth?cors",
        method: "GET",
        fields: &["Origin: https://other.foo.com", "Authorization: Bearer test"],
        answer: &[(ORIGIN, Some("https://other.foo.com")), (CREDENTIALS, None)],
    },
];

impl Case {
    fn ask(&self, shop: &Shop, version: &str) -> Answer {
        let fields = self.fields.iter().flat_map(|field| ["-H", field]);
        let arguments: Vec<_> = ["-X", self.method].into_iter().chain(fields).collect();
        shop.ask(version, self.path, &arguments)
    }
}

#[test]
fn curl_is_answered_as_the_conformance_test_wants_it() {
    let shop = Shop::start(RULES);
    for version in VERSIONS {
        for case in &CASES {
            let answer = case.ask(&shop, version);
            assert_eq!(answer.status, 200, "{}: {answer:?}", case.what);
            for (name, value) in case.answer {
                assert_eq!(answer.field(name).as_deref(), *value, "{}: {answer:?}", case.what);
            }
            // The application answers requests, and the proxy what browsers ask before them.
            let is_preflight = case.method == "OPTIONS";
            let reason = answer.field("weft-reason");
            assert_eq!(reason.as_deref(), is_preflight.then_some("cors-preflight"));
            assert_eq!(answer.field("x-app").is_none(), is_preflight);
            assert!(answer.field("vary").is_some_and(|vary| vary.contains("Origin")));
        }
        // A page may read why it was refused.
        let refused = shop.ask(version, "/nowhere", &["-H", "Origin: https://www.foo.com"]);
        assert_eq!(refused.field("weft-reason").as_deref(), Some("no-backend"));
        assert_eq!(refused.field(ORIGIN).as_deref(), Some("https://www.foo.com"));
        // An OPTIONS that asks for no leave is the application's.
        let own = shop.ask(version, "/cors-2", &["-X", "OPTIONS"]);
        assert_eq!(own.asked().0["method"], "OPTIONS");
    }
}

/// Asks for what a page may have and what it may not, and writes down what it got.
const PAGE: &str = "<!doctype html><pre id=said></pre><script>
async function ask(name, path, options) {
  let got;
  try {
    const answer = await fetch('http://SHOP' + path, options);
    const asked = await answer.json();
    got = answer.status + ' ' + asked.method + ' ' + answer.headers.get('x-added') + ' ' +
      answer.headers.get('x-app');
  } catch (error) { got = error.name; }
  document.getElementById('said').append(name + ': ' + got + '\\n');
}
(async () => {
  await ask('simple', '/page', {});
  await ask('put', '/page', { method: 'PUT', headers: { 'X-Mine': '1' }, body: 'x' });
  await ask('credentials', '/page', { credentials: 'include' });
  await ask('method', '/page', { method: 'DELETE' });
  await ask('header', '/page', { headers: { 'X-Other': '1' } });
  await ask('origin', '/other?cors', {});
  await ask('any', '/any', { method: 'DELETE', headers: { 'X-Other': '1' } });
  document.getElementById('said').append('done\\n');
})();
</script>";

#[test]
fn a_browser_lets_a_page_read_what_the_route_allows() {
    let shop = Shop::start("  - backendRefs: [{ name: web-v1, port: 80 }]\n");
    let page = PAGE.replace("SHOP", &shop.address().to_string());
    shop.lab.file("page.html", &page);
    let mut python = Command::new("python3");
    python.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]);
    let pages = Process::start(&shop.lab.directory, "pages", python.arg(&shop.lab.directory));
    let mut port = None;
    wait_until("the pages are served", || {
        let said = pages.said();
        let rest = said.split_once(" port ").map(|(_, rest)| rest.to_owned());
        port = rest.and_then(|rest| rest.split(' ').next()?.parse::<u16>().ok());
        port.is_some()
    });
    let origin = format!("http://127.0.0.1:{}", port.unwrap());
    shop.route(&format!(
        "
  - matches: [{{ path: {{ value: /page }} }}]
    filters:
    - type: CORS
      cors:
        allowOrigins: ['{origin}']
        allowMethods: [PUT]
        allowHeaders: [X-Mine]
        exposeHeaders: [X-Added]
        allowCredentials: true
    backendRefs: [{{ name: web-v1, port: 80 }}]
  - matches: [{{ path: {{ value: /other }} }}]
    filters: [{{ type: CORS, cors: {{ allowOrigins: ['https://other.example'] }} }}]
    backendRefs: [{{ name: web-v1, port: 80 }}]
  - matches: [{{ path: {{ value: /any }} }}]
    filters:
    - type: CORS
      cors:
        {{ allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], exposeHeaders: ['*'] }}
    backendRefs: [{{ name: web-v1, port: 80 }}]
"
    ));
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    browser.args(["--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server"]);
    browser.arg(format!("--user-data-dir={}", shop.lab.directory.join("browser").display()));
    browser.args(["--timeout=20000", "--virtual-time-budget=15000"]);
    let shown = succeeded(output(browser.arg(format!("{origin}/page.html"))));
    let (_, said) = shown.split_once("<pre id=\"said\">").unwrap();
    let (said, _) = said.split_once("</pre>").unwrap();
    assert_eq!(
        said,
        "simple: 200 GET app null\n\
         put: 200 PUT app null\n\
         credentials: 200 GET app null\n\
         method: TypeError\n\
         header: TypeError\n\
         origin: TypeError\n\
         any: 200 DELETE app web-v1\n\
         done\n"
    );
}
