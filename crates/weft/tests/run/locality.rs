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

#[test]
fn what_is_near_is_called_while_it_is_there() {
    let lab = Lab::new();
    let mut near = server(&lab, "near", "north/a");
    let far = server(&lab, "far", "north/b");
    let served = |server: &Running| lines(&server.log(), &["status=200"]).len();
    let call = |count: u32| {
        let mut command = lab.confined("web", &["--locality", "north/a"]);
        let ask = format!("curl -sS -o /dev/null --fail 'http://cart/?[1-{count}]'");
        command.args(["sh", "-c", &ask]);
        crate::lab::must(&mut command);
    };
    wait_until("both are known", || {
        let there = lab.user("./weft").args(["get", "workloads"]).output().unwrap().stdout;
        let there = String::from_utf8(there).unwrap();
        there.contains("near") && there.contains("far")
    });
    call(50);
    wait_until("all are in the log", || served(&near) == 50);
    assert_eq!(served(&far), 0);

    near.signal("TERM");
    near.end();
    call(50);
    wait_until("all are in the log", || served(&far) == 50);
}
