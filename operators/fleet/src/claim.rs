//! Which installation of Drover, and which of its Clusters, a cluster belongs to.
//!
//! The record is the `ConfigMap` `drover-system/drover-claim` in the cluster itself. It is made by create, before anything
//! else is written there, and moved only by `spec.claim.takeFrom`. It also says which takeover requests were fulfilled: each is fulfilled once, or two
//! installations that name each other would fight for ever.

use std::collections::BTreeMap;

use drover_crds::names::{DROVER_NAMESPACE, LABEL_MANAGED_BY, MANAGED_BY};
use drover_runtime::{ApiError, error::legible, request::request};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};

/// Name of the `ConfigMap` in Drover's namespace of the cluster.
pub const CLAIM_NAME: &str = "drover-claim";
const INSTALLATION: &str = "installation";
const CLUSTER_NAME: &str = "clusterName";
const FULFILLED: &str = "fulfilledTakeovers";
/// So many fulfilled takeover requests are remembered; more installations than that do not quarrel over one cluster.
const MOST_FULFILLED: usize = 20;
/// A claim is what another cluster says and ends up in messages: longer names than the API allows are cut, in bytes.
const NAME_LIMIT: usize = 253;
const FIELD_MANAGER: &str = "drover-fleet";

/// Who holds the claim on a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The installation of Drover.
    pub installation: String,
    /// The name of its `Cluster`.
    pub cluster_name: String,
    /// The takeover requests that were fulfilled, the oldest first.
    fulfilled: Vec<String>,
    /// UID and version of the record, for changes that must not overwrite a concurrent one.
    meta: (Option<String>, Option<String>),
}

impl Claim {
    fn of(found: ConfigMap) -> Self {
        let field = |name: &str| found.data.as_ref().and_then(|data| data.get(name)).cloned().unwrap_or_default();
        Self {
            installation: legible(&field(INSTALLATION), NAME_LIMIT),
            cluster_name: legible(&field(CLUSTER_NAME), NAME_LIMIT),
            fulfilled: field(FULFILLED)
                .lines()
                .take(MOST_FULFILLED)
                .map(|takeover_request| legible(takeover_request, NAME_LIMIT))
                .collect(),
            meta: (found.metadata.uid, found.metadata.resource_version),
        }
    }

    /// The fulfilled takeover requests with one more; the oldest are forgotten.
    fn fulfilled_with(&self, takeover_request: Option<&str>) -> Vec<String> {
        let all: Vec<_> = self.fulfilled.iter().cloned().chain(takeover_request.map(str::to_owned)).collect();
        let forgotten = all.len().saturating_sub(MOST_FULFILLED);
        all.into_iter().skip(forgotten).collect()
    }

    /// Whether this very Cluster of this installation holds it.
    #[must_use]
    pub fn is_held_by(&self, installation: &str, cluster_name: &str) -> bool {
        self.installation == installation && self.cluster_name == cluster_name
    }
}

/// What is to be done about a claim. Pure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is ours.
    Held,
    /// There is no claim.
    Make,
    /// It may be rewritten: its Cluster is gone.
    Move(Claim),
    /// It may be rewritten: a person said to take it over, and that was not done yet.
    TakeOver(Claim),
    /// Another Cluster of ours stands for the same cluster.
    DuplicateOf(String),
    /// Another installation holds the claim.
    ClaimedByOther(String),
}

/// What the decision is about.
pub(crate) struct Question<'a> {
    pub(crate) installation: &'a str,
    pub(crate) cluster_name: &'a str,
    /// `spec.claim.takeFrom`.
    pub(crate) take_from: Option<&'a str>,
    /// Tells this takeover request from every other one, later ones of the same Cluster included.
    pub(crate) takeover_request: &'a str,
    /// The record as it is.
    pub(crate) claim: Option<&'a Claim>,
    /// The Clusters of this installation that may stand for the same cluster, the one that wins first: the older one, then
    /// by name.
    /// Asked only where it matters: of 2,000 clusters that are ours none asks it.
    pub(crate) rivals: &'a dyn Fn() -> Vec<String>,
}

