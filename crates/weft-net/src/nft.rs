//! nftables: rules that lead a namespace's traffic to a proxy in it.
//!
//! Spoken to the kernel directly, so that nothing must be installed. One table of the `inet`
//! family serves IPv4 and IPv6; it is made whole in one transaction, or not at all.
//!
//! Source: `linux/netfilter/nf_tables.h`; nft(8) for what the rules mean.

mod expression;

use std::net::IpAddr;

use weft_model::Cidr;

use self::expression::{Expression, Header, Verdict};
use crate::netlink::{
    APPEND, CREATE, EXCLUSIVE, Netlink, NetlinkError, Payload, Request, attribute, attributes, text,
};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_GETRULE: u16 = 7;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;

const NFPROTO_INET: u8 = 1;
const NF_INET_LOCAL_OUT: u32 = 3;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// `NF_IP_PRI_NAT_DST`, which nft calls `dstnat`.
const PRIORITY_NAT: i32 = -100;
/// `NF_IP_PRI_FILTER`, behind the translation, so that redirected packets are seen as redirected.
const PRIORITY_FILTER: i32 = 0;

/// The chain that redirects.
const CHAIN_REDIRECT: &str = "redirect";
/// The chain that refuses what was not redirected.
const CHAIN_REFUSE: &str = "refuse";

/// The port of DNS.
const DNS_PORT: u16 = 53;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The most blocks and ports that may be excluded, so that a rule set stays one netlink message.
const EXCLUDED_MAX: usize = 256;

/// What becomes of the traffic that programs in a network namespace send.
#[derive(Clone, Debug)]
pub struct Redirection {
    /// The name of the table, which belongs to this alone.
    pub table: String,
    /// The port on loopback to which TCP is led.
    pub capture_port: u16,
    /// The port on loopback to which DNS is led, over UDP and TCP, whichever server was meant.
    pub dns_port: Option<u16>,
    /// The namespace's own addresses beside loopback: what is sent to them stays untouched.
    pub own: Vec<IpAddr>,
    /// Blocks of addresses that stay untouched.
    pub exclude_cidrs: Vec<Cidr>,
    /// TCP ports that stay untouched, whatever the address.
    pub exclude_ports: Vec<u16>,
    /// Refuse all that is neither redirected nor for loopback or an own address: UDP other than
    /// DNS, and ICMP. The sender gets EPERM at once, so that QUIC falls back to TCP.
    pub refuse_others: bool,
}

/// A rule that is in force, as far as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledRule {
    /// The chain it is in.
    pub chain: String,
    /// The kinds of its expressions, in order: `meta`, `cmp`, `redir` and so on.
    pub expressions: Vec<String>,
}

struct Rule {
    chain: &'static str,
    expressions: Vec<Expression>,
}

impl Redirection {
    /// Makes the table, in the network namespace that the calling thread is in.
    ///
    /// # Errors
    /// If a table of this name exists, if the process lacks CAP_NET_ADMIN there, or if the kernel
    /// lacks nftables with NAT. Nothing is left behind.
    pub fn install(&self) -> Result<(), NetlinkError> {
        let excluded = self.exclude_cidrs.len() + self.exclude_ports.len();
        if excluded > EXCLUDED_MAX {
            return Err(NetlinkError {
                what: format!("exclude {excluded} blocks and ports"),
                source: std::io::Error::from(std::io::ErrorKind::InvalidInput),
                said: Some(format!("{EXCLUDED_MAX} are the most")),
            });
        }
        let mut requests = vec![self.table(), self.chain_redirect()];
        if self.refuse_others {
            requests.push(self.chain_refuse());
        }
        requests.extend(self.rules().iter().map(|rule| self.rule(rule)));
        transaction(requests)
    }

    fn table(&self) -> Request {
        Request {
            what: format!("make the nftables table inet {}", self.table),
            kind: message(NFT_MSG_NEWTABLE),
            flags: CREATE | EXCLUSIVE,
            payload: head().with_text(NFTA_TABLE_NAME, &self.table),
            acknowledged: false,
        }
    }

    fn chain_redirect(&self) -> Request {
        self.chain(CHAIN_REDIRECT, "nat", PRIORITY_NAT, NF_ACCEPT)
    }

    fn chain_refuse(&self) -> Request {
        self.chain(CHAIN_REFUSE, "filter", PRIORITY_FILTER, NF_DROP)
    }

