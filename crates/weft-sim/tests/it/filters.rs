//! What filters do where the request itself goes nowhere.

use weft_model::{Backend, ExactValue, Filter, HeaderEdits, HeaderName};
use weft_sim::http2;

use crate::shop::{Plan, Shop, route};

#[test]
fn the_filters_of_a_backend_that_is_not_there_are_for_the_answer_that_says_so() {
    let shop = Shop::new(1, Plan::http(1));
    let field = (HeaderName::new("x-set").unwrap(), ExactValue::new("1").unwrap());
    let edits = HeaderEdits::new(vec![field], vec![], vec![]).unwrap();
    shop.registry.apply(
        [route(|rule| {
            rule.backends[0].backend = Backend::Missing { reason: "it is gone".into() };
            rule.backends[0].filters = vec![Filter::ResponseHeaders(edits)];
        })],
        [],
    );
    let answer = shop.sim.run(async {
        let head = http2::head("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
        shop.client().await.ask(&head, b"").await.unwrap()
    });
    let answer = answer.unwrap();
    assert_eq!((answer.head.status, answer.reason().as_deref()), (500, Some("no-backend")));
    assert_eq!(answer.head.fields.get("x-set"), Some(&b"1"[..]));
}
