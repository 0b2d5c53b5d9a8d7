//! What is in the cart. Version 2 adds the total.

use std::rc::Rc;

use hyper::StatusCode;
use serde_json::json;

use super::http::{self, Answer};
use super::{Shop, TokioListener};

/// Item, count and price of one in cents.
const LINES: &[(&str, u32, u32)] =
    &[("Assam, second flush", 2, 1150), ("Teapot, blue glaze", 1, 3400), ("Strainer", 1, 620)];

/// Serves the cart.
pub async fn serve(shop: Rc<Shop>, listener: TokioListener) -> anyhow::Result<()> {
    http::serve(shop, listener, |shop, path| async move { answer(&shop, &path) }).await
}

fn answer(shop: &Shop, path: &str) -> Answer {
    if path != "/cart" {
        return http::plain(StatusCode::NOT_FOUND, "there is /cart only");
    }
    let lines: Vec<_> =
        LINES.iter().map(|(item, count, _)| json!({ "item": item, "count": count })).collect();
    let mut cart = json!({ "version": shop.version, "instance": shop.instance, "lines": lines });
    if shop.version != "v1" {
        let total: u32 = LINES.iter().map(|(_, count, cents)| count * cents).sum();
        cart["total"] = json!(format!("{}.{:02}", total / 100, total % 100));
    }
    http::json(StatusCode::OK, &cart)
}
