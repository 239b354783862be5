use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, FileContext, Result};
use crate::json_file;

/// Below the ports that Linux gives to outgoing connections, so that none of those takes a port while its server is stopped.
const FROM: u16 = 20_000;
const TO: u16 = 30_000;
const ATTEMPTS: usize = 1_000;

/// The loopback ports of one control plane.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) etcd_client: u16,
    pub(super) etcd_peer: u16,
    pub(super) apiserver: u16,
    pub(super) controller_manager: u16,
    pub(super) scheduler: u16,
    pub(super) kwok: u16,
}

/// Which ports belong to which control plane, by its directory, also while its servers are stopped. They are free again when
/// the directory is gone.
type Reservations = BTreeMap<PathBuf, Vec<u16>>;

impl Ports {
    /// Reserves ports for the control plane in this directory, in place of those that it has, in a file that all processes
    /// share. A server that is none of ours can still take one, so a start must be ready to try again.
    pub(super) fn reserve(reservations: &Path, directory: &Path) -> Result<Self> {
        let lock = reservations.with_extension("lock");
        let guard = File::create(&lock).on("create", &lock)?;
        guard.lock().on("lock", lock)?;
        let mut reserved: Reservations =
            if reservations.exists() { json_file::read(reservations)? } else { Reservations::new() };
        reserved.retain(|other, _| other != directory && other.is_dir());
        let ports = Self::free(&reserved.values().flatten().copied().collect())?;
        reserved.insert(directory.to_owned(), ports.all().to_vec());
        json_file::write(reservations, &reserved)?;
        Ok(ports)
    }

    fn free(reserved: &BTreeSet<u16>) -> Result<Self> {
        let mut taken = reserved.clone();
        let mut next = || free_port(&mut taken);
        Ok(Self {
            etcd_client: next()?,
            etcd_peer: next()?,
            apiserver: next()?,
            controller_manager: next()?,
            scheduler: next()?,
            kwok: next()?,
        })
    }

    fn all(self) -> [u16; 6] {
        let Self { etcd_client, etcd_peer, apiserver, controller_manager, scheduler, kwok } = self;
        [etcd_client, etcd_peer, apiserver, controller_manager, scheduler, kwok]
    }
}

fn free_port(taken: &mut BTreeSet<u16>) -> Result<u16> {
    for _ in 0..ATTEMPTS {
        let port = rand::random_range(FROM..TO);
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.insert(port);
            return Ok(port);
        }
    }
    Err(Error::NoPort { from: FROM, to: TO })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_reserved_while_nobody_listens_and_until_the_directory_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let reservations = parent.path().join("ports.json");
        let directory = |number: usize| parent.path().join(number.to_string());
        let mut all = BTreeSet::new();
        for number in 0..200 {
            std::fs::create_dir(directory(number)).unwrap();
            let ports = Ports::reserve(&reservations, &directory(number)).unwrap();
            assert!(ports.all().into_iter().all(|port| all.insert(port)), "{number} got a port of another");
        }
        let reserved = || json_file::read::<Reservations>(&reservations).unwrap();
        assert_eq!(reserved().len(), 200);

        std::fs::remove_dir(directory(0)).unwrap();
        Ports::reserve(&reservations, &directory(1)).unwrap();
        assert_eq!(reserved().len(), 199);
        assert_eq!(reserved()[&directory(1)].len(), 6);
    }
}
