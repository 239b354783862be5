//! Files in the folder with the results: written whole or not at all, and read with bounds.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

/// The reader has another user.
const READABLE: u32 = 0o644;

/// What a file is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// It is not there.
    Missing,
    /// It is larger than it may be.
    TooLarge,
    /// It cannot be read, or is no file.
    Unreadable(String),
    /// What is in it.
    Bytes(Vec<u8>),
}

/// Writes the file `name` in `folder`. Whoever sees it sees all of it.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let partial = folder.join(format!(".{name}.partial"));
    // What an earlier start of the container left is not gone on with.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(READABLE).open(&partial)?;
    file.write_all(bytes)?;
    // Whatever the umask says.
    file.set_permissions(Permissions::from_mode(READABLE))?;
    fs::rename(&partial, folder.join(name))
}

/// Reads the file at `path`, at most `limit` bytes of it. A link is not followed, and a pipe is not waited for.
pub(crate) fn read(path: &Path, limit: usize) -> Content {
    match read_file(path, limit) {
        Ok(bytes) if bytes.len() > limit => Content::TooLarge,
        Ok(bytes) => Content::Bytes(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Missing,
        Err(error) => Content::Unreadable(error.to_string()),
    }
}

fn read_file(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_written_whole_and_readable_for_others() {
        let folder = tempfile::tempdir().unwrap();
        for content in ["first", "second"] {
            write(folder.path(), "etcd.json", content.as_bytes()).unwrap();
            let path = folder.path().join("etcd.json");
            assert_eq!(read(&path, 100), Content::Bytes(content.into()));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, READABLE);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else stays");
    }

    #[test]
    fn only_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "12345").unwrap();
        symlink(path("file"), path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        assert_eq!(read(&path("file"), 5), Content::Bytes("12345".into()));
        assert_eq!(read(&path("file"), 4), Content::TooLarge);
        assert_eq!(read(&path("none"), 4), Content::Missing);
        for name in ["link", "folder", "pipe"] {
            assert!(matches!(read(&path(name), 4), Content::Unreadable(_)), "{name}");
        }
    }
}
