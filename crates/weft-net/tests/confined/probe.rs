//! What confines a command in these tests, and answers it: a proxy that says who was called.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use weft_dns::{Answer, Response, Transport, Zones, respond};
use weft_model::{DnsZone, Namespace};
use weft_net::Datagrams;
use weft_net::namespace::{Exit, InsideNetwork, Next, Opened, Plan, confine};
use weft_world::{Listener, Network, Stream, StreamExt, World};

/// Runs the command behind `--`. Before it may stand `--reach ADDRESS`: somebody is to be reached
/// there from outside, and said hello to.
pub fn run(arguments: &[String]) -> ExitCode {
    let at = arguments.iter().position(|argument| argument == "--").unwrap();
    let reach: Option<SocketAddr> = match &arguments[..at] {
        [] => None,
        [option, address] if option == "--reach" => Some(address.parse().unwrap()),
        other => panic!("{other:?}"),
    };
    let [program, rest @ ..] = &arguments[at + 1..] else { panic!("no command") };
    let plan = Plan { program: program.into(), arguments: rest.iter().map(Into::into).collect() };
    let confined = match confine(&plan) {
        Ok(confined) => confined,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(125);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let exit = runtime.block_on(async {
        let Opened { captured, dns_datagrams, dns_listeners, inside, mut command } =
            confined.open().unwrap();
        for listener in captured {
            tokio::task::spawn_local(say_who_was_called(listener));
        }
        for socket in dns_datagrams {
            tokio::task::spawn_local(answer_dns(socket));
        }
        for listener in dns_listeners {
            tokio::task::spawn_local(answer_dns_over_tcp(listener));
        }
        if let Err(error) = command.start(zones().search()).await {
            eprintln!("{error}");
            return Exit::Code(if error.kind() == std::io::ErrorKind::NotFound {
                127
            } else {
                126
            });
        }
        eprintln!("probe: started");
        if let Some(address) = reach {
            tokio::task::spawn_local(say_hello(weft_net::world(), inside, address));
        }
        loop {
            let next = command.next().await.and_then(|next| match next {
                Next::Signal(signal) => command.signal(signal).map(|()| None),
                Next::Ended(exit) => Ok(Some(exit)),
            });
            match next {
                Ok(None) => {}
                Ok(Some(exit)) => return exit,
                Err(error) => {
                    eprintln!("{error}");
                    return Exit::Code(124);
                }
            }
        }
    });
    ExitCode::from(exit.code())
}

fn zones() -> Zones {
    Zones::new(DnsZone::new("cluster.local").unwrap(), Namespace::new("shop").unwrap())
}

/// Answers each request, or whatever came first, with the address that was called.
async fn say_who_was_called(mut listener: Box<dyn Listener>) {
    loop {
        let mut accepted = listener.accept().await.unwrap();
        tokio::task::spawn_local(async move {
            let mut request = vec![0; 4096];
            let _ = accepted.stream.read(&mut request).await;
            let body = format!("captured {}\n", accepted.destination);
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = accepted.stream.write_all((head + &body).as_bytes()).await;
            let _ = accepted.stream.close().await;
        });
    }
}

/// The mesh has `cart` in `shop`; outside is `example.com` and nothing else.
fn answer(message: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let known = || Answer::Addresses {
        v4: vec![[10, 96, 0, 1].into()],
        v6: vec!["fd00:96::1".parse().unwrap()],
        ttl: 5,
    };
    let response = respond(message, &zones(), transport, |service| {
        match (service.namespace(), service.name()) {
            ("shop", "cart") => known(),
            ("shop", _) => Answer::NoSuchName,
            _ => Answer::NotOurs,
        }
    });
    match response {
        Response::Reply(reply) => Some(reply),
        Response::Forward(query) if query.name().to_string() == "example.com." => {
            let answer = match known() {
                Answer::Addresses { v4: _, v6, ttl } => {
                    Answer::Addresses { v4: vec![[192, 0, 2, 7].into()], v6, ttl }
                }
                other => other,
            };
            Some(query.answered(&answer, &zones(), transport))
        }
        Response::Forward(query) => Some(query.failed()),
        Response::Ignore => None,
    }
}

async fn answer_dns(socket: Datagrams) {
    let mut message = [0; 4096];
    loop {
        let (length, from) = socket.receive(&mut message).await.unwrap();
        if let Some(answer) = answer(&message[..length], Transport::Udp) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn answer_dns_over_tcp(mut listener: Box<dyn Listener>) {
    loop {
        let mut stream = listener.accept().await.unwrap().stream;
        let mut message = vec![0; 4096];
        let mut length = 0;
        while length < 2 || length < 2 + usize::from(u16::from_be_bytes([message[0], message[1]])) {
            match stream.read(&mut message[length..]).await {
                Ok(count) if count > 0 => length += count,
                _ => break,
            }
        }
        if let Some(answer) = answer(&message[2.min(length)..length], Transport::Tcp) {
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            let _ = stream.write_all(&[&length[..], &answer].concat()).await;
        }
    }
}

/// Calls `address` in the command's network until somebody is there, several times over.
async fn say_hello(world: World, inside: InsideNetwork, address: SocketAddr) {
    let inside: Rc<dyn Network> = Rc::new(inside);
    let mut first = loop {
        match inside.connect(address).await {
            Ok(stream) => break stream,
            Err(_) => world.clock.sleep(Duration::from_millis(20)).await,
        }
    };
    exchange_greetings(&mut *first).await;
    // Many at once: more than the keeper makes at a time.
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let inside = Rc::clone(&inside);
            tokio::task::spawn_local(async move {
                exchange_greetings(&mut *inside.connect(address).await.unwrap()).await;
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let mut last = inside.connect(address).await.unwrap();
    last.write_all(b"end\n").await.unwrap();
    eprintln!("probe: was greeted 41 times");
}

async fn exchange_greetings(stream: &mut dyn Stream) {
    stream.write_all(b"hello\n").await.unwrap();
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).await.unwrap();
    assert_eq!(&answer[..length], b"welcome\n");
}
