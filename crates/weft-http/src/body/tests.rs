//! Bodies in every framing, cut at every place.

use super::*;

/// Decodes `wire` shown in pieces that end at `cuts`; gives body, trailers and what is left over.
fn decode(
    mut decoder: BodyDecoder,
    wire: &[u8],
    piece: usize,
) -> Result<(Vec<u8>, Fields, Vec<u8>), GrammarError> {
    let mut trailers = Fields::default();
    let (mut body, mut buffer, mut shown) = (Vec::new(), Vec::new(), 0);
    loop {
        match decoder.step(&buffer, &mut trailers)? {
            Step::Skip(count) => drop(buffer.drain(..count)),
            Step::Data(count) => {
                body.extend(buffer.drain(..count));
                decoder.consume(count);
            }
            Step::More if shown == wire.len() => {
                decoder.connection_ended()?;
            }
            Step::More => {
                let end = (shown + piece).min(wire.len());
                buffer.extend_from_slice(&wire[shown..end]);
                shown = end;
            }
            Step::End => {
                buffer.extend_from_slice(&wire[shown..]);
                return Ok((body, trailers, buffer));
            }
        }
    }
}

fn chunked() -> BodyDecoder {
    BodyDecoder::new(BodySize::Unknown, false)
}

#[test]
fn chunked_bodies_are_decoded_wherever_they_are_cut() {
    let wire =
        b"5  \r\nhello\r\n1 ;ext=\"1\";e=\xff\t\r\n,\r\n06\r\n world\r\n0\r\nX-Sum: 9\r\n\r\nNEXT";
    for piece in 1..wire.len() {
        let (body, trailers, rest) = decode(chunked(), wire, piece).unwrap();
        assert_eq!(body, b"hello, world", "pieces of {piece}");
        assert_eq!(trailers.get("x-sum"), Some(&b"9"[..]));
        assert_eq!(rest, b"NEXT");
    }
}

#[test]
fn malformed_chunks_are_refused_wherever_they_are_cut() {
    for wire in [
        &b"5\nhello\r\n0\r\n\r\n"[..],
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5 0\r\nhello\r\n0\r\n\r\n",
        b"5 0;a\r\nhello\r\n0\r\n\r\n",
        b"5\r\r\nhello\r\n0\r\n\r\n",
        b"5;a\0\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: 1\n\r\n",
        b"0\r\nX: 1\r\n\n",
        b"5;a\nhello\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFF\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"0\r\n\n",
        b"0\r\nX : 1\r\n\r\n",
        b"5\r\nhel",
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"0\r\nX: 1\r\n",
    ] {
        for piece in 1..=wire.len() {
            let result = decode(chunked(), wire, piece);
            assert!(result.is_err(), "{:?} in pieces of {piece}", String::from_utf8_lossy(wire));
        }
    }
    let endless = [&b"5;"[..], &[b'x'; SIZE_LINE_BYTES_MAX]].concat();
    assert!(decode(chunked(), &endless, 100).is_err());
}

#[test]
fn trailers_do_not_say_what_only_heads_can() {
    let wire = b"0\r\nContent-Length: 9\r\nHost: b\r\nWeft-Peer: x\r\nGrpc-Status: 0\r\n\r\n";
    let (_, trailers, _) = decode(chunked(), wire, 7).unwrap();
    assert_eq!(trailers.iter().count(), 1);
    assert_eq!(trailers.get("grpc-status"), Some(&b"0"[..]));
}

#[test]
fn lengths_and_closes_end_bodies() {
    let (body, _, rest) = decode(BodyDecoder::Length(3), b"abcde", 2).unwrap();
    assert_eq!((&body[..], &rest[..]), (&b"abc"[..], &b"de"[..]));
    let (body, _, _) = decode(BodyDecoder::UntilClose, b"abcde", 2).unwrap();
    assert_eq!(body, b"abcde");
    assert_eq!(decode(BodyDecoder::Length(6), b"abcde", 2).unwrap_err(), GrammarError::Truncated);
}

#[test]
fn what_is_encoded_is_decoded() {
    let mut encoder = BodyEncoder::Chunked;
    let mut wire = Vec::new();
    for piece in [&b"a"[..], &[b'b'; 300], &[b'c'; 70_000]] {
        let before = wire.len();
        encoder.before(piece.len(), &mut wire);
        wire.extend_from_slice(piece);
        encoder.after(piece.len(), &mut wire).unwrap();
        assert!(wire.len() - before - piece.len() <= CHUNK_OVERHEAD_MAX);
    }
    encoder.end(&Fields::default(), &mut wire).unwrap();
    let (body, _, rest) = decode(chunked(), &wire, 1_000).unwrap();
    assert_eq!((body.len(), rest.len()), (70_301, 0));
}

#[test]
fn an_encoder_keeps_to_the_stated_length() {
    let mut encoder = BodyEncoder::Length(3);
    let mut out = Vec::new();
    encoder.after(2, &mut out).unwrap();
    assert_eq!(encoder.end(&Fields::default(), &mut out), Err(GrammarError::Truncated));
    assert!(matches!(encoder.after(2, &mut out), Err(GrammarError::Length(_))));
}
