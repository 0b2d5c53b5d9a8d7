//! What the control plane says about the root that the mesh trusts, followed for the table.

use std::cell::RefCell;
use std::time::Duration;

use weft_control::Client;
use weft_control::api::RotationStatus;
use weft_world::World;

use crate::ca;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// What was said last.
#[derive(Default)]
pub struct Trust(RefCell<String>);

impl Trust {
    /// What was said last, on one line; nothing at first.
    pub fn text(&self) -> String {
        self.0.borrow().clone()
    }

    /// Asks again and again, for ever.
    pub async fn follow(&self, world: &World, client: &Client) {
        loop {
            let said = match client.ca_status().await {
                Ok(status) => described(&status.rotation),
                Err(error) => error.to_string(),
            };
            *self.0.borrow_mut() = said;
            world.clock.sleep(LOOK).await;
        }
    }
}

fn described(rotation: &RotationStatus) -> String {
    let phase = ca::phase(rotation);
    match rotation.waiting_for.len() {
        0 => phase,
        count => format!("{phase}; {count} to go"),
    }
}

#[cfg(test)]
mod tests {
    use weft_control::api::Phase;

    use super::*;

    #[test]
    fn the_longest_word_fits_a_terminal() {
        let rotation = RotationStatus {
            phase: Phase::Distributing,
            old: Some("6d00b01ab646ab829e0f31ea3e671229".to_owned()),
            new: "e79b3f8b3c452803f14d5003cf315345".to_owned(),
            waiting_for: vec![String::new(); 7],
        };
        let line = format!("Trust: {}", described(&rotation));
        let distributing = "Trust: distributing: all are to trust e79b3f8b3c45 beside \
                            6d00b01ab646; 7 to go";
        assert_eq!(line, distributing);
        assert!(line.len() <= 80);
        let steady = RotationStatus { phase: Phase::Steady, waiting_for: Vec::new(), ..rotation };
        assert_eq!(described(&steady), "steady: e79b3f8b3c45 is the only root");
    }
}
