//! Copies of requests.

use crate::route::Backend;
use crate::units::Fraction;

/// Where copies of requests go, whose answers nobody gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What gets them.
    pub backend: Backend,
    /// Of how many requests.
    pub share: Fraction,
}
