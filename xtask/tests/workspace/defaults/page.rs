//! The rows of the page's tables.

/// A row.
pub struct Line<'p> {
    /// Its line in the page, the first being 1.
    pub number: usize,
    /// What it is about: the first cell.
    pub name: &'p str,
    /// The value, with its unit.
    pub value: &'p str,
    /// Why it is that.
    pub reason: &'p str,
    /// Where it is seen.
    pub seen: &'p str,
    /// Whether users can set it: it is in the part on defaults.
    pub can_be_set: bool,
}

/// The rows of all tables of `page`, their heads left out.
pub fn lines(page: &str) -> Vec<Line<'_>> {
    let (mut lines, mut can_be_set, mut is_head) = (Vec::new(), false, true);
    for (number, line) in (1..).zip(page.lines()) {
        if let Some(part) = line.strip_prefix("## ") {
            can_be_set = part == "Defaults";
        }
        let Some(cells) = line.strip_prefix('|') else {
            is_head = true;
            continue;
        };
        if cells.starts_with("---") {
            is_head = false;
        } else if !is_head {
            let mut cells = cells.split('|').map(str::trim);
            let mut cell = || cells.next().unwrap_or_default();
            let (name, value, reason, seen) = (cell(), cell(), cell(), cell());
            lines.push(Line { number, name, value, reason, seen, can_be_set });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_without_heads() {
        let page = "| a |\n\n## Defaults\n\n| F | D | R | S |\n|---|---|---|---|\n| `a` | 5 s | so \
            | log |\n\n## Limits\n| V | L | R | S |\n|---|---|---|---|\n| b | 1 | x |\n";
        let lines = lines(page);
        let Line { number, name, value, reason, seen, can_be_set } = lines[0];
        assert_eq!((number, name, value, reason, seen), (7, "`a`", "5 s", "so", "log"));
        assert!(can_be_set && lines.len() == 2);
        assert_eq!((lines[1].name, lines[1].seen, lines[1].can_be_set), ("b", "", false));
    }
}
