//! What the image holds. No container runtime is needed: the program runs alone in an empty root directory.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

drover_e2e::tests![
    the_image_holds_the_program_and_certificates_and_runs_as_nobody,
    the_static_program_runs_alone_in_an_empty_root_directory,
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The instructions of the last stage, as words.
fn final_stage() -> Vec<Vec<String>> {
    let text = fs::read_to_string(repository().join("Dockerfile")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let words = lines.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words.fold(Vec::new(), |mut stage, instruction| {
        if instruction[0] == "FROM" {
            stage.clear();
        }
        stage.push(instruction);
        stage
    })
}

async fn the_image_holds_the_program_and_certificates_and_runs_as_nobody() {
    let stage = final_stage();
    let of = |name: &str| stage.iter().filter(|words| words[0] == name).cloned().collect::<Vec<_>>();
    assert_eq!(of("FROM"), [["FROM", "scratch"]]);
    let copied: Vec<_> = of("COPY").into_iter().map(|words| words.last().unwrap().clone()).collect();
    assert_eq!(copied, ["/etc/ssl/certs/ca-certificates.crt", "/drover"]);
    assert_eq!(of("USER"), [["USER", "65532:65532"]], "a name would not pass runAsNonRoot");
    assert_eq!(of("ENTRYPOINT"), [["ENTRYPOINT", "[\"/drover\"]"]]);
    assert_eq!(stage.len(), 6, "an instruction that this test does not know: {stage:?}");
}

async fn the_static_program_runs_alone_in_an_empty_root_directory() {
    let program = drover_e2e::runner::static_program().unwrap();
    assert!(program.is_file(), "there is no static drover: run `make static`");
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(&program, root.path().join("drover")).unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "chroot"])
        .arg(root.path())
        .args(["/drover", "version"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
}
