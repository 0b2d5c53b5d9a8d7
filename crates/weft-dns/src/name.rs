//! Domain names as they stand in messages.

use std::fmt;

/// The most bytes of a name in a message. Source: RFC 1035, section 2.3.4.
const NAME_BYTES_MAX: usize = 255;

/// The most bytes of a label. Source: RFC 1035, section 2.3.4.
const LABEL_BYTES_MAX: u8 = 63;

/// A domain name, as it was spelled. Names that differ in case only are equal.
#[derive(Clone, Debug)]
pub struct Name {
    /// Labels behind their lengths, the empty one last.
    wire: Vec<u8>,
}

impl Name {
    /// The name at the beginning of `bytes`, which may not be abbreviated by a pointer: nothing
    /// stands before a question that it could point to.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Name> {
        let mut end = 0;
        loop {
            let length = *bytes.get(end)?;
            if length > LABEL_BYTES_MAX {
                return None;
            }
            end += 1 + usize::from(length);
            if end > NAME_BYTES_MAX {
                return None;
            }
            if length == 0 {
                return Some(Name { wire: bytes.get(..end)?.to_vec() });
            }
        }
    }

    /// The name that stands at `at` in `message`, which may be abbreviated by pointers to what
    /// stands before it, and where it ends.
    ///
    /// Source: RFC 1035, section 4.1.4.
    pub(crate) fn read(message: &[u8], at: usize) -> Option<(Name, usize)> {
        const POINTER: u8 = 0xc0;
        let (mut wire, mut at, mut end) = (Vec::new(), at, None);
        loop {
            let length = *message.get(at)?;
            if length >= POINTER {
                let low = *message.get(at + 1)?;
                let target = usize::from(u16::from_be_bytes([length & !POINTER, low]));
                end = end.or(Some(at + 2));
                // Backwards only, and a circle ends with the longest name.
                at = Some(target).filter(|target| *target < at)?;
                continue;
            }
            if length > LABEL_BYTES_MAX {
                return None;
            }
            let next = at + 1 + usize::from(length);
            wire.extend_from_slice(message.get(at..next)?);
            if wire.len() > NAME_BYTES_MAX {
                return None;
            }
            at = next;
            if length == 0 {
                return Some((Name { wire }, end.unwrap_or(at)));
            }
        }
    }

    /// The name that `text` spells, labels joined by dots.
    ///
    /// `None` if a label is empty or too long, or the name is.
    pub(crate) fn of(text: &str) -> Option<Name> {
        let mut wire = Vec::new();
        for label in text.split('.') {
            let length = u8::try_from(label.len()).ok()?;
            if !(1..=LABEL_BYTES_MAX).contains(&length) {
                return None;
            }
            wire.push(length);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        (wire.len() <= NAME_BYTES_MAX).then_some(Name { wire })
    }

    /// As it stands in messages.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// Its labels, from the left, without the empty one.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.wire[..];
        std::iter::from_fn(move || {
            let (&length, labels) = rest.split_first()?;
            let (label, others) = labels.split_at_checked(usize::from(length))?;
            rest = others;
            (length > 0).then_some(label)
        })
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        // Lengths are no letters, so that all bytes may be compared alike.
        self.wire.eq_ignore_ascii_case(&other.wire)
    }
}

impl Eq for Name {}

impl fmt::Display for Name {
    /// As in a zone's file, with a dot at the end. Source: RFC 1035, section 5.1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wire.len() == 1 {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                    b'!'..=b'~' => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let name = Name::parse(b"\x04Cart\x04shop\0rest").unwrap();
        assert_eq!(name.to_string(), "Cart.shop.");
        assert_eq!(name, Name::of("cart.SHOP").unwrap());
        assert_eq!(name.labels().collect::<Vec<_>>(), [&b"Cart"[..], b"shop"]);
        assert_eq!(Name::parse(b"\0").unwrap().to_string(), ".");
        assert_eq!(Name::parse(b"\x03a.\xff\0").unwrap().to_string(), "a\\.\\255.");
    }

    #[test]
    fn broken_names_are_none() {
        for wrong in [&b""[..], b"\x04car", b"\x04cart", b"\xc0\x0c", b"\x40", b"\x80\0"] {
            assert!(Name::parse(wrong).is_none(), "{wrong:?}");
        }
        let long = |labels: usize| [b"\x01a".repeat(labels), vec![0]].concat();
        assert!(Name::parse(&long(127)).is_some());
        assert!(Name::parse(&long(128)).is_none());
        for wrong in ["", "a..b", &"a".repeat(64), &["a"; 128].join(".")] {
            assert!(Name::of(wrong).is_none(), "{wrong}");
        }
    }
}
