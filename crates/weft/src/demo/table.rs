//! What the demo shows while it runs: a table that is drawn again and again, or plain lines.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::latency::Lately;
use super::tries::{self, Try};

/// What there is to show at a moment.
pub struct View {
    /// How long requests have been sent for.
    pub elapsed: Duration,
    /// How many processes there are.
    pub processes: usize,
    /// Where a browser finds the shop.
    pub page: String,
    /// A row for each instance, the visitors first.
    pub rows: Vec<Row>,
    /// How many requests were served, and of how many the caller has proved its identity.
    pub served: u64,
    /// See `served`.
    pub proved: u64,
    /// Which root is trusted, and how its replacement goes on.
    pub trust: String,
    /// What went wrong last, and how long ago.
    pub failure: Option<(Duration, String)>,
    /// Where the commands are to be run, as a shell takes it.
    pub directory: String,
    /// What to try.
    pub tries: Vec<Try>,
}

/// An instance of a service.
pub struct Row {
    /// The Service.
    pub service: String,
    /// The instance.
    pub instance: String,
    /// Its process.
    pub process: Option<u32>,
    /// How it did in the last seconds.
    pub lately: Lately,
    /// How many requests have failed so far.
    pub failed: u64,
    /// Which share of the Service's requests it got, where there are several instances.
    pub share: Option<f64>,
    /// How it is.
    pub state: String,
}

/// The table as lines.
pub fn lines(view: &View) -> Vec<String> {
    let View { elapsed, processes, page, rows, served, proved, trust, .. } = view;
    let View { failure, directory, tries, .. } = view;
    let seconds = elapsed.as_secs();
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let mut lines = vec![
        format!(
            "A tea shop in a mesh of {processes} processes, {minutes}:{seconds:02}; its page: \
             {page}"
        ),
        format!(
            "{:<9} {:<10} {:>7} {:>6} {:>6} {:>7} {:>7} {:>5}  {}",
            "SERVICE",
            "INSTANCE",
            "PROCESS",
            "REQ/S",
            "FAILED",
            "P50 ms",
            "P99 ms",
            "SHARE",
            "STATE"
        ),
    ];
    for Row { service, instance, process, lately, failed, share, state } in rows {
        let process = process.map(|id| id.to_string()).unwrap_or_default();
        let share = share.map(|share| format!("{:.0} %", share * 100.0)).unwrap_or_default();
        let Lately { rate, p50, p99, .. } = lately;
        let (p50, p99) = (milliseconds(*p50), milliseconds(*p99));
        lines.push(format!(
            "{service:<9} {instance:<10} {process:>7} {rate:>6.1} {failed:>6} {p50:>7} {p99:>7} \
             {share:>5}  {state}"
        ));
    }
    lines.push(format!("Mutual TLS: {proved} of {served} served requests proved who called."));
    lines.push(format!("Trust: {trust}"));
    lines.push(match failure {
        Some((ago, why)) => format!("Last failure, {} s ago: {why}", ago.as_secs()),
        None => "No request has failed.".to_owned(),
    });
    lines.extend(tries::lines(directory, tries));
    lines
}

/// As people read it, or a dash for nothing.
pub fn milliseconds(duration: Duration) -> String {
    if duration.is_zero() { "-".to_owned() } else { format!("{:.1}", duration.as_secs_f64() * 1e3) }
}

/// The terminal while the table is on it. It is as before when this value goes away.
pub struct Screen(());

impl Screen {
    /// Takes the terminal, if standard output is one.
    pub fn open() -> Option<Screen> {
        let output = io::stdout();
        if !output.is_terminal() {
            return None;
        }
        // The alternate screen, no cursor, no wrapping of long lines.
        put("\x1b[?1049h\x1b[?25l\x1b[?7l");
        Some(Screen(()))
    }

    /// Draws `lines` from the top, as many as there is room for.
    pub fn draw(&self, lines: &[String]) {
        let height = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_row);
        let height = if height == 0 { usize::MAX } else { height.into() };
        let mut text = "\x1b[H".to_owned();
        for (index, line) in lines.iter().take(height).enumerate() {
            if index > 0 {
                text.push_str("\r\n");
            }
            // Whatever a service says must not command the terminal.
            text.extend(line.chars().filter(|character| !character.is_control()));
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        put(&text);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        put("\x1b[?7h\x1b[?25h\x1b[?1049l");
    }
}

fn put(text: &str) {
    // A terminal that is gone is not a reason to leave processes behind.
    let mut output = io::stdout();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let row = |service: &str, instance: &str, process, share, state: &str| Row {
            service: service.to_owned(),
            instance: instance.to_owned(),
            process,
            lately: Lately {
                rate: 19.6,
                failed: 0.0,
                p50: Duration::from_micros(4_210),
                p99: Duration::from_millis(17),
            },
            failed: 3,
            share,
            state: state.to_owned(),
        };
        View {
            elapsed: Duration::from_secs(83),
            processes: 14,
            page: "http://127.0.0.1:4711/".to_owned(),
            rows: vec![
                row("visitors", "", None, None, ""),
                row("cart", "cart-v1-1", Some(4242), Some(0.475), "ok"),
            ],
            served: 9,
            proved: 8,
            trust: "steady: e79b3f8b3c45 is the only root".to_owned(),
            failure: Some((Duration::from_secs(7), "cart: status 500".to_owned())),
            directory: "/tmp/weft-demo-1".to_owned(),
            tries: vec![Try {
                title: "kill an instance",
                command: "kill -9 4242".to_owned(),
                expect: "no request fails",
            }],
        }
    }

    #[test]
    fn the_table_is_aligned_and_fits_a_terminal() {
        let lines = lines(&view());
        assert_eq!(
            lines,
            [
                "A tea shop in a mesh of 14 processes, 1:23; its page: http://127.0.0.1:4711/",
                "SERVICE   INSTANCE   PROCESS  REQ/S FAILED  P50 ms  P99 ms SHARE  STATE",
                "visitors                       19.6      3     4.2    17.0        ",
                "cart      cart-v1-1     4242   19.6      3     4.2    17.0  48 %  ok",
                "Mutual TLS: 8 of 9 served requests proved who called.",
                "Trust: steady: e79b3f8b3c45 is the only root",
                "Last failure, 7 s ago: cart: status 500",
                "Try, in a second terminal:  cd /tmp/weft-demo-1",
                "1 kill an instance   kill -9 4242",
                "  no request fails",
                "Metrics: see prometheus.yml there. Ctrl-C ends it and leaves nothing behind.",
            ]
        );
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn nothing_yet_is_a_dash() {
        assert_eq!(milliseconds(Duration::ZERO), "-");
        assert_eq!(milliseconds(Duration::from_micros(1_250)), "1.2");
    }
}
