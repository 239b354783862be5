//! A small API server in memory, for tests.
//!
//! It holds one cluster-scoped kind and knows list, watch, get, patch and delete with finalizers. It validates nothing, and
//! takes whatever else is created (events) without keeping it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use kube::{Client, Resource, client::Body};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The server. Clones are handles on the same one.
#[derive(Clone)]
pub struct MockServer(Arc<Inner>);

struct Inner {
    /// Where the kind is served, for example `/apis/example.com/v1/toys`.
    root: String,
    api_version: String,
    kind: String,
    state: Mutex<State>,
    /// After how many restores, and up to which entry of the history, watches tell.
    shown: watch::Sender<(u64, usize)>,
}

#[derive(Default)]
struct State {
    revision: u64,
    /// How often it was restored.
    epoch: u64,
    objects: BTreeMap<String, Value>,
    history: Vec<(u64, Value)>,
    held: bool,
    list_takes: Duration,
    ends_watches: bool,
    writes: Vec<Write>,
    /// The targets of all patches, also of those that were refused.
    patches: Vec<String>,
    /// What patches are refused with, by target.
    refusals: BTreeMap<String, String>,
    /// What lists and watches with these label selectors are answered.
    unreadable: BTreeMap<String, StatusCode>,
}

/// A write that a client made and the server accepted.
#[derive(Clone, Debug)]
pub struct Write {
    /// When.
    pub at: Instant,
    /// The name of the object, with `/status` for its status.
    pub target: String,
}

impl MockServer {
    /// An empty server of `K`.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>() -> Self {
        Self(Arc::new(Inner {
            root: K::url_path(&(), None),
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            state: Mutex::default(),
            shown: watch::Sender::default(),
        }))
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Creates an object, as a person would.
    pub fn create(&self, name: &str, spec: &Value) {
        let mut state = self.lock();
        let uid = format!("uid-{}", state.revision + 1);
        let metadata = json!({"name": name, "uid": uid, "generation": 1});
        let object = json!({"apiVersion": self.0.api_version, "kind": self.0.kind, "metadata": metadata, "spec": spec});
        self.store(&mut state, name, object);
    }

