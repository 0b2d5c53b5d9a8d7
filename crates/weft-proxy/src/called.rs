//! What the workload calls of the mesh, so that discovery is told what is still used.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use weft_model::{Address, Network};
use weft_wire::discovery::Subscription;

use crate::connection::To;
use crate::snapshot::{Owner, Snapshot};

/// What is called now, or was since [`Called::take_used`] was asked last.
#[derive(Default)]
pub(crate) struct Called(RefCell<BTreeMap<Subscription, Rc<()>>>);

/// A connection that leads to something that is called.
pub(crate) struct Calling {
    _counted: Option<Rc<()>>,
}

impl Called {
    /// Notes that a connection leads `to`, for as long as the value lives.
    pub(crate) fn begin(&self, to: &To, snapshot: &Snapshot) -> Calling {
        let wanted = match to {
            To::Service(name, _) => Some(Subscription::Service(name.clone())),
            To::Address(address) => Some(owner(snapshot, *address)),
            To::Nowhere | To::Fixed(_) | To::Outside(_) | To::Own(..) => None,
        };
        let mut called = self.0.borrow_mut();
        Calling { _counted: wanted.map(|wanted| called.entry(wanted).or_default().clone()) }
    }

    /// What was called since this was asked last, and what still is.
    pub(crate) fn take_used(&self) -> Vec<Subscription> {
        let mut called = self.0.borrow_mut();
        let used = called.keys().cloned().collect();
        called.retain(|_, calling| Rc::strong_count(calling) > 1);
        used
    }
}

/// By what that is subscribed to which has `address`: a Service by its name, whichever of its
/// addresses is called.
fn owner(snapshot: &Snapshot, address: SocketAddr) -> Subscription {
    match snapshot.addresses.get(&address.ip()) {
        Some(Owner::Service(name)) => Subscription::Service(name.clone()),
        _ => Subscription::Address(Address { network: Network::default(), ip: address.ip() }),
    }
}

#[cfg(test)]
mod tests {
    use weft_model::Port;

    use super::*;

    #[test]
    fn what_is_called_counts_while_it_is_and_once_after() {
        let (called, snapshot) = (Called::default(), Snapshot::default());
        let to = To::Service("shop/cart".parse().unwrap(), Port::new(80).unwrap());
        let used = || called.take_used().iter().map(ToString::to_string).collect::<Vec<_>>();
        let (first, second) = (called.begin(&to, &snapshot), called.begin(&to, &snapshot));
        let other = called.begin(&To::Address("10.0.0.1:80".parse().unwrap()), &snapshot);
        drop((first, other));
        assert_eq!(used(), ["service/shop/cart", "address/default/10.0.0.1"]);
        assert_eq!(used(), ["service/shop/cart"]);
        drop(second);
        assert_eq!(used(), ["service/shop/cart"]);
        assert!(used().is_empty());
    }
}
