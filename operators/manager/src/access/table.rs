//! An answer as columns. Pure.

use drover_crds::RoleSubject;

use super::answer::{Answer, Grant, Question};

/// So many names are spelled out.
const NAMES: usize = 3;

/// The answer as a person reads it.
pub(super) fn of(question: &Question, answer: &Answer) -> String {
    let mut text = if answer.grants.is_empty() {
        "No binding of Drover gives a role here.\n".to_owned()
    } else {
        let head = ["SUBJECT", "ROLE", "NAMESPACES", "CLUSTERS", "UNTIL", "STATE", "BINDING"].map(str::to_owned);
        columns(&std::iter::once(head).chain(answer.grants.iter().map(row)).collect::<Vec<_>>())
    };
    if !question.people.is_empty() {
        text +=
            "Rights that were given without Drover, and those of groups that were not named, are not in this list.\n";
    }
    if !answer.quota.is_empty() {
        let head = ["CLUSTER", "QUOTA", "RESOURCE", "GRANTED", "USED"].map(str::to_owned);
        let rows = answer.quota.iter().flat_map(super::quota::Quota::rows);
        text += "\n";
        text += &columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    }
    text
}

fn row(grant: &Grant) -> [String; 7] {
    [
        subject(&grant.subject),
        grant.role_template.clone(),
        if grant.project.is_none() { "all".to_owned() } else { some_of(&grant.namespaces) },
        some_of(&grant.clusters),
        grant.until.as_ref().map_or_else(|| "-".to_owned(), |until| until.0.to_string()),
        grant.state.clone(),
        grant.binding.clone(),
    ]
}

/// Quoted where it could play with a terminal: names of users may have any character.
fn subject(subject: &RoleSubject) -> String {
    let name = match &subject.namespace {
        Some(namespace) => format!("{namespace}:{}", subject.name),
        None => subject.name.clone(),
    };
    let is_plain = name.chars().all(|character| !character.is_control() && !character.is_whitespace());
    let name = if is_plain { name } else { format!("{name:?}") };
    format!("{} {name}", subject.kind.as_str())
}

fn some_of(names: &[String]) -> String {
    let (shown, rest) = names.split_at(names.len().min(NAMES));
    match (shown, rest) {
        ([], _) => "-".to_owned(),
        (shown, []) => shown.join(","),
        (shown, rest) => format!("{},+{}", shown.join(","), rest.len()),
    }
}

/// Columns as kubectl prints them: as wide as their widest text, three spaces apart.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &[String; N]| {
        let padded = row.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use drover_crds::SubjectKind;

    use super::*;

    #[test]
    fn a_name_cannot_play_with_a_terminal() {
        let named = |name: &str| RoleSubject { kind: SubjectKind::User, name: name.to_owned(), namespace: None };
        assert_eq!(subject(&named("ann@example.com")), "User ann@example.com");
        assert_eq!(subject(&named("\u{1b}[2J")), r#"User "\u{1b}[2J""#);
        assert_eq!(subject(&named("ann\nUser root")), r#"User "ann\nUser root""#);
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..5).map(|number| format!("c{number}")).collect();
        assert_eq!(some_of(&names), "c0,c1,c2,+2");
        assert_eq!(some_of(&names[..3]), "c0,c1,c2");
        assert_eq!(some_of(&names[..1]), "c0");
        assert_eq!(some_of(&[]), "-");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let rows = [["A", "LONG"].map(str::to_owned), ["wide", "x"].map(str::to_owned)];
        assert_eq!(columns(&rows), "A      LONG\nwide   x\n");
    }
}
