//! What proxies and the control plane say to each other, as bytes.
//!
//! Protobuf messages, written by hand as `prost` structures so that no compiler for them is needed,
//! and what is around them: the frames of a tunnel ([`tunnel`]), the envelope of an object
//! ([`WireObject`]), the ways from and to the model ([`Object`]), and the two sides of discovery as
//! state machines without I/O ([`discovery`]). Everything that is read here comes from outside and
//! is checked: whatever this version cannot be sure to understand is refused, by object and field.
//!
//! Deliberately absent: sockets, async, clocks (the caller says what time it is), and decisions
//! about what was said.

mod envelope;
mod error;
mod feature;
mod key;
mod objects;
#[cfg(test)]
mod testing;

pub mod discovery;
pub mod mux;
pub mod tunnel;

pub use envelope::{OBJECT_BYTES_MAX, SCHEMA, SourceVersion, WireObject};
pub use error::{FieldError, ObjectError, ObjectProblem};
pub use feature::{Feature, Release};
pub use key::ObjectKey;
pub use objects::Object;

/// Foreign text for a message: without controls, and of long text only the beginning.
pub(crate) fn shown(text: &str) -> String {
    shown_within(120, text)
}

/// The same with at most `chars_max` characters of it.
pub(crate) fn shown_within(chars_max: usize, text: &str) -> String {
    let tame = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut shown: String = tame.take(chars_max + 1).collect();
    if shown.chars().count() > chars_max {
        shown.pop();
        shown.push('…');
    }
    shown
}
