//! The page of the shop, and what it shows: `/` and `/api/shop`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::catalog::{Everything, Item, Items, LIST, WATCH};
use super::http::Answer;
use super::{Name, Shop, TokioListener, grpc, http, motto};

/// The page: one file, nothing from elsewhere.
const PAGE: &str = include_str!("page.html");

/// How long a watch that ended rests before it is opened again.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// What the page asks of the other services.
struct Web {
    cart: http::Client,
    catalog: grpc::Client,
    motto: SocketAddr,
    /// The stock of each item as the catalog's stream told it last, and how often it did.
    stock: RefCell<(BTreeMap<String, u32>, u64)>,
}

/// The most items whose stock is kept.
const ITEMS_MAX: usize = 1000;

/// Serves the page.
pub async fn serve(shop: Rc<Shop>, listener: TokioListener) -> anyhow::Result<()> {
    let web = Rc::new(Web {
        cart: http::Client::new("cart", shop.address(Name::Cart)?),
        catalog: grpc::Client::new("catalog", shop.address(Name::Catalog)?),
        motto: shop.address(Name::Motto)?,
        stock: RefCell::default(),
    });
    tokio::task::spawn_local(watch(shop.clone(), web.clone()));
    http::serve(shop, listener, move |shop, path| {
        let web = web.clone();
        async move { answer(&shop, &web, &path).await }
    })
    .await
}

async fn answer(shop: &Shop, web: &Web, path: &str) -> Answer {
    match path {
        "/" => http::typed(
            StatusCode::OK,
            "text/html; charset=utf-8",
            Bytes::from_static(PAGE.as_bytes()),
        ),
        "/api/shop" => everything(shop, web).await,
        _ => http::plain(StatusCode::NOT_FOUND, "there are / and /api/shop"),
    }
}

/// Asks all services at once. What cannot be had is said beside what can, with status 502.
async fn everything(shop: &Shop, web: &Web) -> Answer {
    let items = async {
        let items: Items = web.catalog.unary(LIST, &Everything {}).await?;
        Ok(items.items)
    };
    let (cart, items, motto) = tokio::join!(
        shop.in_time(web.cart.get("/cart")),
        shop.in_time(items),
        shop.in_time(motto::ask(web.motto, &shop.instance)),
    );
    let mut errors = serde_json::Map::new();
    let mut part = |name: &str, result: anyhow::Result<Value>| {
        result.unwrap_or_else(|error| {
            shop.say(format_args!("{name}: {error:#}"));
            errors.insert(name.to_owned(), json!(format!("{error:#}")));
            Value::Null
        })
    };
    let cart = part("cart", cart);
    let items = part("catalog", items.map(|items| web.with_stock(&items)));
    let motto = part("motto", motto.map(Value::from));
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
    let stock_changes = web.stock.borrow().1;
    http::json(
        status,
        &json!({
            "instance": shop.instance,
            "cart": cart,
            "items": items,
            "motto": motto,
            "stock_changes": stock_changes,
            "errors": errors,
        }),
    )
}

impl Web {
    /// The items, with the stock as the stream told it last where it did.
    fn with_stock(&self, items: &[Item]) -> Value {
        let known = &self.stock.borrow().0;
        let row = |item: &Item| {
            let Item { name, price_cents, stock } = item;
            let stock = known.get(name).copied().unwrap_or(*stock);
            json!({ "name": name, "price_cents": price_cents, "stock": stock })
        };
        items.iter().map(row).collect()
    }
}

/// Follows the stock of the catalog for ever.
async fn watch(shop: Rc<Shop>, web: Rc<Web>) {
    loop {
        if let Err(error) = follow(&web).await {
            shop.say(format_args!("the watch of the catalog: {error:#}"));
        }
        shop.world.clock.sleep(WATCH_PAUSE).await;
    }
}

async fn follow(web: &Web) -> anyhow::Result<()> {
    let mut changes = web.catalog.call(WATCH, &Everything {}).await?;
    while let Some(Item { name, stock, .. }) = changes.next().await? {
        let (known, count) = &mut *web.stock.borrow_mut();
        if known.len() < ITEMS_MAX || known.contains_key(&name) {
            known.insert(name, stock);
        }
        *count += 1;
    }
    Ok(())
}
