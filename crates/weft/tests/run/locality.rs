//! Endpoints that are near are preferred, and those far away are called when there are no others.

use crate::lab::{Lab, Running, lines, wait_until};

fn server(lab: &Lab, name: &str, place: &str) -> Running {
    let options =
        ["--service", "cart", "--port", "80:8000/http", "--name", name, "--locality", place];
    let mut command = lab.confined("cart", &options);
    command.args(["python3", "-u", "-m", "http.server", "8000"]);
    let server = lab.start(name, command);
    server.wait_for("Serving HTTP");
    server
}

/// Asks `cart` as often as each line that it reads says.
const CALLER: &str = r#"
while read -r count; do
    curl -sS -o /dev/null --fail "http://cart/?[1-$count]" && echo "called $count times"
done
"#;

/// The value of the one series of `metric` with all of `labels`; 0 where there is none.
fn value(lab: &Lab, metric: &str, labels: &[&str]) -> u64 {
    let text = crate::lab::must(lab.user("curl").args(["-sS", "--fail", METRICS]));
    let start = format!("{metric}{{");
    let found = |line: &&str| line.starts_with(&start) && labels.iter().all(|l| line.contains(l));
    let mut found = text.lines().filter(found);
    let value = found.next().map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap());
    assert_eq!(found.next(), None, "{metric} {labels:?} is not one series:\n{text}");
    value
}

const METRICS: &str = "http://127.0.0.1:15020/metrics";

#[test]
fn what_is_near_is_called_while_it_is_there() {
    let lab = Lab::new();
    let mut near = server(&lab, "near", "north/a");
    let far = server(&lab, "far", "north/b");
    let served = |server: &Running| lines(&server.log(), &["status=200"]).len();
    let options = ["--locality", "north/a", "--metrics", "127.0.0.1:15020"];
    let mut command = lab.confined("web", &options);
    command.args(["sh", "-c", CALLER]);
    let mut web = lab.start_typed("web", command);
    let mut call = |count: u32| {
        web.type_in(format!("{count}\n").as_bytes());
        web.wait_for(&format!("called {count} times"));
    };
    wait_until("both are known", || {
        let there = lab.user("./weft").args(["get", "workloads"]).output().unwrap().stdout;
        let there = String::from_utf8(there).unwrap();
        there.contains("near") && there.contains("far")
    });
    let attempts = |locality| {
        let locality = format!("locality=\"{locality}\"");
        let cart = ["service=\"shop/cart\"", "port=\"80\"", &locality];
        value(&lab, "weft_backend_attempts_total", &cart)
    };
    call(50);
    wait_until("all are in the log", || served(&near) == 50);
    assert_eq!(served(&far), 0);
    assert_eq!(["zone", "region", "elsewhere", "unknown"].map(attempts), [50, 0, 0, 0]);

    near.signal("TERM");
    near.end();
    call(51);
    wait_until("all are in the log", || served(&far) == 51);
    assert_eq!(["region", "elsewhere", "unknown"].map(attempts), [51, 0, 0]);
    // It was asked by name, of the mesh alone.
    assert!(value(&lab, "weft_dns_queries_total", &["answer=\"mesh\""]) > 0);
    assert_eq!(value(&lab, "weft_dns_queries_total", &["answer=\"outside\""]), 0);
}
