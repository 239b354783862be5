//! The runner of these tests, tried on tests that fail, hang, panic and leave things behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use drover_e2e::process::{Process, Specification};
use drover_e2e::runner::{Soak, Test};
use drover_e2e::wait::{eventually, soon};

drover_e2e::tests![
    what_fails_shows_its_output_and_logs_and_what_passes_does_not,
    what_is_skipped_is_told_with_its_reason,
    a_test_that_hangs_is_ended_with_all_that_it_started,
    a_runner_that_is_killed_takes_everything_with_it,
    heavy_tests_have_the_slots_for_themselves,
    a_soak_that_was_killed_goes_on_with_what_has_not_passed,
    a_soak_is_over_when_all_of_it_has_passed_with_one_revision,
    what_is_required_may_not_be_skipped,
    a_run_that_selects_no_test_fails_and_says_why,
    the_programs_of_a_run_are_its_own,
];

/// Set to a folder: the tests below are the only ones.
const FIXTURES: &str = "DROVER_E2E_FIXTURES";

/// The tests that this runner is tried on, if that is what this process is for.
pub(crate) fn fixtures() -> Option<Vec<Test>> {
    std::env::var_os(FIXTURES).map(|_| fixtures::tests())
}

mod fixtures {
    use super::*;

    drover_e2e::tests![
        passes,
        fails,
        panics,
        is_skipped,
        hangs => limit(Duration::from_secs(2)),
        heavy_one => weight(2),
        heavy_two => weight(2),
        none_beside_heavy_ones,
        tells_its_programs,
        soaks_shortly => soak(Soak::Away),
        soaks_until_it_may_end => soak(Soak::Away),
    ];

    async fn soaks_shortly() {
        if folder().join("skip").exists() {
            return drover_e2e::existing::skip("soaks_shortly", "it was told to");
        }
        note("shortly");
    }

    async fn tells_its_programs() {
        note(&std::env::current_exe().unwrap().display().to_string());
        note(&drover_e2e::installation::drover_binary().unwrap().display().to_string());
    }

    fn folder() -> PathBuf {
        std::env::var_os(FIXTURES).unwrap().into()
    }

    async fn soaks_until_it_may_end() {
        note("until it may end");
        let end = folder().join("end");
        eventually("it may end", 2 * soon(), async || Ok(end.exists().then_some(()))).await.unwrap();
    }

    /// Adds a line to what was run.
    fn note(line: &str) {
        let path = folder().join("notes");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).unwrap();
    }

    async fn passes() {
        println!("the words of the one that passes");
    }

    async fn fails() -> Result<(), String> {
        println!("the words of the one that fails");
        std::fs::write(std::env::temp_dir().join("x.log"), "the log of the one that fails\n").unwrap();
        Err("the reason of the one that fails".to_owned())
    }

    async fn panics() {
        panic!("the panic of the one that panics");
    }

    async fn is_skipped() {
        drover_e2e::existing::skip("is_skipped", "the moon is not full");
    }

    #[expect(clippy::zombie_processes, reason = "that is what is tried")]
    async fn hangs() {
        let folder = folder();
        let command = Command::new("sleep").arg("600").spawn().unwrap();
        std::fs::write(folder.join("pid-of-a-command"), command.id().to_string()).unwrap();
        let specification = Specification {
            name: "sleep".to_owned(),
            program: "sleep".into(),
            arguments: vec!["600".to_owned()],
            environment: Vec::new(),
            log: folder.join("sleep"),
        };
        let process = Process::start(&specification).unwrap();
        std::fs::write(folder.join("pid"), process.pid().to_string()).unwrap();
        std::future::pending::<()>().await;
    }

    async fn heavy_one() {
        at_work("heavy_one").await;
    }

    async fn heavy_two() {
        at_work("heavy_two").await;
    }

    async fn none_beside_heavy_ones() {
        at_work("none_beside_heavy_ones").await;
    }

    /// Two of which at least one is heavy would find each other's mark.
    async fn at_work(name: &str) {
        let folder = folder();
        let mark = folder.join(format!("{name}.working"));
        std::fs::write(&mark, "").unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let others = std::fs::read_dir(&folder).unwrap().flatten();
        let others = others.filter(|entry| entry.path().extension().is_some_and(|end| end == "working")).count();
        std::fs::remove_file(mark).unwrap();
        assert_eq!(others, 1, "somebody works beside {name}");
    }
}

/// Whatever the runner of this test was told, this one is told by its arguments, and remembers in the folder.
fn runner(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env(FIXTURES, folder).env("DROVER_E2E_CACHE", folder);
    for of_ours in
        ["DROVER_E2E_SOAK", "DROVER_E2E_SKIP", "DROVER_E2E_PATIENCE", "DROVER_E2E_MUST_MATCH", "CI", "E2E_REQUIRE"]
    {
        command.env_remove(of_ours);
    }
    command
}

