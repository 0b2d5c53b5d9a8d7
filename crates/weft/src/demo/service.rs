//! The service of the demo: an ordinary HTTP server that knows nothing of the mesh.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Context as _;
use weft_http::response::{Framing, Keep};
use weft_http::{BodySize, RequestHead, ResponseHead, request, response};

/// Listens on a free port, and answers every request without a body.
#[expect(
    clippy::disallowed_methods,
    reason = "it plays an application, which has sockets of its own"
)]
pub fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on the loopback")?;
    eprintln!("weft demo-service: ready at {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        // One thread a connection: its proxy keeps few, and the demo is short.
        std::thread::spawn(move || serve(stream));
    }
    Ok(())
}

/// Answers until the caller ends the connection or sends what is no request.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut head, mut input, mut buffer) = (RequestHead::default(), Vec::new(), [0; 4096]);
    loop {
        let parsed = match request::parse(&input, &mut head).map_err(io::Error::other)? {
            Some(parsed) if parsed.size.is_empty() => parsed,
            Some(_) => return Err(io::ErrorKind::Unsupported.into()),
            None => {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                input.extend_from_slice(&buffer[..count]);
                continue;
            }
        };
        input.drain(..parsed.bytes);
        let body = format!("the cart of the shop, asked for {}\n", head.path());
        let mut answer = ResponseHead::with_status(200);
        answer.fields.append("Content-Type", b"text/plain; charset=utf-8");
        let mut out = Vec::new();
        let size = BodySize::Length(body.len() as u64);
        response::write(&answer, size, Framing::Plain, Keep::Implied, &mut out);
        out.extend_from_slice(body.as_bytes());
        stream.write_all(&out)?;
    }
}
