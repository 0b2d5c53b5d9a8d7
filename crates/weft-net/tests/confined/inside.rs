//! Small programs for the inside, where no usual one does just that.

#![expect(clippy::disallowed_methods, reason = "these are the confined programs, not Weft")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

/// The program named by the first argument, with the address in the second.
pub fn run(arguments: &[String]) -> ExitCode {
    let [program, address] = arguments else { panic!("{arguments:?}") };
    match program.as_str() {
        "greet" => greet(address),
        "datagram" => datagram(address),
        "query" => query(address),
        "connect" => connect(address),
        other => panic!("{other}"),
    }
    ExitCode::SUCCESS
}

/// Listens, and answers each greeting with a welcome until somebody says that it is the end.
fn greet(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut greeting = [0; 64];
        let length = stream.read(&mut greeting).unwrap();
        if &greeting[..length] == b"end\n" {
            return;
        }
        assert_eq!(&greeting[..length], b"hello\n");
        stream.write_all(b"welcome\n").unwrap();
    }
}

fn socket(address: &str) -> UdpSocket {
    let local = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// Sends a datagram, and says what came of it.
fn datagram(address: &str) {
    match socket(address).send_to(b"hello", address) {
        Ok(_) => println!("sent"),
        Err(error) => println!("{:?}", error.kind()),
    }
}

/// Asks for the IPv4 address of `cart`, and prints it.
fn query(address: &str) {
    let socket = socket(address);
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04cart\x00\x00\x01\x00\x01";
    socket.send_to(query, address).unwrap();
    let mut answer = [0; 512];
    let (length, from) = socket.recv_from(&mut answer).unwrap();
    println!("{from} says {:?}", &answer[length - 4..length]);
}

/// Connects, and says how it ends when nothing is sent back.
fn connect(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let _ = stream.write_all(b"hello\n");
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(0) => println!("closed"),
        Ok(_) => println!("{answer}"),
        Err(error) => println!("{:?}", error.kind()),
    }
}
