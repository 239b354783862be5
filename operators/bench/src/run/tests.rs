use std::{fs, os::unix::fs::PermissionsExt as _, time::Instant as Clock};

use tempfile::TempDir;

use super::*;
use crate::MAX_PRINTED;

/// A folder with an engine that is a shell script, and with a folder for results.
fn settings(folder: &TempDir, script: &str, targets: &[&str]) -> RunSettings {
    let engine = folder.path().join("engine");
    fs::write(&engine, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&engine, fs::Permissions::from_mode(0o755)).unwrap();
    let results = folder.path().join("results");
    fs::create_dir_all(&results).unwrap();
    RunSettings {
        benchmark: "cis-1.12".parse().unwrap(),
        targets: targets.iter().map(|target| target.parse().unwrap()).collect(),
        results,
        engine,
        config: "/cfg".into(),
        timeout: Duration::from_mins(1),
        log: |_| (),
    }
}

fn outcome(settings: &RunSettings, target: &str) -> Outcome {
    serde_json::from_slice(&fs::read(settings.results.join(format!("{target}.outcome"))).unwrap()).unwrap()
}

fn printed(settings: &RunSettings, target: &str) -> Vec<u8> {
    fs::read(settings.results.join(format!("{target}.json"))).unwrap()
}

async fn finishes(settings: &RunSettings) {
    run(settings).await.unwrap();
    assert!(settings.results.join(DONE).is_file());
    let partial = fs::read_dir(&settings.results)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(partial.count(), 0, "nothing partial stays");
}

fn exited(code: i32, said: &str) -> Outcome {
    Outcome::Exited { code: Some(code), said: said.to_owned() }
}

#[tokio::test]
async fn kube_bench_is_asked_for_one_target_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, "echo \"$@\"; env | sort | cut -d= -f1 >&2; cat", &["master", "node"]);
    finishes(&settings).await;
    for target in ["master", "node"] {
        let expected = format!(
            "run --config-dir /cfg --config /cfg/config.yaml --benchmark cis-1.12 --targets {target} --json --noremediations\n"
        );
        assert_eq!(String::from_utf8(printed(&settings, target)).unwrap(), expected);
        let Outcome::Exited { code: Some(0), said } = outcome(&settings, target) else { panic!() };
        let names: Vec<_> = said.lines().filter(|name| !["PWD", "SHLVL", "_"].contains(name)).collect();
        assert_eq!(names, ["HOME", "PATH"], "nothing else of the environment");
    }
    assert!(!settings.results.join("etcd.json").exists());
}

#[tokio::test]
async fn a_target_that_fails_is_told_and_the_next_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        "case \"$*\" in *master*) echo unable to find config >&2; exit 255;; *etcd*) kill -9 $$;; *) echo '[]';; esac";
    let settings = settings(&folder, script, &["master", "etcd", "node"]);
    finishes(&settings).await;
    assert_eq!(outcome(&settings, "master"), exited(255, "unable to find config\n"));
    assert_eq!(outcome(&settings, "etcd"), Outcome::Exited { code: None, said: String::new() });
    assert_eq!((outcome(&settings, "node"), printed(&settings, "node")), (exited(0, ""), b"[]\n".to_vec()));
}

#[tokio::test]
async fn one_that_never_ends_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let ids = folder.path().join("ids");
    let script = format!("echo $$ >> {0}; (trap '' TERM; sleep 4000) & echo $! >> {0}; echo '[]'; wait", ids.display());
    let settings =
        RunSettings { timeout: Duration::from_millis(700), ..settings(&folder, &script, &["master", "node"]) };
    let start = Clock::now();
    finishes(&settings).await;
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    for target in ["master", "node"] {
        assert_eq!((outcome(&settings, target), printed(&settings, target)), (Outcome::TimedOut, Vec::new()));
    }
    let ids = fs::read_to_string(&ids).unwrap();
    let ids: Vec<_> = ids.lines().collect();
    assert_eq!(ids.len(), 2, "the second target was not even started");
    for id in ids {
        let runs = || fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        let end = Clock::now() + Duration::from_secs(5);
        while runs() && Clock::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!runs(), "{id} still runs");
    }
}

#[tokio::test]
async fn one_that_prints_too_much_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    // It goes on when nobody reads any longer.
    let script = "trap '' PIPE; head -c 31457280 /dev/zero; sleep 4000";
    let settings = settings(&folder, script, &["node"]);
    let start = Clock::now();
    finishes(&settings).await;
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!((outcome(&settings, "node"), printed(&settings, "node")), (Outcome::TooLarge, Vec::new()));
}

#[tokio::test]
async fn as_much_as_there_may_be_is_kept_and_of_standard_error_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("head -c 1000000 /dev/zero | tr '\\0' e >&2; echo last >&2; head -c {MAX_PRINTED} /dev/zero");
    let settings = settings(&folder, &script, &["node"]);
    finishes(&settings).await;
    assert_eq!(printed(&settings, "node").len(), MAX_PRINTED);
    let Outcome::Exited { code: Some(0), said } = outcome(&settings, "node") else { panic!() };
    assert_eq!(said.len(), 2 << 10);
    assert!(said.ends_with("eelast\n"));
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_an_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let settings = RunSettings { engine: "/nonexistent/kube-bench".into(), ..settings(&folder, "", &["node"]) };
    finishes(&settings).await;
    assert!(matches!(outcome(&settings, "node"), Outcome::NotStarted { message } if message.contains("No such file")));
}

#[tokio::test]
async fn results_that_cannot_be_written_are_an_error_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, "echo '[]'", &["master", "node"]);
    fs::create_dir_all(settings.results.join("master.json/x")).unwrap();
    let error = run(&settings).await.unwrap_err().to_string();
    assert!(error.contains("results/master.json cannot be written"), "{error}");
    assert_eq!(outcome(&settings, "node"), exited(0, ""), "the next was looked at");
    assert!(settings.results.join(DONE).is_file(), "nobody waits for what does not come");
}

#[tokio::test]
async fn a_second_start_of_the_container_replaces_what_the_first_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let first = settings(&folder, "exit 1", &["node"]);
    finishes(&first).await;
    fs::write(first.results.join(".node.json.partial"), "half").unwrap();
    let second = settings(&folder, "echo '[]'", &["node"]);
    finishes(&second).await;
    assert_eq!(outcome(&second, "node"), exited(0, ""));
}
