//! Revocations, and roots that are replaced.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use weft_control::api::{CaStatus, Phase, RevokeRequest, RotateRequest};

use super::{Cut, Member, Mesh, Work, answered, joined, now};
use crate::draw::Draw;
use crate::run;

/// The most that is waited for the end of a rotation: it takes a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two looks at a rotation.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Default)]
pub struct Authority {
    rounds: usize,
    /// What is revoked, by all that was acknowledged, and if the change under way was made.
    revoked: BTreeSet<String>,
    tried: Option<BTreeSet<String>>,
    /// The number of the trust bundle that somebody was told last.
    sequence: u64,
    /// Who is about to be shut out, or is waited for.
    member: Option<Member>,
    /// Whether the rotation is aborted.
    aborts: bool,
    rotation: Option<Rotated>,
}

/// What is known of a rotation.
struct Rotated {
    old: String,
    /// The new root, once the beginning was acknowledged.
    new: Option<String>,
    /// How far it was when that was asked last.
    phase: Phase,
    /// Whether it was aborted: asked for, and acknowledged.
    abort: (bool, bool),
}

const ACCOUNT: &str = "shop/member";

impl Work for Authority {
    fn prepare(&mut self, mesh: &Mesh, draw: &mut Draw) {
        self.rounds += 1;
        self.aborts = self.rounds % 3 == 1 && draw.in_hundred(40);
        // What is begun is aborted only while somebody is waited for, as who is never heard of.
        if self.rounds.is_multiple_of(3) || self.aborts {
            self.member = Some(Member::join(mesh, &self.account(), &[]));
        }
    }

    async fn work(&mut self, mesh: &Mesh, draw: &mut Draw) -> Result<(), Cut> {
        match self.rounds % 3 {
            0 => self.shut_out(mesh, draw).await,
            1 => self.rotate(mesh).await,
            _ => {
                for _ in 0..4 {
                    let identity = format!("spiffe://weft.local/ns/shop/sa/no-{}", draw.below(4));
                    let undo = self.revoked.contains(&identity);
                    self.revoke(mesh, Some(identity), None, undo).await?;
                }
                Ok(())
            }
        }
    }
}

impl Authority {
    fn account(&self) -> String {
        format!("{ACCOUNT}-{}", self.rounds)
    }

    /// Revokes the member: its identity, or its certificate.
    async fn shut_out(&mut self, mesh: &Mesh, draw: &mut Draw) -> Result<(), Cut> {
        let identity = format!("spiffe://weft.local/ns/{}", self.account().replace('/', "/sa/"));
        let serial = self.member.as_ref().unwrap().serial.clone();
        match draw.in_hundred(50) {
            true => self.revoke(mesh, Some(identity), None, false).await,
            false => self.revoke(mesh, None, Some(serial), false).await,
        }
    }

    async fn revoke(
        &mut self,
        mesh: &Mesh,
        identity: Option<String>,
        serial: Option<String>,
        undo: bool,
    ) -> Result<(), Cut> {
        let what = identity.clone().or(serial.clone()).unwrap();
        let mut next = self.revoked.clone();
        if undo {
            next.remove(&what)
        } else {
            next.insert(what)
        };
        self.tried = Some(next);
        let request = RevokeRequest { identity, serial, undo };
        let response = answered(mesh.client().revoke(&request).await)?;
        assert!(response.changed && response.sequence > self.sequence, "{response:?}");
        self.sequence = response.sequence;
        self.revoked = self.tried.take().unwrap();
        Ok(())
    }

    /// Replaces the root, or begins to and does not.
    async fn rotate(&mut self, mesh: &Mesh) -> Result<(), Cut> {
        let client = mesh.client();
        let old = answered(client.ca_status().await)?.rotation.new;
        let (new, phase, abort) = (None, Phase::Steady, (false, false));
        let rotation = self.rotation.insert(Rotated { old, new, phase, abort });
        let begun = answered(client.rotate(&RotateRequest { abort: false }).await)?;
        rotation.new = Some(begun.rotation.new.clone());
        rotation.see(&begun, &mut self.sequence);
        if self.aborts {
            rotation.abort.0 = true;
            let aborted = answered(client.rotate(&RotateRequest { abort: true }).await)?;
            rotation.abort.1 = true;
            rotation.see(&aborted, &mut self.sequence);
        }
        loop {
            let status = answered(client.ca_status().await)?;
            rotation.see(&status, &mut self.sequence);
            if status.rotation.phase == Phase::Steady {
                return Ok(());
            }
            weft_net::world().clock.sleep(LOOK).await;
        }
    }

