//! Laws of authorization, on policies and attempts that are drawn.

use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use weft_model::{
    Cidr, ExactValue, HeaderCondition, HeaderName, HttpPath, Method, Namespace, Operation,
    PathPattern, Peer,
};

use super::tests::{head, identity, own, policy, port};
use super::*;

/// An attempt, with what it borrows.
#[derive(Clone, Debug)]
struct Drawn {
    peer: Option<SpiffeId>,
    address: IpAddr,
    port: Port,
    http: Option<RequestHead>,
}

impl Drawn {
    fn attempt(&self) -> Attempt<'_> {
        let Drawn { peer, address, port, http } = self;
        Attempt { peer: peer.as_ref(), address: *address, port: *port, http: http.as_ref() }
    }
}

fn identities() -> impl Strategy<Value = SpiffeId> {
    let texts = ["mesh.test/ns/a/sa/x", "mesh.test/ns/a/sa/y", "mesh.test/ns/b/sa/x"];
    select([&texts[..], &["other.test/ns/a/sa/x"]].concat()).prop_map(identity)
}

fn blocks() -> impl Strategy<Value = Cidr> {
    let blocks = [("10.0.0.0", 8), ("10.0.0.0", 31), ("fd00::", 8), ("0.0.0.0", 0)];
    select(blocks.to_vec())
        .prop_map(|(first, prefix)| Cidr::new(first.parse().unwrap(), prefix).unwrap())
}

fn accounts() -> impl Strategy<Value = weft_model::ObjectName> {
    select(vec!["a/x", "a/y", "b/x"]).prop_map(|text| text.parse().unwrap())
}

fn namespaces() -> impl Strategy<Value = Namespace> {
    select(vec!["a", "b"]).prop_map(|text| Namespace::new(text).unwrap())
}

fn peers() -> impl Strategy<Value = Peer> {
    let wanted = (
        weighted(0.2, identities()),
        weighted(0.2, accounts()),
        weighted(0.3, namespaces()),
        weighted(0.3, blocks()),
    );
    let excluded = (
        btree_set(identities(), 0..2),
        btree_set(accounts(), 0..2),
        btree_set(namespaces(), 0..2),
        btree_set(blocks(), 0..2),
    );
    (wanted, excluded).prop_map(|(wanted, excluded)| {
        let (identity, service_account, namespace, cidr) = wanted;
        let (not_identities, not_service_accounts, not_namespaces, not_cidrs) = excluded;
        Peer {
            identity,
            service_account,
            namespace,
            cidr,
            not_identities,
            not_service_accounts,
            not_namespaces,
            not_cidrs,
        }
    })
}

fn patterns() -> impl Strategy<Value = PathPattern> {
    let exact = select(vec!["/", "/a", "/a/b", "/b/", "/%61"])
        .prop_map(|path| PathPattern::Exact(HttpPath::new(path).unwrap()));
    let below = select(vec!["/", "/a/", "/b/"])
        .prop_map(|path| PathPattern::Below(HttpPath::new(path).unwrap()));
    prop_oneof![exact, below]
}

fn conditions() -> impl Strategy<Value = HeaderCondition> {
    let names = select(vec!["x-a", "x-b", "host"]).prop_map(|name| HeaderName::new(name).unwrap());
    let values =
        select(vec!["1", "2", "1, 2", "", "cart"]).prop_map(|v| ExactValue::new(v).unwrap());
    (names, of(values)).prop_map(|(name, value)| HeaderCondition { name, value })
}

fn operations() -> impl Strategy<Value = Operation> {
    let ports = subsequence(vec![port(80), port(81)], 0..=1);
    let methods = subsequence(vec!["GET", "POST"], 0..=1);
    let parts = (ports, methods, btree_set(patterns(), 0..3), vec(conditions(), 0..2));
    parts.prop_map(|(ports, methods, paths, headers)| Operation {
        ports: ports.into_iter().collect(),
        methods: methods.into_iter().map(|method| Method::new(method).unwrap()).collect(),
        paths,
        headers,
    })
}

fn rules() -> impl Strategy<Value = Rule> {
    (of(vec(peers(), 0..3)), of(vec(operations(), 0..3))).prop_map(|(from, to)| Rule { from, to })
}

/// Up to four policies, each with a name of its own.
fn policies() -> impl Strategy<Value = Vec<Arc<Policy>>> {
    let lists = (of(vec(rules(), 0..3)), vec(rules(), 0..2), vec(rules(), 0..2));
    vec(lists, 0..4).prop_map(|drawn| {
        let named = drawn.into_iter().enumerate();
        named
            .map(|(at, (allow, deny, audit))| policy(&format!("p{at}"), allow, deny, audit))
            .collect()
    })
}

