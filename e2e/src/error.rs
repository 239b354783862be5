use std::fmt;
use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, in words that say what to do.
#[derive(thiserror::Error)]
pub enum Error {
    /// A file or directory could not be used.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried, for example "write".
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Neither a binary nor a Go toolchain to build one with.
    #[error(
        "{program} is not there and cannot be built because `go` is not in the PATH: install Go from https://go.dev/dl, \
         or set {variable} to the program, or set KUBEBUILDER_ASSETS to a directory that has it"
    )]
    GoMissing {
        /// The program that was wanted.
        program: &'static str,
        /// The environment variable that names it.
        variable: String,
    },
    /// An environment variable names a file that is not there.
    #[error("{variable} says {path}, but there is no such file: correct or unset {variable}")]
    NotThere {
        /// The environment variable.
        variable: String,
        /// What it says.
        path: PathBuf,
    },
    /// `go build` failed.
    #[error("building {program} failed ({status}); the end of its output:\n{output}")]
    Build {
        /// The program that was built.
        program: &'static str,
        /// How `go` ended.
        status: String,
        /// The last lines of its output.
        output: String,
    },
    /// The home directory, and so the cache, is unknown.
    #[error("no place for the cache: set DROVER_E2E_CACHE to a directory (neither XDG_CACHE_HOME nor HOME is set)")]
    NoCache,
    /// The program under test was not built.
    #[error("the drover binary is not there: run `cargo build -p drover-manager`, or set DROVER_BINARY")]
    NoDrover,
    /// A cluster or process that was not started.
    #[error("nothing was started under the name {name}")]
    NoSuchCluster {
        /// The name.
        name: String,
    },
    /// YAML or JSON that is no object.
    #[error("cannot read an object: {0}")]
    Yaml(String),
    /// A kind that is neither ours nor served.
    #[error(
        "the kind {0} is neither one of `drover_crds::all` nor one that the control plane serves: correct its name"
    )]
    UnknownKind(String),
    /// An object that should be there.
    #[error("{kind} {name} is not there")]
    NotFound {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A run of nothing proves nothing.
    #[error("no test is selected: `cargo test --test e2e -- --list` names them all")]
    NoTest,
    /// Tests that are not run without being asked for.
    #[error("all tests that are selected need minutes by their nature: run them with `make soak PART={part}`")]
    OnlySoak {
        /// The part of one of them.
        part: String,
    },
    /// Control planes that somebody uses are not ended.
    #[error("in use, so nothing was ended: {folders}; try again when the tests that took them are over")]
    PlanesInUse {
        /// Their folders.
        folders: String,
    },
    /// A place in an audit log that it does not have.
    #[error(
        "{log} has {length} bytes, so it is shorter than when it was marked at {mark}: it is another one, or was cut"
    )]
    AuditLogShrank {
        /// The file.
        log: PathBuf,
        /// Its length now.
        length: u64,
        /// Its length then.
        mark: u64,
    },
    /// A second demo would only confuse.
    #[error("a demo is running already: end it with `make demo-down`")]
    DemoRuns,
    /// A background task panicked.
    #[error("a background task ended before its time")]
    TaskEnded,
    /// Something that was waited for.
    #[error("still not after {seconds} s: {what}")]
    NeverHappened {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// A file of `/proc` that does not say what it should.
    #[error("{path} does not tell {what}: is this Linux?")]
    NoFigure {
        /// The field that was wanted.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A program could not be started at all.
    #[error("cannot start {name}: {source}")]
    Start {
        /// The name of the process.
        name: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A process ended by itself.
    #[error("{name} ended unexpectedly; the end of its log ({log}):\n{tail}")]
    Ended {
        /// The name of the process.
        name: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A process did not become ready in time.
    #[error("{name} was not ready after {seconds} s ({reason}); the end of its log ({log}):\n{tail}")]
    NotReady {
        /// The name of the process.
        name: String,
        /// How long we waited.
        seconds: u64,
        /// What the last attempt said.
        reason: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A signal could not be sent.
    #[error("cannot signal {name} (pid {pid}): {source}")]
    Signal {
        /// The name of the process.
        name: String,
        /// Its process id.
        pid: i32,
        /// Why it failed.
        source: nix::Error,
    },
    /// A process survived SIGKILL for seconds.
    #[error("{name} (pid {pid}) is still there after SIGKILL: look at it with `ps -o pid,stat,wchan -p {pid}`")]
    WillNotDie {
        /// The name of the process.
        name: String,
        /// Its process id.
        pid: i32,
    },
    /// A process went on in spite of SIGSTOP for seconds.
    #[error("{name} (pid {pid}) still runs after SIGSTOP: look at it with `ps -L -o pid,stat,wchan -p {pid}`")]
    WillNotPause {
        /// The name of the process.
        name: String,
        /// Its process id.
        pid: i32,
    },
    /// A helper command such as etcdctl failed.
    #[error("`{command}` failed ({status}):\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it printed on standard error.
        output: String,
    },
    /// A helper command printed what we cannot read.
    #[error("cannot read the output of `{command}`: {output}")]
    Output {
        /// The command.
        command: String,
        /// What it printed.
        output: String,
    },
    /// The operation needs a process that is not running.
    #[error("{name} of control plane {control_plane} is not running: start it first, or ask for it in `Options`")]
    NotRunning {
        /// The name of the control plane.
        control_plane: String,
        /// The name of the process.
        name: &'static str,
    },
    /// A control plane that was just started goes on writing.
    #[error("the new control plane still changes by itself after {seconds} s")]
    NotAtRest {
        /// How long we waited.
        seconds: u64,
    },
    /// A control plane could not be put back to its first state.
    #[error("the control plane cannot be put back to its first state: {what}")]
    NotReset {
        /// What differs, or cannot be put back.
        what: String,
    },
    /// etcd did not do what it was asked for.
    #[error("etcd, {call}: {reason}")]
    Etcd {
        /// The path of the request.
        call: String,
        /// What was wrong.
        reason: String,
    },
    /// Audit events were asked of a control plane that writes none.
    #[error("control plane {0} writes no audit log: set `Options::audit`")]
    NoAudit(String),
    /// No free loopback port was found.
    #[error("no free port on 127.0.0.1 between {from} and {to}")]
    NoPort {
        /// The first port tried.
        from: u16,
        /// The end of the range.
        to: u16,
    },
    /// Nodes did not become ready.
    #[error("{ready} of {wanted} nodes are ready after {seconds} s; the end of kwok's log:\n{tail}")]
    NodesNotReady {
        /// How many are ready.
        ready: usize,
        /// How many should be.
        wanted: usize,
        /// How long we waited.
        seconds: u64,
        /// The last lines of kwok's log.
        tail: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// More groups than a certificate of ours can carry.
    #[error(
        "user {user} is in {groups} groups, but a client certificate made here carries at most two: bind roles to the user"
    )]
    TooManyGroups {
        /// The user.
        user: String,
        /// How many groups were asked for.
        groups: usize,
    },
    /// An existing cluster is wanted but not named.
    #[error("USE_EXISTING_CLUSTER=true needs KUBECONFIG to name a kubeconfig file")]
    NoKubeconfig,
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A certificate or key could not be read.
    #[error("cannot read a certificate or key: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The URL of an API server makes no sense.
    #[error("cannot use the URL of the API server: {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// A kubeconfig could not be used.
    #[error("cannot use the kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server refused, or could not be reached.
    #[error("Kubernetes API: {0}")]
    Kubernetes(#[from] kube::Error),
    /// JSON that we wrote or read is not as expected.
    #[error("cannot read or write {what}: {source}")]
    Json {
        /// Which document.
        what: String,
        /// Why it failed.
        source: serde_json::Error,
    },
    /// A blocking task was cancelled or panicked.
    #[error("a background task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// Whether asking again is in vain.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::UnknownKind(_))
    }
}

/// A test that returns an error shows it this way, and the log lines in it should stay readable.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Adds the path and the attempted action to an I/O error.
pub(crate) trait FileContext<T> {
    fn on(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> FileContext<T> for std::io::Result<T> {
    fn on(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::File { action, path: path.into(), source })
    }
}