    pub fn check(&mut self, mesh: &Mesh) {
        let status = mesh.look().authority;
        let found = status.revoked_identities.iter().cloned();
        let found: BTreeSet<_> =
            found.chain(status.revoked_serials.iter().map(|it| it.serial.clone())).collect();
        assert!(
            found == self.revoked || self.tried.as_ref() == Some(&found),
            "revoked: {:#?}\ntried: {:#?}\nfound: {found:#?}",
            self.revoked,
            self.tried
        );
        (self.revoked, self.tried) = (found, None);
        let sequence = self.sequence;
        assert!(status.sequence >= sequence, "{} is after {sequence}", status.sequence);
        self.sequence = status.sequence;
        if let Some(rotation) = self.rotation.as_mut().filter(|it| it.new.is_some()) {
            rotation.see(&status, &mut self.sequence);
        }
        self.check_member(mesh);
        self.check_rotation(mesh);
    }

    /// Who was shut out stays so. Who was not does not wait for the next time.
    fn check_member(&mut self, mesh: &Mesh) {
        let Some(mut member) = self.member.take() else { return };
        let identity = format!("spiffe://weft.local/ns/{}", self.account().replace('/', "/sa/"));
        let is_shut_out = self.revoked.contains(&identity) || self.revoked.contains(&member.serial);
        let renewed = run(member.joiner.renew(&member.slot)).map_err(|error| error.to_string());
        match renewed {
            Ok(renewed) => {
                assert!(!is_shut_out, "{} renews its certificate", self.account());
                assert_ne!(renewed.svid.serial().to_string(), member.serial);
                run(self.revoke(mesh, Some(identity.clone()), None, false)).unwrap();
            }
            Err(error) => assert!(is_shut_out && error.contains("CertificateRevoked"), "{error}"),
        }
        if self.revoked.contains(&identity) {
            let refused = run(joined(&member.token, &self.account())).unwrap().unwrap_err();
            assert!(refused.contains("is revoked"), "{refused}");
        }
    }

    /// A rotation goes on where it was, to its end.
    fn check_rotation(&mut self, mesh: &Mesh) {
        let Some(rotation) = self.rotation.take() else { return };
        let began = now();
        let ended = run(async {
            loop {
                let status = mesh.client().ca_status().await.unwrap();
                if status.rotation.phase == Phase::Steady {
                    return status;
                }
                assert!(now().since(began) < PATIENCE, "{:?}", status.rotation);
                weft_net::world().clock.sleep(LOOK).await;
            }
        });
        self.sequence = ended.sequence;
        let [root] = &ended.roots[..] else { panic!("{:?}", ended.roots) };
        match (&rotation.new, rotation.abort) {
            (Some(new), (false, _)) => assert_eq!(root.key, *new),
            (_, (_, true)) => assert_eq!(root.key, rotation.old),
            // Whether that was begun, or taken back, is known now only.
            _ => {}
        }
        self.check_files(mesh, root.generation);
    }

    /// No key of an earlier root is left.
    fn check_files(&self, mesh: &Mesh, generation: u32) {
        for entry in fs::read_dir(mesh.data()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let secret = name.strip_suffix("-key.pem").and_then(|name| name.strip_prefix("root-"));
            let other =
                name.strip_suffix(".pem").and_then(|name| name.strip_prefix("intermediate-"));
            let of = secret.or(other).map(|number| number.parse::<u32>().unwrap());
            assert!(of.is_none_or(|of| of >= generation), "{name} of before {generation} is left");
            assert!(!name.ends_with(".new"), "{name} is left");
        }
    }
}

impl Rotated {
    /// Sees how far it is: further than before.
    fn see(&mut self, status: &CaStatus, sequence: &mut u64) {
        let rank = |phase| match phase {
            Phase::Distributing => 0,
            Phase::Signing => 1,
            Phase::Withdrawing => 2,
            Phase::Steady => 3,
        };
        let phase = status.rotation.phase;
        if self.phase != Phase::Steady {
            assert!(rank(phase) >= rank(self.phase), "{phase:?} after {:?}", self.phase);
        }
        self.phase = phase;
        assert!(status.sequence >= *sequence, "{} after {sequence}", status.sequence);
        *sequence = status.sequence;
    }
}
