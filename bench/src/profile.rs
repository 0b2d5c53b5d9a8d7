//! Where the CPU goes: `perf` samples the proxies while they are loaded, and the stacks are drawn
//! as a flame graph.

use crate::clock;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A `perf record` under way. If it is dropped before it is finished, `perf` ends with the proxies
/// it watches.
pub struct Recording {
    perf: Child,
    folder: PathBuf,
    name: String,
}

impl Recording {
    /// Samples `pids` 499 times a second of their CPU time from here on.
    pub fn start(pids: &[u32], folder: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let perf = Command::new("perf")
            .args(["record", "--quiet", "-e", "cpu-clock", "-F", "499", "--call-graph", "fp"])
            .args(["-p", &pids.join(",")])
            .arg("-o")
            .arg(folder.join(format!("{name}.data")))
            .stdout(Stdio::null())
            .spawn()
            .context("--profile needs `perf` (Debian: linux-perf)")?;
        clock::pause(Duration::from_millis(300));
        Ok(Self { perf, folder: folder.to_owned(), name: name.to_owned() })
    }

    /// Ends the sampling and draws the graph.
    pub fn finish(mut self) -> Result<()> {
        let pid = i32::try_from(self.perf.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("perf has a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT)
            .context("perf ended early")?;
        self.perf.wait()?;
        let data = self.folder.join(format!("{}.data", self.name));
        let output = Command::new("perf")
            .args(["script", "--no-inline", "-F", "comm,ip,sym", "-i"])
            .arg(&data)
            .stderr(Stdio::null())
            .output()?;
        ensure!(output.status.success(), "perf script failed on {}", data.display());
        let mut root = Frame::default();
        for stack in stacks(&String::from_utf8_lossy(&output.stdout)) {
            root.add(stack.iter().map(String::as_str));
        }
        ensure!(root.samples > 0, "perf took no samples");
        let picture = self.folder.join(format!("{}.svg", self.name));
        fs::write(&picture, draw(&root, &self.name))?;
        println!("  flame graph of {} samples: {}", root.samples, picture.display());
        Ok(())
    }
}

/// The stacks in the output of `perf script`, outermost frame first, each below the name of its
/// thread.
fn stacks(script: &str) -> Vec<Vec<String>> {
    let mut stacks = Vec::new();
    for sample in script.split("\n\n") {
        let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
        let Some(thread) = lines.next() else { continue };
        let mut stack: Vec<String> = lines.map(|line| symbol(line).to_owned()).collect();
        stack.push(thread.trim().to_owned());
        stack.reverse();
        stacks.push(stack);
    }
    stacks
}

/// The function in a line such as `ffffffff8123 tcp_sendmsg`, without the hash Rust puts at its
/// end.
fn symbol(line: &str) -> &str {
    let line = line.trim();
    let name = line.split_once(' ').map_or(line, |(_, name)| name);
    match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 => name,
        _ => name,
    }
}

/// A function as called from one stack, with what it called.
#[derive(Default)]
struct Frame {
    samples: u64,
    calls: BTreeMap<String, Frame>,
}

impl Frame {
    fn add<'a>(&mut self, stack: impl Iterator<Item = &'a str>) {
        self.samples += 1;
        let mut frame = self;
        for name in stack {
            frame = frame.calls.entry(name.to_owned()).or_default();
            frame.samples += 1;
        }
    }

    fn depth(&self) -> usize {
        self.calls.values().map(|call| 1 + call.depth()).max().unwrap_or(0)
    }
}

const WIDTH: f64 = 1600.0;
const ROW: f64 = 17.0;
const NARROWEST: f64 = 0.4;
const LETTER: f64 = 6.6;

fn draw(root: &Frame, title: &str) -> String {
    let height = (root.depth() as f64 + 2.0) * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"11\">\n<text x=\"4\" y=\"12\">{}, {} samples</text>\n",
        escape(title),
        root.samples
    );
    draw_calls(root, root.samples, 0.0, height - ROW, &mut svg);
    svg.push_str("</svg>\n");
    svg
}

/// Draws what `frame` called side by side from `left`, at `top`, and what these called above them.
fn draw_calls(frame: &Frame, total: u64, mut left: f64, top: f64, svg: &mut String) {
    for (name, call) in &frame.calls {
        let width = WIDTH * call.samples as f64 / total as f64;
        if width >= NARROWEST {
            let percent = 100.0 * call.samples as f64 / total as f64;
            let hue = name.bytes().fold(0_u32, |hue, byte| (hue * 31 + u32::from(byte)) % 50);
            let fits = |(position, _): &(usize, char)| (*position as f64 + 1.0) * LETTER < width;
            let label: String =
                name.chars().enumerate().take_while(fits).map(|(_, letter)| letter).collect();
            svg.push_str(&format!(
                "<g><title>{} {percent:.1} %</title><rect x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" \
                 height=\"{ROW}\" fill=\"hsl({hue},85%,65%)\" stroke=\"white\" stroke-width=\"0.5\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{}</text></g>\n",
                escape(name),
                left + 2.0,
                top + 12.0,
                escape(&label)
            ));
            draw_calls(call, total, left, top - ROW, svg);
        }
        left += width;
    }
}

/// `text` with the letters that mean something in XML replaced.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
