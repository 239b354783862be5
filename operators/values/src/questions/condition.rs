//! `show_if`: `a=b&&c!=d||e`, as Rancher reads it.

/// One of several must hold, and of each all parts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Condition(Vec<Vec<Comparison>>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Comparison {
    variable: String,
    test: Test,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Test {
    Is(String),
    IsNot(String),
    /// Without a comparison: anything but nothing, false, 0 and an empty text.
    IsTrue,
}

impl Condition {
    pub(super) fn parse(text: &str) -> Self {
        let all = |part: &str| part.split("&&").map(Comparison::parse).collect();
        Self(text.split("||").map(all).collect())
    }

    /// `value` gives the text of what a variable is now; nothing and null are empty.
    pub(super) fn holds(&self, value: &dyn Fn(&str) -> String) -> bool {
        self.0.iter().any(|all| all.iter().all(|comparison| comparison.holds(value)))
    }
}

impl Comparison {
    fn parse(text: &str) -> Self {
        let Some((variable, wanted)) = text.split_once('=') else {
            return Self { variable: text.trim().to_owned(), test: Test::IsTrue };
        };
        let wanted = wanted.trim_start_matches('=').trim().trim_matches(['"', '\'']);
        // `foo=null` and `foo=` both mean that nothing is there.
        let wanted = if wanted == "null" { String::new() } else { wanted.to_owned() };
        match variable.strip_suffix('!') {
            Some(variable) => Self { variable: variable.trim().to_owned(), test: Test::IsNot(wanted) },
            None => Self { variable: variable.trim().to_owned(), test: Test::Is(wanted) },
        }
    }

    fn holds(&self, value: &dyn Fn(&str) -> String) -> bool {
        let value = value(&self.variable);
        match &self.test {
            Test::Is(wanted) => value == *wanted,
            Test::IsNot(wanted) => value != *wanted,
            Test::IsTrue => !matches!(value.as_str(), "" | "false" | "0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Condition;

    #[test]
    fn conditions_hold_as_in_ranchers_forms() {
        let value = |variable: &str| match variable {
            "a" => "true".to_owned(),
            "b.c" => "x y".to_owned(),
            "zero" => "0".to_owned(),
            _ => String::new(),
        };
        let cases = [
            ("a=true", true),
            ("a==true", true),
            ("a=false", false),
            ("a!=false", true),
            ("a", true),
            ("zero", false),
            ("missing", false),
            ("missing=", true),
            ("missing=null", true),
            ("missing!=", false),
            ("b.c=x y", true),
            ("b.c=\"x y\"", true),
            ("a=true&&b.c=x y", true),
            ("a=true && b.c=z", false),
            ("a=false||b.c=x y", true),
            ("a=false || b.c=z && a=true", false),
            ("=", true),
            ("&&", false),
        ];
        for (text, expected) in cases {
            assert_eq!(Condition::parse(text).holds(&value), expected, "{text}");
        }
    }
}