fn unguarded() -> impl Strategy<Value = UnguardedPolicy> {
    select(vec![UnguardedPolicy::AllowMesh, UnguardedPolicy::Audit, UnguardedPolicy::Deny])
}

fn attempts() -> impl Strategy<Value = Drawn> {
    let addresses = select(vec!["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1", "fd00::1", "::1"]);
    let targets = vec!["/", "/a", "/a?/b", "/a/b", "/b/", "/a%2Fb", "//a", "/a%5Cb", "/c", "/a;b"];
    let fields = vec!["", "X-A: 1\r\n", "x-a: 1\r\nX-A: 2\r\n", "x-b: 2\r\n", "x_b:\r\n"];
    let http = (select(vec!["GET", "POST", "get"]), select(targets), select(fields));
    let http = weighted(0.8, http.prop_map(|(method, target, f)| head(method, target, f)));
    let ports = select(vec![port(80), port(81)]);
    (of(identities()), addresses, ports, http).prop_map(|(peer, address, port, http)| Drawn {
        peer,
        address: address.parse().unwrap(),
        port,
        http,
    })
}

/// The same rules, written down as one reads them, without regard to cost. `None` of the inner
/// functions: it cannot be evaluated.
mod naive {
    use super::*;

    pub(super) fn judge(
        policies: &[Arc<Policy>],
        unguarded: UnguardedPolicy,
        attempt: &Attempt<'_>,
    ) -> Result<(), Why> {
        let of = |list: fn(&AuthorizationPolicy) -> Vec<Rule>| -> Vec<Rule> {
            policies
                .iter()
                .flat_map(|policy| {
                    let Policy::Authorization(policy) = &**policy;
                    list(policy)
                })
                .collect()
        };
        let deny = of(|policy| policy.deny.clone());
        let allow = of(|policy| policy.allow.clone().unwrap_or_default());
        let is_closed = policies.iter().any(|policy| {
            let Policy::Authorization(policy) = &**policy;
            policy.allow.is_some()
        });
        let denials: Vec<_> = deny.iter().map(|rule| matches(rule, attempt)).collect();
        if denials.contains(&Some(true)) {
            return Err(Why::DenyRule);
        }
        if denials.contains(&None) {
            return Err(Why::CannotEvaluate);
        }
        if let Some(head) = attempt.http {
            let path = head.path().to_ascii_lowercase();
            let is_ambiguous = ["%2f", "%5c", "//", ";"].iter().any(|part| path.contains(part));
            let is_guarded = deny
                .iter()
                .chain(&allow)
                .flat_map(|rule| rule.to.iter().flatten())
                .any(|to| !to.paths.is_empty() && is_at(to, attempt.port));
            if is_ambiguous && is_guarded {
                return Err(Why::CannotEvaluate);
            }
        }
        let is_own = attempt.peer.is_some_and(|peer| peer.trust_domain().as_str() == "mesh.test");
        match (is_closed, unguarded) {
            (true, _) => {
                let allowed: Vec<_> = allow.iter().map(|rule| matches(rule, attempt)).collect();
                match attempt.http {
                    _ if allowed.contains(&Some(true)) => Ok(()),
                    None if allowed.contains(&None) => Err(Why::CannotEvaluate),
                    _ => Err(Why::NoAllowRule),
                }
            }
            (false, UnguardedPolicy::Deny) => Err(Why::UnguardedDeny),
            (false, _) if is_own => Ok(()),
            (false, _) => Err(Why::NoIdentity),
        }
    }

    fn is_at(operation: &Operation, port: Port) -> bool {
        operation.ports.is_empty() || operation.ports.contains(&port)
    }

    fn matches(rule: &Rule, attempt: &Attempt<'_>) -> Option<bool> {
        if let Some(from) = &rule.from
            && !from.iter().any(|peer| means(peer, attempt))
        {
            return Some(false);
        }
        let Some(to) = &rule.to else { return Some(true) };
        let found: Vec<_> = to.iter().map(|operation| covers(operation, attempt)).collect();
        if found.contains(&Some(true)) {
            Some(true)
        } else if found.contains(&None) {
            None
        } else {
            Some(false)
        }
    }

