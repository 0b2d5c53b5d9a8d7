//! Values of the code, from its source: constants are evaluated as far as they are written in them.

use super::quantity::Quantity;

/// Where the code says a value. Paths begin below `crates`.
pub enum Value {
    /// The constant of that name.
    Const(&'static str, &'static str),
    /// The same, a plain number that counts seconds.
    Seconds(&'static str, &'static str),
    /// The same, a plain number that counts minutes.
    Minutes(&'static str, &'static str),
    /// What stands behind this text, which is there once.
    After(&'static str, &'static str),
    /// This code is there, and therefore the page says the words behind it.
    Says(&'static str, &'static str, &'static str),
}

/// What the code says.
#[derive(Debug, PartialEq)]
pub enum Found {
    Quantity(Quantity),
    Words(&'static str),
}

impl Value {
    /// The file that says it, from the workspace's root.
    pub fn path(&self) -> String {
        match self {
            Value::Const(file, _)
            | Value::Seconds(file, _)
            | Value::Minutes(file, _)
            | Value::After(file, _)
            | Value::Says(file, ..) => format!("crates/{file}"),
        }
    }

    /// What the code says, where `read` gives the source at a path.
    pub fn of(&self, read: &dyn Fn(&str) -> Option<String>) -> Result<Found, String> {
        let path = self.path();
        let source = read(&path).ok_or_else(|| format!("{path} is not there"))?;
        let code = code(&source);
        let found = match self {
            Value::Const(_, name) => constant(&code, name),
            Value::Seconds(_, name) => scaled(&code, name, 1.0),
            Value::Minutes(_, name) => scaled(&code, name, 60.0),
            Value::After(_, text) => after(&code, text),
            Value::Says(_, text, words) => {
                let is_there = code.contains(&code_of(text));
                return match is_there {
                    true => Ok(Found::Words(words)),
                    false => Err(format!("{path} does not say `{text}`")),
                };
            }
        };
        found.map(Found::Quantity).map_err(|error| format!("{path} {error}"))
    }
}

fn scaled(code: &str, name: &str, factor: f64) -> Result<Quantity, String> {
    match constant(code, name)? {
        Quantity { number, is_time: false } => Ok(Quantity::seconds(number * factor)),
        Quantity { .. } => Err(format!("has `{name}` as a time: it is a `Const`")),
    }
}

/// The code of `source` without comments and tests, and with one blank wherever there are some.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = source.lines().map(|line| line.split("// ").next().unwrap_or_default());
    code_of(
        &lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" "),
    )
}

/// The names of all constants in `source`, but for those of its tests.
pub fn constants(source: &str) -> Vec<String> {
    let code = code(source);
    let after = code.split("const ").skip(1).filter_map(|rest| rest.split_once(": "));
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    after.map(|(name, _)| name).filter(|name| is_name(name)).map(str::to_owned).collect()
}

fn code_of(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The value of the constant `name`.
fn constant(code: &str, name: &str) -> Result<Quantity, String> {
    let start = format!("const {name}: ");
    let rest = once(code, &start)?;
    let (_, rest) = rest.split_once(" = ").ok_or(format!("has `{name}` without a value"))?;
    let mut reader = Reader { code, rest };
    let value = reader.sum().map_err(|error| format!("has `{name}`, and {error}"))?;
    match reader.takes(";") {
        true => Ok(value),
        false => Err(format!("has `{name}`, and `{}` is not understood", reader.start())),
    }
}

/// The value that stands behind `text`.
fn after(code: &str, text: &str) -> Result<Quantity, String> {
    let rest = once(code, text)?;
    Reader { code, rest }.sum().map_err(|error| format!("says behind `{text}`: {error}"))
}

/// What follows `text`, which must be there once.
fn once<'c>(code: &'c str, text: &str) -> Result<&'c str, String> {
    let mut parts = code.splitn(3, text).skip(1);
    let rest = parts.next().ok_or_else(|| {
        format!("has no `{}`", text.trim_start_matches("const ").trim_end_matches(": "))
    })?;
    match parts.next() {
        None => Ok(rest),
        Some(_) => Err(format!("has `{text}` more than once: say which")),
    }
}

/// Reads expressions: numbers, other constants of the file, `+ * / <<`, and makers of units.
struct Reader<'c> {
    code: &'c str,
    rest: &'c str,
}

