//! Whether what a chart renders may be secret although no value is. Pure.

use drover_charts::Chart;
use serde_json::{Map, Value};

/// What stands in templates that look something up in the cluster, or make something up: passwords, and keys with their certificates.
const CONFIDES: [&str; 10] = [
    "lookup",
    "randA",
    "randB",
    "randI",
    "randN",
    "genCA",
    "genPrivateKey",
    "genSelfSignedCert",
    "genSignedCert",
    "derivePassword",
];

/// Whether a chart, a subchart or a value, which can be a template too, has one of these words in it, wherever.
pub(crate) fn may_confide(chart: &Chart, values: &Map<String, Value>) -> bool {
    let text = Value::Object(values.clone()).to_string();
    has_any(text.as_bytes()) || is_in(chart)
}

fn is_in(chart: &Chart) -> bool {
    chart.files().values().any(|file| has_any(file)) || chart.subcharts().iter().any(is_in)
}

fn has_any(text: &[u8]) -> bool {
    CONFIDES.iter().any(|word| text.windows(word.len()).any(|window| window == word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_looks_something_up_or_makes_it_up_may_confide_it() {
        for text in [
            "{{ (lookup \"v1\" \"Secret\" .Release.Namespace \"keys\").data }}",
            "password: {{ randAlphaNum 16 }}",
            "{{ randBytes 8 }}",
            "{{ $ca := genCA \"web\" 365 }}",
            "{{ genSelfSignedCert \"web\" nil nil 365 }}",
        ] {
            assert!(has_any(text.as_bytes()), "{text}");
        }
        for text in ["brand: {{ .Values.brand }}", "{{ .Capabilities.APIVersions.Has \"apps/v1\" }}", ""] {
            assert!(!has_any(text.as_bytes()), "{text}");
        }
        let value = Value::Object(Map::from_iter([("text".to_owned(), json!("{{ randAlpha 3 }}"))]));
        assert!(has_any(value.to_string().as_bytes()));
    }
}
