//! A line of text over a protocol of its own: the server speaks first, then repeats what it hears.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::{Shop, TokioListener, TokioStream, accept};

/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 1024;

const MOTTOS: &[&str] = &[
    "Tea first, then the rest.",
    "Steep long, judge late.",
    "A warm pot is half the cup.",
    "Good water makes good tea.",
];

/// Serves the motto.
pub async fn serve(shop: Rc<Shop>, listener: TokioListener) -> anyhow::Result<()> {
    let next = Cell::new(0);
    let serving = &shop;
    accept(serving, listener, |stream| {
        let motto = MOTTOS[next.get() % MOTTOS.len()];
        next.set(next.get().wrapping_add(1));
        let shop = serving.clone();
        async move {
            if shop.faults.fails() {
                return; // It is broken: the connection ends without a word.
            }
            if let Err(error) = talk(stream, motto).await {
                shop.say(error);
            }
        }
    })
    .await
}

async fn talk(mut stream: TokioStream, motto: &str) -> std::io::Result<()> {
    stream.write_all(format!("{motto}\n").as_bytes()).await?;
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            return Ok(()); // The end, or more than a line may have.
        }
        writer.write_all(&line).await?;
    }
}

/// The motto that the service at `address` speaks, after it has shown that it also listens.
pub async fn ask(address: SocketAddr, word: &str) -> anyhow::Result<String> {
    let mut stream = TokioStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let motto = line(&mut reader).await.context("the first line")?;
    writer.write_all(format!("{word}\n").as_bytes()).await?;
    let repeated = line(&mut reader).await.context("the line that repeats")?;
    ensure!(repeated == word, "it repeated {repeated:?} instead of {word:?}");
    Ok(motto)
}

async fn line(reader: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> anyhow::Result<String> {
    let mut line = String::new();
    reader.take(LINE_BYTES_MAX).read_line(&mut line).await?;
    let text = line.strip_suffix('\n');
    Ok(text.context("the connection ended before it was whole")?.to_owned())
}
