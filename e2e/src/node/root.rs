//! The root folder of a container, and the script that mounts what is in it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::error::{FileContext, Result};

/// What programs of this machine need to run; Debian has in the last where links such as that of awk lead.
const SYSTEM: [&str; 3] = ["/usr", "/proc", "/etc/alternatives"];
const LINKS: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];

/// What is mounted where.
#[derive(Debug, Clone)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
    pub(super) inside: PathBuf,
    pub(super) is_read_only: bool,
}

impl Mount {
    pub(super) fn read_only(source: &Path, inside: &Path) -> Self {
        Self { source: source.to_owned(), inside: inside.to_owned(), is_read_only: true }
    }

    /// Whether it is of this machine, so that nothing may be made in it.
    fn is_system(&self) -> bool {
        SYSTEM.iter().any(|system| self.source == Path::new(system))
    }
}

/// How the program of a container starts.
#[derive(Debug)]
pub(super) struct Start {
    /// Its user and group; none is root.
    pub(super) user: Option<(i64, i64)>,
    /// Its variables.
    pub(super) environment: Vec<String>,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
}

/// The root folder of a container.
#[derive(Debug)]
pub(super) struct Root(PathBuf);

impl Root {
    pub(super) fn new(folder: &Path) -> Result<Self> {
        for name in ["usr", "proc", "dev", "etc", "tmp"] {
            let folder = folder.join(name);
            fs::create_dir_all(&folder).on("create", &folder)?;
        }
        for name in LINKS {
            let link = folder.join(name);
            if !link.is_symlink() {
                symlink(Path::new("usr").join(name), &link).on("create", &link)?;
            }
        }
        let temporary = folder.join("tmp");
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).on("open", &temporary)?;
        let users = folder.join("etc/passwd");
        fs::write(&users, "root:x:0:0:root:/root:/bin/sh\n").on("write", &users)?;
        let groups = folder.join("etc/group");
        fs::write(&groups, "root:x:0:\n").on("write", &groups)?;
        Ok(Self(folder.to_owned()))
    }

    fn at(&self, inside: &Path) -> PathBuf {
        self.0.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// An empty file that anyone may write.
    pub(super) fn file(&self, inside: &str) -> Result<PathBuf> {
        let path = self.at(Path::new(inside));
        fs::write(&path, "").on("write", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).on("write", &path)?;
        Ok(path)
    }

    /// Makes what something is mounted on, in the root folder or in what is mounted above it: a folder, or a file. Says whether it is
    /// there: in a folder of this machine nothing is made.
    fn is_prepared(&self, mount: &Mount, earlier: &[Mount]) -> Result<bool> {
        let above = earlier.iter().filter_map(|above| Some((above, mount.inside.strip_prefix(&above.inside).ok()?)));
        let above = above.min_by_key(|(_, rest)| rest.components().count());
        let target = above.map_or_else(|| self.at(&mount.inside), |(above, rest)| above.source.join(rest));
        if target.exists() || above.is_some_and(|(above, _)| above.is_system()) {
            return Ok(target.exists());
        }
        if mount.source.is_dir() {
            fs::create_dir_all(&target).on("create", &target)?;
        } else {
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).on("create", parent)?;
            }
            fs::write(&target, "").on("write", &target)?;
        }
        Ok(true)
    }

    /// Mounts everything, what is above before what is below, and becomes the program of the container.
    pub(super) fn script(&self, mounts: Vec<Mount>, start: &Start) -> Result<String> {
        let system = SYSTEM.map(Path::new).map(|path| Mount::read_only(path, path));
        let system = system.into_iter().filter(|mount| mount.source.exists());
        let devices = DEVICES.map(Path::new).map(|path| Mount { is_read_only: false, ..Mount::read_only(path, path) });
        let mut all: Vec<Mount> = system.chain(devices).chain(mounts).collect();
        for mount in &mut all {
            mount.inside = resolved(&mount.inside);
        }
        all.sort_by_key(|mount| mount.inside.components().count());
        let mut script = "mount --make-rprivate / 2>/dev/null || true\n".to_owned();
        for (position, mount) in all.iter().enumerate() {
            if !self.is_prepared(mount, all.get(..position).unwrap_or_default())? {
                continue;
            }
            let source = quoted(&mount.source.display().to_string());
            let target = quoted(&self.at(&mount.inside).display().to_string());
            let _ = writeln!(script, "mount --rbind {source} {target}");
            if mount.is_read_only && mount.source != Path::new("/proc") {
                let _ = writeln!(script, "mount -o remount,bind,ro {target}");
            }
        }
        let root = quoted(&self.0.display().to_string());
        let user = start.user.map(|(user, group)| format!("--userspec=+{user}:+{group} --groups=+{group} "));
        let words = start.environment.iter().chain(&start.command);
        let words = words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let _ = writeln!(script, "exec chroot {}{root} /usr/bin/env -i {words}", user.unwrap_or_default());
        Ok(script)
    }
}

/// Where a path leads whose first part is a link of the root folder.
fn resolved(inside: &Path) -> PathBuf {
    let leads_on = LINKS.iter().any(|link| inside.starts_with(Path::new("/").join(link)));
    if leads_on { Path::new("/usr").join(inside.strip_prefix("/").unwrap_or(inside)) } else { inside.to_owned() }
}

/// A word of a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
