//! What an unquoted scalar is: YAML 1.2's core schema, and no more.
//!
//! Source: YAML 1.2.2, section 10.3.2. What is something else to those who read YAML 1.1, as
//! Kubernetes does (`yes` is true there, and `010` is eight), is refused: it has two readings.

use crate::node::Value;

/// The value of an unquoted scalar.
///
/// # Errors
///
/// In words, if it is a number that cannot be held, or has two readings.
pub(crate) fn resolve(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if is_word_for_boolean(text) {
        return Err(format!("{text} is true or false to some readers of YAML, put it in quotes"));
    }
    if is_number_to_some(text) {
        return Err(format!("{text} is another number to some readers of YAML"));
    }
    if is_special_float(text) {
        return Err("infinity and not-a-number are not allowed".to_owned());
    }
    let too_large = || format!("the number {} is too large", crate::finding::tamed(text));
    let (digits, radix) = match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
        (Some(octal), _) if all(octal, |c| ('0'..='7').contains(&c)) => (octal, 8),
        (_, Some(hex)) if all(hex, |c| c.is_ascii_hexdigit()) => (hex, 16),
        _ if all(unsigned(text), |c| c.is_ascii_digit()) => (text, 10),
        _ if is_float(text) => {
            let number: f64 = text.parse().map_err(|_| too_large())?;
            return if number.is_finite() { Ok(Value::Float(number)) } else { Err(too_large()) };
        }
        _ => return Ok(Value::Text(text.to_owned())),
    };
    i64::from_str_radix(digits, radix).map(Value::Int).map_err(|_| too_large())
}

/// Whether `text` is a boolean of YAML 1.1, and not of YAML 1.2.
fn is_word_for_boolean(text: &str) -> bool {
    matches!(text, "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON")
        || matches!(text, "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF")
}

/// Whether `text` is a number of YAML 1.1 that is none of YAML 1.2, or another.
fn is_number_to_some(text: &str) -> bool {
    let plain = text.replace('_', "");
    let digits = unsigned(&plain);
    let is = |prefix: &str, allowed: fn(char) -> bool| {
        digits.strip_prefix(prefix).is_some_and(|digits| all(digits, allowed))
    };
    let has_base = is("0x", |c| c.is_ascii_hexdigit()) || is("0o", |c| ('0'..='7').contains(&c));
    let differs = is("0b", |c| matches!(c, '0' | '1')) || is("0", |c| ('0'..='7').contains(&c));
    let is_decimal = digits.starts_with(|c: char| c.is_ascii_digit()) && is_float(digits);
    differs || (has_base && digits != text) || (is_decimal && plain != text)
}

/// `text` without its sign.
fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

/// Whether `text` is not empty and holds nothing but what `allowed` allows.
fn all(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(allowed)
}

fn is_special_float(text: &str) -> bool {
    matches!(unsigned(text), ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// Whether `text` is `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`.
fn is_float(text: &str) -> bool {
    let text = unsigned(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    has_digits
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|exponent| all(unsigned(exponent), |c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_the_core_schema_says() {
        let text = |text: &str| Value::Text(text.to_owned());
        let cases = [
            ("", Value::Null),
            ("~", Value::Null),
            ("null", Value::Null),
            ("nUll", text("nUll")),
            ("true", Value::Bool(true)),
            ("FALSE", Value::Bool(false)),
            ("yEs", text("yEs")),
            ("only", text("only")),
            ("0", Value::Int(0)),
            ("08", Value::Int(8)),
            ("-1", Value::Int(-1)),
            ("+7", Value::Int(7)),
            ("0o17", Value::Int(15)),
            ("0x1F", Value::Int(31)),
            ("a_1", text("a_1")),
            ("1.5", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("1.", Value::Float(1.0)),
            ("1e3", Value::Float(1000.0)),
            ("1e", text("1e")),
            (".", text(".")),
            ("-", text("-")),
            ("1.2.3", text("1.2.3")),
            ("12:30", text("12:30")),
            ("inf", text("inf")),
            ("nan", text("nan")),
            ("9223372036854775807", Value::Int(i64::MAX)),
        ];
        for (written, value) in cases {
            assert_eq!(resolve(written), Ok(value), "{written}");
        }
        for written in [".inf", "-.INF", ".nan", "9223372036854775808", "1e999"] {
            assert!(resolve(written).is_err(), "{written}");
        }
    }

    #[test]
    fn what_has_two_readings_is_none() {
        for written in [
            "y", "N", "yes", "Yes", "NO", "on", "Off", "010", "-07", "00", "1_000", "1_0.5",
            "0b11", "-0x1F", "0x_1",
        ] {
            assert!(resolve(written).is_err(), "{written}");
        }
    }
}
