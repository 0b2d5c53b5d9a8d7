//! What goes over the wire between two proxies.

use crate::certificates::{Authority, CALLER, WEB};
use crate::lab::{CLIENT, Lab, SERVER, contains, lines, must, output, wait_until};

/// Text that must not be seen outside of the hosts.
const SECRET_BODY: &str = "the-body-that-nobody-else-may-read";
const SECRET_PATH: &str = "the-path-that-nobody-else-may-read";

/// The number of X25519MLKEM768 among the TLS groups. Source: IANA, TLS Supported Groups.
const X25519_ML_KEM_768: &str = "4588";

#[test]
fn curl_reaches_nginx_through_two_proxies_and_the_wire_shows_nothing() {
    let lab = Lab::new();
    let authority = Authority::new("root");
    authority.publish(&lab.directory);
    authority.issue(&lab.directory, "web", "web");
    authority.issue(&lab.directory, "caller", "caller");
    lab.file(&format!("html/{SECRET_PATH}"), SECRET_BODY.repeat(100));
    let _nginx = lab.nginx(&lab.server);
    let web = lab.proxy(&lab.server, "web", WEB);
    let caller = lab.proxy(&lab.client, "caller", CALLER);

    let capture = lab.directory.join("wire.pcap");
    let capture_text = capture.to_str().expect("the path is ours");
    let arguments = ["-q", "-i", "veth0", "-w", capture_text, "tcp"];
    let sniffer = lab.start(&lab.client, "tshark", "tshark", &arguments);
    sniffer.wait_for("Capturing on");
    wait_until("tshark has opened its file", || capture.exists());

    for port in [9001, 9002] {
        let url = format!("http://127.0.0.1:{port}/{SECRET_PATH}");
        let body = must(lab.client.command("curl").args(["-sS", "--fail", &url]));
        assert_eq!(body, SECRET_BODY.repeat(100));
    }
    wait_until("the last packet is in the file", || {
        let ended = tshark(&lab, capture_text, "tcp.flags.fin == 1", "tcp.stream");
        ended.lines().count() >= 2
    });
    sniffer.stop();

    // The capture is of this traffic: both proxies are on it, and only TLS.
    let between = format!("tcp.port == 15008 && ip.addr == {CLIENT} && ip.addr == {SERVER}");
    assert!(!tshark(&lab, capture_text, &between, "frame.number").is_empty());
    let other = format!("tcp.len > 0 && !({between})");
    assert_eq!(tshark(&lab, capture_text, &other, "frame.number"), "");
    assert!(!contains(&capture, SECRET_BODY.as_bytes()));
    assert!(!contains(&capture, SECRET_PATH.as_bytes()));
    assert!(!contains(&capture, b"HTTP/1.1"));

    // Each server chose TLS 1.3 (0x0304) and the hybrid key exchange.
    let chosen = tshark(
        &lab,
        capture_text,
        "tls.handshake.type == 2",
        "tls.handshake.extensions.supported_version,tls.handshake.extensions_key_share_group",
    );
    let expected = format!("0x0304\t{X25519_ML_KEM_768}");
    assert_eq!(chosen.lines().collect::<Vec<_>>(), [&expected, &expected]);

    // Both sides know who the other is, and say so.
    let inbound = web.log();
    let peer = "peer=spiffe://weft.test/ns/shop/sa/caller";
    assert_eq!(
        lines(&inbound, &["direction=inbound", "protocol=http/1.1", "status=200", peer]).len(),
        1
    );
    assert_eq!(lines(&inbound, &["direction=inbound", "protocol=tcp", peer]).len(), 1);
    let outbound = caller.log();
    let expected = ["direction=outbound", "status=200", "backend=shop/web", "attempts=1"];
    assert_eq!(lines(&outbound, &expected).len(), 1);
}

/// The `fields` of the packets in `capture` that `filter` selects, one line each.
fn tshark(lab: &Lab, capture: &str, filter: &str, fields: &str) -> String {
    let mut command = lab.client.command("tshark");
    command.args(["-r", capture, "-d", "tcp.port==15008,tls", "-Y", filter, "-T", "fields"]);
    for field in fields.split(',') {
        command.args(["-e", field]);
    }
    // While the file is being written, its end may be cut short: what could be read is printed.
    String::from_utf8_lossy(&output(&mut command).stdout).trim_end().to_owned()
}
