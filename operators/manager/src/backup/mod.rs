//! Backups of etcd: the command that a Job runs, and those by which a person gets a backup back.

mod snapshot;

use std::{env, error::Error};

use drover_snapshot::Programs;

pub(crate) use snapshot::snapshot;

use crate::{command_line::EtcdPrograms, rendering::found};

/// The hidden command by which a child ties itself to its parent before it becomes a program of etcd.
pub(crate) const CHILD: &str = "etcd-child";

/// The programs of etcd, and how they are started.
fn programs(named: &EtcdPrograms) -> Result<Programs, Box<dyn Error>> {
    let path = env::var_os("PATH");
    // They run in folders of their own.
    let program = |name| std::path::absolute(found(name, path.as_deref()));
    let (etcd, etcdutl) = (program(&named.etcd)?, program(&named.etcdutl)?);
    Ok(Programs { etcd, etcdutl, child: vec![env::current_exe()?.into(), CHILD.into()] })
}
