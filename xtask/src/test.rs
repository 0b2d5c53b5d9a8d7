//! `cargo xtask test`: every group of tests, and an account of what ran and what did not.

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::check;
use crate::groups::{Cargo, GROUPS, Group, Kubernetes, Proof, Rights, Work};
use crate::image;
use crate::kubernetes;
use crate::packages::{self, Root};
use crate::python;
use crate::run::{self, Stopwatch, Tally};

/// What became of a group.
struct Report {
    name: &'static str,
    budget: Duration,
    took: Duration,
    tally: Tally,
    result: GroupResult,
}

enum GroupResult {
    Passed,
    Failed(String),
    LeftOut(String),
}

/// Runs the groups named in `only`, or all of them, and prints what became of each.
///
/// True if none failed and, with `CI=true`, none was left out.
///
/// # Errors
/// If the workspace cannot be read or a group's program cannot be started.
pub fn run(only: &[String]) -> Result<bool> {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    let root = Root::find();
    let asked_for = |group: &&Group| only.is_empty() || only.iter().any(|name| name == group.name);
    let mut reports = Vec::new();
    for group in GROUPS.iter().filter(asked_for) {
        println!("==== {}: {}", group.name, group.shows);
        let stopwatch = Stopwatch::start();
        let (result, tally) = match obstacle(group, root, &metadata) {
            Some(reason) => (GroupResult::LeftOut(reason), Tally::default()),
            None => run_group(group, root)?,
        };
        let took = stopwatch.read();
        println!("==== {} {:.0} s {}\n", group.name, took.as_secs_f64(), result.describe());
        reports.push(Report { name: group.name, budget: group.budget, took, tally, result });
    }
    print!("{}", table(&reports, ci));
    Ok(succeeded(&reports, ci))
}

/// Why `group` cannot run here, after installing the packages it needs; `None` if it can.
fn obstacle(group: &Group, root: Root, metadata: &Metadata) -> Option<String> {
    if let Work::Cargo(Cargo { target: Some((package, target)), .. }) = group.work
        && !has_target(metadata, package, target)
    {
        return Some(format!("there is no target `{target}` in a package `{package}` yet"));
    }
    if let Err(error) = packages::install(group.packages, root) {
        return Some(format!("{error:#}"));
    }
    let target = metadata.target_directory.as_std_path();
    if let Err(error) = python::install(group.python, target) {
        return Some(format!("{error:#}"));
    }
    if group.kubernetes != Kubernetes::Nothing
        && let Err(error) = kubernetes::install(target)
    {
        return Some(format!("{error:#}"));
    }
    if group.kubernetes == Kubernetes::ProgramsAndImage
        && let Err(error) = image::for_tests(target)
    {
        return Some(format!("{error:#}"));
    }
    match group.rights {
        Rights::None => None,
        Rights::NetworkNamespaces => no_network_namespaces(root),
    }
}

fn no_network_namespaces(root: Root) -> Option<String> {
    match root.command("unshare") {
        Err(error) => Some(format!("{error:#}")),
        Ok(mut unshare) => {
            let made = packages::succeeds(unshare.args(["--net", "true"]));
            (!made).then(|| "not even root can make network namespaces here".to_owned())
        }
    }
}

fn has_target(metadata: &Metadata, package: &str, target: &str) -> bool {
    let mut packages = metadata.packages.iter().filter(|candidate| candidate.name == package);
    packages.any(|package| package.targets.iter().any(|candidate| candidate.name == target))
}

fn run_group(group: &Group, root: Root) -> Result<(GroupResult, Tally)> {
    match &group.work {
        Work::Check => {
            let passed = check::run(check::Rules::RunElsewhere)?;
            let failed = || GroupResult::Failed("see the table of its steps".to_owned());
            Ok((if passed { GroupResult::Passed } else { failed() }, Tally::default()))
        }
        Work::Cargo(cargo) => {
            let outcome = run::stream(command(cargo, group.rights, root))?;
            let proven = match cargo.proof {
                Proof::Tests => outcome.tally.passed > 0,
                Proof::Output => outcome.said_something,
            };
            let result = if outcome.tally.failed > 0 {
                GroupResult::Failed(format!("{} tests failed", outcome.tally.failed))
            } else if !outcome.success {
                GroupResult::Failed("the command failed, see above".to_owned())
            } else if !proven {
                GroupResult::Failed("it ended well, but nothing ran".to_owned())
            } else {
                GroupResult::Passed
            };
            Ok((result, outcome.tally))
        }
    }
}

