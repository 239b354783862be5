//! The memory of a program together with that of those that it starts.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::measure::mebibytes;

const SAMPLE: Duration = Duration::from_millis(50);

/// The most memory that processes held together, sampled.
pub(super) struct Peak {
    most: Arc<[AtomicU64; 2]>,
    _sampling: AbortOnDropHandle<()>,
}

impl Peak {
    /// Of drover, and of its child processes.
    pub(super) fn of_drover(pid: i32) -> Self {
        Self::sampling(move || [resident(pid), children(pid).into_iter().map(resident).sum()])
    }

    /// Of the programs that this process runs.
    pub(super) fn of_helms() -> Self {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let is_helm = |pid: &i32| command(*pid).contains("helm");
        Self::sampling(move || [children(own).into_iter().filter(is_helm).map(resident).sum(), 0])
    }

    fn sampling(sample: impl Fn() -> [u64; 2] + Send + 'static) -> Self {
        let most = Arc::<[AtomicU64; 2]>::default();
        let kept = Arc::clone(&most);
        let sampling = tokio::spawn(async move {
            loop {
                for (most, now) in kept.iter().zip(sample()) {
                    most.fetch_max(now, Ordering::Relaxed);
                }
                tokio::time::sleep(SAMPLE).await;
            }
        });
        Self { most, _sampling: AbortOnDropHandle::new(sampling) }
    }

    pub(super) fn most(&self) -> String {
        let told = |bytes: &AtomicU64| {
            mebibytes(f64::from(u32::try_from(bytes.load(Ordering::Relaxed) >> 10).unwrap_or(u32::MAX)) * 1024.0)
        };
        let [own, children] = &*self.most;
        match children.load(Ordering::Relaxed) {
            0 => told(own),
            _ => format!("{}, {}", told(own), told(children)),
        }
    }
}

/// Resident memory of a process in bytes; nothing if it is gone.
fn resident(pid: i32) -> u64 {
    let kibibytes = field(pid, "VmRSS:").and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() << 10
}

fn command(pid: i32) -> String {
    field(pid, "Name:").unwrap_or_default()
}

fn field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
}

/// The processes that a process started, and those that they did.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<i32>().ok());
    let parents: BTreeMap<i32, i32> = pids.filter_map(|pid| Some((pid, field(pid, "PPid:")?.parse().ok()?))).collect();
    let mut found = vec![pid];
    let mut place = 0;
    while let Some(parent) = found.get(place).copied() {
        found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        place += 1;
    }
    found.remove(0);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_process_is_found_and_has_memory() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let [own, pid] = [std::process::id(), child.id()].map(|pid| i32::try_from(pid).unwrap());
        let found = children(own);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&pid), "{found:?}");
        assert!(resident(own) > 0 && resident(pid) == 0);
    }
}
