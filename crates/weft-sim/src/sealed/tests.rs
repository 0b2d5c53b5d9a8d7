//! The stand-in for TLS, over simulated streams.

use std::net::SocketAddr;

use super::*;
use crate::{Host, SimError, Simulation, SimulationOptions};

/// Two hosts, and a stream from one to the other.
async fn pair(client: &Host, server: &Host) -> io::Result<(Box<dyn Stream>, Box<dyn Stream>)> {
    let at = SocketAddr::new(server.ip(), 443);
    let mut listener = server.world().network.listen(at, Default::default())?;
    let stream = client.world().network.connect(at).await?;
    Ok((stream, listener.accept().await?.stream))
}

fn hosts(sim: &Simulation) -> (Host, Host) {
    (sim.host("client", [[10, 0, 0, 1].into()]), sim.host("server", [[10, 0, 0, 2].into()]))
}

async fn read_to_end(stream: &mut impl Stream) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), [0; 999]);
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(all),
            bytes => all.extend_from_slice(&buffer[..bytes]),
        }
    }
}

#[test]
fn greetings_and_bytes_pass_and_the_end_is_told() {
    for seed in 0..20 {
        let sim = Simulation::new(seed, SimulationOptions::default());
        let (client, server) = hosts(&sim);
        let sent: Vec<u8> = (0..100_000u32).map(|number| number.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let run = sim.run(async {
            let (near, far) = pair(&client, &server).await?;
            let serving = server.spawn(async move {
                let mut far = seal_server(far, |hello| Ok([b"re: ", hello].concat())).await?;
                assert_eq!(far.peer_hello(), b"hello");
                let all = read_to_end(&mut far).await?;
                far.write_all(b"thanks").await?;
                far.close().await?;
                io::Result::Ok(all)
            });
            let mut near = seal_client(near, b"hello").await?;
            assert_eq!(near.peer_hello(), b"re: hello");
            near.write_all(&sent).await?;
            near.close().await?;
            assert_eq!(read_to_end(&mut near).await?, b"thanks");
            assert_eq!(serving.await??, expected);
            Ok::<(), SimError>(())
        });
        run.unwrap().unwrap();
    }
}

#[test]
fn an_end_without_notice_is_a_truncation() {
    let sim = Simulation::new(1, SimulationOptions::default());
    let (client, server) = hosts(&sim);
    let run = sim.run(async {
        let (near, far) = pair(&client, &server).await?;
        let serving = server.spawn(async move {
            let mut far = seal_server(far, |_| Ok(Vec::new())).await?;
            read_to_end(&mut far).await
        });
        let mut near = seal_client(near, b"").await?;
        near.write_all(b"some").await?;
        drop(near);
        Ok::<_, SimError>(serving.await?.unwrap_err().kind())
    });
    assert_eq!(run.unwrap().unwrap(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_refused_greeting_and_plain_text_are_errors() {
    let sim = Simulation::new(1, SimulationOptions::default());
    let (client, server) = hosts(&sim);
    let run = sim.run(async {
        let (near, far) = pair(&client, &server).await?;
        let serving =
            server.spawn(seal_server(far, |_| Err(io::ErrorKind::PermissionDenied.into())));
        let refused = seal_client(near, b"hello").await.err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::UnexpectedEof));
        assert!(serving.await?.is_err());

        let (mut near, far) = pair(&client, &server).await?;
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        let plain = seal_server(far, |_| Ok(Vec::new())).await.err().map(|error| error.kind());
        assert_eq!(plain, Some(io::ErrorKind::InvalidData));
        Ok::<(), SimError>(())
    });
    run.unwrap().unwrap();
}