    fn means(peer: &Peer, attempt: &Attempt<'_>) -> bool {
        let id = attempt.peer.map(ToString::to_string).unwrap_or_default();
        let is = |wanted: &SpiffeId| wanted.to_string() == id;
        let is_account = |account: &weft_model::ObjectName| {
            let (ns, name) = (account.namespace(), account.name());
            id == format!("spiffe://mesh.test/ns/{ns}/sa/{name}")
        };
        let is_in = |namespace: &Namespace| {
            id.starts_with(&format!("spiffe://mesh.test/ns/{}/", namespace.as_str()))
        };
        let is_from = |block: &Cidr| block.contains(attempt.address.to_canonical());
        let wanted = [
            peer.identity.iter().all(is),
            peer.service_account.iter().all(is_account),
            peer.namespace.iter().all(is_in),
            peer.cidr.iter().all(is_from),
        ];
        let excluded = [
            peer.not_identities.iter().any(is),
            peer.not_service_accounts.iter().any(is_account),
            peer.not_namespaces.iter().any(is_in),
            peer.not_cidrs.iter().any(is_from),
        ];
        wanted == [true; 4] && excluded == [false; 4]
    }

    fn covers(operation: &Operation, attempt: &Attempt<'_>) -> Option<bool> {
        if !is_at(operation, attempt.port) {
            return Some(false);
        }
        if !operation.needs_http() {
            return Some(true);
        }
        let head = attempt.http?;
        let one_of = |list: &BTreeSet<Method>, found: &str| {
            list.is_empty() || list.iter().any(|method| method.as_str() == found)
        };
        let is_spelled = one_of(&operation.methods, head.method());
        let may_be = one_of(&operation.methods, &head.method().to_ascii_uppercase());
        let path = operation.paths.iter().any(|pattern| match pattern {
            PathPattern::Exact(path) => head.path() == path.as_str().replace("%61", "a"),
            PathPattern::Below(path) => head.path().starts_with(path.as_str()),
        });
        let headers: Vec<_> = operation.headers.iter().map(|wanted| has(wanted, head)).collect();
        let path = operation.paths.is_empty() || path;
        if !may_be || !path || headers.contains(&Some(false)) {
            return Some(false);
        }
        if headers.contains(&None) || !is_spelled { None } else { Some(true) }
    }

