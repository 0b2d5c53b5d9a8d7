//! What is made of the runs: tables for the terminal and for Markdown, raw results as JSON, a
//! picture.

use crate::chart;
use crate::machine::Machine;
use crate::metric::{Metric, targets};
use crate::peers::{Peer, Protocol};
use crate::scenario::{Run, Scenario, Settings, Subject};
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// How much faster than the fastest proxy the direct connection must be for the generator not to be
/// the limit.
const HEADROOM: f64 = 1.5;
/// Below this the proxies were waiting for the generator, percent of their core.
const CORE_PERCENT_LEAST: f64 = 90.0;
/// Above this, others on the machine may have moved the figures, percent of one core.
const FOREIGN_PERCENT_MOST: f64 = 20.0;

/// All that is known of one scenario.
#[derive(Serialize)]
pub struct Report {
    /// Its name.
    #[serde(serialize_with = "scenario_name")]
    pub scenario: Scenario,
    /// Seconds since 1970.
    pub finished_unix_s: u64,
    /// On what.
    pub machine: Machine,
    /// How long and how often.
    pub settings: Settings,
    /// What each peer says of its version.
    pub versions: BTreeMap<Peer, String>,
    /// Each run, in the order they ran.
    pub runs: Vec<Run>,
}

fn scenario_name<S: serde::Serializer>(
    scenario: &Scenario,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(scenario.name())
}

/// Several values of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// The spread of `values`, if there are any.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), least, most })
    }

    /// `28.8 [24.7–36.9]`, or only the median where there was one value.
    fn show(&self, decimals: usize) -> String {
        let median = number(self.median, decimals);
        if self.least == self.most {
            return median;
        }
        format!("{median} [{}–{}]", number(self.least, decimals), number(self.most, decimals))
    }
}

/// `value` with `decimals` and a comma between thousands.
fn number(value: f64, decimals: usize) -> String {
    let digits = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut grouped = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign =
        if value < 0.0 && digits.contains(|digit| ('1'..='9').contains(&digit)) { "-" } else { "" };
    format!("{sign}{grouped}{fraction}")
}

impl Report {
    /// Subtracts from each latency that of the direct connection in the same round.
    pub fn derive_added_latency(&mut self) {
        for (total, added) in
            [(Metric::FixedP50Us, Metric::AddedP50Us), (Metric::FixedP99Us, Metric::AddedP99Us)]
        {
            let direct = self.by_round(Subject::Direct, total);
            for run in self.runs.iter_mut().filter(|run| run.subject != Subject::Direct) {
                if let (Some(own), Some(direct)) = (run.values.get(&total), direct.get(&run.round))
                {
                    let difference = own - direct;
                    run.values.insert(added, difference);
                }
            }
        }
    }

    /// The values of `metric` in the valid runs of `subject`.
    fn by_round(&self, subject: Subject, metric: Metric) -> BTreeMap<u32, f64> {
        let runs = self.runs.iter().filter(|run| run.subject == subject && run.invalid.is_none());
        runs.filter_map(|run| Some((run.round, *run.values.get(&metric)?))).collect()
    }

    /// The spread of `metric` over the valid runs of `subject`.
    pub fn spread(&self, subject: Subject, metric: Metric) -> Option<Spread> {
        Spread::of(self.by_round(subject, metric).into_values().collect())
    }

    /// The spread of the ratios of `metric`, `base` to `peer`, within each round.
    fn ratio(&self, base: Peer, peer: Peer, metric: Metric) -> Option<Spread> {
        let below = self.by_round(Subject::Peer(peer), metric);
        let above = self.by_round(Subject::Peer(base), metric);
        let ratios = above.iter().filter_map(|(round, above)| {
            let below = below.get(round)?;
            // An added latency may come out negative in the noise; a ratio then says nothing.
            (*below > 0.0 && *above > 0.0).then(|| above / below)
        });
        Spread::of(ratios.collect())
    }

    /// Those measured, in the order they ran.
    pub fn subjects(&self) -> Vec<Subject> {
        let all: BTreeSet<Subject> = self.runs.iter().map(|run| run.subject).collect();
        all.into_iter().collect()
    }

    fn peers(&self) -> Vec<Peer> {
        let peer = |subject| match subject {
            Subject::Peer(peer) => Some(peer),
            Subject::Direct => None,
        };
        self.subjects().into_iter().filter_map(peer).collect()
    }