    /// Changes an object, as another client would.
    ///
    /// # Panics
    ///
    /// If it does not exist.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.lock();
        let Some(mut object) = state.objects.get(name).cloned() else { panic!("{name} does not exist") };
        change(&mut object);
        self.store(&mut state, name, object);
    }

    /// Changes the spec, and with it the generation.
    pub fn edit_spec(&self, name: &str, spec: &Value) {
        self.edit(name, |object| {
            object["spec"] = spec.clone();
            let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
            object["metadata"]["generation"] = json!(generation + 1);
        });
    }

    /// Deletes an object: at once, or when its last finalizer goes.
    pub fn delete(&self, name: &str) {
        self.edit(name, |object| object["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:00Z"));
    }

    /// The object as it is stored.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value> {
        self.lock().objects.get(name).cloned()
    }

    /// The finalizers of an object.
    #[must_use]
    pub fn finalizers(&self, name: &str) -> Vec<String> {
        let finalizers = self.get(name).map(|object| object["metadata"]["finalizers"].clone());
        finalizers.and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default()
    }

    /// While held, watches tell nothing, and clients work with what they know.
    pub fn hold_watches(&self, held: bool) {
        let mut state = self.lock();
        state.held = held;
        self.show(&state);
    }

    /// What a restore of an older backup does: versions start again at `revision`, and no watch survives it.
    pub fn go_back(&self, revision: u64) {
        let mut state = self.lock();
        state.revision = revision;
        state.epoch += 1;
        state.history.clear();
        for object in state.objects.values_mut() {
            object["metadata"]["resourceVersion"] = json!(revision.to_string());
        }
        self.0.shown.send_replace((state.epoch, 0));
    }

    /// Makes an object never have been, as a restore does.
    pub fn forget(&self, name: &str) {
        let mut state = self.lock();
        state.objects.remove(name);
        state.history.retain(|(_, event)| event["object"]["metadata"]["name"] != name);
        self.show(&state);
    }

    /// Whether every watch ends in good order as soon as it is open, from now on.
    pub fn end_watches_at_once(&self, ends: bool) {
        let mut state = self.lock();
        state.ends_watches = ends;
        state.epoch += 1;
        self.0.shown.send_replace((state.epoch, 0));
    }

    /// From now on a list takes so long for each object in it.
    pub fn lists_take(&self, time: Duration) {
        self.lock().list_takes = time;
    }

    /// The accepted writes whose target is `target`: a name, or a name with `/status`.
    #[must_use]
    pub fn writes(&self, target: &str) -> Vec<Write> {
        self.lock().writes.iter().filter(|write| write.target == target).cloned().collect()
    }

    /// From now on patches of `target` are refused with this message; none allows them again.
    pub fn refuse(&self, target: &str, message: Option<&str>) {
        let mut state = self.lock();
        state.refusals.remove(target);
        state.refusals.extend(message.map(|message| (target.to_owned(), message.to_owned())));
    }

    /// From now on lists with this label selector are answered so, and its watches end; none allows them again.
    pub fn answer_lists_of(&self, selector: &str, code: Option<StatusCode>) {
        let mut state = self.lock();
        state.unreadable.remove(selector);
        state.unreadable.extend(code.map(|code| (selector.to_owned(), code)));
        state.epoch += 1;
        self.0.shown.send_replace((state.epoch, 0));
    }

    /// How many patches of `target` came, accepted or not.
    #[must_use]
    pub fn patches(&self, target: &str) -> usize {
        self.lock().patches.iter().filter(|patched| *patched == target).count()
    }

    /// How many writes were accepted.
    #[must_use]
    pub fn write_count(&self) -> usize {
        self.lock().writes.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, state: &State) {
        if !state.held {
            self.0.shown.send_replace((state.epoch, state.history.len()));
        }
    }

    fn store(&self, state: &mut State, name: &str, mut object: Value) {
        let before = state.objects.get(name);
        if before == Some(&object) {
            return;
        }
        let finalized = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        let gone = finalized && object["metadata"]["deletionTimestamp"].is_string();
        let event = match (before, gone) {
            (_, true) => "DELETED",
            (None, false) => "ADDED",
            (Some(_), false) => "MODIFIED",
        };
        state.revision += 1;
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        state.history.push((state.revision, json!({"type": event, "object": object})));
        if gone {
            state.objects.remove(name);
        } else {
            state.objects.insert(name.to_owned(), object);
        }
        self.show(state);
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let query = parts.uri.query().unwrap_or_default();
        let selector = text_parameter(query, "labelSelector").unwrap_or_default();
        let selector = selector.replace("%2F", "/").replace("%3D", "=");
        let unreadable = self.lock().unreadable.get(&selector).copied();
        match (parts.method, parts.uri.path().strip_prefix(self.0.root.as_str())) {
            (Method::GET, Some("")) if let Some(code) = unreadable => refusal(code, "not readable"),
            (Method::POST, None) => success(&body),
            (Method::GET, Some("")) if query.contains("watch=true") => self.watch(query),
            (Method::GET, Some("")) => self.list(query).await,
            (Method::GET, Some(name)) => {
                self.get(name.trim_start_matches('/')).map_or_else(missing, |found| success(&found))
            }
            (Method::PATCH, Some(target)) => self.patch(target.trim_start_matches('/'), &body),
            _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    /// A page; the token of the next one is the name that it begins after.
    async fn list(&self, query: &str) -> Answer {
        let limit = parameter(query, "limit").unwrap_or(u64::MAX);
        let after = text_parameter(query, "continue").unwrap_or_default();
        let (page, takes) = {
            let state = self.lock();
            let rest = state.objects.iter().filter(|(name, _)| name.as_str() > after);
            let items: Vec<_> = rest.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect();
            let last = items.last().map(|(name, _)| name.as_str()).unwrap_or_default();
            let is_last = state.objects.keys().next_back().is_none_or(|name| name.as_str() <= last);
            let token = if is_last { "" } else { last };
            let page = json!({
                "apiVersion": self.0.api_version, "kind": format!("{}List", self.0.kind),
                "metadata": {"resourceVersion": state.revision.to_string(), "continue": token},
                "items": items.iter().map(|(_, object)| object).collect::<Vec<_>>(),
            });
            (page, state.list_takes * u32::try_from(items.len()).unwrap_or(u32::MAX))
        };
        tokio::time::sleep(takes).await;
        success(&page)
    }

    fn watch(&self, query: &str) -> Answer {
        let from = parameter(query, "resourceVersion").unwrap_or_default();
        let limit = if self.lock().ends_watches { 0 } else { parameter(query, "timeoutSeconds").unwrap_or(60) };
        let limit = Duration::from_secs(limit);
        let events = self.events_after(from).take_until(Box::pin(tokio::time::sleep(limit)));
        // The type first, as real servers write it.
        let line = |event: Value| format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"]);
        let frames = events.map(move |event| Ok(Frame::data(Bytes::from(line(event)))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn events_after(&self, from: u64) -> impl Stream<Item = Value> + Send + use<> {
        let (server, mut shown) = (self.clone(), self.0.shown.subscribe());
        let (epoch, _) = *shown.borrow_and_update();
        stream::unfold((server, shown, 0), move |(server, mut shown, mut next)| async move {
            loop {
                let (now, until) = *shown.wait_for(|(now, shown)| *now != epoch || *shown > next).await.ok()?;
                if now != epoch {
                    return None;
                }
                while next < until {
                    let (revision, event) = server.lock().history.get(next).cloned()?;
                    next += 1;
                    if revision > from {
                        return Some((event, (server, shown, next)));
                    }
                }
            }
        })
    }

    /// Status and metadata are what the runtime writes. A named UID or resource version is a precondition.
    fn patch(&self, target: &str, body: &Value) -> Answer {
        let (name, of_status) = target.strip_suffix("/status").map_or((target, false), |name| (name, true));
        let mut state = self.lock();
        state.patches.push(target.to_owned());
        if let Some(message) = state.refusals.get(target) {
            return refusal(StatusCode::UNPROCESSABLE_ENTITY, message);
        }
        let Some(mut object) = state.objects.get(name).cloned() else { return missing() };
        let differs = |field: &str| {
            let wanted = &body["metadata"][field];
            !wanted.is_null() && *wanted != object["metadata"][field]
        };
        if differs("uid") || differs("resourceVersion") {
            return refusal(StatusCode::CONFLICT, "Conflict");
        }
        if of_status {
            object["status"] = body["status"].clone();
        } else {
            object["metadata"]["finalizers"] = body["metadata"]["finalizers"].clone();
        }
        self.store(&mut state, name, object.clone());
        state.writes.push(Write { at: Instant::now(), target: target.to_owned() });
        success(state.objects.get(name).unwrap_or(&object))
    }
}

fn text_parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn parameter(query: &str, name: &str) -> Option<u64> {
    text_parameter(query, name)?.parse().ok()
}

fn success(body: &Value) -> Answer {
    Response::new(Full::from(body.to_string()).boxed_unsync())
}

fn missing() -> Answer {
    refusal(StatusCode::NOT_FOUND, "NotFound")
}

fn refusal(code: StatusCode, reason: &str) -> Answer {
    let status = json!({"status": "Failure", "reason": reason, "message": reason, "code": code.as_u16()});
    let mut answer = success(&status);
    *answer.status_mut() = code;
    answer
}
