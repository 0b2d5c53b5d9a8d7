//! The rules of nftables, against what `nft` reads.

use std::net::IpAddr;
use std::process::{Command, ExitCode};

use weft_model::Cidr;
use weft_net::nft::Redirection;

use crate::Case;
use crate::lab::{User, must, this_program};

pub const CASES: &[Case] = &[("rules are what nft reads", rules_are_what_nft_reads)];

const RULES: &str = "\
table inet weft {
	chain redirect {
		type nat hook output priority -100; policy accept;
		ip daddr 127.0.0.0/8 return
		ip6 daddr ::1 return
		ip daddr 192.0.0.8 return
		ip6 daddr fd77:6566:7400::1 return
		ip daddr 10.1.2.0/23 return
		ip daddr 192.0.2.1 return
		ip6 daddr 2001:db8::/33 return
		tcp dport 22 return
		udp dport 53 redirect to :53
		tcp dport 53 redirect to :53
		meta l4proto 6 redirect to :15001
	}

	chain refuse {
		type filter hook output priority 0; policy drop;
		ip daddr 127.0.0.0/8 accept
		ip6 daddr ::1 accept
		ip daddr 192.0.0.8 accept
		ip6 daddr fd77:6566:7400::1 accept
	}
}
";

fn redirection() -> Redirection {
    let block = |first: &str, prefix| Cidr::new(first.parse().unwrap(), prefix).unwrap();
    let own = ["192.0.0.8", "fd77:6566:7400::1"];
    Redirection {
        table: "weft".to_owned(),
        capture_port: 15001,
        dns_port: Some(53),
        own: own.iter().map(|address| address.parse::<IpAddr>().unwrap()).collect(),
        exclude_cidrs: vec![block("10.1.2.0", 23), block("192.0.2.1", 32), block("2001:db8::", 33)],
        exclude_ports: vec![22],
        refuse_others: true,
    }
}

fn rules_are_what_nft_reads(user: User) {
    let mut unshare = user.command("unshare");
    unshare.args(["--user", "--map-root-user", "--net"]).arg(this_program()).arg("--rules");
    assert_eq!(must(unshare), "ok\n");
}

fn ruleset() -> String {
    let mut nft = Command::new("nft");
    nft.args(["-nn", "list", "ruleset"]);
    must(nft)
}

/// Within a network namespace of its own.
pub fn run() -> ExitCode {
    let full = redirection();
    assert!(!full.is_installed().unwrap());
    assert_eq!(full.installed().unwrap(), []);
    full.install().unwrap();
    assert_eq!(ruleset(), RULES);
    assert!(full.is_installed().unwrap());
    assert_eq!(full.installed().unwrap().len(), 15);

    // A second one does nothing, and says what the kernel says.
    let error = full.install().unwrap_err();
    assert!(error.to_string().starts_with("cannot make the nftables table inet weft: "), "{error}");
    assert_eq!(error.source.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(ruleset(), RULES);

    // What somebody else has changed is noticed.
    let mut nft = Command::new("nft");
    nft.args(["flush", "chain", "inet", "weft", "refuse"]);
    must(nft);
    assert!(!full.is_installed().unwrap());

    full.remove().unwrap();
    assert_eq!(ruleset(), "");
    assert_eq!(full.remove().unwrap_err().source.kind(), std::io::ErrorKind::NotFound);

    // A name that nftables does not take: nothing is left of the transaction.
    let wrong = Redirection { table: "x".repeat(300), ..full.clone() };
    assert!(wrong.install().is_err());
    assert_eq!(ruleset(), "");
    let excluded = vec![full.exclude_cidrs[0]; 257];
    assert!(Redirection { exclude_cidrs: excluded, ..full.clone() }.install().is_err());
    let most = Redirection { exclude_ports: (1..=253).collect(), ..full.clone() };
    most.install().unwrap();
    assert!(most.is_installed().unwrap());
    most.remove().unwrap();

    let least = Redirection {
        dns_port: None,
        own: Vec::new(),
        exclude_cidrs: Vec::new(),
        exclude_ports: Vec::new(),
        refuse_others: false,
        ..full
    };
    least.install().unwrap();
    assert!(least.is_installed().unwrap());
    assert_eq!(ruleset().lines().count(), 8);
    println!("ok");
    ExitCode::SUCCESS
}
