//! Frames of all sorts, hostile ones among them.

use weft_wire::discovery::message::DeltaDiscoveryRequest;

use super::*;

fn prefix(flag: u8, length: u32) -> Vec<u8> {
    [&[flag][..], &length.to_be_bytes()].concat()
}

/// All messages in `pieces`, as they come.
fn messages(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, FrameError> {
    let mut framer = Framer::default();
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        while let Some(message) = framer.next()? {
            found.push(message.to_vec());
        }
    }
    framer.finish()?;
    Ok(found)
}

#[test]
fn messages_come_out_however_they_are_cut() {
    let bytes = [prefix(0, 3), b"abc".to_vec(), prefix(0, 0), prefix(0, 1), b"d".to_vec()].concat();
    let expected = [b"abc".to_vec(), vec![], b"d".to_vec()];
    assert_eq!(messages(&[&bytes]).unwrap(), expected);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(messages(&single).unwrap(), expected);
    for cut in 0..bytes.len() {
        let (one, two) = bytes.split_at(cut);
        assert_eq!(messages(&[one, two]).unwrap(), expected, "cut at {cut}");
    }
    assert_eq!(messages(&[]).unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn what_is_made_here_is_read_here() {
    let request = DeltaDiscoveryRequest { type_url: "t".repeat(300), ..Default::default() };
    let read = messages(&[&frame(&request)]).unwrap();
    assert_eq!(DeltaDiscoveryRequest::decode(read[0].as_slice()).unwrap(), request);
}

#[test]
fn hostile_frames_are_refused_before_their_bytes_are_kept() {
    assert_eq!(messages(&[&prefix(1, 0)]), Err(FrameError::Compressed));
    assert_eq!(messages(&[&prefix(2, 0)]), Err(FrameError::Flag(2)));
    assert_eq!(messages(&[&prefix(255, 7)]), Err(FrameError::Flag(255)));
    let most = u32::try_from(MESSAGE_BYTES_MAX).unwrap();
    let larger = FrameError::TooLarge(MESSAGE_BYTES_MAX + 1);
    assert_eq!(messages(&[&prefix(0, most + 1)]), Err(larger));
    assert_eq!(messages(&[&prefix(0, u32::MAX)]), Err(FrameError::TooLarge(u32::MAX as usize)));
    // The largest is fine, if it comes.
    assert_eq!(messages(&[&prefix(0, most)]), Err(FrameError::Cut));
    let whole = [prefix(0, most), vec![7; MESSAGE_BYTES_MAX]].concat();
    assert_eq!(messages(&[&whole]).unwrap()[0].len(), MESSAGE_BYTES_MAX);
    for cut in 1..PREFIX_BYTES + 2 {
        let bytes = [prefix(0, 2), b"ab".to_vec()].concat();
        assert_eq!(messages(&[&bytes[..cut]]), Err(FrameError::Cut), "cut at {cut}");
    }
}

#[test]
fn what_was_given_out_is_not_kept() {
    let mut framer = Framer::default();
    let bytes = [prefix(0, 1000), vec![0; 1000]].concat();
    for _ in 0..1000 {
        framer.push(&bytes);
        assert!(framer.next().unwrap().is_some() && framer.next().unwrap().is_none());
    }
    assert_eq!(framer.bytes.len(), bytes.len());
}

#[test]
fn a_status_survives_its_way() {
    let told = |message: &str| failure(&Status::new(Code::PermissionDenied, message).trailers());
    assert_eq!(told("no: 100% würg\n").unwrap(), "no: 100% würg\u{fffd} (gRPC status 7)");
    assert_eq!(told("").unwrap(), "gRPC status 7");
    assert_eq!(told(&"ü".repeat(5000)).unwrap().chars().count(), 512 + " (gRPC status 7)".len());
    assert_eq!(failure(&Status::ok().trailers()), None);
    assert_eq!(failure(&HeaderMap::new()), None);
    assert_eq!(decoded(b"%zz%4"), "%zz%4");
}

proptest::proptest! {
    /// Whatever comes in whatever pieces: messages or an error, the same for the whole.
    #[test]
    fn pieces_are_read_as_the_whole(
        pieces in proptest::collection::vec(proptest::collection::vec(0..3u8, 0..12), 0..12),
    ) {
        let whole = pieces.concat();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        proptest::prop_assert_eq!(messages(&pieces), messages(&[&whole]));
    }
}
