//! Which Service takes over where another one cannot serve.

use crate::name::ObjectName;
use crate::units::{Percent, Port};

/// The Service that takes over where too few endpoints of another one are healthy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failover {
    /// The Service that takes over.
    pub service: ObjectName,
    /// Its port. None: the one with the number that was called.
    pub port: Option<Port>,
    /// It takes over while a smaller share of the endpoints is healthy.
    pub healthy_min: Percent,
}