    fn chain(&self, name: &str, kind: &str, priority: i32, policy: u32) -> Request {
        let hook = Payload::default()
            .with_u32(NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT)
            .with(NFTA_HOOK_PRIORITY, &priority.to_be_bytes());
        let payload = head()
            .with_text(NFTA_CHAIN_TABLE, &self.table)
            .with_text(NFTA_CHAIN_NAME, name)
            .with_nested(NFTA_CHAIN_HOOK, &hook)
            .with_u32(NFTA_CHAIN_POLICY, policy)
            .with_text(NFTA_CHAIN_TYPE, kind);
        Request {
            what: format!("make the nftables chain {name} of type {kind}"),
            kind: message(NFT_MSG_NEWCHAIN),
            flags: CREATE,
            payload,
            acknowledged: false,
        }
    }

    fn rule(&self, rule: &Rule) -> Request {
        let expressions = rule.expressions.iter().fold(Payload::default(), |list, expression| {
            list.with_nested(NFTA_LIST_ELEM, &expression.encode())
        });
        let payload = head()
            .with_text(NFTA_RULE_TABLE, &self.table)
            .with_text(NFTA_RULE_CHAIN, rule.chain)
            .with_nested(NFTA_RULE_EXPRESSIONS, &expressions);
        let kinds: Vec<_> = rule.expressions.iter().map(Expression::kind).collect();
        Request {
            what: format!("add an nftables rule to {} ({})", rule.chain, kinds.join(", ")),
            kind: message(NFT_MSG_NEWRULE),
            flags: CREATE | APPEND,
            payload,
            acknowledged: false,
        }
    }

    /// The rules, in order.
    fn rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for block in self.local() {
            let expressions = [to_block(block), vec![Expression::Verdict(Verdict::Return)]];
            rules.push(Rule { chain: CHAIN_REDIRECT, expressions: expressions.concat() });
        }
        for &block in &self.exclude_cidrs {
            let expressions = [to_block(block), vec![Expression::Verdict(Verdict::Return)]];
            rules.push(Rule { chain: CHAIN_REDIRECT, expressions: expressions.concat() });
        }
        for &port in &self.exclude_ports {
            let expressions = [to_port(TCP, port), vec![Expression::Verdict(Verdict::Return)]];
            rules.push(Rule { chain: CHAIN_REDIRECT, expressions: expressions.concat() });
        }
        if let Some(port) = self.dns_port {
            for transport in [UDP, TCP] {
                let expressions = [to_port(transport, DNS_PORT), Expression::redirect(port)];
                rules.push(Rule { chain: CHAIN_REDIRECT, expressions: expressions.concat() });
            }
        }
        let expressions = [by(TCP), Expression::redirect(self.capture_port)].concat();
        rules.push(Rule { chain: CHAIN_REDIRECT, expressions });
        if self.refuse_others {
            // What was redirected is on its way to loopback here.
            for block in self.local() {
                let expressions = [to_block(block), vec![Expression::Verdict(Verdict::Accept)]];
                rules.push(Rule { chain: CHAIN_REFUSE, expressions: expressions.concat() });
            }
        }
        rules
    }

    /// Loopback and the own addresses, as blocks.
    fn local(&self) -> Vec<Cidr> {
        let loopback = [("127.0.0.0", 8), ("::1", 128)];
        let loopback = loopback.map(|(first, prefix)| {
            let first = first.parse().expect("it is an address");
            Cidr::new(first, prefix).expect("it is the first address of its block")
        });
        let single = |&address: &IpAddr| {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            Cidr::new(address, prefix).expect("each address is a block of one")
        };
        loopback.into_iter().chain(self.own.iter().map(single)).collect()
    }

    /// Takes the table away, with all that is in it.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::NotFound`] as the source if there is none; else as the kernel's.
    pub fn remove(&self) -> Result<(), NetlinkError> {
        transaction(vec![Request {
            what: format!("delete the nftables table inet {}", self.table),
            kind: message(NFT_MSG_DELTABLE),
            flags: 0,
            payload: head().with_text(NFTA_TABLE_NAME, &self.table),
            acknowledged: false,
        }])
    }

    /// The rules of the table that are in force, in order, chain by chain.
    ///
    /// # Errors
    /// If the kernel refuses. A table that is not there has no rules.
    pub fn installed(&self) -> Result<Vec<InstalledRule>, NetlinkError> {
        let mut netlink = open()?;
        let mut found = Vec::new();
        for message in netlink.list("list nftables rules", message(NFT_MSG_GETRULE), &head())? {
            let body = message.get(HEAD_BYTES..).unwrap_or_default();
            let named = |kind| attribute(body, kind).map(text).unwrap_or_default();
            if named(NFTA_RULE_TABLE) != self.table {
                continue;
            }
            let expressions = attribute(body, NFTA_RULE_EXPRESSIONS).unwrap_or_default();
            let expressions = attributes(expressions)
                .filter_map(|(_, element)| attribute(element, NFTA_EXPR_NAME).map(text))
                .collect();
            found.push(InstalledRule { chain: named(NFTA_RULE_CHAIN), expressions });
        }
        Ok(found)
    }

    /// Whether the table is in force as this describes it: all chains, all rules, in order.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn is_installed(&self) -> Result<bool, NetlinkError> {
        let mut netlink = open()?;
        let mut chains = Vec::new();
        for message in netlink.list("list nftables chains", message(NFT_MSG_GETCHAIN), &head())? {
            let body = message.get(HEAD_BYTES..).unwrap_or_default();
            let named = |kind| attribute(body, kind).map(text).unwrap_or_default();
            if named(NFTA_CHAIN_TABLE) == self.table {
                chains.push(named(NFTA_CHAIN_NAME));
            }
        }
        let wanted: &[&str] =
            if self.refuse_others { &[CHAIN_REDIRECT, CHAIN_REFUSE] } else { &[CHAIN_REDIRECT] };
        if chains != wanted {
            return Ok(false);
        }
        let wanted = self.rules().into_iter().map(|rule| InstalledRule {
            chain: rule.chain.to_owned(),
            expressions: rule.expressions.iter().map(|one| one.kind().to_owned()).collect(),
        });
        Ok(self.installed()? == wanted.collect::<Vec<_>>())
    }
}