/// Has a program heed these signals whatever started it.
const SIGNALS: &str = "--default-signal=HUP,INT,QUIT";

fn command(cargo: &Cargo, rights: Rights, root: Root) -> Command {
    // What a script starts in its background ignores Ctrl-C, and so would all that is tested by it.
    let mut command = Command::new("env");
    command.arg(SIGNALS).arg(run::cargo(&[]).get_program());
    if rights != Rights::None && root == Root::Sudo {
        // Cargo builds as the ordinary user, and only the tests themselves run as root. sudo
        // drops most variables, so that they are set behind it.
        let variables = cargo.env.iter().map(|(name, value)| format!(",'{name}={value}'"));
        let runner = format!("['sudo','-n','env'{}]", variables.collect::<String>());
        command.args(["--config", &format!("target.'cfg(unix)'.runner={runner}")]);
    }
    command.args(cargo.arguments).envs(cargo.env.iter().copied());
    command
}

impl GroupResult {
    fn describe(&self) -> String {
        match self {
            GroupResult::Passed => "passed".to_owned(),
            GroupResult::Failed(why) => format!("FAILED: {why}"),
            GroupResult::LeftOut(why) => format!("LEFT OUT: {why}"),
        }
    }
}

/// True if nothing failed, something ran and, with `ci`, nothing was left out.
fn succeeded(reports: &[Report], ci: bool) -> bool {
    let count = |is: fn(&GroupResult) -> bool| reports.iter().filter(|r| is(&r.result)).count();
    let failed = count(|result| matches!(result, GroupResult::Failed(_)));
    let left_out = count(|result| matches!(result, GroupResult::LeftOut(_)));
    let ignored: u64 = reports.iter().map(|report| report.tally.ignored).sum();
    failed == 0 && left_out < reports.len() && (!ci || left_out == 0 && ignored == 0)
}