    fn metrics(&self) -> BTreeSet<Metric> {
        self.runs.iter().flat_map(|run| run.values.keys().copied()).collect()
    }

    /// Everything in a table: a row for each subject, a column for each metric.
    fn measured(&self) -> Table {
        let metrics = self.metrics();
        let mut header = vec![String::new()];
        header.extend(metrics.iter().map(|metric| metric.title().to_owned()));
        let rows = self.subjects().into_iter().map(|subject| {
            let cell = |metric: &Metric| {
                let spread = self.spread(subject, *metric);
                spread.map_or("–".to_owned(), |spread| spread.show(metric.decimals()))
            };
            let mut row = vec![subject.name().to_owned()];
            row.extend(metrics.iter().map(cell));
            row
        });
        Table { header, rows: rows.collect() }
    }

    /// The first peer (Weft, where it ran) against each other one, and against what is promised.
    fn compared(&self) -> Option<Table> {
        let peers = self.peers();
        let (base, others) = peers.split_first()?;
        let targets = targets();
        let promised = |metric: Metric, against: Option<Peer>| {
            let mut targets = targets.iter().filter(|_| *base == Peer::Weft);
            let target = targets.find(|target| {
                (target.scenario, target.metric, target.against) == (self.scenario, metric, against)
            });
            target.map(|target| target.most)
        };
        let mut rows = Vec::new();
        for metric in self.metrics().into_iter().filter(|metric| metric.is_compared()) {
            for other in others {
                let Some(ratio) = self.ratio(*base, *other, metric) else { continue };
                let mut row = vec![metric.title().to_owned(), other.name().to_owned()];
                row.push(format!("{} ×", ratio.show(2)));
                row.extend(verdict(ratio, promised(metric, Some(*other)), "×", 2));
                rows.push(row);
            }
            if let Some(most) = promised(metric, None)
                && let Some(amount) = self.spread(Subject::Peer(*base), metric)
            {
                let mut row = vec![metric.title().to_owned(), "–".to_owned()];
                row.push(amount.show(metric.decimals()));
                row.extend(verdict(amount, Some(most), "", 0));
                rows.push(row);
            }
        }
        if rows.is_empty() {
            return None;
        }
        let header = [&format!("{} in", base.name()), "against", "is", "may be", ""];
        Some(Table { header: header.map(str::to_owned).to_vec(), rows })
    }

