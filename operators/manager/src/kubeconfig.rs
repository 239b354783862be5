//! The kubeconfig of whoever starts `drover`, as kubectl reads it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use drover_fleet::{encoding, kubeconfig::as_kubectl_reads};
use kube::config::{Kubeconfig, KubeconfigError};

/// Reads the file at `path`, or else those that kubectl would read.
pub(crate) fn read(path: Option<&Path>) -> Result<Kubeconfig, KubeconfigError> {
    for path in path.map_or_else(usual_paths, |path| vec![path.to_owned()]) {
        check_encoding(&path)?;
    }
    path.map_or_else(Kubeconfig::read, Kubeconfig::read_from).map(as_kubectl_reads)
}

fn usual_paths() -> Vec<PathBuf> {
    match env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(value) => env::split_paths(&value).collect(),
        None => env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    }
}

/// kube panics on a file that ends within a character. What is no file can be read once only.
fn check_encoding(path: &Path) -> Result<(), KubeconfigError> {
    if !path.is_file() {
        return Ok(());
    }
    let failed = |error| KubeconfigError::ReadConfig(error, path.to_owned());
    let bytes = fs::read(path).map_err(failed)?;
    let no_text = || failed(io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8 or UTF-16"));
    encoding::text(&bytes).map(drop).ok_or_else(no_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_text_is_no_panic() {
        let path = env::temp_dir().join(format!("drover-kubeconfig-{}", std::process::id()));
        for (bytes, is_read) in [
            (&b"\xff\xfe{\0}\0"[..], true),
            (b"\xff\xfe{\0}", false),
            (b"\xfe\xff\0{\0", false),
            (b"{}", true),
            (b"\x80", false),
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(read(Some(&path)).is_ok(), is_read, "{bytes:?}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(Some(&path)), Err(KubeconfigError::ReadConfig(..))));
    }
}
