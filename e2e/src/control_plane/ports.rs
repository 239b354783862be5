use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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

impl Ports {
    /// Ports that are free now, and none of those of `others`, whose servers may be stopped for a moment. Another process can
    /// still take one, so a start must be ready to try again.
    pub(super) fn free(others: &BTreeSet<u16>) -> Result<Self> {
        let mut taken = others.clone();
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
}

impl Ports {
    /// All of them.
    pub(crate) fn all(self) -> [u16; 6] {
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
