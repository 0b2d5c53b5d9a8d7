//! A line for people on standard error, which neither fails nor stops the one who says it.

pub use weft_telemetry::lines::say as line;

/// Writes a line to standard error, as `eprintln!` does. Where it cannot be written, as on a full
/// disk, nothing is said and all else goes on: `eprintln!` would panic. In a process that has a
/// queue for its lines ([`weft_telemetry::Lines::standard_error`]) it waits for nobody.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::say::line(::std::format_args!($($argument)*))
    };
}
