//! What an API server says people may do.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

use crate::ControlPlane;
use crate::error::Result;
use crate::wait::{eventually, soon};

/// The group of everybody who is known.
const AUTHENTICATED: &str = "system:authenticated";

/// Whether `who`, a user or a group after `@`, may do `what` in a namespace, or in the whole cluster where that is empty. `what` is a
/// verb and a resource, as kubectl writes them: `create deployments.apps/scale`.
pub async fn allows(plane: &ControlPlane, who: &str, what: &str, namespace: &str) -> Result<bool> {
    let (user, group) = who.strip_prefix('@').map_or((who, None), |group| ("anyone", Some(group)));
    let (verb, resource) = what.split_once(' ').unwrap_or((what, ""));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (resource, api_group) = resource.split_once('.').unwrap_or((resource, ""));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let attributes = ResourceAttributes {
        verb: some(verb),
        group: some(api_group),
        resource: some(resource),
        subresource: some(subresource),
        namespace: some(namespace),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: some(user),
        groups: Some([AUTHENTICATED].into_iter().chain(group).map(str::to_owned).collect()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(plane.client());
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    Ok(reviews.create(&PostParams::default(), &review).await?.status.is_some_and(|status| status.allowed))
}

/// Waits until an API server says so of `who`, `what` and a namespace, as in [`allows`].
pub async fn may(plane: &ControlPlane, who: &str, what: &str, namespace: &str, expected: bool) {
    let told = format!("{who} may {what} in {:?} of {}: {expected}", namespace, plane.name());
    let outcome =
        eventually(&told, soon(), async || Ok((allows(plane, who, what, namespace).await? == expected).then_some(())));
    let outcome = outcome.await;
    assert!(outcome.is_ok(), "{outcome:?}");
}
