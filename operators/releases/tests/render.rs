//! Renders with a child process: one that plays helm and does what charts must not, and the real helm where there is one.
//!
//! This program is all three: the tests, the command that confines, and the helm that is played.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test may panic, and helm prints"
)]

use std::{
    env,
    ffi::OsString,
    fs,
    future::Future,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use drover_releases::{
    Record, Rendered, Renderer, confine,
    record::digest,
    render::{Cluster, RenderError, RenderFolder, Request, Settings},
};
use libtest_mimic::{Arguments, Trial};
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFINE: &str = "render-child";
const SLEEP: &str = "render-sleep";

type RealTest = fn(PathBuf);

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    match args.next().as_deref().and_then(|first| first.to_str()) {
        Some(CONFINE) => confine::run(args),
        Some("version") if is_played() => {
            println!("v4.99.0");
            ExitCode::SUCCESS
        }
        Some("template") if is_played() => played(&args.collect::<Vec<_>>()),
        Some(SLEEP) => sleep(),
        _ => libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
    }
}

/// Whether a renderer started this program, and not a person with the name of a test.
fn is_played() -> bool {
    env::var_os("HELM_PLUGINS").is_some()
}

fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("a_child_reads_and_writes_its_folder_only", its_folder_only),
        trial("a_child_connects_to_one_port_only", one_port_only),
        trial("a_child_inherits_nothing", inherits_nothing),
        trial("a_loop_ends_at_the_deadline_with_all_it_started", ends_at_the_deadline),
        trial("a_render_that_nobody_awaits_ends_and_leaves_nothing", ends_when_dropped),
        trial("a_flood_of_output_ends_at_once", too_much_output),
        trial("a_missing_helm_is_told", helm_is_missing),
        trial("a_chart_that_may_ask_the_cluster_is_told", asks_cluster),
        trial("what_an_earlier_process_left_is_removed", left_behind),
    ];
    let helm = real_helm();
    let real: [(&str, RealTest); 7] = [
        ("helm_renders_objects_hooks_definitions_and_notes", renders),
        ("what_is_rendered_equals_what_helm_records", as_helm_records),
        ("helm_is_told_revision_upgrade_and_cluster", told),
        ("helm_runs_out_of_memory_and_says_so", out_of_memory),
        ("a_chart_that_fails_names_file_line_and_value_only", fails),
        ("values_and_folders_reach_no_arguments_and_no_one_else", nothing_leaks),
        ("helm_looks_up_at_the_port_it_is_given", looks_up),
    ];
    for (name, test) in real {
        let (is_missing, helm) = (helm.is_none(), helm.clone().unwrap_or_default());
        trials.push(
            Trial::test(name, move || {
                test(helm);
                Ok(())
            })
            .with_ignored_flag(is_missing),
        );
    }
    if helm.is_none() {
        println!("SKIPPED: no helm in the cache of tools, so the real one renders nothing here (make tools)");
    }
    trials
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn real_helm() -> Option<PathBuf> {
    let tools = PathBuf::from(env::var_os("HOME")?).join(".cache/drover-e2e/tools");
    let mut found = fs::read_dir(tools).ok()?.filter_map(|entry| Some(entry.ok()?.path().join("helm")));
    found.find(|helm| helm.to_string_lossy().contains("/tools/helm-") && helm.is_file())
}

// The helm that is played does what the name of the release says.

fn played(args: &[OsString]) -> ExitCode {
    let texts: Vec<_> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let at = texts.iter().position(|arg| arg == "--").unwrap();
    let (name, chart) = (texts[at + 1].as_str(), Path::new(&texts[at + 2]));
    match name {
        "files" => found(&[
            ("own", fs::read_to_string(chart.join("Chart.yaml")).is_ok() && fs::write(chart.join("new"), "x").is_ok()),
            ("passwd", fs::read_to_string("/etc/passwd").is_ok()),
            ("beside", fs::read_dir(chart.join("../..")).is_ok()),
            ("tmp", fs::write("/tmp/drover-confined", "x").is_ok()),
        ]),
        "ports" => {
            let ports = fs::read_to_string(chart.join("ports")).unwrap();
            let connects = |port: &str| TcpStream::connect(("127.0.0.1", port.parse().unwrap())).is_ok();
            let (allowed, other) = ports.split_once(' ').unwrap();
            found(&[
                ("allowed", connects(allowed)),
                ("other", connects(other)),
                ("listens", TcpListener::bind("127.0.0.1:0").is_ok()),
            ]);
        }
        "inherits" => {
            let mut names: Vec<_> = env::vars().map(|(name, _)| name).collect();
            names.sort();
            let input = std::io::read_to_string(std::io::stdin()).unwrap().len();
            println!(
                "apiVersion: v1\nkind: A\nmetadata: {{name: a}}\nenv: {names:?}\ninput: {input}\nfolder: {}",
                env::current_dir().unwrap().display()
            );
        }
        "loop" => {
            let own = env::current_exe().unwrap();
            let mut child = Command::new(own).arg(SLEEP).spawn().unwrap();
            fs::write(chart.join("../pids"), format!("{} {}", std::process::id(), child.id())).unwrap();
            child.wait().unwrap();
        }
        "flood" => {
            let line = vec![b'#'; 1 << 16];
            while std::io::stdout().write_all(&line).is_ok() {}
        }
        _ => panic!("{name}"),
    }
    ExitCode::SUCCESS
}