    /// What a reader must know before believing the tables.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for run in &self.runs {
            let name = format!("{} in round {}", run.subject.name(), run.round);
            if let Some(reason) = &run.invalid {
                warnings.push(format!("INVALID, left out: {name}: {reason}"));
            }
        }
        // Beside the direct connection the proxies' core is free for others, who do no harm there.
        let loaded: Vec<&Run> =
            self.runs.iter().filter(|run| run.subject != Subject::Direct).collect();
        let runs = loaded.len();
        let worst = |percents: &[f64]| percents.iter().copied().fold(0.0, f64::max);
        let too_much = |percent: fn(&Run) -> f64| {
            let percents = loaded.iter().map(|run| percent(run));
            percents.filter(|percent| *percent > FOREIGN_PERCENT_MOST).collect::<Vec<_>>()
        };
        let foreign = too_much(|run| run.foreign_cpu_percent);
        if !foreign.is_empty() {
            let (count, most) = (foreign.len(), worst(&foreign));
            warnings.push(format!(
                "others used up to {most:.0} % of a core beside {count} of {runs} runs; \
                 where they cannot be stopped, --priority helps"
            ));
        }
        let steal = too_much(|run| run.steal_percent);
        if !steal.is_empty() {
            let (count, most) = (steal.len(), worst(&steal));
            warnings.push(format!(
                "the host withheld up to {most:.0} % of a core in {count} of {runs} runs"
            ));
        }
        let direct = self.spread(Subject::Direct, Metric::SaturationPerS);
        for peer in self.peers() {
            let subject = Subject::Peer(peer);
            let Some(rate) = self.spread(subject, Metric::SaturationPerS) else { continue };
            let core = self.spread(subject, Metric::SaturationCorePercent);
            let (Some(direct), Some(core)) = (direct, core) else { continue };
            let (name, headroom, core) = (peer.name(), direct.median / rate.median, core.median);
            if headroom < HEADROOM {
                warnings.push(format!(
                    "the generator alone is only {headroom:.2} × as fast as through {name}, \
                     which used {core:.0} % of its core"
                ));
            }
            if core < CORE_PERCENT_LEAST {
                warnings.push(format!(
                    "{name} used only {core:.0} % of its core: others or the generator held it up"
                ));
            }
        }
        warnings
    }

    fn provenance(&self) -> Vec<String> {
        let versions = self.versions.iter().map(|(peer, version)| match peer {
            Peer::Weft => format!("Weft {version}"),
            _ => version.clone(),
        });
        let versions: Vec<String> = versions.collect();
        vec![
            format!("Machine: {}.", self.machine.describe()),
            format!("Versions: {}.", versions.join("; ")),
            how_long(self.scenario, &self.settings),
        ]
    }

    /// For the terminal.
    pub fn to_text(&self) -> String {
        let mut text = format!("\n{}: {}\n", self.scenario.name(), self.scenario.title());
        for line in self.provenance() {
            text += &format!("  {line}\n");
        }
        text += &format!("\n{}", self.measured().transposed().to_text());
        if let Some(compared) = self.compared() {
            text += &format!("\n{}", compared.to_text());
        }
        for warning in self.warnings() {
            text += &format!("\n! {warning}");
        }
        text + "\n"
    }

    fn to_markdown(&self) -> String {
        let name = self.scenario.name();
        let mut text = format!("# {}\n\n![{name}]({name}.svg)\n", self.scenario.title());
        text += &format!("\n{}", self.measured().transposed().to_markdown());
        if let Some(compared) = self.compared() {
            text += &format!("\n{}", compared.to_markdown());
        }
        let warnings = self.warnings();
        if !warnings.is_empty() {
            text += "\n";
        }
        for warning in warnings {
            text += &format!("- {}\n", warning.lines().next().unwrap_or_default());
        }
        text += "\n";
        for line in self.provenance() {
            text += &format!("{line}\n");
        }
        text + &format!(
            "\nRaw results and configurations: [{name}.json]({name}.json); how to read this: [README](../README.md).\n"
        )
    }

    /// Writes JSON, Markdown and the picture into `folder`, named by the scenario.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let file = |ending| folder.join(format!("{}.{ending}", self.scenario.name()));
        fs::write(file("json"), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(file("md"), self.to_markdown())?;
        fs::write(file("svg"), chart::draw(self))?;
        Ok(())
    }
}

/// How often and how long, in a sentence.
fn how_long(scenario: Scenario, settings: &Settings) -> String {
    let rounds = settings.rounds;
    if scenario.protocol() == Protocol::Tcp {
        let mib = settings.bulk_bytes >> 20;
        return format!("Median [least–most] of {rounds} rounds of {mib} MiB each way, in turns.");
    }
    let (slices, saturation) = (settings.slices, settings.saturation);
    let fixed = settings.fixed.map_or(String::new(), |fixed| format!(" and {fixed:?} at 1,000/s"));
    format!(
        "Median [least–most] of {rounds} rounds, in each {slices} turns of {saturation:?} saturated{fixed}."
    )
}

/// The two last cells of a row: what is promised, and whether it is kept.
fn verdict(is: Spread, most: Option<f64>, unit: &str, decimals: usize) -> [String; 2] {
    let Some(most) = most else { return [String::new(), String::new()] };
    let kept = if is.median <= most { "kept" } else { "MISSED" };
    [format!("≤ {most:.decimals$} {unit}").trim().to_owned(), kept.to_owned()]
}

/// Rows of cells below a header.
struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns as rows, for a table with more metrics than subjects.
    fn transposed(self) -> Self {
        let all: Vec<Vec<String>> = std::iter::once(self.header).chain(self.rows).collect();
        let columns = all.first().map_or(0, Vec::len);
        let mut turned =
            (0..columns).map(|column| all.iter().map(|row| row[column].clone()).collect());
        Self { header: turned.next().unwrap_or_default(), rows: turned.collect() }
    }

    fn to_text(&self) -> String {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let width =
            |column: usize| lines().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        lines().map(line).collect()
    }

    fn to_markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<String> = (0..self.header.len())
            .map(|column| if column == 0 { "---" } else { "---:" }.to_owned())
            .collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        line(&self.header) + &line(&rule) + &rows
    }
}

#[cfg(test)]
mod tests;
