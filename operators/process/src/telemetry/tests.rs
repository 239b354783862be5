use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    process::{Command, Output},
    time::Instant,
};

use serde_json::Value;

use super::*;

/// The subscriber belongs to a whole process, so a test runs again as a child, in which this says what to do.
const CHILD: &str = "DROVER_TEST_TELEMETRY";

fn run_as_child(test: &str, endpoint: &str) -> Output {
    let (_crate, module) = module_path!().split_once("::").unwrap();
    Command::new(env::current_exe().unwrap())
        .args([&format!("{module}::{test}"), "--exact", "--nocapture"])
        .env(CHILD, endpoint)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// What the child does: a span, an event in it, a panic on another thread.
fn record_something(endpoint: String) {
    let otlp_endpoint = Some(endpoint).filter(|endpoint| !endpoint.is_empty());
    let settings = TelemetrySettings { filter: "info".into(), format: LogFormat::Auto, otlp_endpoint };
    let _guard = init(&settings).unwrap();
    tracing::info_span!("reconcile", kind = "Project").in_scope(|| tracing::info!(place = "eu-1", "applied"));
    tracing::debug!("hidden");
    thread::Builder::new().name("worker".into()).spawn(|| panic!("boom")).unwrap().join().unwrap_err();
    assert!(matches!(init(&settings), Err(TelemetryError::Installed(_))));
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(output.status.success(), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn every_line_is_json_panics_included() {
    if let Ok(endpoint) = env::var(CHILD) {
        return record_something(endpoint);
    }
    let lines = json_lines(&run_as_child("every_line_is_json_panics_included", ""));
    let [event, panic] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(
        (&event["message"], &event["level"], &event["place"]),
        (&"applied".into(), &"INFO".into(), &"eu-1".into())
    );
    assert_eq!((&event["span"]["name"], &event["span"]["kind"]), (&"reconcile".into(), &"Project".into()));
    assert_eq!((&panic["message"], &panic["level"]), (&"panicked: boom".into(), &"ERROR".into()));
    assert_eq!(panic["thread"], "worker");
    assert!(panic["location"].as_str().unwrap().contains("telemetry/tests.rs:"), "{panic}");
}

#[test]
fn spans_reach_the_collector_before_the_process_ends() {
    if let Ok(endpoint) = env::var(CHILD) {
        return record_something(endpoint);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap());
    let collector = thread::spawn(move || receive(&listener));
    json_lines(&run_as_child("spans_reach_the_collector_before_the_process_ends", &endpoint));
    let (head, body) = collector.join().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    let body = String::from_utf8_lossy(&body);
    for text in ["service.name", "drover", "reconcile", "Project", "applied"] {
        assert!(body.contains(text), "{text} is not in {body}");
    }
}

#[test]
fn a_collector_that_is_gone_is_reported_and_does_not_hold_up_the_end() {
    if let Ok(endpoint) = env::var(CHILD) {
        return record_something(endpoint);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let start = Instant::now();
    let output = run_as_child("a_collector_that_is_gone_is_reported_and_does_not_hold_up_the_end", &endpoint);
    assert!(start.elapsed() < FLUSH_LIMIT + Duration::from_secs(5));
    let lines = json_lines(&output);
    assert!(lines.iter().any(|line| line["message"] == "applied"));
    let complaints = lines.iter().filter(|line| line["level"] != "INFO" && line["message"] != "panicked: boom");
    assert!(complaints.count() > 0, "{lines:?}");
}

/// Takes one request, head and body.
fn receive(listener: &TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    (head, body)
}

#[test]
fn settings_that_cannot_work_are_refused_and_secrets_in_them_not_repeated() {
    for bad in ["https://collector:4318", "collector:4318", "", "http://", "grpc://x", "http://a b", "http://c/?x"] {
        assert!(matches!(export_to(bad), Err(TelemetryError::Endpoint)), "{bad}");
    }
    let error = export_to("https://user:secret@collector").unwrap_err();
    assert!(!error.to_string().contains("secret"));
    let settings = TelemetrySettings { filter: "drover=loud".into(), format: LogFormat::Json, otlp_endpoint: None };
    assert!(matches!(init(&settings), Err(TelemetryError::Filter(_))));
    assert_eq!("json".parse::<LogFormat>().unwrap(), LogFormat::Json);
    assert!("xml".parse::<LogFormat>().is_err());
}
