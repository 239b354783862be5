//! The driver for dynamic updates against a real BIND: the one that `TEST_ASSET_NAMED` names, that of the system, or that of `make tools`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use drover_names::{Found, Fqdn, NameChange, Owner, Ownership, Wanted, change};
use drover_runtime::DialPolicy;
use drover_zones::{Algorithm, Driver as _, Gates, Key, Rfc2136, Seen, Server, ZoneError};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const SECRET_IN_BASE64: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

struct Bind {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How to start it; none if there is none.
fn named() -> Option<Command> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let of_system = || Some(PathBuf::from("/usr/sbin/named")).filter(|path| path.exists());
    if let Some(given) = variable("TEST_ASSET_NAMED").or_else(of_system) {
        return Some(Command::new(given));
    }
    let cache = variable("DROVER_E2E_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("drover-e2e")))
        .or_else(|| Some(variable("HOME")?.join(".cache/drover-e2e")));
    let unpacked =
        cache.map(|cache| cache.join("packages/bind9")).filter(|place| place.join("usr/sbin/named").exists());
    let Some(place) = unpacked else {
        assert!(
            std::env::var_os("CI").is_none(),
            "BIND is missing: run make tools, or set TEST_ASSET_NAMED to its named"
        );
        eprintln!("SKIPPED: there is no BIND here; run make tools, or set TEST_ASSET_NAMED to its named");
        return None;
    };
    let mut command = Command::new(place.join("usr/sbin/named"));
    let libraries = place.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    command.env("LD_LIBRARY_PATH", libraries);
    Some(command)
}

/// A BIND with the zone `example.com`, in which the key `drover` may write.
fn bind() -> Option<Bind> {
    let mut named = named()?;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = std::env::temp_dir().join(format!("drover-zones-{}-{port}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let conf = format!(
        r#"options {{ directory "{folder}"; pid-file none; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
            recursion no; session-keyfile none; }};
        controls {{ }};
        key "drover" {{ algorithm hmac-sha256; secret "{SECRET_IN_BASE64}"; }};
        key "weak" {{ algorithm hmac-sha256; secret "{SECRET_IN_BASE64}"; }};
        zone "example.com" {{ type primary; file "zone"; allow-update {{ key "drover"; }}; }};"#,
        folder = folder.display(),
    );
    let zone = "$TTL 30\n@ SOA ns1 admin 1 60 60 600 5\n@ NS ns1\nns1 A 127.0.0.1\nforeign A 8.8.4.4\n\
                alias CNAME ns1\na-taken TXT \"heritage=external-dns,external-dns/owner=x\"\ntaken A 8.8.4.5\n";
    fs::write(folder.join("named.conf"), conf).unwrap();
    fs::write(folder.join("zone"), zone).unwrap();
    let child = named
        .args(["-g", "-n", "1", "-c"])
        .arg(folder.join("named.conf"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap();
    let bind = Bind { child, folder, port };
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(bind);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{}", fs::read_to_string(bind.folder.join("log")).unwrap());
}

impl Bind {
    fn driver(&self, key: &str, secret: &[u8]) -> Rfc2136 {
        let server = Server { host: "127.0.0.1".to_owned(), port: self.port };
        let key = Key::new(key, Algorithm::HmacSha256, secret.to_vec()).unwrap();
        Rfc2136 { verify: vec![server.clone()], server, key, policy: DialPolicy::AllowLocal, gates: Gates::default() }
    }
}

fn name(text: &str) -> Fqdn {
    text.parse().unwrap()
}

fn owner() -> Owner {
    Owner { ownership: Ownership::of_global_dns("prod", "team", "shop"), adopts: Vec::new() }
}

fn to(found: &Found, fqdn: &str, addresses: &[&str]) -> Option<NameChange> {
    let wanted = Wanted { addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(), ttl: 30 };
    change(&name(fqdn), found, &wanted, &owner()).unwrap()
}

async fn answered(driver: &Rfc2136, fqdn: &str) -> BTreeSet<IpAddr> {
    driver.answers(&name(fqdn)).await.pop().unwrap().addresses.unwrap()
}

#[tokio::test]
async fn a_name_is_written_swapped_and_removed_and_nothing_else_changes() {
    let Some(bind) = bind() else { return };
    let driver = bind.driver("drover", SECRET);
    driver.check(&name("example.com")).await.unwrap();
    driver.check(&name("apps.example.com")).await.unwrap();
    let shop = "shop.apps.example.com";
    let empty = driver.read(&name(shop)).await.unwrap();
    let create = to(&empty, shop, &["8.8.8.1", "8.8.8.2", "2a00::1"]).unwrap();
    driver.apply(&create).await.unwrap();
    let addresses = ["2a00::1", "8.8.8.1", "8.8.8.2"].map(|text| text.parse().unwrap());
    assert_eq!(answered(&driver, shop).await, addresses.into());
    let there = driver.read(&name(shop)).await.unwrap();
    assert_eq!(to(&there, shop, &["8.8.8.1", "8.8.8.2", "2a00::1"]), None, "what was written is read back");
    assert!(matches!(driver.apply(&create).await, Err(ZoneError::Changed { .. })), "it is created once");
    let swap = to(&there, shop, &["8.8.8.2", "8.8.8.3"]).unwrap();
    driver.apply(&swap).await.unwrap();
    assert!(matches!(driver.apply(&swap).await, Err(ZoneError::Changed { .. })), "it is swapped once");
    assert_eq!(answered(&driver, shop).await, ["8.8.8.2", "8.8.8.3"].map(|text| text.parse().unwrap()).into());
    let there = driver.read(&name(shop)).await.unwrap();
    driver.apply(&to(&there, shop, &[]).unwrap()).await.unwrap();
    assert_eq!(driver.read(&name(shop)).await.unwrap(), empty, "no record is left, and no ownership record");
    assert_eq!(answered(&driver, "foreign.example.com").await, ["8.8.4.4".parse().unwrap()].into());
}

#[tokio::test]
async fn i03_the_server_itself_refuses_what_was_decided_on_stale_knowledge() {
    let Some(bind) = bind() else { return };
    let driver = bind.driver("drover", SECRET);
    let nothing = Found::default();
    for fqdn in ["foreign.example.com", "taken.example.com", "alias.example.com"] {
        let before = driver.read(&name(fqdn)).await.unwrap();
        let forced = to(&nothing, fqdn, &["8.8.8.8"]).unwrap();
        assert!(matches!(driver.apply(&forced).await, Err(ZoneError::Changed { .. })), "{fqdn}");
        assert_eq!(driver.read(&name(fqdn)).await.unwrap(), before, "{fqdn}");
    }
    assert!(driver.read(&name("alias.example.com")).await.unwrap().is_alias);
}

#[tokio::test]
async fn a_wrong_key_a_missing_right_and_a_missing_zone_are_told_apart() {
    let Some(bind) = bind() else { return };
    let domain = name("example.com");
    let wrong = bind.driver("drover", b"another secret of the same key..");
    assert!(matches!(wrong.check(&domain).await, Err(ZoneError::Key { .. })), "{:?}", wrong.check(&domain).await);
    let unknown = bind.driver("nobody", SECRET);
    assert!(matches!(unknown.check(&domain).await, Err(ZoneError::Key { .. })), "{:?}", unknown.check(&domain).await);
    let weak = bind.driver("weak", SECRET);
    assert!(matches!(weak.check(&domain).await, Err(ZoneError::Refused { .. })), "{:?}", weak.check(&domain).await);
    let driver = bind.driver("drover", SECRET);
    let elsewhere = driver.check(&name("example.org")).await;
    assert!(matches!(elsewhere, Err(ZoneError::NoZone { .. })), "{elsewhere:?}");
    let refused = Rfc2136 { policy: DialPolicy::RefuseLocal, ..driver.clone() }.check(&domain).await;
    assert!(matches!(refused, Err(ZoneError::Address { .. })), "{refused:?}");
    let down = Rfc2136 { server: Server { port: 1, ..driver.server.clone() }, ..driver }.check(&domain).await;
    assert!(matches!(down, Err(ZoneError::Unreachable { .. })), "{down:?}");
}

/// A server that takes connections and says nothing.
fn silent() -> (TcpListener, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Server { host: "127.0.0.1".to_owned(), port })
}

#[tokio::test]
async fn i10_a_secondary_that_says_nothing_holds_up_no_look() {
    let Some(bind) = bind() else { return };
    let (_listener, secondary) = silent();
    let mut driver = bind.driver("drover", SECRET);
    driver.verify.push(secondary.clone());
    let names: BTreeSet<Fqdn> = (0..16).map(|at| name(&format!("n{at}.example.com"))).collect();
    let look = async || {
        let began = Instant::now();
        let seen = driver.look(names.clone()).await.unwrap();
        assert!(seen.len() == 16 && seen.values().all(|seen| seen.found.is_ok()), "{seen:?}");
        let lags = |seen: &Seen| {
            seen.answers.iter().any(|answer| answer.server == secondary.to_string() && answer.addresses.is_err())
        };
        assert!(seen.values().all(lags), "and it is named: {seen:?}");
        began.elapsed()
    };
    // All names wait for it together, for two seconds, and not a few at a time for three.
    let first = look().await;
    assert!(first < Duration::from_secs(6), "{first:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    // What waits now is a loaded machine.
    let again = look().await;
    assert!(again < Duration::from_millis(1_500), "{again:?}");
}

#[tokio::test]
async fn i08_a_primary_that_says_nothing_is_asked_by_one_at_a_time() {
    let Some(bind) = bind() else { return };
    let (_listener, server) = silent();
    let driver = Rfc2136 { server, ..bind.driver("drover", SECRET) };
    let names: BTreeSet<Fqdn> = (0..16).map(|at| name(&format!("n{at}.example.com"))).collect();
    let began = Instant::now();
    let seen = driver.look(names.clone()).await.unwrap();
    let all = |seen: &BTreeMap<Fqdn, Seen>| {
        seen.len() == 16 && seen.values().all(|seen| matches!(seen.found, Err(ZoneError::Timeout { .. })))
    };
    assert!(all(&seen) && began.elapsed() < Duration::from_secs(6), "{:?} {seen:?}", began.elapsed());
    let began = Instant::now();
    let seen = driver.look(names).await.unwrap();
    assert!(all(&seen) && began.elapsed() < Duration::from_millis(500), "{:?} {seen:?}", began.elapsed());
    let other = bind.driver("drover", SECRET);
    let other = Rfc2136 { gates: driver.gates, ..other };
    let seen = other.look([name("foreign.example.com")].into()).await.unwrap();
    assert!(seen.values().all(|seen| seen.found.is_ok()), "{seen:?}");
}