    fn has(wanted: &HeaderCondition, head: &RequestHead) -> Option<bool> {
        let name = wanted.name.as_str();
        let mut values: Vec<_> = head.fields.values(name).collect();
        if name == "host" {
            values = vec![head.authority().as_bytes()];
        }
        let has_alias = head.fields.values(&name.replace('-', "_")).next().is_some();
        let has_alias = has_alias && name.contains('-');
        if has_alias && (wanted.value.is_some() || values.is_empty()) {
            return None;
        }
        let Some(value) = &wanted.value else { return Some(!values.is_empty()) };
        match values[..] {
            [] => Some(false),
            [found] => Some(found == value.as_str().as_bytes()),
            _ => None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_naive_reading_agrees(
        policies in policies(),
        unguarded in unguarded(),
        drawn in vec(attempts(), 8),
    ) {
        let authorizer = Authorizer::new(policies.clone(), unguarded, own());
        for drawn in &drawn {
            let attempt = drawn.attempt();
            let found = match authorizer.judge(&attempt) {
                Decision::Allowed { .. } => Ok(()),
                Decision::Denied { why, .. } => Err(why),
            };
            prop_assert_eq!(found, naive::judge(&policies, unguarded, &attempt), "{:?}", drawn);
        }
    }

    #[test]
    fn the_order_of_policies_changes_nothing(
        (policies, shuffled) in policies().prop_flat_map(|policies| {
            (Just(policies.clone()), Just(policies).prop_shuffle())
        }),
        unguarded in unguarded(),
        drawn in vec(attempts(), 4),
    ) {
        let authorizer = Authorizer::new(policies, unguarded, own());
        let other = Authorizer::new(shuffled, unguarded, own());
        for drawn in &drawn {
            let attempt = drawn.attempt();
            prop_assert_eq!(authorizer.judge(&attempt), other.judge(&attempt));
            let audits: Vec<_> = authorizer.audits(&attempt).collect();
            prop_assert_eq!(audits, other.audits(&attempt).collect::<Vec<_>>());
        }
    }

    #[test]
    fn another_deny_never_lets_more_through(
        (policies, at) in policies().prop_flat_map(|policies| {
            let count = policies.len();
            (Just(policies), 0..=count)
        }),
        rule in rules(),
        drawn in vec(attempts(), 8),
    ) {
        let before = Authorizer::new(policies.clone(), UnguardedPolicy::AllowMesh, own());
        let mut more = policies;
        more.insert(at, policy("q", None, vec![rule], vec![]));
        let after = Authorizer::new(more, UnguardedPolicy::AllowMesh, own());
        for drawn in &drawn {
            let attempt = drawn.attempt();
            let is_allowed = after.judge(&attempt).is_allowed();
            prop_assert!(!is_allowed || before.judge(&attempt).is_allowed(), "{:?}", drawn);
        }
    }

    #[test]
    fn another_allow_never_lets_through_what_a_deny_refuses(
        policies in policies(),
        allow in vec(rules(), 0..3),
        drawn in vec(attempts(), 8),
    ) {
        let before = Authorizer::new(policies.clone(), UnguardedPolicy::AllowMesh, own());
        let mut more = policies;
        more.push(policy("q", Some(allow), vec![], vec![]));
        let after = Authorizer::new(more, UnguardedPolicy::AllowMesh, own());
        for drawn in &drawn {
            let attempt = drawn.attempt();
            let before = before.judge(&attempt);
            if matches!(&before, Decision::Denied { why: Why::DenyRule, .. }) {
                prop_assert_eq!(before, after.judge(&attempt));
            } else if let Decision::Denied { by, why: Why::CannotEvaluate } = &before
                && by.as_ref().is_none_or(|rule| rule.list == RuleList::Deny)
            {
                prop_assert!(!after.judge(&attempt).is_allowed());
            }
        }
    }

    #[test]
    fn what_is_in_audit_changes_nothing_and_tells_what_it_would_change(
        in_force in policies(),
        in_audit in policies(),
        unguarded in unguarded(),
        drawn in vec(attempts(), 4),
    ) {
        // Rules that are for audit in any case are another matter.
        let named = |mode, (at, policy): (usize, &Arc<Policy>)| {
            let Policy::Authorization(policy) = &**policy;
            let name = format!("{mode:?}-{at}").to_lowercase();
            let name = weft_model::ObjectName::new("shop", &name).unwrap();
            let policy = AuthorizationPolicy { name, mode, audit: vec![], ..policy.clone() };
            Arc::new(Policy::Authorization(policy))
        };
        let of = |mode, policies: &[Arc<Policy>]| -> Vec<Arc<Policy>> {
            policies.iter().enumerate().map(|one| named(mode, one)).collect()
        };
        let by_mesh = |policies: &[Arc<Policy>], unguarded| {
            Authorizer::new(policies.iter().cloned(), unguarded, own())
        };
        let made = |policies: &[Arc<Policy>]| by_mesh(policies, unguarded);
        let enforced = of(PolicyMode::Enforce, &in_force);
        let with_audit = [enforced.clone(), of(PolicyMode::Audit, &in_audit)].concat();
        // Names differ, so that none takes the place of another.
        let in_earnest: Vec<_> = in_audit.iter().enumerate().map(|(at, policy)| {
            named(PolicyMode::Enforce, (at + in_force.len(), policy))
        }).collect();
        let unless_in_audit = match unguarded {
            UnguardedPolicy::Audit => UnguardedPolicy::Deny,
            other => other,
        };
        let in_earnest = by_mesh(&[enforced.clone(), in_earnest].concat(), unless_in_audit);
        let (enforced, with_audit) = (made(&enforced), made(&with_audit));
        for drawn in &drawn {
            let attempt = drawn.attempt();
            let now = with_audit.judge(&attempt);
            prop_assert_eq!(&now, &enforced.judge(&attempt));
            let only_mesh = enforced.audits(&attempt).all(|told| told == Audited::Mesh);
            prop_assert!(only_mesh);
            if now.is_allowed() {
                let is_told = with_audit.audits(&attempt).next().is_some();
                prop_assert_eq!(is_told, !in_earnest.judge(&attempt).is_allowed(), "{:?}", drawn);
            }
        }
    }

    #[test]
    fn audit_rules_are_the_denials_that_they_would_be(
        rules in vec(rules(), 1..4),
        drawn in vec(attempts(), 4),
    ) {
        let audit = policy("p", None, vec![], rules.clone());
        let audit = Authorizer::new([audit], UnguardedPolicy::AllowMesh, own());
        for drawn in &drawn {
            let attempt = drawn.attempt();
            let found: Vec<_> = audit.audits(&attempt).filter_map(|told| match told {
                Audited::Rule(rule) => rule.index,
                Audited::Mesh => None,
            }).collect();
            for (at, rule) in rules.iter().enumerate() {
                let deny = policy("p", None, vec![rule.clone()], vec![]);
                let deny = Authorizer::new([deny], UnguardedPolicy::AllowMesh, own());
                let by_rule = matches!(deny.judge(&attempt), Decision::Denied { by: Some(_), .. });
                prop_assert_eq!(found.contains(&at), by_rule, "{:?}", drawn);
            }
        }
    }
}
