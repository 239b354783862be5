//! Amounts as Kubernetes writes them, added up exactly. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// An amount in billionths, the finest that Kubernetes knows: cores, bytes or pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

/// How an amount is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `3`, `1500m`.
    Decimal,
    /// `192Gi`: in the largest unit of which it is a whole number; what is no whole number of Ki is in bytes.
    Binary,
}

const ONE: i128 = 1_000_000_000;
/// The suffixes of powers of a thousand, from billionths on.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// The suffixes of powers of two, the largest first.
const BINARY: [(&str, u32); 6] = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
/// An exponent beyond this fits in no number that is kept here.
const MOST_EXPONENT: u32 = 40;

impl Amount {
    /// Reads what a node reports. Text that is no quantity, or a larger one than can be reported, is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let number_ends = text.find(|character: char| !character.is_ascii_digit() && character != '.');
        let (number, suffix) = text.split_at(number_ends.unwrap_or(text.len()));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (factor, exponent) = scale(suffix)?;
        let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let exponent = exponent.checked_add(9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let value = shifted(digits.checked_mul(factor)?, exponent)?;
        Some(Self(if negative { value.checked_neg()? } else { value }))
    }

    /// The sum. One that cannot be reported stops at the largest number.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, which may be negative. One that cannot be reported stops at the smallest number.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether it has no fraction.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.0 % ONE == 0
    }

    /// Spells the amount as API servers store it, in powers of two where `like` is spelled so, and as `like` itself where that is the
    /// same amount.
    #[must_use]
    pub fn spelled_like(self, like: &str) -> Quantity {
        if Self::parse(like) == Some(self)
            && let Some(same) = canonical(like)
        {
            return same;
        }
        let printed = self.print(if like.ends_with('i') { Form::Binary } else { Form::Decimal });
        canonical(&printed.0).unwrap_or(printed)
    }

    /// Spells the amount in the one way that stands for it.
    #[must_use]
    pub fn print(self, form: Form) -> Quantity {
        let Self(value) = self;
        let binary = BINARY.iter().filter(|_| form == Form::Binary).map(|(suffix, power)| (ONE << power, *suffix));
        let mut units = binary.chain([(ONE, ""), (1_000_000, "m"), (1_000, "u")]);
        let exact = units.find(|(unit, _)| value % unit == 0);
        Quantity(match exact {
            _ if value == 0 => "0".to_owned(),
            Some((unit, suffix)) => format!("{}{suffix}", value / unit),
            None => format!("{value}n"),
        })
    }
}

/// The most that Kubernetes keeps: beyond it, an API server stores another amount than the one that was written.
const MOST: i128 = i64::MAX as i128 * ONE;

/// Spells a quantity as API servers store it: in thousands or, where it is written so, in powers of two or of ten. Text that is no
/// quantity, or a larger one than Kubernetes keeps, is none.
#[must_use]
pub fn canonical(text: &str) -> Option<Quantity> {
    let Amount(value) = Amount::parse(text).filter(|Amount(value)| value.abs() <= MOST)?;
    let is_binary = text.ends_with('i') && value.abs() >= 1024 * ONE && value % ONE == 0;
    let is_exponent = text.contains(['e', 'E']) && !text.ends_with(['E', 'i']);
    if value == 0 {
        return Some(Quantity("0".to_owned()));
    }
    if is_binary {
        return Some(Amount(value).print(Form::Binary));
    }
    let units = DECIMAL.iter().zip(0_u32..10).rev().map(|(suffix, thousands)| (suffix, 3 * thousands));
    let exact = units.map(|(suffix, power)| (suffix, power, 10_i128.pow(power))).find(|(.., unit)| value % unit == 0);
    exact.map(|(suffix, power, unit)| {
        let (number, exponent) = (value / unit, i64::from(power) - 9);
        Quantity(match exponent {
            0 => number.to_string(),
            _ if is_exponent => format!("{number}e{exponent}"),
            _ => format!("{number}{suffix}"),
        })
    })
}

/// What a suffix multiplies by: a factor and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    if let Some((_, power)) = DECIMAL.iter().zip(-3..).find(|(known, _)| **known == suffix) {
        return Some((1, 3 * power));
    }
    if let Some((_, power)) = BINARY.iter().find(|(known, _)| *known == suffix) {
        return Some((1 << power, 0));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (exponent.unsigned_abs() <= MOST_EXPONENT).then_some((1, exponent))
}

