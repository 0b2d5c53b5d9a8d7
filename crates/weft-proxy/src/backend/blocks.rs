//! The addresses of registered blocks that are called. The caller chooses which, so that there is
//! no end to them: of those towards which nothing is under way, only some are known.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Backend;
use crate::snapshot::DestinationName;

/// How many addresses of blocks are known. Nothing is forgotten of those towards which something is
/// under way, which are limited by what that takes.
const ADDRESSES_MAX: usize = 1_024;

/// How many are looked at for one that may be forgotten, each time that another one comes.
const LOOKED_AT_MAX: usize = 8;

/// The addresses of blocks among the backends, in the order in which they are looked at.
#[derive(Default)]
pub(super) struct Blocks(VecDeque<DestinationName>);

impl Blocks {
    /// Takes in `name`. If there are too many, `forget` is asked to forget others, and says whether
    /// it has.
    pub(super) fn add(
        &mut self,
        name: DestinationName,
        mut forget: impl FnMut(&DestinationName) -> bool,
    ) {
        self.0.push_back(name);
        for _ in 0..LOOKED_AT_MAX {
            if self.0.len() <= ADDRESSES_MAX {
                return;
            }
            let Some(oldest) = self.0.pop_front() else { return };
            if !forget(&oldest) {
                self.0.push_back(oldest);
            }
        }
    }

    /// Keeps those that are known still.
    pub(super) fn retain(&mut self, is_known: impl Fn(&DestinationName) -> bool) {
        self.0.retain(is_known);
    }
}

impl Backend {
    /// Whether nobody uses it, and nothing is under way towards it: idle connections are closed to
    /// find that out.
    pub(super) fn can_be_forgotten(self: &Rc<Backend>) -> bool {
        if Rc::strong_count(self) > 1 {
            return false;
        }
        self.endpoints.iter().for_each(|endpoint| while endpoint.close_idle() {});
        !self.counts.has_any()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use weft_model::Port;

    use super::*;
    use crate::snapshot::ExternalAt;

    fn name(number: usize) -> DestinationName {
        let address = Ipv4Addr::from(u32::try_from(number).unwrap()).into();
        let (service, port) = ("shop/block".parse().unwrap(), Port::new(80).unwrap());
        DestinationName::External(service, ExternalAt::Address(address), port)
    }

    #[test]
    fn of_addresses_that_are_called_no_more_the_oldest_are_forgotten() {
        let (mut blocks, mut forgotten) = (Blocks::default(), Vec::new());
        for number in 0..ADDRESSES_MAX + 3 {
            blocks.add(name(number), |oldest| {
                forgotten.push(oldest.clone());
                true
            });
        }
        assert_eq!(forgotten, [name(0), name(1), name(2)]);
        assert_eq!(blocks.0.len(), ADDRESSES_MAX);
    }

    #[test]
    fn what_is_under_way_is_not_forgotten_and_keeps_nobody_else_from_it() {
        let (mut blocks, busy) = (Blocks::default(), 20);
        let is_busy = |one: &DestinationName| (0..busy).any(|number| *one == name(number));
        for number in 0..2 * ADDRESSES_MAX {
            blocks.add(name(number), |oldest| !is_busy(oldest));
            let most = ADDRESSES_MAX + busy / LOOKED_AT_MAX + 1;
            assert!(blocks.0.len() <= most, "{number}: {}", blocks.0.len());
        }
        assert_eq!(blocks.0.len(), ADDRESSES_MAX);
        assert!((0..busy).all(|number| blocks.0.contains(&name(number))));
        blocks.retain(is_busy);
        assert_eq!(blocks.0.len(), busy);
    }
}
