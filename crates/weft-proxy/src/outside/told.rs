//! The names by which programs asked for addresses outside, for those who read why one is refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_world::Moment;

/// Of how many addresses the name is kept. Beyond them the one that was asked for longest ago goes.
const ADDRESSES_MAX: usize = 4_096;

/// For each address the host by which it was asked for last.
#[derive(Default)]
pub(super) struct Told(BTreeMap<IpAddr, (Arc<str>, Moment)>);

impl Told {
    pub(super) fn add(&mut self, host: &str, addresses: &[IpAddr], now: Moment) {
        let host: Arc<str> = host.into();
        for address in addresses {
            if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(address) {
                let oldest = self.0.iter().min_by_key(|(_, (_, asked))| *asked);
                let Some(oldest) = oldest.map(|(address, _)| *address) else { return };
                self.0.remove(&oldest);
            }
            self.0.insert(*address, (host.clone(), now));
        }
    }

    pub(super) fn host_of(&self, address: IpAddr) -> Option<Arc<str>> {
        self.0.get(&address).map(|(host, _)| host.clone())
    }
}
