//! The word that was probably meant.

/// The one of `words` nearest to `written`, if any is near enough to be meant.
pub(crate) fn nearest<'a>(
    written: &str,
    words: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Nothing longer is a misspelling of ours, and the work grows with the length.
    if written.len() > 64 {
        return None;
    }
    let lower = written.to_ascii_lowercase();
    let allowed = (written.len() / 3).clamp(1, 3);
    words
        .into_iter()
        .map(|word| (distance(&lower, &word.to_ascii_lowercase()), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters must be added, dropped, changed or swapped with their neighbour.
///
/// Source: the optimal string alignment distance.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let words = ["backendRefs", "matches", "name", "retry", "timeouts"];
        let cases = [
            ("backendRef", Some("backendRefs")),
            ("backendrefs", Some("backendRefs")),
            ("mathces", Some("matches")),
            ("timeout", Some("timeouts")),
            ("rety", Some("retry")),
            ("zzz", None),
            ("", None),
        ];
        for (written, meant) in cases {
            assert_eq!(nearest(written, words), meant, "{written}");
        }
    }
}
