//! A story in which drover is killed at one of its writes and begins again, as a container does: every request goes through
//! proxies that count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ControlPlane;
use crate::error::Result;
use crate::http_proxy::{HttpProxy, Victim, WriteTrap};
use crate::process::Specification;
use crate::tools::variable;

/// The number of the write, for whoever runs a story so.
pub const KILL_AT: &str = "DROVER_E2E_KILL_AT";

/// Starts the program anew whenever it was killed, and tells its process id in a file. It ends with us.
const REVIVER: &str = r#"
file=$1; shift
trap 'kill -TERM "$child"; wait "$child"; exit $?' TERM
while :; do
    setpriv --pdeathsig KILL "$@" &
    child=$!
    echo "$child" >"$file"
    wait "$child"
    code=$?
    [ "$code" = 137 ] || exit "$code"
    echo "killed, and started again"
done
"#;

/// Kills drover at one write.
pub(super) struct Killer {
    trap: Arc<WriteTrap>,
    number: usize,
    pid_file: PathBuf,
    ways: BTreeMap<String, HttpProxy>,
    is_set: bool,
}

impl Killer {
    /// None if nobody asked for it.
    pub(super) async fn from_environment(
        downstream: impl Iterator<Item = &ControlPlane>,
        folder: &Path,
    ) -> Result<Option<Self>> {
        let Some(number) = variable(KILL_AT).and_then(|text| text.parse().ok()) else { return Ok(None) };
        let trap = Arc::new(WriteTrap::default());
        let mut ways = BTreeMap::new();
        for plane in downstream {
            ways.insert(plane.name().to_owned(), HttpProxy::start(plane, Arc::clone(&trap)).await?);
        }
        Ok(Some(Self { trap, number, pid_file: folder.join("drover.pid"), ways, is_set: false }))
    }

    pub(super) async fn way_to(&self, plane: &ControlPlane) -> Result<HttpProxy> {
        HttpProxy::start(plane, Arc::clone(&self.trap)).await
    }

    /// How drover reaches a downstream cluster.
    pub(super) fn way(&self, cluster: &str) -> Option<&HttpProxy> {
        self.ways.get(cluster)
    }

    /// The program under a supervisor, and the trap set for it.
    pub(super) fn revived(&mut self, specification: Specification) -> Specification {
        if !std::mem::replace(&mut self.is_set, true) {
            let victim = Victim::InFile { pid: self.pid_file.clone(), program: specification.program.clone() };
            self.trap.set(self.number, victim);
        }
        let program = specification.program.display().to_string();
        let mut arguments: Vec<String> = ["-c", REVIVER, "drover-e2e-reviver"].map(str::to_owned).to_vec();
        arguments.extend([self.pid_file.display().to_string(), program]);
        arguments.extend(specification.arguments);
        Specification { program: "sh".into(), arguments, ..specification }
    }
}

impl Drop for Killer {
    /// Whoever runs the story wants to know whether it had as many writes.
    fn drop(&mut self) {
        println!("{}", if self.trap.take_sprung() { super::KILLED } else { super::NOT_KILLED });
    }
}
