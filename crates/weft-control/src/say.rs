//! A line for people on standard error, which cannot fail the one who says it.

/// Writes a line to standard error, as `eprintln!` does. Where it cannot be written, as on a full
/// disk, nothing is said and all else goes on: `eprintln!` would panic.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {{
        use ::std::io::Write as _;
        let _ = ::std::writeln!(::std::io::stderr().lock(), $($argument)*);
    }};
}
