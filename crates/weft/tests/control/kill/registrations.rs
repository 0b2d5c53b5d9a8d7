//! Workloads that register themselves, and leave, as their proxies do it.

use std::net::IpAddr;

use tokio::sync::{mpsc, oneshot};
use weft_control::api::{RegisterRequest, RegisterResponse, RegisteredPort};
use weft_control::{Ask, ConnectionState, Observer, Subscriber};
use weft_wire::discovery::{Client, Outcome};
use weft_wire::{Object, Release};

use super::{Cut, Found, Member, Mesh, Work, answered_of};
use crate::draw::Draw;

/// Workloads, of which the last is under way.
#[derive(Default)]
pub struct Registrations(Vec<Workload>);

struct Workload {
    name: String,
    service: String,
    member: Member,
    state: State,
    /// What the control plane has said that it has; empty if it was never answered.
    addresses: Vec<IpAddr>,
}

/// What was acknowledged, or what was under way when the control plane was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Registering,
    Registered,
    Draining,
    Drained,
    Leaving,
    Left,
    /// It was cut off while it left, and is not there.
    Gone,
}

impl Work for Registrations {
    /// A workload that is new, or one that is back after its control plane was killed.
    fn prepare(&mut self, mesh: &Mesh, draw: &mut Draw) {
        let may_leave = |it: &Workload| matches!(it.state, State::Registered | State::Drained);
        let staying = self.0.iter().position(may_leave);
        if let Some(index) = staying.filter(|_| draw.in_hundred(40)) {
            let back = self.0.remove(index);
            return self.0.push(back);
        }
        let number = self.0.len();
        let (account, service) = (format!("own/account-{number}"), format!("own/service-{number}"));
        let member = Member::join(mesh, &account, &[service.as_str()]);
        let name = format!("own/workload-{number}");
        let (state, addresses) = (State::Registering, Vec::new());
        self.0.push(Workload { name, service, member, state, addresses });
    }

    async fn work(&mut self, _: &Mesh, draw: &mut Draw) -> Result<(), Cut> {
        let workload = self.0.last_mut().unwrap();
        let request = workload.request();
        let client = Client::new(&workload.name, Release::this());
        let (control_plane, slot) =
            (workload.member.joiner.control_plane(), workload.member.slot.clone());
        let world = weft_net::world();
        let subscriber = Subscriber::new(world, control_plane, slot, Some(request), client);
        let (asks, asked) = mpsc::channel(1);
        let (told, mut heard) = mpsc::channel(4);
        let mut watcher = Watcher(told);
        tokio::select! {
            biased;
            () = subscriber.run(asked, &mut watcher) => unreachable!("it has no end"),
            ended = workload.live(&asks, &mut heard, draw) => ended,
        }
    }
}

impl Registrations {
    pub fn check(&mut self, found: &Found) {
        self.0.iter_mut().for_each(|workload| workload.check(found));
    }
}

impl Workload {
    fn request(&self) -> RegisterRequest {
        RegisterRequest {
            workload: self.name.clone(),
            generation: 1,
            services: vec![self.service.clone()],
            ports: vec![RegisteredPort { port: 80, service_port: None, protocol: None }],
            addresses: vec![[127, 0, 0, 1].into()],
            tunnel_port: 15_008,
            region: None,
            zone: None,
        }
    }

    /// Registers, which a subscriber does, and may then drain and leave.
    async fn live(
        &mut self,
        asks: &mpsc::Sender<Ask>,
        heard: &mut mpsc::Receiver<Option<RegisterResponse>>,
        draw: &mut Draw,
    ) -> Result<(), Cut> {
        let response = heard.recv().await.unwrap().ok_or(Cut)?;
        assert!(
            self.addresses.is_empty() || self.addresses == response.mesh_addresses,
            "{} had {:?} before, and has {:?}",
            self.name,
            self.addresses,
            response.mesh_addresses
        );
        self.addresses = response.mesh_addresses;
        assert_eq!(self.addresses.len(), 2, "{:?}", self.addresses);
        if self.state == State::Registering {
            self.state = State::Registered;
            answered_of(self.member.joiner.installed(&self.member.slot).await)?;
        }
        if draw.in_hundred(60) {
            // Once it is drained, it stays so.
            if self.state != State::Drained {
                self.state = State::Draining;
            }
            asked(asks, |done| Ask::Drain { done }).await?;
            self.state = State::Drained;
        }
        if draw.in_hundred(60) {
            self.state = State::Leaving;
            asked(asks, |done| Ask::Leave { done }).await?;
            self.state = State::Left;
        }
        Ok(())
    }

    fn check(&mut self, found: &Found) {
        let object = |kind: &str, name: &str| {
            let mut objects = found.listed.objects.iter();
            objects.find(|it| it.key.kind == kind && format!("own/{}", it.key.name) == name)
        };
        let own = object("Workload", &self.name);
        let status = own.and_then(|own| own.status.as_ref());
        let is_draining = status.is_some_and(|it| it.health.as_deref() == Some("draining"));
        let state = self.state;
        match state {
            State::Registering | State::Leaving => {}
            State::Registered | State::Draining | State::Drained => {
                assert!(own.is_some(), "{} {state:?} and not there", self.name);
            }
            State::Left | State::Gone => assert!(own.is_none(), "{} {state:?}", self.name),
        }
        assert!(is_draining || state != State::Drained, "{} does not drain", self.name);
        // The Service is made with the workload, or not at all.
        let has_service = object("Service", &self.service).is_some();
        assert!(has_service || own.is_none(), "{} has no Service", self.name);
        let is_answered = !self.addresses.is_empty();
        if let Some(status) = status.filter(|_| is_answered) {
            assert_eq!(status.addresses, self.addresses, "{} has other addresses", self.name);
        }
        let mut holders = found.authority.holders.iter();
        let holder = holders.find(|holder| holder.serial == self.member.serial).unwrap();
        if is_answered {
            assert_eq!(holder.workload, self.name, "of whom the certificate is");
        }
        assert!(holder.left || state != State::Left, "{} holds its certificate", self.name);
        self.state = match (own, is_draining) {
            (None, _) if state == State::Leaving => State::Gone,
            (None, _) => state,
            (Some(_), true) => State::Drained,
            (Some(_), false) => State::Registered,
        };
    }
}

async fn asked(
    asks: &mpsc::Sender<Ask>,
    ask: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Ask,
) -> Result<(), Cut> {
    let (done, answer) = oneshot::channel();
    asks.send(ask(done)).await.unwrap();
    answer.await.unwrap().map_err(|reason| {
        let is_away = ["cannot be reached", "did not answer properly"];
        assert!(is_away.iter().any(|away| reason.contains(away)), "{reason}");
        Cut
    })
}

/// Tells of each registration, and of each end of a connection.
struct Watcher(mpsc::Sender<Option<RegisterResponse>>);

impl Observer for Watcher {
    fn check(&self, _: &Object) -> Result<(), String> {
        Ok(())
    }

    fn changed(&mut self, _: &Client, _: &Outcome) {}

    fn connection(&mut self, state: ConnectionState) {
        match state {
            ConnectionState::Connected => {}
            ConnectionState::Disconnected { .. } => drop(self.0.try_send(None)),
            ConnectionState::Unregistered { reason } => panic!("{reason}"),
        }
    }

    fn registered(&mut self, response: &RegisterResponse) {
        let _ = self.0.try_send(Some(response.clone()));
    }
}
