//! What a caller gets in the end.

use weft_decide::filters::OwnAnswer;
use weft_proxy::explain::{End, Explanation, Refused};

/// What a caller gets.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Who answers.
    pub by: By,
    /// The status of HTTP, where Weft says it.
    pub status: Option<u16>,
    /// The status of gRPC, likewise.
    pub grpc_status: Option<u32>,
    /// The reason as a stable code, and in words.
    pub reason: Option<(&'static str, String)>,
    /// What the server's proxy gave as its reason to the caller's.
    pub server_reason: Option<(&'static str, String)>,
    /// Whether it is what a filter of the route is there to answer, and so no refusal.
    pub is_meant: bool,
}

/// Who answers a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// An application.
    Application,
    /// The proxy in front of it.
    Server,
    /// The caller's own proxy.
    Caller,
}

impl Outcome {
    /// What `end` is to the caller.
    pub fn of(explanation: &Explanation, end: &End) -> Outcome {
        let reason = |refused: &Refused| (refused.verdict.reason, refused.detail.clone());
        match end {
            End::Application => Outcome {
                by: By::Application,
                status: None,
                grpc_status: None,
                reason: None,
                server_reason: None,
                is_meant: false,
            },
            End::Server(refused) => Outcome::refused(explanation, refused, By::Server),
            End::Caller { refused, server } => Outcome {
                server_reason: server.as_ref().map(reason),
                ..Outcome::refused(explanation, refused, By::Caller)
            },
        }
    }

    /// What `refused` is to the caller.
    pub fn refused(explanation: &Explanation, refused: &Refused, by: By) -> Outcome {
        let (status, grpc_status) = explanation.statuses(refused);
        let reason = Some((refused.verdict.reason, refused.detail.clone()));
        Outcome { by, status, grpc_status, reason, server_reason: None, is_meant: false }
    }

    /// The answer that a filter gives.
    pub fn own(own: &OwnAnswer) -> Outcome {
        let OwnAnswer { filter: _, status, reason, detail, fields: _ } = own;
        Outcome {
            by: By::Caller,
            status: Some(*status),
            grpc_status: None,
            reason: Some((*reason, detail.clone())),
            server_reason: None,
            is_meant: true,
        }
    }
}