impl<'c> Reader<'c> {
    fn sum(&mut self) -> Result<Quantity, String> {
        let mut left = self.product()?;
        while let Some(operator) = self.operator(&["<<", "+"]) {
            let right = self.product()?.number;
            left.number = match operator {
                "<<" => left.number * right.exp2(),
                _ => left.number + right,
            };
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Quantity, String> {
        let mut left = self.one()?;
        while let Some(operator) = self.operator(&["*", "/"]) {
            let right = self.one()?;
            left.is_time |= right.is_time;
            left.number = match operator {
                "*" => left.number * right.number,
                _ => left.number / right.number,
            };
        }
        Ok(left)
    }

    fn operator(&mut self, among: &[&'static str]) -> Option<&'static str> {
        let rest = self.rest.trim_start();
        let found = among.iter().find(|operator| rest.starts_with(**operator))?;
        self.rest = &rest[found.len()..];
        Some(*found)
    }

    fn one(&mut self) -> Result<Quantity, String> {
        if self.takes("(") {
            let inner = self.sum()?;
            return self.closed(inner);
        }
        let name = self.word(|c| c.is_alphanumeric() || "_:".contains(c));
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            return self.number(name);
        }
        if !self.takes("(") {
            return constant(self.code, name)
                .map_err(|error| format!("`{name}`: the file {error}: name its own constant"));
        }
        let inner = self.sum()?;
        let made = match name {
            "Duration::from_secs" => Quantity::seconds(inner.number),
            "Duration::from_millis" | "TimeBound::from_millis" => {
                Quantity::seconds(inner.number / 1e3)
            }
            "Duration::from_micros" => Quantity::seconds(inner.number / 1e6),
            "Ratio::from_thousandths" => Quantity::plain(inner.number / 1e3),
            "NonZeroU32::new" | "Percent::new" | "count" | "Some" => inner,
            _ => return Err(format!("`{name}` is not understood")),
        };
        let made = self.closed(made)?;
        // What is not there would not compile.
        if self.takes(".expect(\"") {
            let (_, rest) = self.rest.split_once("\")").ok_or("a text has no end")?;
            self.rest = rest;
        }
        Ok(made)
    }

    fn number(&mut self, digits: &str) -> Result<Quantity, String> {
        let mut digits = digits.replace('_', "");
        let fraction = self
            .rest
            .strip_prefix('.')
            .filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
        if let Some(rest) = fraction {
            self.rest = rest;
            digits = format!("{digits}.{}", self.word(|c| c.is_ascii_digit()));
        }
        let number = digits.parse().map_err(|_| format!("`{digits}` is not understood"))?;
        Ok(Quantity::plain(number))
    }

    fn closed(&mut self, inner: Quantity) -> Result<Quantity, String> {
        if self.takes(")") {
            Ok(inner)
        } else {
            Err(format!("`)` is missing at `{}`", self.start()))
        }
    }

    fn takes(&mut self, text: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> &'c str {
        let rest = self.rest.trim_start();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.rest = &rest[end..];
        &rest[..end]
    }

    /// The beginning of what is left, for messages.
    fn start(&self) -> &'c str {
        self.rest.get(..30).unwrap_or(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = r#"//! const A: u32 = 1;
        /// const A: u32 = 1; // twice
        const A: u32 = 64 * 1_024;
        pub const LONG_NAME: Duration =
            Duration::from_secs(5 * 60);
        const B: usize = 2 << 20; // MiB
        const C: usize = A;
        const D: u64 = 3 * (A + 1);
        const E: Bound = TimeBound::from_millis(25).expect("not 0; so");
        const F: f64 = 0.75;
        const G: T = other::H;
        fn f() { match x { 0..75 => y } }
#[cfg(test)]
mod tests {
    const A: u8 = 0;
}"#;

    fn of(value: &Value) -> Result<Found, String> {
        value.of(&|path| (path == "crates/a.rs").then(|| CODE.to_owned()))
    }

    #[test]
    fn constants_are_evaluated() {
        for (name, expected) in [
            ("A", Quantity::plain(65_536.0)),
            ("LONG_NAME", Quantity::seconds(300.0)),
            ("B", Quantity::plain(2_097_152.0)),
            ("C", Quantity::plain(65_536.0)),
            ("D", Quantity::plain(196_611.0)),
            ("F", Quantity::plain(0.75)),
        ] {
            assert_eq!(of(&Value::Const("a.rs", name)), Ok(Found::Quantity(expected)), "{name}");
        }
        let minutes = of(&Value::Minutes("a.rs", "F"));
        assert_eq!(minutes, Ok(Found::Quantity(Quantity::seconds(45.0))));
        let most = of(&Value::After("a.rs", "match x { 0.."));
        assert_eq!(most, Ok(Found::Quantity(Quantity::plain(75.0))));
        let says = Value::Says("a.rs", "fn f() { match x", "`x`");
        assert_eq!(of(&says), Ok(Found::Words("`x`")));
    }

    #[test]
    fn a_text_with_a_semicolon_does_not_end_a_constant() {
        let found = of(&Value::Const("a.rs", "E"));
        assert_eq!(found, Ok(Found::Quantity(Quantity::seconds(0.025))));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (value, why) in [
            (Value::Const("b.rs", "A"), "crates/b.rs is not there"),
            (Value::Const("a.rs", "Z"), "crates/a.rs has no `Z`"),
            (Value::Const("a.rs", "G"), "name its own constant"),
            (Value::Seconds("a.rs", "LONG_NAME"), "it is a `Const`"),
            (Value::After("a.rs", "match y"), "has no `match y`"),
            (Value::Says("a.rs", "fn g", "`g`"), "does not say `fn g`"),
        ] {
            let error = of(&value).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