fn run(arguments: &[&str]) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = runner(folder.path(), arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

async fn what_fails_shows_its_output_and_logs_and_what_passes_does_not() {
    let (output, text) = run(&["--test-threads=2", "--skip=hangs", "--skip=heavy", "--skip=soaks", "--skip=tells"]);
    assert!(!output.status.success());
    for shown in [
        "the words of the one that fails",
        "the log of the one that fails",
        "the reason of the one that fails",
        "the panic of the one that panics",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains("the words of the one that passes"), "{text}");
    assert!(text.contains("test result: FAILED. 1 passed; 2 failed; 1 ignored"), "{text}");
    assert!(text.contains("slowest:"), "{text}");
}

async fn what_is_skipped_is_told_with_its_reason() {
    let (output, text) = run(&["is_skipped"]);
    assert!(output.status.success());
    assert!(text.contains("skipped runner::fixtures::is_skipped") && text.contains("the moon is not full"), "{text}");
}

async fn a_test_that_hangs_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let output = runner(folder.path(), &["hangs"]).output().unwrap();
    assert!(!output.status.success());
    assert!(started.elapsed() < soon(), "{:?}", started.elapsed());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("not over after 2s") && text.contains("its time was over"), "{text}");
    assert!(!is_alive(folder.path(), "pid"), "what it started goes on");
    assert!(!is_alive(folder.path(), "pid-of-a-command"), "the command that it started goes on");
}

async fn a_runner_that_is_killed_takes_everything_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut runner = runner(folder.path(), &["hangs"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let is_there = async || Ok(folder.path().join("pid").exists().then_some(()));
    eventually("the test has started something", soon(), is_there).await.unwrap();
    runner.kill().unwrap();
    runner.wait().unwrap();
    for pid in ["pid", "pid-of-a-command"] {
        let is_gone = async || Ok((!is_alive(folder.path(), pid)).then_some(()));
        eventually(&format!("{pid} has ended"), soon(), is_gone).await.unwrap();
    }
}

async fn heavy_tests_have_the_slots_for_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let output = runner(folder.path(), &["--test-threads=2", "heavy"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("3 passed"), "{text}");
}

async fn a_soak_that_was_killed_goes_on_with_what_has_not_passed() {
    let folder = tempfile::tempdir().unwrap();
    let notes = || std::fs::read_to_string(folder.path().join("notes")).unwrap_or_default();
    let soak = || {
        let mut command = runner(folder.path(), &["--test-threads=1"]);
        command.env("DROVER_E2E_SOAK", "away").stdout(std::process::Stdio::null());
        command
    };
    let mut first = soak().spawn().unwrap();
    eventually("the second test runs", soon(), async || Ok(notes().contains("until it may end").then_some(())))
        .await
        .unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    std::fs::write(folder.path().join("end"), "").unwrap();
    for (run, lines) in [("goes on", 3), ("begins anew", 5)] {
        let output = soak().output().unwrap();
        assert!(output.status.success(), "{run}: {output:?}");
        assert_eq!(notes().lines().count(), lines, "{run}: {}", notes());
    }
}

async fn a_soak_is_over_when_all_of_it_has_passed_with_one_revision() {
    const OVER: &str = "soak away: all of it has passed";
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let soak = |arguments: &[&str]| {
        // Other tests may touch the working tree meanwhile: here it is no revision of its own.
        let mut runner = runner(folder.path(), arguments);
        let output = runner.env("DROVER_E2E_SOAK", "away").env("GIT_DIR", folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    std::fs::write(file("end"), "").unwrap();
    std::fs::write(file("skip"), "").unwrap();
    let said = soak(&[]);
    assert!(!said.contains(OVER), "one was skipped: {said}");
    std::fs::remove_file(file("skip")).unwrap();
    for some in ["--skip=until", "shortly"] {
        let said = soak(&[some]);
        assert!(!said.contains(OVER), "{some}: {said}");
    }
    let passed = "another revision\nrunner::fixtures::soaks_shortly\nrunner::fixtures::soaks_until_it_may_end\n";
    std::fs::write(file("soak-away"), passed).unwrap();
    std::fs::remove_file(file("notes")).unwrap();
    let said = soak(&[]);
    assert!(said.contains("another revision") && said.contains(OVER), "{said}");
    assert_eq!(std::fs::read_to_string(file("notes")).unwrap().lines().count(), 2);
}

async fn what_is_required_may_not_be_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let output = runner(folder.path(), &["is_skipped"]).env("E2E_REQUIRE", "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && text.contains("the moon is not full"), "{text}");
}

async fn a_run_that_selects_no_test_fails_and_says_why() {
    let (soak, skip) = (("DROVER_E2E_SOAK", "watches"), ("DROVER_E2E_SKIP", "1"));
    let (by_name, required) = (("DROVER_E2E_MUST_MATCH", "1"), ("E2E_REQUIRE", "1"));
    for (arguments, environment, said) in [
        (vec!["no_such_test"], vec![by_name], Some("no test")),
        (vec!["soaks"], vec![by_name], Some("make soak")),
        // Who runs the tests of all crates by a name need not have one here.
        (vec!["no_such_test"], vec![], None),
        (vec!["no_such_test"], vec![required], None),
        (vec!["--skip=s"], vec![], None),
        (vec!["--skip=s"], vec![required], Some("no test")),
        (vec![], vec![soak], Some("no test")),
        (vec![], vec![soak, skip], Some("DROVER_E2E_SKIP")),
        (vec![], vec![skip], None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = runner(folder.path(), &arguments).envs(environment.iter().copied()).output().unwrap();
        let case = format!("{arguments:?} {environment:?}: {output:?}");
        assert_eq!(output.status.success(), said.is_none(), "{case}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said.unwrap_or_default()), "{case}");
    }
}

async fn the_programs_of_a_run_are_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let output = runner(folder.path(), &["tells_its_programs"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let notes = std::fs::read_to_string(folder.path().join("notes")).unwrap();
    assert_eq!(notes.lines().count(), 2);
    assert!(notes.lines().all(|program| Path::new(program).starts_with(folder.path())), "a build replaces {notes}");
}

fn is_alive(folder: &Path, pid: &str) -> bool {
    let pid = std::fs::read_to_string(folder.join(pid)).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}
