//! Faults, by what is asked for and what is drawn.

use weft_http::{RequestHead, Version, request};
use weft_model::{
    Abort, AbortCode, AbortStatus, AbortWith, Delay, ExactValue, Fault, HeaderCondition,
    HeaderName, Percent, TimeBound,
};

use super::*;

fn head(fields: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let bytes = format!("GET / HTTP/1.1\r\nHost: cart\r\n{fields}\r\n");
    request::parse(bytes.as_bytes(), &mut head).unwrap().unwrap();
    head
}

fn call() -> RequestHead {
    let mut head = head("content-type: application/grpc\r\n");
    head.version = Version::Http2;
    head
}

fn percent(number: u8) -> Percent {
    Percent::new(number).unwrap()
}

/// One that holds `delay` percent for a second, and answers `abort` percent.
fn fault(name: &str, delay: u8, abort: u8, with: AbortWith) -> Fault {
    let time = TimeBound::from_millis(1000).unwrap();
    Fault {
        policy: format!("shop/{name}").parse().unwrap(),
        headers: vec![],
        delay: Some(Delay { percent: percent(delay), time }),
        abort: Some(Abort { percent: percent(abort), with }),
        active_max: Fault::ACTIVE_MAX,
    }
}

fn unavailable() -> AbortWith {
    AbortWith::Http(AbortStatus::new(503).unwrap())
}

fn with_header(fault: Fault, name: &str, value: Option<&str>) -> Fault {
    let name = HeaderName::new(name).unwrap();
    let value = value.map(|value| ExactValue::new(value).unwrap());
    Fault { headers: vec![HeaderCondition { name, value }], ..fault }
}

#[test]
fn the_first_that_is_for_a_request_decides() {
    let drill = with_header(fault("drill", 1, 1, unavailable()), "x-drill", Some("1"));
    let user = with_header(fault("user", 1, 1, unavailable()), "x-user", None);
    let all = fault("all", 1, 1, unavailable());
    let found = |faults: &[&Fault], fields: &str| {
        let head = head(fields);
        for_request(faults.iter().copied(), &head).map(|fault| fault.policy.name().to_owned())
    };
    let faults = [&drill, &user, &all];
    assert_eq!(found(&faults, "x-drill: 1\r\nx-user: ada\r\n").as_deref(), Some("drill"));
    assert_eq!(found(&faults, "X-User: ada\r\n").as_deref(), Some("user"));
    assert_eq!(found(&faults, "x-drill: 2\r\n").as_deref(), Some("all"));
    assert_eq!(found(&faults[..2], "x-drill: 1, 1\r\n"), None);
    assert_eq!(found(&[], ""), None);
}

#[test]
fn shares_are_drawn_apart_from_each_other() {
    let head = head("");
    let fault = fault("f", 10, 5, unavailable());
    let drawn = |delay, abort| draw(&fault, &head, [delay, abort]);
    let (held, answered) = (Some(Duration::from_secs(1)), Some(unavailable()));
    assert_eq!(drawn(0.0999, 0.0499), Some(Drawn { delay: held, abort: answered }));
    assert_eq!(drawn(0.0999, 0.05), Some(Drawn { delay: held, abort: None }));
    assert_eq!(drawn(0.1, 0.0499), Some(Drawn { delay: None, abort: answered }));
    assert_eq!(drawn(0.1, 0.05), None);
    let always = self::fault("always", 100, 100, unavailable());
    let last = 1.0 - f64::EPSILON;
    assert_eq!(draw(&always, &head, [last; 2]), Some(Drawn { delay: held, abort: answered }));
}

#[test]
fn a_status_of_grpc_is_for_calls_alone() {
    let fault = fault("f", 1, 100, AbortWith::Grpc(AbortCode::new(14).unwrap()));
    assert_eq!(draw(&fault, &head("content-type: application/grpc\r\n"), [0.5, 0.5]), None);
    assert!(draw(&fault, &call(), [0.5, 0.5]).unwrap().abort.is_some());
}
