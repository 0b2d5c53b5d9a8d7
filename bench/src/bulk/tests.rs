//! What the bulk transfer makes of answers.

use super::*;

#[test]
fn both_directions_arrive_whole() {
    let mut bulk = Bulk::new().unwrap();
    let entry = bulk.backend().unwrap();
    for direction in [Direction::Download, Direction::Upload] {
        bulk.transfer(entry, direction, 3_000_001).unwrap();
    }
}

#[test]
fn a_stray_connection_is_not_taken_for_the_transfer() {
    let mut bulk = Bulk::new().unwrap();
    let entry = bulk.backend().unwrap();
    drop(TcpStream::connect(entry).unwrap());
    bulk.transfer(entry, Direction::Upload, 1_000).unwrap();
}

#[test]
fn foreign_bytes_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut backend, _) = listener.accept().unwrap();
    client.write_all(b"foreign").unwrap();
    let pattern = noise(CHUNK_BYTES);
    receive(&mut backend, &mut [0; 64], &pattern, 0).unwrap_err();
}
