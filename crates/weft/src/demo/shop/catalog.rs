//! What there is to buy, over gRPC: `shop.Catalog/List` and `shop.Catalog/Watch`.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::grpc::{self, Frames, LocalExecutor, Status};
use super::{Shop, TokioListener, accept, http};

/// The method that lists all items.
pub const LIST: &str = "shop.Catalog/List";

/// The method that streams each item whose stock changes.
pub const WATCH: &str = "shop.Catalog/Watch";

/// How often the stock of one item changes.
const CHANGE_INTERVAL: Duration = Duration::from_secs(1);

/// How many messages wait for a slow caller; then the service waits.
const QUEUE_MESSAGES: usize = 4;

/// What is asked for: everything.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Everything {}

/// Something to buy.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Item {
    /// What it is called.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What one costs.
    #[prost(uint32, tag = "2")]
    pub price_cents: u32,
    /// How many there are.
    #[prost(uint32, tag = "3")]
    pub stock: u32,
}

/// All there is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Items {
    /// The items.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<Item>,
}

struct Catalog {
    shop: Rc<Shop>,
    items: RefCell<Vec<Item>>,
    /// The item that changed last. Who is too slow for one sees the next.
    changed: watch::Sender<Item>,
}

/// Serves the catalog.
pub async fn serve(shop: Rc<Shop>, listener: TokioListener) -> anyhow::Result<()> {
    let item = |name: &str, price_cents, stock| Item { name: name.to_owned(), price_cents, stock };
    let items = vec![
        item("Assam, second flush", 1150, 40),
        item("Darjeeling, first flush", 1890, 25),
        item("Teapot, blue glaze", 3400, 8),
        item("Strainer", 620, 60),
    ];
    let (changed, _) = watch::channel(Item::default());
    let catalog = Rc::new(Catalog { shop: shop.clone(), items: items.into(), changed });
    tokio::task::spawn_local(trade(catalog.clone()));
    accept(&shop, listener, |stream| {
        let catalog = catalog.clone();
        async move {
            let service = service_fn(|request: Request<Incoming>| {
                let catalog = catalog.clone();
                async move { Ok::<_, Infallible>(respond(catalog, request).await) }
            });
            let server = hyper::server::conn::http2::Builder::new(LocalExecutor);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                catalog.shop.say(error);
            }
        }
    })
    .await
}

/// Sells one item after the other, and orders new ones when none is left.
async fn trade(catalog: Rc<Catalog>) {
    let mut turn = 0;
    loop {
        catalog.shop.world.clock.sleep(CHANGE_INTERVAL).await;
        let mut items = catalog.items.borrow_mut();
        let index = turn % items.len();
        let item = &mut items[index];
        item.stock = item.stock.checked_sub(1).unwrap_or(50);
        catalog.changed.send_replace(item.clone());
        turn += 1;
    }
}

type Body = Channel<Bytes>;

async fn respond(catalog: Rc<Catalog>, request: Request<Incoming>) -> Response<Body> {
    let (mut sender, body) = Channel::new(QUEUE_MESSAGES);
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let asked = asked(request).await;
    // The queue has room for an answer and its status, so that neither waits here.
    if catalog.shop.faults.fails() {
        end(&mut sender, Status::Internal, "this instance is broken on purpose").await;
    } else if asked.is_err() {
        end(&mut sender, Status::InvalidArgument, "one message is asked for").await;
    } else if method == LIST {
        let items = Items { items: catalog.items.borrow().clone() };
        // Who went away needs no answer.
        let _ = sender.send_data(grpc::frame(&items)).await;
        end(&mut sender, Status::Ok, "").await;
    } else if method == WATCH {
        tokio::task::spawn_local(watch_items(catalog, sender));
    } else {
        end(&mut sender, Status::Unimplemented, "there are List and Watch only").await;
    }
    grpc::answer(body)
}

async fn asked(request: Request<Incoming>) -> anyhow::Result<()> {
    let mut frames = Frames::default();
    frames.push(&http::whole(request.into_body()).await?);
    let asked: Option<Everything> = frames.next()?;
    anyhow::ensure!(asked.is_some(), "no message");
    Ok(())
}

async fn end(sender: &mut Sender<Bytes>, status: Status, message: &'static str) {
    // Who went away needs no status.
    let _ = sender.send_trailers(grpc::trailers(status, message)).await;
}

/// Sends each change until the caller goes away, which the next change shows.
async fn watch_items(catalog: Rc<Catalog>, mut sender: Sender<Bytes>) {
    let mut changes = catalog.changed.subscribe();
    while changes.changed().await.is_ok() {
        let item = changes.borrow_and_update().clone();
        if sender.send_data(grpc::frame(&item)).await.is_err() {
            return;
        }
    }
}
