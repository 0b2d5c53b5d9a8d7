//! The picture of a report: for each headline metric a group of bars, one for each peer, with the
//! spread on them.

use crate::metric::Metric;
use crate::profile::escape;
use crate::report::{Report, Spread};
use crate::scenario::Subject;

const HEADLINES: [Metric; 6] = [
    Metric::SaturationCpuUs,
    Metric::FixedCpuUs,
    Metric::AddedP50Us,
    Metric::AddedP99Us,
    Metric::BulkCpuSPerGib,
    Metric::IdleRssMib,
];

const WIDTH: f64 = 720.0;
const LABELS: f64 = 90.0;
const NUMBERS: f64 = 90.0;
const BAR: f64 = 16.0;
const GAP: f64 = 6.0;
const HEADING: f64 = 30.0;

/// A mid grey that can be read on white and on black.
const INK: &str = "#7d8590";
const OWN: &str = "#2f81f7";
const OTHERS: &str = "#a8b1bb";

/// The report as SVG.
pub fn draw(report: &Report) -> String {
    let mut body = String::new();
    let mut top = 40.0;
    text(&mut body, 8.0, 24.0, "start", "15", report.scenario.title());
    for metric in HEADLINES {
        let bars: Vec<(Subject, Spread)> = report
            .subjects()
            .into_iter()
            .filter(|subject| *subject != Subject::Direct)
            .filter_map(|subject| Some((subject, report.spread(subject, metric)?)))
            .collect();
        if !bars.is_empty() {
            top = draw_group(&mut body, metric, &bars, top);
        }
    }
    text(
        &mut body,
        8.0,
        top + 16.0,
        "start",
        "11",
        "less is better; the line is least to most over the rounds",
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" \
         font-family=\"system-ui, sans-serif\">\n{body}</svg>\n",
        top + 28.0
    )
}

/// Draws the bars of one metric from `top` down and returns where they end.
fn draw_group(body: &mut String, metric: Metric, bars: &[(Subject, Spread)], top: f64) -> f64 {
    text(body, 8.0, top + 18.0, "start", "13", metric.title());
    let longest = bars.iter().map(|(_, spread)| spread.most).fold(f64::MIN_POSITIVE, f64::max);
    let scale = |value: f64| (WIDTH - LABELS - NUMBERS) * value.max(0.0) / longest;
    let mut y = top + HEADING;
    for (subject, spread) in bars {
        let colour = if *subject == Subject::Peer(crate::peers::Peer::Weft) { OWN } else { OTHERS };
        let middle = y + BAR / 2.0;
        text(body, LABELS - 8.0, middle + 4.0, "end", "12", subject.name());
        body.push_str(&format!(
            "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
             <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"{INK}\" stroke-width=\"2\"/>\n",
            scale(spread.median),
            LABELS + scale(spread.least),
            LABELS + scale(spread.most),
        ));
        let number = format!("{:.*}", metric.decimals(), spread.median);
        text(body, LABELS + scale(spread.most) + 6.0, middle + 4.0, "start", "12", &number);
        y += BAR + GAP;
    }
    y + GAP
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, size: &str, words: &str) {
    body.push_str(&format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{INK}\">{}</text>\n",
        escape(words)
    ));
}
