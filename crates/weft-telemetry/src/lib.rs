//! What happened, said once: the record of a request or a connection, and what is made of it.
//!
//! Access log, metrics and spans are functions of a finished [`Record`]; nothing else is logged on
//! the data path.
//!
//! Deliberately absent: decisions. Nothing here changes what happens to a request.

mod access_log;
pub mod expose;
pub mod lines;
pub mod metrics;
mod record;
pub mod trace;

pub use access_log::{AccessLog, Format, Select};
pub use lines::Lines;
pub use record::{Both, Direction, Event, Protocol, Record, Recorder};
