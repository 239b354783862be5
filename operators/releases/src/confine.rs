//! What `helm` may still do while it renders: no more memory, time and files than it is given, its own folder, and no network.
//!
//! Rust starts no child process with limits of its own without unsafe code. So the child is Drover itself, which limits itself here
//! and becomes helm: [`run`] belongs into a hidden command of the program, before any thread is started.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Exit code of the child where helm cannot be confined.
pub(crate) const NOT_CONFINED: i32 = 126;
/// Exit code of the child where helm cannot be started.
pub(crate) const NOT_STARTED: i32 = 127;
/// The newest version of Landlock of which something is used; older kernels do what they can.
const LANDLOCK: ABI = ABI::V6;
/// Files that the child has open at once.
const MOST_FILES: u64 = 256;
/// Bytes of a file that the child writes.
const LARGEST_FILE: u64 = 1 << 20;
/// What a program that is linked to libraries reads.
const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/random"];

/// What the child is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Confinement {
    /// Bytes of memory that it may write.
    pub(crate) memory: u64,
    /// Seconds of all processors.
    pub(crate) cpu: u64,
    /// The port that it may connect to; 0: none.
    pub(crate) port: u16,
    /// The folder that it may read and write.
    pub(crate) folder: PathBuf,
    /// The program.
    pub(crate) program: PathBuf,
}

impl Confinement {
    /// The arguments for [`run`], before those of the program.
    pub(crate) fn to_args(&self) -> [OsString; 5] {
        let numbers = [self.memory, self.cpu, self.port.into()];
        let [memory, cpu, port] = numbers.map(|number| OsString::from(number.to_string()));
        [memory, cpu, port, self.folder.clone().into(), self.program.clone().into()]
    }

    fn from_args(args: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let mut number = || args.next()?.to_str()?.parse::<u64>().ok();
        let (memory, cpu, port) = (number()?, number()?, u16::try_from(number()?).ok()?);
        Some(Self { memory, cpu, port, folder: args.next()?.into(), program: args.next()?.into() })
    }
}

/// Whether the kernel can confine a process to files. Where it cannot, limits of memory and time still hold.
#[must_use]
pub fn is_supported() -> bool {
    let hard = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    hard.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
}

/// Limits this process and becomes helm, with the arguments that [`Renderer`](crate::Renderer) starts it with. Returns only where that
/// fails.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let Some(confinement) = Confinement::from_args(&mut args) else {
        return failed(NOT_CONFINED, &"this command is for Drover itself");
    };
    if let Err(error) = limit(&confinement) {
        return failed(NOT_CONFINED, &error);
    }
    if let Err(error) = restrict(&confinement) {
        return failed(NOT_CONFINED, &error);
    }
    let error = Command::new(&confinement.program).args(args).exec();
    failed(NOT_STARTED, &error)
}

#[expect(clippy::print_stderr, reason = "the parent reads it")]
fn failed(code: i32, why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn limit(confinement: &Confinement) -> io::Result<()> {
    let limits = [
        (Resource::Core, 0),
        (Resource::Cpu, confinement.cpu),
        (Resource::Data, confinement.memory),
        (Resource::Fsize, LARGEST_FILE),
        (Resource::Nofile, MOST_FILES),
    ];
    for (resource, limit) in limits {
        // What is stricter already stays.
        let limit = getrlimit(resource).maximum.map_or(limit, |most| most.min(limit));
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

fn restrict(confinement: &Confinement) -> Result<(), RulesetError> {
    let read: BitFlags<AccessFs> = AccessFs::from_read(LANDLOCK);
    let own = AccessFs::from_all(LANDLOCK) & !BitFlags::from(AccessFs::Execute);
    let libraries = LIBRARIES.iter().map(Path::new).chain([confinement.program.as_path()]);
    let port = (confinement.port > 0).then(|| Ok(NetPort::new(confinement.port, AccessNet::ConnectTcp)));
    Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules([&confinement.folder], own))?
        .add_rules(path_beneath_rules(libraries, read))?
        .add_rules(path_beneath_rules(DEVICES, AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(port.into_iter().collect::<Vec<Result<NetPort, RulesetError>>>())?
        .restrict_self()?;
    Ok(())
}
