//! Pages in a real browser, where there is one.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::*;

/// How long a browser may take, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);

fn browser() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|program| program.is_file())
}

/// The document after its script ran, and what the browser logged.
fn shown(browser: &Path, page: &str, asked: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (file, dom, log) = (folder.path().join("page.html"), folder.path().join("dom"), folder.path().join("log"));
    fs::write(&file, page).unwrap();
    let mut child = Command::new(browser)
        .args(["--headless", "--disable-gpu", "--no-sandbox", "--disable-dev-shm-usage", "--enable-logging=stderr"])
        .args(["--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}{asked}", file.display()))
        .stdin(Stdio::null())
        .stdout(File::create(&dom).unwrap())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{} did not end: {}", browser.display(), fs::read_to_string(&log).unwrap());
        }
        sleep(Duration::from_millis(50));
    }
    (fs::read_to_string(&dom).unwrap(), String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned())
}

#[test]
fn a_browser_runs_the_filters_and_no_other_script() {
    let Some(browser) = browser() else {
        say!("SKIPPED: no chromium, chromium-browser or google-chrome in PATH, so no page was opened in a browser");
        return;
    };
    let results = json!([
        result("1.2.6", "Fail", &json!({"title": "kubelet <script>alert(1)</script>"})),
        result("1.2.7", "Fail", &json!({"title": "scheduler"})),
        result("1.2.8", "Pass", &json!({"title": "kubelet"})),
    ]);
    let page = page_of(vec![report("eu-1", &json!({"results": results})), report("us-1", &json!({}))]);
    let (dom, log) = shown(&browser, &page, "#state=Fail,Error&cluster=eu-1&text=KUBELET");
    assert!(dom.contains("data-ready=\"true\""), "the script ran: {log}");
    assert!(dom.contains(">1 of 5 checks are shown.</p>"), "the filters ran: {dom}");
    assert!(dom.contains("<tr data-state=\"Fail\"><th scope=\"row\">1.2.6</th>"), "{dom}");
    for hidden in [
        "<tr data-state=\"Fail\" hidden=\"\"><th scope=\"row\">1.2.7</th>",
        "<tr data-state=\"Pass\" hidden=\"\"><th scope=\"row\">1.2.8</th>",
        "<section class=\"cluster\" id=\"c1\" data-cluster=\"us-1\" hidden=\"\">",
    ] {
        assert!(dom.contains(hidden), "{hidden}: {dom}");
    }
    assert!(!log.contains("Content Security Policy"), "style and script are let in: {log}");
    let (dom, _) = shown(&browser, &page, "");
    assert!(dom.contains(">5 of 5 checks are shown.</p>") && !dom.contains("<tr data-state=\"Pass\" hidden"), "{dom}");
    let evil = "<script>document.documentElement.dataset.evil = 1</script><img src=x onerror=\"document.documentElement.dataset.evil = 2\">";
    let (dom, log) = shown(&browser, &page.replace("</main>", &format!("{evil}</main>")), "");
    assert!(dom.contains("data-ready=\"true\"") && !dom.contains("data-evil"), "the policy keeps others out: {dom}");
    assert!(log.contains("Content Security Policy"), "a refusal is logged: {log}");
}
