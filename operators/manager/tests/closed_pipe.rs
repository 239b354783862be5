//! A reader that has seen enough closes the pipe, as `drover rbac | head -1` does.

use std::{
    io,
    process::{Command, Stdio},
};

#[test]
fn a_command_that_prints_into_a_closed_pipe_neither_panics_nor_fails() {
    for arguments in [&["crds"][..], &["rbac"], &["docs"], &["version"], &["--version"], &["help"], &["run", "--help"]]
    {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
        let child = command.args(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{arguments:?}: {} {stderr}", child.status);
        assert_eq!(stderr, "", "{arguments:?}");
    }
}
