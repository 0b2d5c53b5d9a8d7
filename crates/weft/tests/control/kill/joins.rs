//! Join tokens that are made and used, by two at once.

use weft_identity::JoinToken;

use super::{Cut, Found, Mesh, Work, joined};
use crate::draw::Draw;
use crate::run;

#[derive(Default)]
pub struct Joins(Vec<Case>);

/// A token that was acknowledged, for a service account of its own.
struct Case {
    account: String,
    token: JoinToken,
    uses: usize,
    /// The serial numbers of the certificates that somebody got.
    admitted: Vec<String>,
    /// How many joins got no answer.
    cut: usize,
    is_over: bool,
}

impl Work for Joins {
    async fn work(&mut self, mesh: &Mesh, draw: &mut Draw) -> Result<(), Cut> {
        let account = format!("join/account-{}", draw.next());
        let uses = 1 + draw.below(3);
        let token = mesh.token(&account, &[], u32::try_from(uses).unwrap()).await?;
        let (admitted, cut) = (Vec::new(), 0);
        let mut case = Case { account, token, uses, admitted, cut, is_over: false };
        let mut result = Ok(());
        while result.is_ok() && case.admitted.len() < uses {
            let (one, other) = tokio::join!(
                joined(&case.token, &case.account),
                joined(&case.token, &case.account)
            );
            for joined in [one, other] {
                match joined {
                    Ok(answer) => case.take(answer),
                    Err(Cut) => (case.cut, result) = (case.cut + 1, Err(Cut)),
                }
            }
        }
        self.0.push(case);
        result
    }
}

impl Joins {
    pub fn check(&mut self, found: &Found) {
        for case in &mut self.0 {
            let identity = format!("spiffe://weft.local/ns/{}", case.account.replace('/', "/sa/"));
            let holders = &found.authority.holders;
            let issued: Vec<_> = holders.iter().filter(|it| it.identity == identity).collect();
            let Case { admitted, cut, uses, account, .. } = &*case;
            for serial in admitted {
                let is_on_record = issued.iter().any(|holder| holder.serial == *serial);
                assert!(is_on_record, "{account} has the certificate {serial}");
            }
            let (counted, got) = (issued.len(), admitted.len());
            let least = if case.is_over { *uses } else { got };
            let is_right = (least..=got + *cut).contains(&counted) && counted <= *uses;
            assert!(is_right, "{account}: {counted} issued, {got} got, {cut} cut, {uses} uses");
            if !case.is_over {
                case.use_up(counted);
            }
        }
    }
}

impl Case {
    fn take(&mut self, answer: Result<String, String>) {
        match answer {
            Ok(serial) => self.admitted.push(serial),
            Err(reason) => assert!(reason.contains("is used up"), "{reason}"),
        }
        let Case { account, admitted, uses, .. } = self;
        assert!(admitted.len() <= *uses, "{account}: {} got in by {uses} uses", admitted.len());
    }

    /// Uses what is left after `counted` uses, which is neither more nor less.
    fn use_up(&mut self, counted: usize) {
        self.cut = counted - self.admitted.len();
        loop {
            let joined = run(joined(&self.token, &self.account)).unwrap();
            let is_refused = joined.is_err();
            self.take(joined);
            if is_refused {
                break;
            }
        }
        assert_eq!(self.admitted.len() + self.cut, self.uses, "{}: uses were lost", self.account);
        self.is_over = true;
    }
}