fn found(facts: &[(&str, bool)]) {
    println!("apiVersion: v1\nkind: A\nmetadata: {{name: a}}");
    for (name, is_so) in facts {
        println!("{name}: {is_so}");
    }
}

fn sleep() -> ExitCode {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

// Renders in this test.

struct Bench {
    folder: TempDir,
    renderer: Renderer,
}

fn bench(helm: PathBuf, deadline: Duration) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        helm,
        confine: vec![env::current_exe().unwrap().into(), CONFINE.into()],
        folder: folder.path().to_owned(),
        at_once: 2,
        deadline,
        memory: 256 << 20,
    };
    Bench { renderer: Renderer::new(settings).unwrap(), folder }
}

fn playing() -> Bench {
    bench(env::current_exe().unwrap(), Duration::from_secs(20))
}

impl Bench {
    fn chart(&self, files: &[(&str, &str)]) -> RenderFolder {
        let folder = self.renderer.folder().unwrap();
        let chart_yaml = ("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n");
        for (name, text) in [chart_yaml].iter().chain(files) {
            let path = folder.chart().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn render(&self, files: &[(&str, &str)], request: &Request<'_>) -> Result<Rendered, RenderError> {
        wait(self.run(self.chart(files), request))
    }

    async fn run(&self, folder: RenderFolder, request: &Request<'_>) -> Result<Rendered, RenderError> {
        let slot = self.renderer.slot("team-a").await;
        self.renderer.render(&slot, folder, request).await
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.folder.path()).unwrap().next().is_none()
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn request<'a>(release: &'a str, values: &'a Value) -> Request<'a> {
    let cluster = Cluster::Described { version: "v1.33.3", apis: &[] };
    Request { release, namespace: "shop", revision: 7, is_upgrade: false, values, cluster, is_secret: true }
}

fn played_facts(bench: &Bench, files: &[(&str, &str)], request: &Request<'_>) -> Value {
    let rendered = bench.render(files, request).unwrap();
    assert!(bench.is_empty());
    rendered.objects[0].to_value()
}

fn its_folder_only() {
    let facts = played_facts(&playing(), &[], &request("files", &json!({})));
    if !confine::is_supported() {
        println!("SKIPPED: this kernel has no Landlock");
        return;
    }
    for (name, is_so) in [("own", true), ("passwd", false), ("beside", false), ("tmp", false)] {
        assert_eq!(facts[name], is_so, "{name}: {facts}");
    }
}

fn one_port_only() {
    let (allowed, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let [port, other] = [&allowed, &other].map(|listener| listener.local_addr().unwrap().port());
    let ports = format!("{port} {other}");
    let asked = Request { cluster: Cluster::Asked { port, path: "x" }, ..request("ports", &Value::Null) };
    let facts = played_facts(&playing(), &[("ports", &ports)], &asked);
    if confine::is_supported() {
        assert_eq!(
            (&facts["allowed"], &facts["other"], &facts["listens"]),
            (&json!(true), &json!(false), &json!(false))
        );
    }
    let facts = played_facts(&playing(), &[("ports", &ports)], &request("ports", &Value::Null));
    assert!(!confine::is_supported() || facts["allowed"] == false, "{facts}");
}

fn inherits_nothing() {
    let facts = played_facts(&playing(), &[], &request("inherits", &json!({})));
    let names = [
        "GOMAXPROCS",
        "GOMEMLIMIT",
        "HELM_CACHE_HOME",
        "HELM_CONFIG_HOME",
        "HELM_DATA_HOME",
        "HELM_PLUGINS",
        "HOME",
        "TMPDIR",
        "TZ",
    ];
    assert_eq!(facts["env"], json!(names));
    assert_eq!(facts["input"], 0);
    assert!(facts["folder"].as_str().unwrap().contains("/render-"));
}

fn is_running(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn all_end(pids: &str) {
    let begin = Instant::now();
    while pids.split(' ').any(is_running) {
        assert!(begin.elapsed() < Duration::from_secs(20), "{pids} still run");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes of a render that runs in `folder`, once it says them.
async fn pids(folder: &Path) -> String {
    loop {
        let renders = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("pids"));
        if let Some(pids) = renders.filter_map(|path| fs::read_to_string(path).ok()).find(|pids| pids.contains(' ')) {
            return pids;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn ends_at_the_deadline() {
    let bench = bench(env::current_exe().unwrap(), Duration::from_secs(2));
    let values = json!({});
    let (outcome, pids) = wait(async {
        let request = request("loop", &values);
        tokio::join!(bench.run(bench.chart(&[]), &request), pids(bench.folder.path()))
    });
    assert!(matches!(outcome, Err(RenderError::Deadline)), "{outcome:?}");
    all_end(&pids);
    assert!(bench.is_empty());
}

fn ends_when_dropped() {
    let bench = playing();
    let values = json!({});
    let request = request("loop", &values);
    let pids = wait(async {
        tokio::select! {
            outcome = bench.run(bench.chart(&[]), &request) => panic!("{outcome:?}"),
            pids = pids(bench.folder.path()) => pids,
        }
    });
    all_end(&pids);
    assert!(bench.is_empty());
}

fn too_much_output() {
    let bench = playing();
    let outcome = bench.render(&[], &request("flood", &json!({})));
    assert!(matches!(outcome, Err(RenderError::TooMuchOutput)), "{outcome:?}");
    assert!(bench.is_empty());
}

fn helm_is_missing() {
    let outcome = bench("/nonexistent/helm".into(), Duration::from_secs(5)).render(&[], &request("a", &json!({})));
    assert!(matches!(outcome, Err(RenderError::HelmMissing)), "{outcome:?}");
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("helm");
    fs::write(&other, "no program").unwrap();
    let outcome = bench(other, Duration::from_secs(5)).render(&[], &request("a", &json!({})));
    assert!(matches!(outcome, Err(RenderError::HelmMissing)), "{outcome:?}");
}

fn left_behind() {
    let bench = playing();
    std::mem::forget(bench.chart(&[]));
    fs::write(bench.folder.path().join("of-others"), "").unwrap();
    let confine = vec![env::current_exe().unwrap().into()];
    let settings = Settings {
        helm: "helm".into(),
        confine,
        folder: bench.folder.path().to_owned(),
        at_once: 1,
        deadline: Duration::from_secs(1),
        memory: 1,
    };
    Renderer::new(settings).unwrap();
    let left: Vec<_> = fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["of-others"]);
}

// With the real helm.

const JOB: &str = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {{ .Release.Name }}-{{ .Release.Revision }}\n  annotations:\n    helm.sh/hook: pre-install\n";
const CRD: &str =
    "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a.b.example}\n";
const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {mode: {{ .Values.mode | quote }}}\n";

fn real(helm: PathBuf) -> Bench {
    bench(helm, Duration::from_secs(30))
}

fn renders(helm: PathBuf) {
    let bench = real(helm);
    let files = [
        ("templates/job.yaml", JOB),
        ("templates/config.yaml", CONFIG),
        ("templates/ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n"),
        ("templates/NOTES.txt", "Mode \"{{ .Values.mode }}\"\n--- of {{ .Release.Name }}\n"),
        ("crds/a.yaml", CRD),
        ("charts/db/Chart.yaml", "apiVersion: v2\nname: db\nversion: 1.0.0\n"),
        ("charts/db/crds/b.yaml", CRD),
    ];
    let rendered = bench.render(&files, &request("web", &json!({"mode": "0644"}))).unwrap();
    let names: Vec<_> = rendered.objects.iter().map(|object| object.identity().to_string()).collect();
    assert_eq!(names, ["Namespace b", "ConfigMap a"], "in the order of their installation");
    assert_eq!(rendered.objects[1].to_value()["data"]["mode"], "0644");
    assert_eq!(rendered.notes.as_deref(), Some("Mode \"0644\"\n--- of web\n"));
    assert_eq!(rendered.crds.len(), 2);
    let [hook] = rendered.hooks.as_slice() else { panic!("{:?}", rendered.hooks) };
    assert_eq!((hook.name.as_str(), hook.path.as_str()), ("web-7", "shop/templates/job.yaml"));
    assert!(rendered.manifest.starts_with("---\n# Source: shop/templates/ns.yaml\napiVersion: v1\nkind: Namespace\n"));
    assert!(bench.is_empty());
}

/// What `helm upgrade web CHART --namespace=shop --set=mode=y` of Helm 4.3.1 recorded of this chart.
const RECORD: &[u8] = include_bytes!("../src/record/helm-4.3.1.txt");

fn as_helm_records(helm: PathBuf) {
    let hook = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-h\n  annotations:\n    helm.sh/hook: pre-install,post-upgrade\n    \
                helm.sh/hook-weight: \"-5\"\ndata: {r: \"{{ .Release.Revision }}\"}\n";
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-a\ndata:\n  mode: {{ .Values.mode | quote }}\n";
    let files = [
        ("Chart.yaml", "apiVersion: v2\nname: fx\nversion: 1.2.3\n"),
        ("templates/NOTES.txt", "Mode {{ .Values.mode }} of {{ .Release.Name }}\n"),
        ("templates/a.yaml", config),
        ("templates/h.yaml", hook),
        ("charts/db/Chart.yaml", "apiVersion: v2\nname: db\nversion: 0.1.0\n"),
        ("charts/db/templates/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: db\n"),
    ];
    let values = json!({"mode": "y"});
    let request = Request { revision: 2, is_upgrade: true, ..request("web", &values) };
    let rendered = real(helm).render(&files, &request).unwrap();
    let record = Record::decode(RECORD).unwrap();
    assert_eq!(rendered.manifest, record.manifest);
    assert_eq!(digest(&rendered.manifest, &rendered.hooks), record.digest());
    assert_eq!(rendered.notes.as_deref(), Some(record.info.notes.as_str()));
}

fn told(helm: PathBuf) {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}\ndata: {told: {{ list \
                .Release.Revision .Release.IsUpgrade .Release.IsInstall .Capabilities.KubeVersion.Version (.Capabilities.APIVersions.Has \
                \"acme.example/v1/Widget\") (.Capabilities.APIVersions.Has \"acme.example/v2\") (kindOf .Release.Revision) | toJson | quote }}}\n";
    let sub = [
        ("charts/db/Chart.yaml", "apiVersion: v2\nname: db\nversion: 1.0.0\n"),
        ("charts/db/templates/very/deep/a.yaml", text),
    ];
    let files = [&[("templates/a.yaml", text)][..], &sub].concat();
    let apis = ["acme.example/v1", "acme.example/v1/Widget"].map(ToOwned::to_owned);
    let values = json!({});
    let cluster = Cluster::Described { version: "v1.33.3", apis: &apis };
    let request = Request { is_upgrade: true, cluster, ..request("web", &values) };
    let rendered = real(helm).render(&files, &request).unwrap();
    assert_eq!(rendered.objects.len(), 2);
    for object in rendered.objects {
        let object = object.to_value();
        assert_eq!(object["data"]["told"], r#"[7,true,false,"v1.33.3",true,false,"int"]"#);
        assert_eq!((&object["metadata"]["name"], &object["metadata"]["namespace"]), (&json!("web"), &json!("shop")));
    }
}

fn out_of_memory(helm: PathBuf) {
    let bomb = "{{ $x := \"a\" }}{{ range until 60 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}{{ $x }}";
    let bench = real(helm);
    let outcome = bench.render(&[("templates/a.yaml", bomb)], &request("web", &json!({})));
    assert!(matches!(outcome, Err(RenderError::OutOfMemory)), "{outcome:?}");
    assert!(bench.is_empty());
}

fn fails(helm: PathBuf) {
    let bench = real(helm);
    let values = json!({"password": "s3cr3t"});
    let failure = |text: &str| {
        let outcome = bench.render(&[("templates/a.yaml", text)], &request("web", &values)).unwrap_err();
        assert!(!outcome.to_string().contains("s3cr3t"), "{outcome}");
        outcome.to_string()
    };
    let at = "the chart does not render at templates/a.yaml";
    assert_eq!(failure("\n{{ fail .Values.password }}"), format!("{at}:2"));
    assert_eq!(failure("a: {{ .Values.image.tag.x }}"), format!("{at}:1, which asks for .Values.image.tag.x"));
    assert_eq!(failure("a: b: {{ .Values.password }}"), at);
    assert_eq!(failure("{{ if }}"), format!("{at}:1"));
    let shown = Request { is_secret: false, ..request("web", &values) };
    let outcome =
        bench.render(&[("templates/a.yaml", "{{ required \"need a mode\" .Values.mode }}")], &shown).unwrap_err();
    assert_eq!(outcome.to_string(), format!("{at}:1: execution error at (shop/templates/a.yaml:1:3): need a mode"));
}

fn nothing_leaks(helm: PathBuf) {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {passwd: {{ .Files.Get \"/etc/passwd\" | quote }}, \
                    env: {{ env \"HOME\" | quote }}}\n";
    let outcome = real(helm.clone()).render(&[("templates/a.yaml", template)], &request("web", &json!({})));
    assert!(matches!(outcome, Err(RenderError::Failed(_))), "helm has no function env: {outcome:?}");
    let files = template.replace("{{ env \"HOME\" | quote }}", "x");
    let rendered =
        real(helm).render(&[("templates/a.yaml", &files)], &request("web", &json!({"a": "s3cr3t"}))).unwrap();
    assert_eq!(rendered.objects[0].to_value()["data"]["passwd"], "");
}

fn looks_up(helm: PathBuf) {
    let server = Server::start();
    let text = "{{ $old := lookup \"v1\" \"Secret\" .Release.Namespace \"kept\" }}\napiVersion: v1\nkind: Secret\nmetadata: {name: other}\n\
                data: {a: {{ $old.data.a }}, told: {{ list .Release.Revision .Release.IsInstall .Release.IsUpgrade | toJson | quote }}}\n";
    let values = json!({});
    let asked = Request { cluster: Cluster::Asked { port: server.port, path: "token" }, ..request("web", &values) };
    let bench = real(helm);
    let rendered = bench.render(&[("templates/a.yaml", text)], &asked).unwrap();
    assert_eq!(rendered.objects[0].to_value()["data"], json!({"a": "a2VwdA==", "told": "[7,true,false]"}));
    let widget = ("templates/b.yaml", "apiVersion: acme.example/v1\nkind: Widget\nmetadata: {name: a}\n");
    let outcome = bench.render(&[("templates/a.yaml", text), widget], &asked);
    assert!(matches!(outcome, Err(RenderError::UnknownKinds)), "{outcome:?}");

    let asked = server.asked.lock().unwrap();
    assert!(asked.iter().all(|line| line.starts_with("GET /token/")), "{asked:?}");
    assert!(asked.iter().any(|line| line.contains("/token/api/v1/namespaces/shop/secrets/kept")), "{asked:?}");
    assert!(!asked.iter().any(|line| line.contains("/other")), "no object is asked for: {asked:?}");
}

fn asks_cluster() {
    let bench = playing();
    for (text, asks) in [("{{ lookup \"v1\" }}", true), (".Capabilities.APIVersions.Has \"a\"", true), ("a: b", false)]
    {
        assert_eq!(bench.chart(&[("charts/db/templates/a.yaml", text)]).asks_cluster().unwrap(), asks, "{text}");
    }
}

/// An API server that has one Secret.
struct Server {
    port: u16,
    asked: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), std::sync::Arc::default());
        let log = std::sync::Arc::clone(&asked);
        std::thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap(), &log)));
        Self { port, asked }
    }
}

fn answer(mut stream: TcpStream, log: &std::sync::Mutex<Vec<String>>) {
    let mut request = [0; 8192];
    let length = stream.read(&mut request).unwrap_or_default();
    let text = String::from_utf8_lossy(&request[..length]).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    log.lock().unwrap().push(line);
    let body = match path.as_str() {
        "/token/version" => json!({"major": "1", "minor": "37", "gitVersion": "v1.37.1"}),
        "/token/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/token/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        "/token/api/v1" => json!({"kind": "APIResourceList", "groupVersion": "v1",
            "resources": [{"name": "secrets", "singularName": "secret", "namespaced": true, "kind": "Secret", "verbs": ["get", "list"]}]}),
        "/token/api/v1/namespaces/shop/secrets/kept" => json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "kept", "namespace": "shop"}, "data": {"a": "a2VwdA=="}}),
        _ => Value::Null,
    };
    let status = if body.is_null() { "404 Not Found" } else { "200 OK" };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes());
}
