//! The rules by which an API server takes requests.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::pending,
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{
    Status,
    response::{StatusCause, StatusDetails},
};
use serde_json::Value;

use super::{
    ModelObject, ModelObjects, Requests,
    fields::{Field, Leaves, Manager},
    objects::by,
};
use crate::{
    cache::{Kept, ObjectKey, OwnerRecord},
    error::ApiError,
    write::{Request, Server, Written, to_json},
};

/// Answers until the process dies; what a dead process waits for never comes.
pub(super) struct ModelServer<'a>(Mutex<(&'a mut ModelObjects, &'a mut Requests)>);

impl Server for ModelServer<'_> {
    async fn send<K: Kept>(&self, key: &ObjectKey, request: Request<'_>) -> Result<ObjectMeta, ApiError> {
        let dies = self.lock().1.send::<Infallible>().is_err();
        if dies {
            pending::<()>().await;
        }
        let answer = self.lock().0.answer(key, request);
        answer.map_err(|answer| ApiError::new(format!("{request:?}"), kube::Error::Api(Box::new(answer.into()))))
    }

    /// All that was written is seen at once.
    fn expect<K: Kept>(&self, _: &OwnerRecord, _: ObjectKey, _: Written<'_>) {}

    fn count_applied(&self, key: &ObjectKey, _: &ObjectMeta, desired_hash: &str, restoring: bool) {
        if let Some(object) = self.lock().0.get_mut(&key.to_string()) {
            object.count_applied(desired_hash, restoring);
        }
    }
}

impl<'a> ModelServer<'a> {
    pub(super) fn of(objects: &'a mut ModelObjects, requests: &'a mut Requests) -> Self {
        Self(Mutex::new((objects, requests)))
    }

    fn lock(&self) -> MutexGuard<'_, (&'a mut ModelObjects, &'a mut Requests)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ModelObjects {
    fn answer(&mut self, key: &ObjectKey, request: Request<'_>) -> Result<ObjectMeta, ErrorAnswer> {
        match request {
            Request::Create(body) => self.create(key, &to_json(body)),
            Request::Apply { body, force } => self.apply(key, body, force),
            Request::Replace { body, .. } => self.replace(key, body),
            Request::Release(patch) => self.patch(key, patch),
            Request::Delete(uid) => self.delete(key, uid),
        }
    }

    fn create(&mut self, key: &ObjectKey, body: &Value) -> Result<ObjectMeta, ErrorAnswer> {
        if self.contains_key(&key.to_string()) {
            return Err(ErrorAnswer::Code(409));
        }
        if self.fixed.iter().any(|field| body.get(field).is_none()) {
            return Err(ErrorAnswer::Code(422));
        }
        let Leaves { labels, annotations, fields } = Leaves::of(body);
        let (labels, annotations) = (by(Manager::Patched, labels), by(Manager::Patched, annotations));
        let created =
            ModelObject { labels, annotations, fields: by(Manager::Patched, fields), ..ModelObject::default() };
        Ok(self.add(key, created).meta(&key.to_string()))
    }

    fn apply(&mut self, key: &ObjectKey, body: &Value, force: bool) -> Result<ObjectMeta, ErrorAnswer> {
        let (fixed, wanted) = (self.fixed, Leaves::of(body));
        // An apply with a UID creates nothing.
        let found = self.unchanged(key, body).map_err(|_| ErrorAnswer::Code(409))?;
        let is_fixed = |path: &&Vec<String>| path.first().is_some_and(|first| fixed.contains(&first.as_str()));
        let mut of_fixed = wanted.fields.keys().filter(is_fixed);
        if of_fixed.any(|path| found.fields.get(path).map(|field| &field.value) != wanted.fields.get(path)) {
            return Err(ErrorAnswer::Code(422));
        }
        if let (false, Some(field)) = (force, wanted.conflict(found)) {
            return Err(ErrorAnswer::FieldConflict(field));
        }
        wanted.apply_to(found);
        found.version += 1;
        Ok(found.meta(&key.to_string()))
    }

    /// A strategic merge patch of whole fields.
    fn replace(&mut self, key: &ObjectKey, body: &Value) -> Result<ObjectMeta, ErrorAnswer> {
        let found = self.unchanged(key, body).map_err(|_| ErrorAnswer::Code(409))?;
        let mut wanted = Leaves::of(body);
        wanted.fields.retain(|path, _| path.last().is_none_or(|last| last != "$patch"));
        let names: BTreeSet<_> = wanted.fields.keys().filter_map(|path| path.first().cloned()).collect();
        found.fields.retain(|path, _| path.first().is_none_or(|first| !names.contains(first)));
        wanted.apply_to(found);
        found.version += 1;
        Ok(found.meta(&key.to_string()))
    }

    /// A merge patch of labels and annotations.
    fn patch(&mut self, key: &ObjectKey, patch: &Value) -> Result<ObjectMeta, ErrorAnswer> {
        let found = self.unchanged(key, patch)?;
        for (fields, name) in [(&mut found.labels, "labels"), (&mut found.annotations, "annotations")] {
            let changes = patch.pointer(&format!("/metadata/{name}")).and_then(Value::as_object);
            for (key, value) in changes.into_iter().flatten() {
                match value.as_str() {
                    None => drop(fields.remove(key)),
                    Some(value) => drop(fields.insert(key.clone(), Field::by(Manager::Patched, value.to_owned()))),
                }
            }
        }
        found.version += 1;
        Ok(found.meta(&key.to_string()))
    }

    fn delete(&mut self, key: &ObjectKey, uid: Option<&str>) -> Result<ObjectMeta, ErrorAnswer> {
        let found = self.get_mut(&key.to_string()).ok_or(ErrorAnswer::Code(404))?;
        if uid.is_some_and(|uid| found.uid != uid) {
            return Err(ErrorAnswer::Code(409));
        }
        found.terminating = true;
        Ok(ObjectMeta::default())
    }

    /// The object, if it has the UID and the version that a request names.
    fn unchanged(&mut self, key: &ObjectKey, body: &Value) -> Result<&mut ModelObject, ErrorAnswer> {
        let named = |field: &str| body.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
        let found = self.get_mut(&key.to_string()).ok_or(ErrorAnswer::Code(404))?;
        let is_same =
            named("uid") == Some(&*found.uid) && named("resourceVersion") == Some(&*found.version.to_string());
        is_same.then_some(found).ok_or(ErrorAnswer::Code(409))
    }
}

/// How an API server answers a request that it does not accept.
enum ErrorAnswer {
    Code(u16),
    /// Another client manages this field with another value.
    FieldConflict(String),
}

impl From<ErrorAnswer> for Status {
    fn from(answer: ErrorAnswer) -> Self {
        let field = match answer {
            ErrorAnswer::Code(code) => return Self { code, ..Self::default() },
            ErrorAnswer::FieldConflict(field) => field,
        };
        let message = format!("conflict with \"another\": {field}");
        let cause = StatusCause { reason: "FieldManagerConflict".to_owned(), message: String::new(), field };
        let details = StatusDetails {
            causes: vec![cause],
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            retry_after_seconds: 0,
        };
        Self { code: 409, message, details: Some(details), ..Self::default() }
    }
}
