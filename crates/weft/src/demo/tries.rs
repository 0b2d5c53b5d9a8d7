//! The commands to try.

use super::mesh::Mesh;

/// A command to try.
pub struct Try {
    /// What it is about.
    pub title: &'static str,
    /// The command.
    pub command: String,
    /// What then happens.
    pub expect: &'static str,
}

/// The commands to try, with the ids of the processes that run.
pub fn tries(mesh: &Mesh) -> Vec<Try> {
    // The id of a process that has ended may be that of a stranger by now.
    let signal = |signal: &str, name: &str| match mesh.process(name) {
        Some((id, None)) => format!("kill -{signal} {id}"),
        _ => format!("({name} has ended, and is about to be started anew)"),
    };
    vec![
        Try {
            title: "shift a canary",
            command: "./weft apply -f canary-50.yaml".to_owned(),
            expect: "cart-v2-1 answers half, not 5 of 100. Back: ./weft apply -f canary-5.yaml",
        },
        Try {
            title: "deny a caller",
            command: "./weft apply -f deny.yaml".to_owned(),
            expect: "The cart answers 403. Undo: ./weft delete AuthorizationPolicy deny -n shop",
        },
        Try {
            title: "kill an instance",
            command: signal("9", "cart-v1-2"),
            expect: "The others answer, and no visitor notices. It is started anew after 10 s.",
        },
        Try {
            title: "break a service",
            command: signal("USR1", "cart-v1-1"),
            expect: "It answers 500, and is ejected after 3 of them. The same command mends it.",
        },
        Try {
            title: "rotate the root",
            command: "./weft ca rotate".to_owned(),
            expect: "All get new certificates, the old root is given up, and no request fails.",
        },
    ]
}

/// What to try, as lines. `directory` is as a shell takes it.
pub fn lines(directory: &str, tries: &[Try]) -> Vec<String> {
    let mut lines = vec![format!("Try, in a second terminal:  cd {directory}")];
    for (index, one) in tries.iter().enumerate() {
        lines.push(command_line(index, one));
        lines.push(format!("  {}", one.expect));
    }
    let metrics = super::metrics::FILE;
    lines.push(format!("Metrics: see {metrics} there. Ctrl-C ends it and leaves nothing behind."));
    lines
}

/// The line with the command of `one`, which has the place `index` among the others.
pub fn command_line(index: usize, one: &Try) -> String {
    format!("{} {:<18} {}", index + 1, one.title, one.command)
}
