//! What people paste, and who reads what a command says: nothing of it makes `drover` panic.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const PASTED: &str = r#"
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: u, user: {token: "s3cr3t"}}]
"#;

/// What a command that should fail says of the kubeconfig at `path`.
fn said(arguments: &[&str], option: &str, path: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
    let output = command.args(arguments).arg(option).arg(path).env("KUBECONFIG", path).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn what_is_pasted_is_refused_in_words_by_every_command() {
    let file = File(env::temp_dir().join(format!("drover-pasted-{}", std::process::id())));
    let utf16 = |text: &str| [vec![0xff, 0xfe], text.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat();
    let long = format!("https://127.0.0.1:1/{}", "x".repeat(65_000));
    for (bytes, expected) in [
        (PASTED.replace("s3cr3t", r"s3cr3t\n").into_bytes(), "line breaks"),
        (utf16(&PASTED.replace("s3cr3t", r"s3cr3t\n")), "line breaks"),
        (utf16(PASTED)[..99].to_vec(), "no text"),
        (PASTED.replace("https://", "http://").into_bytes(), "https://"),
        (PASTED.replace("https://127.0.0.1:1", &long).into_bytes(), "https://"),
        (b"kind: [".to_vec(), "YAML"),
    ] {
        fs::write(&file.0, bytes).unwrap();
        for (arguments, option) in [
            (&["run", "--admin-address=127.0.0.1:0"][..], "--kubeconfig"),
            (&["import", "--context=c", "--name=eu"], "--kubeconfig"),
            (&["detach", "eu"], "--management-kubeconfig"),
        ] {
            let said = said(arguments, option, &file.0);
            assert!(said.contains(expected) && !said.contains("panicked"), "{arguments:?}: {said}");
            assert!(!said.contains("s3cr3t"), "{said}");
        }
    }
}

#[test]
fn a_command_whose_words_nobody_reads_ends_as_it_would() {
    for arguments in [&["import", "--context=c", "--name=eu"][..], &["detach", "eu"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
        let status = command.args(arguments).env("KUBECONFIG", "/nonexistent").stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(1), "a panic ends with 101");
    }
}
