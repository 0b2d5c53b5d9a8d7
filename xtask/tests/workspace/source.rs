//! Rust source split into code and comments, just well enough to look for words in each.

use std::iter::Peekable;
use std::str::Chars;

/// A line of source. Literals are emptied, so that their content is in neither part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What the compiler reads.
    pub code: String,
    /// What it does not, and documentation.
    pub comment: String,
}

/// The lines of `text`.
pub fn lines(text: &str) -> Vec<Line> {
    let mut splitter =
        Splitter { rest: text.chars().peekable(), done: vec![], line: Line::default() };
    while let Some(character) = splitter.next() {
        match character {
            '/' if splitter.takes('/') => splitter.line_comment(),
            '/' if splitter.takes('*') => splitter.block_comment(),
            '"' => splitter.string(),
            '\'' => splitter.quote(),
            'r' if splitter.raw_hashes().is_some() => splitter.raw_string(),
            '\n' => {}
            other => splitter.line.code.push(other),
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        splitter.done.push(splitter.line);
    }
    splitter.done
}

struct Splitter<'a> {
    rest: Peekable<Chars<'a>>,
    done: Vec<Line>,
    line: Line,
}

impl Splitter<'_> {
    /// The next character; the end of a line closes that line.
    fn next(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        if character == '\n' {
            self.done.push(std::mem::take(&mut self.line));
        }
        Some(character)
    }

    fn takes(&mut self, character: char) -> bool {
        self.rest.next_if_eq(&character).is_some()
    }

    fn line_comment(&mut self) {
        while let Some(character) = self.rest.next_if(|&character| character != '\n') {
            self.line.comment.push(character);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                None => return,
                Some('*') if self.takes('/') => depth -= 1,
                Some('/') if self.takes('*') => depth += 1,
                Some('\n') => {}
                Some(other) => self.line.comment.push(other),
            }
        }
    }

    fn string(&mut self) {
        self.line.code.push('"');
        loop {
            match self.next() {
                Some('\\') => {
                    self.next();
                }
                None | Some('"') => break,
                Some(_) => {}
            }
        }
        self.line.code.push('"');
    }

    /// A character, or the name of a lifetime or label, which has no second quote.
    fn quote(&mut self) {
        let mut ahead = self.rest.clone();
        let (first, second) = (ahead.next(), ahead.next());
        self.line.code.push('\'');
        if first == Some('\\') {
            self.next();
            self.next();
            while self.next().is_some_and(|character| character != '\'') {}
            self.line.code.push('\'');
        } else if second == Some('\'') {
            self.next();
            self.next();
            self.line.code.push('\'');
        }
    }

    /// After an `r`: the number of `#` if a raw string begins here.
    fn raw_hashes(&self) -> Option<usize> {
        let is_name = |character: &char| character.is_alphanumeric() || *character == '_';
        let before: String = self.line.code.chars().rev().take_while(is_name).collect();
        if !matches!(before.as_str(), "" | "b" | "c") {
            return None;
        }
        let mut ahead = self.rest.clone();
        let mut hashes = 0;
        while ahead.next_if_eq(&'#').is_some() {
            hashes += 1;
        }
        (ahead.next() == Some('"')).then_some(hashes)
    }

    fn raw_string(&mut self) {
        let hashes = self.raw_hashes().unwrap_or_default();
        for _ in 0..=hashes {
            self.next();
        }
        self.line.code.push('"');
        while let Some(character) = self.next() {
            if character == '"' && (0..hashes).all(|_| self.takes('#')) {
                break;
            }
        }
        self.line.code.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<String> {
        lines(text).into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_are_apart() {
        let split = lines("let a = 1; // one\n/* two\n/* in */ three */ let b;\n");
        assert_eq!(split[0], Line { code: "let a = 1; ".into(), comment: " one".into() });
        assert_eq!(split[1], Line { code: String::new(), comment: " two".into() });
        assert_eq!(split[2], Line { code: " let b;".into(), comment: " in  three ".into() });
    }

    #[test]
    fn literals_are_empty() {
        assert_eq!(
            code(r#"f("a // \" b", 'c', '\'', '"', b'\\');"#),
            [r#"f("", '', '', '', b'');"#]
        );
        assert_eq!(code("f(r\"a\\\", br#\"b\" //\n\"#);"), ["f(\"\", b\"", "\");"]);
        assert_eq!(code("\"a\\\nb\" + c"), ["\"", "\" + c"]);
    }

    #[test]
    fn names_are_kept() {
        let text = "fn f<'a>(r#type: &'a str, for_r: u8) -> &'a str { 'outer: loop {} }";
        assert_eq!(code(text), [text]);
    }
}