pub(crate) fn decide(question: &Question<'_>) -> Decision {
    let Question { installation, cluster_name, take_from, takeover_request, claim, rivals } = question;
    let unless_rivalled = |decision: Decision| {
        let first = rivals().into_iter().take_while(|rival| rival != cluster_name).next();
        first.map_or(decision, Decision::DuplicateOf)
    };
    match claim {
        None => unless_rivalled(Decision::Make),
        Some(claim) if claim.is_held_by(installation, cluster_name) => Decision::Held,
        // The one that the claim names wins, as long as it may be this cluster.
        Some(claim) if claim.installation == *installation && rivals().contains(&claim.cluster_name) => {
            Decision::DuplicateOf(claim.cluster_name.clone())
        }
        Some(claim) if claim.installation == *installation => unless_rivalled(Decision::Move((*claim).clone())),
        Some(claim) if *take_from == Some(claim.installation.as_str()) => {
            if claim.fulfilled.iter().any(|fulfilled| fulfilled == takeover_request) {
                return Decision::ClaimedByOther(claim.installation.clone());
            }
            unless_rivalled(Decision::TakeOver((*claim).clone()))
        }
        Some(claim) => Decision::ClaimedByOther(claim.installation.clone()),
    }
}

/// The claim on the cluster behind `client`, if there is one.
pub async fn read(client: &Client) -> Result<Option<Claim>, ApiError> {
    let found = request("get the ConfigMap drover-system/drover-claim", api(client).get_opt(CLAIM_NAME)).await?;
    Ok(found.map(Claim::of))
}

/// Claims a cluster that has no claim. Says false if another client was faster.
pub(crate) async fn make(client: &Client, installation: &str, cluster_name: &str) -> Result<bool, ApiError> {
    let namespace = Namespace { metadata: metadata(DROVER_NAMESPACE, None, None), ..Namespace::default() };
    let namespaces = Api::<Namespace>::all(client.clone());
    let what = "create the Namespace drover-system";
    unless_conflict(request(what, namespaces.create(&parameters(), &namespace)).await)?;
    let record = record(installation, cluster_name, &[], &(None, None));
    let what = "create the ConfigMap drover-system/drover-claim";
    unless_conflict(request(what, api(client).create(&parameters(), &record)).await)
}

/// Rewrites exactly the claim that was read, and notes the takeover request that this fulfils, if a person made one. Says false if
/// another client was faster.
pub(crate) async fn take(
    client: &Client,
    claim: &Claim,
    installation: &str,
    cluster_name: &str,
    takeover_request: Option<&str>,
) -> Result<bool, ApiError> {
    let record = record(installation, cluster_name, &claim.fulfilled_with(takeover_request), &claim.meta);
    let what = "replace the ConfigMap drover-system/drover-claim";
    unless_conflict(request(what, api(client).replace(CLAIM_NAME, &parameters(), &record)).await)
}

/// Releases the claim on the cluster behind `client`, if this very Cluster of this installation holds it. Done twice it ends
/// the same. Answers a foreign claim, if there is one.
pub async fn release(client: &Client, installation: &str, cluster_name: &str) -> Result<Option<Claim>, ApiError> {
    let claim = match read(client).await? {
        Some(claim) if claim.is_held_by(installation, cluster_name) => claim,
        others => return Ok(others),
    };
    let (uid, resource_version) = claim.meta;
    let preconditions = Some(Preconditions { uid, resource_version });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    let what = "delete the ConfigMap drover-system/drover-claim";
    match request(what, api(client).delete(CLAIM_NAME, &params)).await {
        Err(error) if matches!(error.code(), Some(404)) => Ok(None),
        answer => answer.map(|_| None),
    }
}

fn api(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), DROVER_NAMESPACE)
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn metadata(name: &str, uid: Option<String>, resource_version: Option<String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(LABEL_MANAGED_BY.to_owned(), MANAGED_BY.to_owned())])),
        uid,
        resource_version,
        ..ObjectMeta::default()
    }
}

fn record(
    installation: &str,
    cluster_name: &str,
    fulfilled: &[String],
    meta: &(Option<String>, Option<String>),
) -> ConfigMap {
    let fulfilled = (!fulfilled.is_empty()).then(|| (FULFILLED, fulfilled.join("\n")));
    let names = [(INSTALLATION, installation.to_owned()), (CLUSTER_NAME, cluster_name.to_owned())];
    let data = names.into_iter().chain(fulfilled).map(|(key, value)| (key.to_owned(), value)).collect();
    let (uid, resource_version) = meta.clone();
    ConfigMap { metadata: metadata(CLAIM_NAME, uid, resource_version), data: Some(data), ..ConfigMap::default() }
}