/// `value` times ten to the power of `exponent`; what is finer than a billionth is rounded up, as Kubernetes does.
fn shifted(value: i128, exponent: i32) -> Option<i128> {
    let power = 10_i128.checked_pow(exponent.unsigned_abs());
    if exponent >= 0 || value == 0 {
        return if value == 0 { Some(0) } else { value.checked_mul(power?) };
    }
    // Divided by more than any number is what is left of it next to nothing.
    let Some(power) = power else { return Some(1) };
    let rest = i128::from(value % power != 0);
    (value / power).checked_add(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_kubernetes_is_read() {
        for (text, nanos) in [
            ("0", 0),
            ("4", 4 * ONE),
            ("+4.5", 4_500_000_000),
            (".5", 500_000_000),
            ("5.", 5 * ONE),
            ("-3m", -3_000_000),
            ("1n", 1),
            ("0.1n", 1),
            ("1.5u", 1_500),
            ("2k", 2_000 * ONE),
            ("1M", 1_000_000 * ONE),
            ("1G", ONE * ONE),
            ("1T", 1_000 * ONE * ONE),
            ("1P", 1_000_000 * ONE * ONE),
            ("1E", ONE * ONE * ONE),
            ("1Ki", 1024 * ONE),
            ("1.5Mi", 1_572_864 * ONE),
            ("1Gi", (1 << 30) * ONE),
            ("1Ti", (1 << 40) * ONE),
            ("1Pi", (1 << 50) * ONE),
            ("1Ei", (1 << 60) * ONE),
            ("12e6", 12_000_000 * ONE),
            ("12E-3", 12_000_000),
            ("1e-40", 1),
            ("0e40", 0),
        ] {
            assert_eq!(Amount::parse(text), Some(Amount(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_or_too_large_counts_as_nothing() {
        let long = "9".repeat(100);
        let bad = [
            "",
            ".",
            "-",
            "--1",
            "1.2.3",
            "1Kb",
            "1 Gi",
            "x",
            "1e",
            "1e99999999999",
            "1e40",
            "1e41",
            "1i",
            "٣",
            "1e-2147483648",
            "1e2147483647",
            &long,
        ];
        for text in bad {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_amount_has_one_spelling() {
        for (text, form, printed) in [
            ("0Mi", Form::Binary, "0"),
            ("12Mi", Form::Binary, "12Mi"),
            ("201326592Ki", Form::Binary, "192Gi"),
            ("1536Mi", Form::Binary, "1536Mi"),
            ("16374220Ki", Form::Binary, "16374220Ki"),
            ("2048Ei", Form::Binary, "2048Ei"),
            ("-1024", Form::Binary, "-1Ki"),
            ("1Gi", Form::Decimal, "1073741824"),
            ("1000", Form::Binary, "1000"),
            ("1500m", Form::Binary, "1500m"),
            ("2000m", Form::Decimal, "2"),
            ("1.5", Form::Decimal, "1500m"),
            ("1500u", Form::Decimal, "1500u"),
            ("7n", Form::Decimal, "7n"),
            ("-2", Form::Decimal, "-2"),
        ] {
            assert_eq!(Amount::parse(text).unwrap().print(form).0, printed, "{text}");
        }
    }

    #[test]
    fn a_quantity_is_spelled_as_api_servers_store_it() {
        for (text, stored) in [
            ("0", "0"),
            ("0Gi", "0"),
            ("1", "1"),
            ("+1", "1"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("0.5", "500m"),
            ("100m", "100m"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1536Mi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("1G", "1G"),
            ("1000M", "1G"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1e-3", "1e-3"),
            ("12e6", "12e6"),
            ("10e2", "1e3"),
            ("2E", "2E"),
            ("2Ei", "2Ei"),
            ("1u", "1u"),
            ("0.1n", "1n"),
        ] {
            assert_eq!(canonical(text).map(|quantity| quantity.0).as_deref(), Some(stored), "{text}");
        }
        for text in ["", "x", "10E", "9223372036854775808", "1e30"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }

    #[test]
    fn a_sum_is_exact_and_never_overflows() {
        let sum = Amount::parse("16374220Ki").unwrap().plus(Amount::parse("1").unwrap());
        assert_eq!(sum.print(Form::Binary).0, "16767201281");
        assert_eq!(Amount(i128::MAX).plus(Amount(1)), Amount(i128::MAX));
    }

    #[test]
    fn a_difference_may_be_negative_and_is_spelled_like_its_model() {
        let amount = |text: &str| Amount::parse(text).unwrap();
        for (more, less, like, spelled) in [
            ("4", "1500m", "4", "2500m"),
            ("40Gi", "512Mi", "40Gi", "40448Mi"),
            ("10", "60", "10", "-50"),
            ("3000", "0", "3e3", "3e3"),
            ("3000", "1000", "3e3", "2k"),
            ("1Gi", "0", "2", "1073741824"),
            ("1Ki", "0", "1024", "1024"),
        ] {
            assert_eq!(amount(more).minus(amount(less)).spelled_like(like).0, spelled, "{more} - {less}");
        }
        assert_eq!(Amount(i128::MIN).minus(Amount(1)), Amount(i128::MIN));
        assert!(amount("1000m").is_whole() && amount("1Gi").is_whole() && !amount("1500m").is_whole());
        assert!(amount("1Gi") > amount("1G"));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(value in any::<i128>(), binary in any::<bool>()) {
            let value = Amount(value >> 16);
            let form = if binary { Form::Binary } else { Form::Decimal };
            prop_assert_eq!(Amount::parse(&value.print(form).0), Some(value));
        }

        #[test]
        fn the_stored_spelling_is_the_same_amount_and_its_own(number in 0_u64..1_000_000, suffix in "([num]|[kMGTPE]|[KMGTPE]i|e[0-9])?") {
            let text = format!("{number}{suffix}");
            if let Some(stored) = canonical(&text) {
                prop_assert_eq!(Amount::parse(&stored.0), Amount::parse(&text));
                prop_assert_eq!(canonical(&stored.0), Some(stored));
            }
        }

        #[test]
        fn no_text_is_a_defect(text in "[-+]?[0-9.]{0,60}[a-zA-Z]{0,3}[-+]?[0-9]{0,12}") {
            let _ = Amount::parse(&text);
        }

        #[test]
        fn no_exponent_is_a_defect(exponent in any::<i32>(), digits in 0_u64..1000) {
            let _ = Amount::parse(&format!("{digits}e{exponent}"));
            let _ = Amount::parse(&format!("{digits}E{}", exponent.clamp(i32::MIN, i32::MIN + 2)));
        }
    }
}
