//! A BIND with one zone, in which a key may write: the one of the system, or Debian's, unpacked into the cache without root.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use tempfile::TempDir;

use crate::error::{Error, FileContext, Result};
use crate::process::{Process, Specification};
use crate::tools::{Tools, variable};
use crate::wait::{eventually, patiently};

/// The zone.
pub const ZONE: &str = "example.com";
/// The name of the key that may write.
pub const KEY: &str = "drover";
/// Its secret, in base64 as servers have it.
pub const SECRET: &str = "ZHJvdmVyLXRlc3QtdHNpZy1zZWNyZXQtb2YtMzItYnl0ZXM=";

/// What Debian 12 has BIND in, with what is not on every system.
const PACKAGES: [&str; 7] =
    ["bind9", "bind9-libs", "libfstrm0", "libjemalloc2", "liblmdb0", "libmaxminddb0", "libprotobuf-c1"];
/// Names the program itself.
const VARIABLE: &str = "TEST_ASSET_NAMED";
const OF_SYSTEM: &str = "/usr/sbin/named";
/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A server on loopback. Dropping it ends it, and its files go.
#[derive(Debug)]
pub struct Bind {
    port: u16,
    program: (PathBuf, Option<PathBuf>),
    folder: TempDir,
    process: Option<Process>,
}

impl Bind {
    /// Starts one. Its zone has, beside what a zone must have, the records in `zone`, as files of zones have them.
    pub async fn start(tools: &Tools, zone: &str) -> Result<Self> {
        let program = named(tools)?;
        let folder = tempfile::tempdir().on("create a folder in", std::env::temp_dir())?;
        let port = free_port()?;
        let at = folder.path();
        let (conf, file) = (at.join("named.conf"), at.join("zone"));
        fs::write(&conf, configuration(at, port)).on("write", &conf)?;
        let zone = format!("$TTL 30\n@ SOA ns1 admin 1 60 60 600 5\n@ NS ns1\nns1 A 127.0.0.1\n{zone}\n");
        fs::write(&file, zone).on("write", &file)?;
        let mut bind = Self { port, program, folder, process: None };
        bind.resume().await?;
        Ok(bind)
    }

    /// Starts it again after [`Bind::stop`], with what was written.
    pub async fn resume(&mut self) -> Result<()> {
        let (program, libraries) = self.program.clone();
        let conf = self.folder.path().join("named.conf");
        let environment =
            libraries.map(|path| ("LD_LIBRARY_PATH".to_owned(), path.display().to_string())).into_iter().collect();
        self.process = Some(Process::start(&Specification {
            name: "BIND".to_owned(),
            program,
            arguments: ["-g", "-n", "1", "-c"]
                .map(str::to_owned)
                .into_iter()
                .chain([conf.display().to_string()])
                .collect(),
            environment,
            log: self.folder.path().join("log"),
        })?);
        let port = self.port;
        let listens = async || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(()));
        eventually("BIND listens", patiently(Duration::from_secs(20)), listens).await
    }

    /// Ends it; its files stay.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Its address and port.
    #[must_use]
    pub fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it answers for a name: addresses of both families. A server that does not answer is an error.
    pub fn answers(&self, name: &str) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for of in [RecordType::A, RecordType::AAAA] {
            let answer = self.ask(name, of)?;
            let records = answer.answers.iter().filter(|record| record.record_type() == of);
            all.extend(records.map(|record| record.data.to_string()));
        }
        Ok(all)
    }

    /// Everything that the zone has, a line each, but the SOA, which counts changes.
    pub fn records(&self) -> Result<BTreeSet<String>> {
        let answer = self.ask(ZONE, RecordType::AXFR)?;
        let records = answer.answers.iter().filter(|record| record.record_type() != RecordType::SOA);
        Ok(records.map(|record| format!("{} {} {}", record.name, record.record_type(), record.data)).collect())
    }

    fn ask(&self, name: &str, of: RecordType) -> Result<Message> {
        let io = |source| Error::Start { name: "a question to BIND".to_owned(), source };
        let other = |text: String| io(std::io::Error::other(text));
        let mut message = Message::query();
        let name = Name::from_ascii(format!("{name}.")).map_err(|error| other(error.to_string()))?;
        message.add_query(Query::query(name, of));
        let sent = message.to_vec().map_err(|error| other(error.to_string()))?;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map_err(io)?;
        stream.set_read_timeout(Some(LIMIT)).map_err(io)?;
        let length = u16::try_from(sent.len()).unwrap_or_default().to_be_bytes();
        stream.write_all(&[&length[..], &sent].concat()).map_err(io)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).map_err(io)?;
        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut bytes).map_err(io)?;
        Message::from_vec(&bytes).map_err(|error| other(error.to_string()))
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    format!(
        r#"options {{ directory "{folder}"; pid-file none; session-keyfile none; recursion no; listen-on-v6 {{ none; }};
listen-on port {port} {{ 127.0.0.1; }}; allow-transfer {{ 127.0.0.1; }}; }};
controls {{ }};
key "{KEY}" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
zone "{ZONE}" {{ type primary; file "zone"; allow-update {{ key "{KEY}"; }}; }};
"#,
        folder = folder.display(),
    )
}

fn free_port() -> Result<u16> {
    let failed = |source| Error::Start { name: "BIND".to_owned(), source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}

/// The program, and where its libraries are if they are none of the system's.
/// The program, and the folder of its libraries where they are not those of the system. Fetched where it is missing.
pub fn named(tools: &Tools) -> Result<(PathBuf, Option<PathBuf>)> {
    if let Some(path) = variable(VARIABLE).map(PathBuf::from) {
        return if path.is_file() {
            Ok((path, None))
        } else {
            Err(Error::NotThere { variable: VARIABLE.to_owned(), path })
        };
    }
    if Path::new(OF_SYSTEM).is_file() {
        return Ok((PathBuf::from(OF_SYSTEM), None));
    }
    let place = tools.packages_directory().join("bind9");
    if !place.is_dir() {
        unpack(&place)?;
    }
    let libraries = place.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    Ok((place.join("usr/sbin/named"), Some(libraries)))
}

/// Fetches the packages with apt, and unpacks them into `place`, all at once: another process may do the same.
fn unpack(place: &Path) -> Result<()> {
    let parent = place.parent().unwrap_or(place);
    fs::create_dir_all(parent).on("create", parent)?;
    let folder = tempfile::tempdir_in(parent).on("create a folder in", parent)?;
    let (packages, root) = (folder.path().join("packages"), folder.path().join("root"));
    fs::create_dir_all(&packages).on("create", &packages)?;
    let download = || run(Command::new("apt-get").arg("download").args(PACKAGES).current_dir(&packages));
    // A new machine knows of no packages yet, or of versions that are gone.
    download().or_else(|_| run(Command::new("apt-get").arg("update")).and_then(|()| download()))?;
    for entry in fs::read_dir(&packages).on("read", &packages)?.flatten() {
        run(Command::new("dpkg-deb").arg("--extract").arg(entry.path()).arg(&root))?;
    }
    match fs::rename(&root, place) {
        Err(_) if place.is_dir() => Ok(()),
        renamed => renamed.on("create", place),
    }
}

fn run(command: &mut Command) -> Result<()> {
    let failed = |output: String| Error::Build {
        program: "BIND",
        status: "install bind9, or set TEST_ASSET_NAMED to its named".to_owned(),
        output,
    };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())) }
}