/// The account of a run. Its last line, `N passed, N failed`, counts tests, and one failure more
/// for each group that failed without a failed test: a build that broke, or a program.
fn table(reports: &[Report], ci: bool) -> String {
    let mut sum = Tally::default();
    let mut text = format!("{:<12} {:>6} {:>7}  result\n", "group", "time", "budget");
    for report in reports {
        let mut result = report.result.describe();
        if report.tally != Tally::default() {
            let Tally { passed, failed, ignored } = report.tally;
            result += &format!(" ({passed} passed, {failed} failed, {ignored} ignored)");
        }
        if report.took > report.budget {
            result += ", OVER BUDGET";
        }
        let (took, budget) = (report.took.as_secs_f64(), report.budget.as_secs());
        writeln!(text, "{:<12} {took:>4.0} s {budget:>5} s  {result}", report.name)
            .expect("a string takes all that is written to it");
        sum.add(report.tally);
        if matches!(report.result, GroupResult::Failed(_)) && report.tally.failed == 0 {
            sum.failed += 1;
        }
    }
    let left_out = |report: &Report| matches!(report.result, GroupResult::LeftOut(_));
    if reports.iter().any(left_out) || sum.ignored > 0 {
        text += "not everything ran, see above";
        text += if ci { ": with CI=true that is a failure\n" } else { "\n" };
    }
    text + &format!("{} passed, {} failed\n", sum.passed, sum.failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(result: GroupResult, passed: u64, failed: u64, ignored: u64) -> Report {
        let seconds = Duration::from_secs;
        let tally = Tally { passed, failed, ignored };
        Report { name: "unit", budget: seconds(60), took: seconds(5), tally, result }
    }

    #[test]
    fn only_ci_refuses_what_was_left_out() {
        let left_out = || report(GroupResult::LeftOut("needs root".into()), 0, 0, 0);
        let reports = [report(GroupResult::Passed, 7, 0, 0), left_out()];
        assert!(succeeded(&reports, false));
        assert!(!succeeded(&reports, true));
        let text = table(&reports, true);
        assert!(text.contains("LEFT OUT: needs root\n"), "{text}");
        assert!(text.contains("with CI=true that is a failure"), "{text}");
        assert!(text.ends_with("\n7 passed, 0 failed\n"), "{text}");
        assert!(!succeeded(&[left_out()], false), "nothing ran");
    }

    #[test]
    fn only_ci_refuses_ignored_tests() {
        let reports = [report(GroupResult::Passed, 7, 0, 1)];
        assert!(succeeded(&reports, false));
        assert!(!succeeded(&reports, true));
    }

    #[test]
    fn every_failure_is_counted() {
        let failed = || GroupResult::Failed("the command failed".into());
        let reports = [report(failed(), 7, 2, 0), report(failed(), 0, 0, 0)];
        assert!(!succeeded(&reports, false));
        let text = table(&reports, false);
        assert!(text.ends_with("\n7 passed, 3 failed\n"), "{text}");
    }

    #[test]
    fn a_group_over_its_budget_is_marked() {
        let mut late = report(GroupResult::Passed, 1, 0, 0);
        late.took = Duration::from_secs(61);
        assert!(table(&[late], false).contains("OVER BUDGET"));
    }

    fn group(arguments: &'static [&'static str], proof: Proof) -> Group {
        let work = Work::Cargo(Cargo { target: None, arguments, env: &[], proof });
        let budget = Duration::from_secs(1);
        Group {
            name: "made-up",
            shows: "",
            budget,
            packages: &[],
            python: &[],
            kubernetes: Kubernetes::Nothing,
            rights: Rights::None,
            work,
        }
    }

    #[test]
    fn a_group_in_which_nothing_ran_has_failed() {
        let why = |group: &Group| run_group(group, Root::No).unwrap().0.describe();
        let nothing_ran = "FAILED: it ended well, but nothing ran";
        assert_eq!(why(&group(&["--version"], Proof::Output)), "passed");
        assert_eq!(why(&group(&["--version"], Proof::Tests)), nothing_ran);
        assert!(why(&group(&["no-such-command"], Proof::Output)).starts_with("FAILED"));
    }

    #[test]
    fn a_group_whose_target_is_not_there_is_left_out() {
        let metadata = MetadataCommand::new().no_deps().exec().unwrap();
        assert!(has_target(&metadata, "xtask", "workspace"));
        let mut group = group(&[], Proof::Tests);
        let Work::Cargo(cargo) = &mut group.work else { unreachable!("made above") };
        cargo.target = Some(("xtask", "no-such-target"));
        let reason = obstacle(&group, Root::No, &metadata);
        let expected = "there is no target `no-such-target` in a package `xtask` yet";
        assert_eq!(reason.as_deref(), Some(expected));
    }

    #[test]
    fn without_root_the_namespaces_are_left_out() {
        let metadata = MetadataCommand::new().no_deps().exec().unwrap();
        let mut group = group(&[], Proof::Tests);
        group.rights = Rights::NetworkNamespaces;
        let reason = obstacle(&group, Root::No, &metadata).unwrap();
        assert!(reason.starts_with("unshare needs root"), "{reason}");
    }

    #[test]
    fn with_sudo_only_the_tests_run_as_root() {
        let Work::Cargo(mut cargo) = group(&["test"], Proof::Tests).work else {
            unreachable!("made above")
        };
        cargo.env = &[("WEFT_NETNS", "1")];
        let command = command(&cargo, Rights::NetworkNamespaces, Root::Sudo);
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let runner = "target.'cfg(unix)'.runner=['sudo','-n','env','WEFT_NETNS=1']";
        assert_eq!(words[2..], ["--config", runner, "test"]);
        assert_eq!((command.get_program().to_str(), &*words[0]), (Some("env"), SIGNALS));
    }
}
