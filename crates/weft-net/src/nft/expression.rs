//! The expressions that nftables rules are made of: a small machine with registers.

use crate::netlink::Payload;

const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;

const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;

const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;

const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;

const NFTA_BITWISE_SREG: u16 = 1;
const NFTA_BITWISE_DREG: u16 = 2;
const NFTA_BITWISE_LEN: u16 = 3;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_BITWISE_XOR: u16 = 5;

const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;

const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;

/// The register of verdicts.
const NFT_REG_VERDICT: u32 = 0;
/// The only other register in use, 16 bytes long: a rule compares one thing at a time.
const NFT_REG_1: u32 = 1;

/// Which header of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Header {
    /// IPv4's or IPv6's.
    Network = 1,
    /// TCP's or UDP's.
    Transport = 2,
}

/// What a rule says in the end. Source: `NF_ACCEPT`, `NFT_RETURN`.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// Let it pass.
    Accept = 1,
    /// Leave the chain: its policy decides.
    Return = -5,
}

/// A step of a rule. One that compares ends the rule unless it holds.
#[derive(Clone, Debug)]
pub enum Expression {
    /// Loads whether the packet is IPv4 or IPv6.
    Family,
    /// Loads the number of the transport protocol.
    Transport,
    /// Loads a piece of a header.
    Load { header: Header, offset: u32, length: u32 },
    /// Clears what is not in the mask.
    Mask(Vec<u8>),
    /// Compares.
    Equals(Vec<u8>),
    /// Loads a value.
    Value(Vec<u8>),
    /// Leads the packet to the port that is loaded, on loopback.
    Redirect,
    /// Ends the rule.
    Verdict(Verdict),
}

impl Expression {
    /// Leads the packet to `port` on loopback.
    pub fn redirect(port: u16) -> Vec<Expression> {
        vec![Expression::Value(port.to_be_bytes().to_vec()), Expression::Redirect]
    }

    /// How the kernel calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Expression::Family | Expression::Transport => "meta",
            Expression::Load { .. } => "payload",
            Expression::Mask(_) => "bitwise",
            Expression::Equals(_) => "cmp",
            Expression::Value(_) | Expression::Verdict(_) => "immediate",
            Expression::Redirect => "redir",
        }
    }

    /// As the kernel reads it.
    pub fn encode(&self) -> Payload {
        let empty = Payload::default;
        let data = match self {
            Expression::Family => empty()
                .with_u32(NFTA_META_KEY, NFT_META_NFPROTO)
                .with_u32(NFTA_META_DREG, NFT_REG_1),
            Expression::Transport => empty()
                .with_u32(NFTA_META_KEY, NFT_META_L4PROTO)
                .with_u32(NFTA_META_DREG, NFT_REG_1),
            Expression::Load { header, offset, length } => empty()
                .with_u32(NFTA_PAYLOAD_DREG, NFT_REG_1)
                .with_u32(NFTA_PAYLOAD_BASE, *header as u32)
                .with_u32(NFTA_PAYLOAD_OFFSET, *offset)
                .with_u32(NFTA_PAYLOAD_LEN, *length),
            Expression::Mask(mask) => empty()
                .with_u32(NFTA_BITWISE_SREG, NFT_REG_1)
                .with_u32(NFTA_BITWISE_DREG, NFT_REG_1)
                .with_u32(NFTA_BITWISE_LEN, u32::try_from(mask.len()).unwrap_or(u32::MAX))
                .with_nested(NFTA_BITWISE_MASK, &value(mask))
                .with_nested(NFTA_BITWISE_XOR, &value(&vec![0; mask.len()])),
            Expression::Equals(other) => empty()
                .with_u32(NFTA_CMP_SREG, NFT_REG_1)
                .with_u32(NFTA_CMP_OP, NFT_CMP_EQ)
                .with_nested(NFTA_CMP_DATA, &value(other)),
            Expression::Value(bytes) => empty()
                .with_u32(NFTA_IMMEDIATE_DREG, NFT_REG_1)
                .with_nested(NFTA_IMMEDIATE_DATA, &value(bytes)),
            Expression::Redirect => empty().with_u32(NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1),
            Expression::Verdict(verdict) => {
                let code = (*verdict as i32).to_be_bytes();
                let code = empty().with(NFTA_VERDICT_CODE, &code);
                let data = empty().with_nested(NFTA_DATA_VERDICT, &code);
                empty()
                    .with_u32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT)
                    .with_nested(NFTA_IMMEDIATE_DATA, &data)
            }
        };
        empty().with_text(NFTA_EXPR_NAME, self.kind()).with_nested(NFTA_EXPR_DATA, &data)
    }
}

fn value(bytes: &[u8]) -> Payload {
    Payload::default().with(NFTA_DATA_VALUE, bytes)
}