/// True for packets of `transport`.
fn by(transport: u8) -> Vec<Expression> {
    vec![Expression::Transport, Expression::Equals(vec![transport])]
}

/// True for packets of `transport` to `port`.
fn to_port(transport: u8, port: u16) -> Vec<Expression> {
    let loaded = Expression::Load { header: Header::Transport, offset: 2, length: 2 };
    [by(transport), vec![loaded, Expression::Equals(port.to_be_bytes().to_vec())]].concat()
}

/// True for packets to an address of `block`.
fn to_block(block: Cidr) -> Vec<Expression> {
    // Where the destination stands. Source: RFC 791, section 3.1; RFC 8200, section 3.
    let (family, offset, first) = match block.first() {
        IpAddr::V4(first) => (libc::NFPROTO_IPV4, 16, first.octets().to_vec()),
        IpAddr::V6(first) => (libc::NFPROTO_IPV6, 24, first.octets().to_vec()),
    };
    let family = u8::try_from(family).expect("families of netfilter are small numbers");
    let length = u32::try_from(first.len()).expect("an address has at most 16 bytes");
    let mut expressions = vec![
        Expression::Family,
        Expression::Equals(vec![family]),
        Expression::Load { header: Header::Network, offset, length },
    ];
    if usize::from(block.prefix()) < first.len() * 8 {
        let bits = |place: usize| {
            let left = usize::from(block.prefix()).saturating_sub(place * 8);
            u32::try_from(left.min(8)).expect("it is at most 8")
        };
        let mask = (0..first.len()).map(|place| !0xff_u8.unbounded_shr(bits(place))).collect();
        expressions.push(Expression::Mask(mask));
    }
    expressions.push(Expression::Equals(first));
    expressions
}

/// The length of `struct nfgenmsg`.
const HEAD_BYTES: usize = 4;

/// `struct nfgenmsg` for the `inet` family.
fn head() -> Payload {
    Payload::new(&[NFPROTO_INET, 0, 0, 0])
}

fn message(kind: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | kind
}

fn open() -> Result<Netlink, NetlinkError> {
    Netlink::netfilter().map_err(|source| NetlinkError {
        what: "open a netlink socket to netfilter".to_owned(),
        source,
        said: None,
    })
}

/// Has all `requests` carried out, or none.
fn transaction(requests: Vec<Request>) -> Result<(), NetlinkError> {
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    let end = |kind: u16| Request {
        what: "begin or end a transaction of nftables".to_owned(),
        kind,
        flags: 0,
        payload: Payload::new(&[0, 0, high, low]),
        acknowledged: false,
    };
    let mut batch = vec![end(NFNL_MSG_BATCH_BEGIN)];
    batch.extend(requests);
    // A failure is always told, and told first; so many acknowledgements would not fit.
    if let Some(last) = batch.last_mut() {
        last.acknowledged = true;
    }
    batch.push(end(NFNL_MSG_BATCH_END));
    open()?.ask(&batch)
}