fn unless_conflict<T>(answer: Result<T, ApiError>) -> Result<bool, ApiError> {
    match answer {
        Err(error) if error.code() == Some(409) => Ok(false),
        answer => answer.map(|_| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(installation: &str, cluster_name: &str) -> Claim {
        let (installation, cluster_name) = (installation.to_owned(), cluster_name.to_owned());
        Claim { installation, cluster_name, fulfilled: Vec::new(), meta: (None, None) }
    }

    fn decided(claim: Option<&Claim>, take_from: Option<&str>, rivals: &[&str]) -> Decision {
        let rivals = || rivals.iter().map(|name| (*name).to_owned()).collect();
        let (installation, cluster_name, takeover_request) = ("ours", "eu", "uid/2");
        decide(&Question { installation, cluster_name, take_from, takeover_request, claim, rivals: &rivals })
    }

    #[test]
    fn a_cluster_that_nobody_holds_goes_to_the_first_that_stands_for_it() {
        assert_eq!(decided(None, None, &[]), Decision::Make);
        assert_eq!(decided(None, None, &["eu", "younger"]), Decision::Make);
        assert_eq!(decided(None, None, &["older", "eu"]), Decision::DuplicateOf("older".into()));
    }

    #[test]
    fn the_one_that_the_claim_names_wins_while_it_is_there() {
        assert_eq!(decided(Some(&claim("ours", "eu")), None, &["older", "eu"]), Decision::Held);
        let younger = claim("ours", "younger");
        assert_eq!(decided(Some(&younger), None, &["eu", "younger"]), Decision::DuplicateOf("younger".into()));
        let gone = claim("ours", "gone");
        assert_eq!(decided(Some(&gone), None, &["eu"]), Decision::Move(gone.clone()));
        assert_eq!(decided(Some(&gone), None, &["older", "eu"]), Decision::DuplicateOf("older".into()));
    }

    #[test]
    fn another_installation_keeps_its_claim_until_a_person_takes_it_over() {
        let theirs = claim("theirs", "eu");
        for take_from in [None, Some("others"), Some("ours")] {
            assert_eq!(decided(Some(&theirs), take_from, &["eu"]), Decision::ClaimedByOther("theirs".into()));
        }
        assert_eq!(decided(Some(&theirs), Some("theirs"), &["eu"]), Decision::TakeOver(theirs.clone()));
        assert_eq!(decided(Some(&theirs), Some("theirs"), &["older", "eu"]), Decision::DuplicateOf("older".into()));
    }

    #[test]
    fn a_wish_to_take_over_is_fulfilled_once() {
        let mut theirs = claim("theirs", "eu");
        theirs.fulfilled = theirs.fulfilled_with(Some("uid/2"));
        assert_eq!(decided(Some(&theirs), Some("theirs"), &["eu"]), Decision::ClaimedByOther("theirs".into()));
        // A later takeover request of the same person, or the same of another one, is another takeover request.
        theirs.fulfilled = vec!["uid/1".into(), "other/2".into()];
        assert_eq!(decided(Some(&theirs), Some("theirs"), &["eu"]), Decision::TakeOver(theirs.clone()));
    }

    #[test]
    fn only_the_latest_fulfilled_wishes_are_remembered() {
        let mut claim = claim("ours", "eu");
        for number in 0..30 {
            claim.fulfilled = claim.fulfilled_with(Some(&number.to_string()));
        }
        let numbers: Vec<_> = (10..30).map(|number| number.to_string()).collect();
        assert_eq!(claim.fulfilled, numbers);
        assert_eq!(claim.fulfilled_with(None), numbers);
    }

    #[test]
    fn what_a_hostile_claim_says_is_cut() {
        let long = "x".repeat(1 << 20);
        let data = [INSTALLATION, CLUSTER_NAME, FULFILLED].map(|key| (key.to_owned(), format!("{long}\n{long}")));
        let claim = Claim::of(ConfigMap { data: Some(data.into()), ..ConfigMap::default() });
        assert!(claim.installation.len() <= NAME_LIMIT && claim.cluster_name.len() <= NAME_LIMIT);
        assert!(claim.fulfilled.iter().all(|takeover_request| takeover_request.len() <= NAME_LIMIT));
    }
}
