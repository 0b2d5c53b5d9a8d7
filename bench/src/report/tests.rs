//! The report, from made-up runs.

use super::*;

#[test]
fn a_spread_has_its_median_in_the_middle() {
    let spread = Spread::of(vec![3.0, 1.0, 2.0]).unwrap();
    assert_eq!(spread, Spread { median: 2.0, least: 1.0, most: 3.0 });
    assert_eq!(Spread::of(vec![1.0, 2.0]).unwrap().median, 1.5);
    assert_eq!(Spread::of(vec![]), None);
    assert_eq!(spread.show(1), "2.0 [1.0–3.0]");
}

#[test]
fn numbers_are_grouped() {
    assert_eq!(number(1_234_567.0, 0), "1,234,567");
    assert_eq!(number(-1234.5, 1), "-1,234.5");
    assert_eq!(number(999.96, 1), "1,000.0");
    assert_eq!(number(-0.01, 1), "0.0");
}

fn run(subject: Subject, round: u32, values: &[(Metric, f64)]) -> Run {
    Run {
        subject,
        round,
        values: values.iter().copied().collect(),
        invalid: None,
        foreign_cpu_percent: 0.0,
        steal_percent: 0.0,
        configurations: BTreeMap::new(),
    }
}

fn report() -> Report {
    let (weft, envoy) = (Subject::Peer(Peer::Weft), Subject::Peer(Peer::Envoy));
    let cpu = Metric::SaturationCpuUs;
    let (p50, core) = (Metric::FixedP50Us, Metric::SaturationCorePercent);
    Report {
        scenario: Scenario::Http1TwoHopsMtls,
        finished_unix_s: 0,
        machine: Machine::here(false),
        settings: Settings::full(),
        versions: BTreeMap::from([(Peer::Weft, "0".to_owned())]),
        runs: vec![
            run(Subject::Direct, 1, &[(p50, 100.0), (Metric::SaturationPerS, 50.0)]),
            run(
                weft,
                1,
                &[(cpu, 10.0), (p50, 130.0), (Metric::SaturationPerS, 40.0), (core, 99.0)],
            ),
            run(envoy, 1, &[(cpu, 100.0), (p50, 200.0)]),
            run(weft, 2, &[(cpu, 30.0)]),
            run(envoy, 2, &[(cpu, 100.0)]),
        ],
    }
}

#[test]
fn ratios_pair_the_runs_of_a_round() {
    let mut report = report();
    report.derive_added_latency();
    let ratio = report.ratio(Peer::Weft, Peer::Envoy, Metric::SaturationCpuUs).unwrap();
    assert_eq!((ratio.least, ratio.median, ratio.most), (0.1, 0.2, 0.3));
    let ratio = report.ratio(Peer::Weft, Peer::Envoy, Metric::AddedP50Us).unwrap();
    assert_eq!(ratio.median, 0.3);
}

#[test]
fn promises_stand_beside_what_is() {
    let text = report().to_text();
    let line =
        text.lines().find(|line| line.contains("envoy") && line.contains("saturated")).unwrap();
    assert!(line.contains("0.20 [0.10–0.30] ×") && line.contains("≤ 0.20 ×"), "{line}");
    assert!(line.ends_with("kept"), "{line}");
}

#[test]
fn an_invalid_run_counts_for_nothing_but_a_warning() {
    let mut report = report();
    report.runs[3].invalid = Some("3 failures".to_owned());
    let spread = report.spread(Subject::Peer(Peer::Weft), Metric::SaturationCpuUs).unwrap();
    assert_eq!(spread.most, 10.0);
    assert!(
        report.warnings().iter().any(|warning| warning.contains("weft in round 2: 3 failures"))
    );
}

#[test]
fn a_slow_generator_is_confessed() {
    assert!(
        report()
            .warnings()
            .iter()
            .any(|warning| warning.contains("only 1.25 × as fast as through weft"))
    );
}
