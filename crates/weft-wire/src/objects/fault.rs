//! Faults that are put in on purpose, on the wire.

use std::num::NonZeroU32;

use prost::{Message, Oneof};
use weft_model::{Abort, AbortCode, AbortStatus, AbortWith, Delay, Fault};

use super::authorization_policy::HeaderMessage;
use super::common::{list, needed, to_bound, to_percent};
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct FaultMessage {
    #[prost(string, tag = "1")]
    policy: String,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderMessage>,
    #[prost(message, optional, tag = "3")]
    delay: Option<DelayMessage>,
    #[prost(message, optional, tag = "4")]
    abort: Option<AbortMessage>,
    #[prost(uint32, tag = "5")]
    active_max: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct DelayMessage {
    #[prost(uint32, tag = "1")]
    percent: u32,
    #[prost(uint64, tag = "2")]
    time_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct AbortMessage {
    #[prost(uint32, tag = "1")]
    percent: u32,
    #[prost(oneof = "AbortKind", tags = "2, 3")]
    with: Option<AbortKind>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
enum AbortKind {
    #[prost(uint32, tag = "2")]
    Http(u32),
    #[prost(uint32, tag = "3")]
    Grpc(u32),
}

impl FaultMessage {
    pub(super) fn new(fault: &Fault) -> FaultMessage {
        let Fault { policy, headers, delay, abort, active_max } = fault;
        FaultMessage {
            policy: policy.to_string(),
            headers: headers.iter().map(HeaderMessage::new).collect(),
            delay: delay.map(|Delay { percent, time }| DelayMessage {
                percent: percent.get().into(),
                time_ms: time.millis(),
            }),
            abort: abort.map(|Abort { percent, with }| AbortMessage {
                percent: percent.get().into(),
                with: Some(match with {
                    AbortWith::Http(status) => AbortKind::Http(status.get().into()),
                    AbortWith::Grpc(code) => AbortKind::Grpc(code.get().into()),
                }),
            }),
            active_max: active_max.get(),
        }
    }

    pub(super) fn check(self) -> Result<Fault, FieldError> {
        let FaultMessage { policy, headers, delay, abort, active_max } = self;
        let active_max = NonZeroU32::new(active_max);
        Ok(Fault {
            policy: policy.parse().at("policy")?,
            headers: list("headers", headers, HeaderMessage::check)?,
            delay: delay.map(DelayMessage::check).transpose().at("delay")?,
            abort: abort.map(AbortMessage::check).transpose().at("abort")?,
            active_max: needed("active_max", active_max)?,
        })
    }
}

impl DelayMessage {
    fn check(self) -> Result<Delay, FieldError> {
        let DelayMessage { percent, time_ms } = self;
        let percent = to_percent(percent).at("percent")?;
        Ok(Delay { percent, time: to_bound(time_ms).at("time_ms")? })
    }
}

impl AbortMessage {
    fn check(self) -> Result<Abort, FieldError> {
        let AbortMessage { percent, with } = self;
        // What does not fit into the narrow number is too large for what it stands for.
        let with = match needed("with", with)? {
            AbortKind::Http(status) => {
                let status = AbortStatus::new(u16::try_from(status).unwrap_or(u16::MAX));
                AbortWith::Http(status.at("status")?)
            }
            AbortKind::Grpc(code) => {
                let code = AbortCode::new(u8::try_from(code).unwrap_or(u8::MAX));
                AbortWith::Grpc(code.at("grpc_status")?)
            }
        };
        Ok(Abort { percent: to_percent(percent).at("percent")?, with })
    }
}
