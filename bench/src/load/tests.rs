//! What the load generator makes of answers.

use super::*;

fn answer(head: &str) -> Vec<u8> {
    [head.as_bytes(), &backend::body()].concat()
}

#[test]
fn a_right_answer_is_taken_whole() {
    let bytes = answer("HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 1024\r\n\r\n");
    assert_eq!(check_answer(&bytes, &backend::body()), Ok(Some(bytes.len())));
    assert_eq!(check_answer(&bytes[..bytes.len() - 1], &backend::body()), Ok(None));
    assert_eq!(check_answer(&bytes[..20], &backend::body()), Ok(None));
}

#[test]
fn a_wrong_answer_says_why() {
    let wrong = |head: &str| check_answer(&answer(head), &backend::body()).unwrap_err();
    assert_eq!(
        wrong("HTTP/1.1 503 No\r\nContent-Length: 1024\r\n\r\n"),
        "answered HTTP/1.1 503 No"
    );
    assert_eq!(wrong("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), "a body of 9 bytes");
    assert_eq!(wrong("HTTP/1.1 200 OK\r\n\r\n"), "an answer without Content-Length");
    assert_eq!(
        wrong("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\nx"),
        "another body than was sent"
    );
}

#[test]
fn an_open_loop_does_not_forget_what_it_missed() {
    let mut due = DueTimes::new(Pace::Fixed { per_second: 1_000 }, 5_000_000);
    due.advance(7_500_000);
    assert_eq!(due.waiting, [5_000_000, 6_000_000, 7_000_000]);
    assert_eq!(due.next_ns, 8_000_000);
}

#[test]
fn the_backend_answers_itself() {
    let mut load = Load::new().unwrap();
    let entry = load.backend();
    load.probe(entry, None, Duration::from_secs(5)).unwrap();
    load.connect(entry, 4).unwrap();
    let mut edges = Vec::new();
    let tally = load
        .run(Pace::Saturation, Duration::from_millis(10), Duration::from_millis(50), |edge| {
            edges.push(edge);
            Ok(())
        })
        .unwrap();
    assert_eq!(edges, [Edge::Begin, Edge::End]);
    assert_eq!((tally.failures, tally.first_failure), (0, None));
    assert!(tally.completed > 100, "{} answers", tally.completed);
}

#[test]
fn a_proxy_that_is_not_there_is_an_error() {
    let mut load = Load::new().unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    load.probe(gone, None, Duration::from_millis(20)).unwrap_err();
}
