//! What a plain scalar of YAML means to Helm, which reads YAML 1.1: `yes` is true, `0644` is 420.

use serde_json::{Number, Value};

/// The value of a plain scalar; `None` where JSON has none for it (infinities, and what is no number).
pub(super) fn resolve(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Some(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Some(Value::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" => return None,
        _ if matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF") => return None,
        _ => {}
    }
    let is_numeric = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    let number = is_numeric.then(|| number(text)).flatten();
    Some(number.map_or_else(|| Value::String(text.to_owned()), Value::Number))
}

/// As Go reads numbers: underscores between digits, and the prefixes of other bases.
fn number(text: &str) -> Option<Number> {
    if text.starts_with('.') {
        return float(text);
    }
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(&plain))
}

fn integer(text: &str) -> Option<Number> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let magnitude = magnitude(digits)?;
    if is_negative { 0_i64.checked_sub_unsigned(magnitude).map(Number::from) } else { Some(Number::from(magnitude)) }
}

fn magnitude(digits: &str) -> Option<u64> {
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // A second sign is no number.
    digits.starts_with(|first: char| first.is_ascii_hexdigit()).then_some(())?;
    u64::from_str_radix(digits, base).ok()
}

fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_float = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.contains(|letter: char| letter.is_ascii_digit())
        && unsigned.chars().all(|letter| letter.is_ascii_digit() || ".eE+-".contains(letter));
    is_float.then(|| text.parse().ok()).flatten().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::resolve;

    #[test]
    fn a_plain_scalar_means_what_helm_reads() {
        let cases = [
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("yEs", json!("yEs")),
            ("~", json!(null)),
            ("0644", json!(420)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("08", json!(8.0)),
            ("1_000", json!(1000)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("--7", json!("--7")),
            ("1e3", json!(1000.0)),
            (".5", json!(0.5)),
            (".", json!(".")),
            ("1.2.3", json!("1.2.3")),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("2001-12-14", json!("2001-12-14")),
            ("12:30", json!("12:30")),
            ("0x", json!("0x")),
            ("-", json!("-")),
            ("é", json!("é")),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(text), Some(expected), "{text}");
        }
        for text in [".inf", "-.Inf", ".NaN"] {
            assert_eq!(resolve(text), None, "{text}");
        }
    }
}
