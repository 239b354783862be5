//! A file of tests that `tests/e2e/main.rs` does not name would never be compiled, so the build fails here.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

const FOLDER: &str = "tests/e2e";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={FOLDER}");
    let main = fs::read_to_string(Path::new(FOLDER).join("main.rs")).unwrap_or_default();
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    let modules = entries.filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    let forgotten: Vec<String> =
        modules.filter(|name| name != "main" && !main.contains(&format!("mod {name};"))).collect();
    if forgotten.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("cargo::error=e2e/{FOLDER}/main.rs does not name {}", forgotten.join(", "));
    ExitCode::FAILURE
}
