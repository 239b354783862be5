use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::prelude::*;
use tar::EntryType;

use super::*;
use crate::{
    archive::PathProblem,
    metadata::{ApiVersion, Dependency, ImportValues},
    testing::{CHART_YAML, Entry, file, gzip, packed, tar_of},
};

fn unpack(packed: &[u8]) -> Result<Chart, ChartError> {
    Chart::unpack(packed, &Limits::default())
}

/// The chart of these files in the folder web, beside its Chart.yaml.
fn chart(files: &[(&str, &str)]) -> Result<Chart, ChartError> {
    let paths: Vec<_> = files.iter().map(|(path, _)| format!("web/{path}")).collect();
    let mut entries = vec![file("web/Chart.yaml", CHART_YAML)];
    entries.extend(paths.iter().zip(files).map(|(path, (_, content))| file(path, content)));
    unpack(&packed(&entries))
}

/// Why an archive with this entry beside a whole chart is refused.
fn refusal(entry: Entry<'_>) -> ArchiveError {
    match unpack(&packed(&[file("web/Chart.yaml", CHART_YAML), entry])) {
        Err(ChartError::Archive(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_chart_shows_its_files_and_metadata() {
    let chart_yaml = "apiVersion: v2\nname: web\nversion: 1.2.3\nappVersion: 1.10\nkubeVersion: '>=1.30'\ndeprecated: true\n\
                      description: \"two\\nlines\"\nannotations:\n  a: b\n  n: 1\n  z:\nsources: [x]\nunknown: {y: 1}\n";
    let packed = packed(&[
        Entry::Kind(EntryType::XGlobalHeader, b"pax_global_header"),
        Entry::Kind(EntryType::Directory, b"web/"),
        file("web/Chart.yaml", chart_yaml),
        file("web/values.yaml", "\u{feff}a: 1\n"),
        file("web/values.schema.json", "{}"),
        file("web/questions.yml", "questions: []"),
        file("web/README.md", "# Web"),
        file("web/templates/NOTES.txt", "hi"),
        file("web/crds/a.yaml", "kind: CRD"),
        file("web/crds/README.md", ""),
    ]);
    let chart = unpack(&packed).unwrap();
    let metadata = chart.metadata();
    assert_eq!((metadata.name.as_str(), metadata.version.as_str()), ("web", "1.2.3"));
    assert_eq!((metadata.app_version.as_str(), metadata.kube_version.as_str()), ("1.10", ">=1.30"));
    assert_eq!((metadata.api_version, metadata.chart_type), (ApiVersion::V2, ChartType::Application));
    assert!(metadata.is_deprecated);
    assert_eq!(metadata.description, "two lines");
    let annotations: Vec<_> = metadata.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(annotations, [("a", "b"), ("n", "1"), ("z", "")]);
    assert_eq!(chart.values(), Some("a: 1\n"), "without a byte order mark");
    assert_eq!((chart.values_schema(), chart.questions()), (Some("{}"), Some("questions: []")));
    assert_eq!((chart.app_readme(), chart.notes()), (Some("# Web"), Some("hi")));
    assert_eq!(chart.crds().map(|(path, _)| path).collect::<Vec<_>>(), ["crds/a.yaml"]);
    assert_eq!(chart.digest(), Digest::of(&packed));
    assert_eq!(chart.check_installable(), Ok(()));
}

#[test]
fn links_and_devices_are_refused() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Continuous,
        EntryType::GNUSparse,
        EntryType::new(b'Z'),
    ] {
        let refused = refusal(Entry::Kind(kind, b"web/templates/a"));
        let is_expected = matches!(refused, ArchiveError::NotAFile(_) | ArchiveError::Damaged);
        assert!(is_expected, "{kind:?}: {refused:?}");
    }
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for (path, problem) in [
        (&b"../evil"[..], PathProblem::Relative),
        (b"web/../../evil", PathProblem::Relative),
        (b"web/./a", PathProblem::Relative),
        (b"./web/a", PathProblem::Relative),
        (b"web//a", PathProblem::Relative),
        (b"/etc/passwd", PathProblem::Absolute),
        (b"web\\templates\\a", PathProblem::Backslash),
        (b"web/\xff", PathProblem::NotUtf8),
        (b"web/a\nb", PathProblem::Control),
        (b"web", PathProblem::Outside),
    ] {
        match refusal(Entry::File(path, b"")) {
            ArchiveError::BadPath { problem: found, .. } => assert_eq!(found, problem, "{path:?}"),
            other => panic!("{path:?}: {other:?}"),
        }
    }
}

#[test]
fn what_could_mean_two_things_is_refused() {
    assert_eq!(refusal(file("web/Chart.yaml", "")), ArchiveError::Twice("Chart.yaml".to_owned()));
    assert_eq!(refusal(file("web/Chart.yaml/a", "")), ArchiveError::Twice("Chart.yaml".to_owned()));
    assert_eq!(refusal(file("other/Chart.yaml", "")), ArchiveError::SecondTop);
    assert_eq!(refusal(file("Chart.yaml", "")), ArchiveError::SecondTop);

    let tar = tar_of(&[file("web/Chart.yaml", CHART_YAML)]);
    let whole = gzip(&tar);
    assert!(unpack(&whole).is_ok());
    let hidden = tar_of(&[file("web/templates/evil.yaml", "evil")]);
    for trailing in [
        gzip(&[&tar[..], &hidden[..]].concat()),
        [&whole[..], &gzip(&hidden)[..]].concat(),
        [&whole[..], b"garbage"].concat(),
        [&whole[..], b"\0"].concat(),
    ] {
        assert_eq!(unpack(&trailing), Err(ArchiveError::TrailingBytes.into()));
    }
    assert!(unpack(&gzip(&[&tar[..], &[0; 10_240]].concat())).is_ok(), "tar pads with zeros");
}

#[test]
fn damaged_archives_are_refused() {
    let whole = packed(&[file("web/Chart.yaml", CHART_YAML), file("web/values.yaml", &"a: 1\n".repeat(1_000))]);
    for end in [0, 1, 10, whole.len() / 2, whole.len() - 1] {
        assert_eq!(unpack(&whole[..end]), Err(ArchiveError::Damaged.into()), "{end} bytes");
    }
    assert_eq!(unpack(b"<html>404</html>"), Err(ArchiveError::Damaged.into()));
    let tar = tar_of(&[file("web/Chart.yaml", CHART_YAML)]);
    assert_eq!(unpack(&gzip(&tar[..520])), Err(ArchiveError::Damaged.into()), "a file without its end");
    assert_eq!(unpack(&tar), Err(ArchiveError::Damaged.into()), "not compressed");
    assert_eq!(unpack(&packed(&[])), Err(MetadataError::Missing.into()));
}

#[test]
fn every_bound_holds() {
    let entries = [file("web/Chart.yaml", CHART_YAML), file("web/a/b/c", "0123456789")];
    let packed = packed(&entries);
    let size = tar_of(&entries).len();
    let within =
        Limits { packed_bytes: packed.len(), unpacked_bytes: size, files: 2, depth: 3, file_bytes: CHART_YAML.len() };
    let refused = |limits: &Limits| Chart::unpack(&packed, limits).map(drop);
    assert_eq!(refused(&within), Ok(()));
    for (limits, expected) in [
        (Limits { packed_bytes: packed.len() - 1, ..within }, ArchiveError::PackedTooLarge(packed.len() - 1)),
        (Limits { unpacked_bytes: size - 1, ..within }, ArchiveError::UnpackedTooLarge(size - 1)),
        (Limits { files: 1, ..within }, ArchiveError::TooManyFiles(1)),
        (Limits { depth: 2, ..within }, ArchiveError::TooDeep { path: "web/a/b/c".to_owned(), limit: 2 }),
        (Limits { file_bytes: 5, ..within }, ArchiveError::FileTooLarge { path: "Chart.yaml".to_owned(), limit: 5 }),
    ] {
        assert_eq!(refused(&limits), Err(expected.into()));
    }
}

#[test]
fn a_bomb_stops_at_the_bound() {
    let zeros = gzip(&vec![0; 8 << 20]);
    let limits = Limits { packed_bytes: zeros.len(), unpacked_bytes: 1 << 20, ..Limits::default() };
    assert!(zeros.len() < 1 << 16);
    assert_eq!(Chart::unpack(&zeros, &limits), Err(ArchiveError::UnpackedTooLarge(1 << 20).into()));
    let large = vec![0; 6 << 20];
    let refused = refusal(Entry::File(b"web/large", &large));
    assert_eq!(refused, ArchiveError::FileTooLarge { path: "large".to_owned(), limit: 5 << 20 });
}

#[test]
fn the_bounds_hold_over_the_charts_in_a_chart() {
    let mut innermost = packed(&[file("web/Chart.yaml", CHART_YAML), Entry::File(b"web/b", &[0; 10_000])]);
    for _ in 0..3 {
        innermost = packed(&[file("web/Chart.yaml", CHART_YAML), Entry::File(b"web/charts/web.tgz", &innermost)]);
    }
    let chart = |limits: Limits| Chart::unpack(&innermost, &limits);
    let depth = 7;
    assert!(chart(Limits { depth, ..Limits::default() }).is_ok());
    let mut refused = vec![chart(Limits { depth: 6, ..Limits::default() }).unwrap_err()];
    refused.push(chart(Limits { files: 7, ..Limits::default() }).unwrap_err());
    refused.push(chart(Limits { unpacked_bytes: 20_000, ..Limits::default() }).unwrap_err());
    for error in refused {
        let ChartError::Subchart { path, error } = error else { panic!("{error:?}") };
        assert_eq!(path, "charts/web.tgz");
        assert!(matches!(*error, ChartError::Subchart { .. }), "{error:?}");
    }
}

#[test]
fn subcharts_are_found_as_helm_finds_them() {
    let sub = |name: &str| format!("apiVersion: v2\nname: {name}\nversion: 0.1.0\n");
    let (db, queue, skipped) = (sub("db"), sub("queue"), sub("skipped"));
    let tgz = packed(&[file("queue/Chart.yaml", &queue), file("queue/templates/a.yaml", "{{ lookup }}")]);
    let chart_yaml = format!("{CHART_YAML}dependencies:\n- name: db\n- {{name: queue, alias: jobs}}\n- name: cache\n");
    let chart = unpack(&packed(&[
        file("web/Chart.yaml", &chart_yaml),
        file("web/charts/database/Chart.yaml", &db),
        file("web/charts/database/crds/b.yaml", ""),
        Entry::File(b"web/charts/queue-0.1.0.tgz", &tgz),
        file("web/charts/queue-0.1.0.tgz.prov", ""),
        file("web/charts/_skipped/Chart.yaml", &skipped),
        file("web/charts/.skipped/Chart.yaml", &skipped),
        file("web/crds/a.yaml", ""),
    ]))
    .unwrap();
    let names: Vec<_> = chart.subcharts().iter().map(|chart| chart.metadata().name.as_str()).collect();
    assert_eq!(names, ["db", "queue"]);
    assert_eq!(chart.missing_dependencies(), ["cache"]);
    assert_eq!(chart.metadata().dependencies[1].alias, "jobs");
    let refused = chart.check_installable().unwrap_err();
    assert_eq!(refused, NotInstallable::MissingDependencies(vec!["cache".to_owned()]));
    assert_eq!(chart.crds().map(|(path, _)| path).collect::<Vec<_>>(), ["crds/a.yaml", "crds/b.yaml"]);
    assert!(chart.mentions("lookup") && !chart.mentions("genCA"));
    assert_eq!(chart.subcharts()[0].digest(), chart.digest());
}

#[test]
fn a_broken_chart_in_a_chart_is_named() {
    let refused = chart(&[("charts/README.md", "")]).unwrap_err();
    assert_eq!(refused.to_string(), "in charts/README.md: there is no Chart.yaml; package a chart with `helm package`");
    let refused = chart(&[("charts/db/Chart.yaml", "apiVersion: v9\nname: db\nversion: 1.0.0")]).unwrap_err();
    assert_eq!(
        refused,
        ChartError::Subchart { path: "charts/db".to_owned(), error: Box::new(MetadataError::ApiVersion.into()) }
    );
}

#[test]
fn older_charts_name_their_dependencies_in_a_file_of_their_own() {
    let chart = unpack(&packed(&[
        file("web/Chart.yaml", "name: web\nversion: v1.0\n"),
        file(
            "web/requirements.yaml",
            "dependencies:\n- name: db\n  version: ^1\n  repository: https://charts.example.com\n",
        ),
    ]))
    .unwrap();
    assert_eq!(chart.metadata().api_version, ApiVersion::V1);
    let db = Dependency { name: "db".to_owned(), version: "^1".to_owned(), ..Dependency::default() };
    assert_eq!(chart.metadata().dependencies, [db]);
    assert_eq!(chart.missing_dependencies(), ["db"]);
}

#[test]
fn a_dependency_says_when_it_is_used_and_what_it_gives() {
    let dependency = "{name: db, alias: store, condition: 'db.enabled,x', tags: [a, 1], \
                      import-values: [data, {child: a.b, parent: c}, {child: a}, [1], 7]}";
    let chart = unpack(&packed(&[file("web/Chart.yaml", &format!("{CHART_YAML}dependencies: [{dependency}]\n"))]));
    let chart = chart.unwrap();
    let import = |child: &str, parent: &str| ImportValues { child: child.to_owned(), parent: parent.to_owned() };
    let expected = Dependency {
        name: "db".to_owned(),
        alias: "store".to_owned(),
        version: String::new(),
        condition: "db.enabled,x".to_owned(),
        tags: vec!["a".to_owned(), "1".to_owned()],
        import_values: vec![import("exports.data", "."), import("a.b", "c"), import("a", "")],
    };
    assert_eq!(chart.metadata().dependencies, [expected]);
}

#[test]
fn bad_metadata_is_refused() {
    let refusal = |yaml: &str| match unpack(&packed(&[file("web/Chart.yaml", yaml)])).unwrap_err() {
        ChartError::Metadata(error) => error,
        other => panic!("{other:?}"),
    };
    let invalid = |line| MetadataError::Invalid { file: "Chart.yaml", line };
    assert_eq!(refusal("apiVersion: v2\nname: [\n"), invalid(2));
    assert_eq!(refusal("a: &a [x]\nname: {a: b}\n"), invalid(2));
    assert_eq!(refusal("apiVersion: v2\nversion: 1.0.0\n"), MetadataError::Name);
    for name in ["..", "a/b", "-a", ".a", "ä", "''", "'a b'"] {
        assert_eq!(refusal(&format!("name: {name}\nversion: 1.0.0\n")), MetadataError::Name, "{name}");
    }
    assert!(matches!(refusal("name: a\nversion: one\n"), MetadataError::Version(_)));
    assert_eq!(refusal("apiVersion: v3\nname: a\nversion: 1.0.0\n"), MetadataError::ApiVersion);
    assert_eq!(refusal("type: thing\nname: a\nversion: 1.0.0\n"), MetadataError::Type);
    let long = format!("name: a\nversion: 1.0.0\ndescription: {}\n", "a".repeat(600_000));
    assert_eq!(refusal(&long), MetadataError::TooLarge { file: "Chart.yaml" });
    let levels =
        (1..12).map(|level| format!("b{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 8].join(", ")));
    let levels: String = levels.collect();
    let bomb = format!("b0: &a0 [x, x, x]\n{levels}name: a\nversion: 1.0.0\nannotations: *a11\n");
    assert!(matches!(refusal(&bomb), MetadataError::Invalid { .. }));
}

#[test]
fn a_library_is_not_installed() {
    let library =
        unpack(&packed(&[file("web/Chart.yaml", "apiVersion: v2\nname: a\nversion: 1.0.0\ntype: library\n")]));
    assert_eq!(library.unwrap().check_installable(), Err(NotInstallable::Library));
}

#[test]
fn a_chart_is_written_into_a_private_folder() {
    let folder = tempfile::tempdir().unwrap();
    let chart = chart(&[("templates/a.yaml", "a"), (".helmignore", "*")]).unwrap();
    chart.write_to(folder.path()).unwrap();
    let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
    assert_eq!((read("Chart.yaml").as_str(), read("templates/a.yaml").as_str()), (CHART_YAML, "a"));
    assert!(!folder.path().join(".helmignore").exists());
    let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("templates"), mode("templates/a.yaml")), (0o700, 0o600));
    assert!(chart.write_to(folder.path()).is_err(), "nothing is written over");
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = unpack(&bytes);
        let _ = unpack(&gzip(&bytes));
        let _ = unpack(&packed(&[Entry::File(b"web/Chart.yaml", &bytes)]));
    }

    #[test]
    fn any_damage_can_be_read(at in 0_usize..3_000, with: u8) {
        let charts = packed(&[file("a/Chart.yaml", CHART_YAML)]);
        let mut tar = tar_of(&[file("web/Chart.yaml", CHART_YAML), Entry::File(b"web/charts/a.tgz", &charts)]);
        if let Some(byte) = tar.get_mut(at) {
            *byte = with;
        }
        let _ = unpack(&gzip(&tar));
    }

    #[test]
    fn what_is_accepted_lies_inside(path in "[a./\\\\]{1,12}") {
        let entries = [file("a/Chart.yaml", CHART_YAML), Entry::File(path.as_bytes(), b"")];
        if let Ok(chart) = unpack(&packed(&entries)) {
            let leads_out = |path: &str| path.starts_with('/') || path.split('/').any(|name| matches!(name, "" | "." | ".."));
            prop_assert!(chart.files().keys().all(|path| !leads_out(path)));
        }
    }
}

#[test]
fn metadata_that_is_costly_to_read_is_refused_soon() {
    for piece in ["[", "{a: ", "- ", "? ", "&a ", "!a ", "a: &b [*b, ", "\"\\n", "a:\n ", "- - ", "[a, "] {
        let yaml = piece.repeat(500_000 / piece.len());
        let start = Instant::now();
        let _ = unpack(&packed(&[file("web/Chart.yaml", &yaml)]));
        assert!(start.elapsed() < Duration::from_secs(10), "{piece:?} took {:?}", start.elapsed());
    }
}

#[test]
fn the_chart_of_the_demo_is_packed_as_its_files_are() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/demo");
    let chart_files = concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/src/demo/chart");
    let manifest = fs::read_to_string(format!("{demo}/apps.yaml")).unwrap();
    let (_, packed) = manifest.split_once("chart.tgz: |\n").unwrap();
    let (packed, rest) = packed.split_once("---\n").unwrap();
    let packed = BASE64_STANDARD.decode(packed.split_whitespace().collect::<String>()).unwrap();
    let chart = unpack(&packed).unwrap();
    let digest = chart.digest().to_string();
    assert_eq!(rest.matches(&digest).count(), 2, "both apps name {digest}");
    for path in ["Chart.yaml", "values.yaml", "values.schema.json", "templates/page.yaml", "templates/NOTES.txt"] {
        let source = fs::read_to_string(format!("{chart_files}/{path}")).unwrap();
        let found = chart.text(path).unwrap();
        // helm writes Chart.yaml in its own order.
        let is_same = if path == "Chart.yaml" { found.contains("version: 0.1.0") } else { found == source };
        assert!(is_same, "{path} was changed: run helm package, and put chart and digest into apps.yaml");
    }
}
