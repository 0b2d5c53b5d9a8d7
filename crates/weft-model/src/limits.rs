//! What one client proxy has under way at most.

use std::num::NonZeroU32;

use crate::units::Ratio;

/// What one client proxy has under way at most towards a Service.
///
/// Each is a count per client proxy, not for the whole mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits {
    /// Requests being answered. Default: 1,024, some ten times what one busy client has under way;
    /// beyond it the Service is not slow but down.
    pub requests: NonZeroU32,
    /// Requests that wait for a connection. Default: 256, a quarter of the above: a queue absorbs a
    /// burst, and a longer one only adds delay.
    pub pending: NonZeroU32,
    /// Connections. Default: 1,024, one for each request, since HTTP/1.1 needs that many.
    pub connections: NonZeroU32,
    /// Requests and streams of bytes at one endpoint. Default: none, since how much one endpoint
    /// bears differs from program to program, and those above bound all of them together.
    pub requests_per_endpoint: Option<NonZeroU32>,
    /// How many times as long as in the long run answers of an endpoint may take before less may be
    /// under way there. Default: none, since latency that changes for other reasons than load, as
    /// with other requests, would be taken for load.
    pub adaptive_tolerance: Option<Ratio>,
}

impl Default for Limits {
    fn default() -> Limits {
        const fn count(number: u32) -> NonZeroU32 {
            NonZeroU32::new(number).expect("not zero")
        }
        const REQUESTS: NonZeroU32 = count(1024);
        const PENDING: NonZeroU32 = count(256);
        Limits {
            requests: REQUESTS,
            pending: PENDING,
            connections: REQUESTS,
            requests_per_endpoint: None,
            adaptive_tolerance: None,
        }
    }
}
