//! From what is known of names to their status. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use drover_crds::{
    ExcludedAddress, GlobalDNS, GlobalDNSStatus, PublishedEndpoint, PublishedName,
    condition::{ACCEPTED, FROZEN, PROGRAMMED, PROPAGATED, TARGETS_RESOLVED},
};
use drover_names::Basis;
use drover_runtime::{
    Cause, Place, PlaceState, PlaceStatuses, StatusCause,
    place_status::{PlaceEntry, Readiness},
    status::{State, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    DNSCause,
    offers::{MOST_EXCLUDED, Offers},
    plan::{PlaceStatus, Told, ToldName},
};

/// Most clusters that are named in a text.
const MOST_NAMED: usize = 5;

pub(crate) fn summarise(names: &GlobalDNS, statuses: &PlaceStatuses<PlaceStatus>) -> GlobalDNSStatus {
    let former = names.status.clone().unwrap_or_default();
    let entry = statuses.get(&Place::Management);
    // What was told of another spec says nothing of this one.
    let told = match entry.and_then(|entry| entry.known.as_ref()) {
        Some(PlaceStatus::Names(told)) if told.generation == names.metadata.generation => told.as_ref().clone(),
        _ => Told::default(),
    };
    let is_deleting = names.metadata.deletion_timestamp.is_some();
    let failed = entry.and_then(failed);
    let excluded = excluded(statuses);
    if is_deleting {
        let ready = failed.or_else(|| told.failure.clone().map(|(cause, message)| Readiness::no(cause, message)));
        let ready =
            ready.unwrap_or_else(|| Readiness::no(StatusCause::Deleting, "its records are being removed".to_owned()));
        let conditions = ready_conditions(ready.state, ready.cause, &ready.message, ready.activity);
        return GlobalDNSStatus { conditions, ..former };
    }
    if told.names.is_empty() && told.failure.is_none() && failed.is_none() {
        return pending(names, former);
    }
    let published = published(&told, former.published);
    let parts = parts(&told, failed.as_ref(), statuses);
    let ready = ready(names, &told, &parts, failed, statuses);
    let mut conditions = ready_conditions(ready.state, ready.cause, &ready.message, ready.activity);
    conditions.extend(parts);
    GlobalDNSStatus {
        summary: Some(summary(&published)),
        plan: told.names.iter().filter_map(|name| name.plan.clone()).collect(),
        published,
        excluded,
        conditions,
        ..GlobalDNSStatus::default()
    }
}

/// What is said until the names of this spec were looked at: what they answer with stays known, and nothing else is claimed.
fn pending(names: &GlobalDNS, former: GlobalDNSStatus) -> GlobalDNSStatus {
    let is_of_this_spec = Some(former.observed_generation) == names.metadata.generation;
    if is_of_this_spec && !former.conditions.is_empty() {
        return former;
    }
    let waits = Readiness::no(StatusCause::Progressing, "its names were not looked at yet".to_owned());
    let conditions = ready_conditions(waits.state, waits.cause, &waits.message, waits.activity);
    GlobalDNSStatus { conditions, plan: Vec::new(), ..former }
}

/// What failed in the management cluster or at the provider.
fn failed(entry: &PlaceEntry<PlaceStatus>) -> Option<Readiness> {
    let failure = match &entry.state {
        PlaceState::Failed(failure) | PlaceState::Unreachable(failure) => failure,
        PlaceState::Refused(refusals) => &refusals.first()?.failure,
        _ => return None,
    };
    Some(Readiness::no(failure.cause, failure.message.clone()))
}

/// The conditions besides `Ready`.
fn parts(told: &Told, failed: Option<&Readiness>, statuses: &PlaceStatuses<PlaceStatus>) -> Vec<Condition> {
    if let Some((cause, message)) = &told.failure {
        return vec![condition(ACCEPTED, false, *cause, message.clone())];
    }
    if told.names.is_empty() {
        return vec![programmed(told, failed)];
    }
    let mut parts = vec![accepted(told), programmed(told, failed)];
    parts.extend(resolved(told, statuses));
    parts.extend(propagated(told).filter(|_| failed.is_none()));
    let held: usize = told.names.iter().map(|name| name.held).sum();
    if held > 0 {
        let message =
            format!("{held} addresses that do not answer stay for now, as more than half would leave within a minute");
        parts.push(condition(FROZEN, true, DNSCause::TooManyRemovals, message));
    }
    parts
}

fn is_about_names(cause: Cause) -> bool {
    cause.is_any(&[DNSCause::NameInvalid.cause(), DNSCause::NameNotGranted.cause(), DNSCause::NameTaken.cause()])
}

fn accepted(told: &Told) -> Condition {
    let problem = told.names.iter().filter_map(|name| name.problem.as_ref()).find(|(cause, _)| is_about_names(*cause));
    match problem {
        Some((cause, message)) => condition(ACCEPTED, false, *cause, message.clone()),
        None => condition(ACCEPTED, true, DNSCause::NamesGranted, "the provider grants every name to this namespace"),
    }
}

/// None where some name was not looked at, and nothing is known to be wrong with the others.
fn resolved(told: &Told, statuses: &PlaceStatuses<PlaceStatus>) -> Option<Condition> {
    let unresolved = |cause: Cause, message: String| Some(condition(TARGETS_RESOLVED, false, cause, message));
    let obstacle = offers(statuses).find_map(|(_, offers)| offers.obstacle.as_ref().or(offers.refused.as_ref()));
    if let Some((cause, message)) = obstacle {
        return unresolved(*cause, message.clone());
    }
    if statuses.of_clusters().iter().next().is_none() {
        let message = "no cluster is selected that admits this namespace; check spec.targets.selection.clusters and spec.tenants of the Clusters";
        return unresolved(StatusCause::NoTargets.into(), message.to_owned());
    }
    let with = |basis: Option<Basis>| told.names.iter().find(|name| name.problem.is_none() && name.basis == basis);
    let (cause, name, what) = match (with(None), with(Some(Basis::KeptLast)), with(Some(Basis::Draining))) {
        (Some(name), ..) => {
            (DNSCause::NoAddress, name, "no selected cluster offers an address that may be published for")
        }
        (_, Some(name), _) => (DNSCause::KeptLast, name, "no address can be used now, so as before answers"),
        (.., Some(name)) => (DNSCause::OnlyDraining, name, "only clusters with spec.drainTraffic offer addresses for"),
        _ if told.names.iter().any(|name| name.problem.is_some()) => return None,
        _ => {
            let message = "clusters offer addresses for every name";
            return Some(condition(TARGETS_RESOLVED, true, DNSCause::AddressesFound, message));
        }
    };
    unresolved(cause.into(), format!("{what} {}", name.name))
}

fn programmed(told: &Told, failed: Option<&Readiness>) -> Condition {
    if let Some(failed) = failed {
        return condition(PROGRAMMED, false, failed.cause, failed.message.clone());
    }
    let problem = told.names.iter().filter_map(|name| name.problem.as_ref()).find(|(cause, _)| !is_about_names(*cause));
    if let Some((cause, message)) = problem {
        return condition(PROGRAMMED, false, *cause, message.clone());
    }
    if let Some(name) = told.names.iter().find(|name| name.is_written) {
        return condition(
            PROGRAMMED,
            false,
            DNSCause::Writing,
            format!("the records of {} are being written", name.name),
        );
    }
    if told.names.iter().any(|name| name.plan.is_some()) {
        let message = "spec.mode is Observe; status.plan says what would be written";
        return condition(PROGRAMMED, false, DNSCause::Observing, message);
    }
    condition(PROGRAMMED, true, DNSCause::Written, "the provider has the records that are wanted")
}

fn propagated(told: &Told) -> Option<Condition> {
    let settled = |name: &&ToldName| name.problem.is_none() && !name.is_written && name.plan.is_none();
    let lagging = told.names.iter().filter(settled).find_map(|name| Some((&name.name, name.lags.as_ref()?)));
    if let Some((name, server)) = lagging {
        let message = format!("server {server} does not answer for {name} as it should yet");
        return Some(condition(PROPAGATED, false, DNSCause::Propagating, message));
    }
    let all = !told.names.is_empty() && told.names.iter().all(|name| settled(&name));
    all.then(|| condition(PROPAGATED, true, DNSCause::AllServersAnswer, "every server answers as it should"))
}

fn ready(
    names: &GlobalDNS,
    told: &Told,
    parts: &[Condition],
    failed: Option<Readiness>,
    statuses: &PlaceStatuses<PlaceStatus>,
) -> Readiness {
    if let Some(failed) = failed {
        return failed;
    }
    if let Some((cause, message)) = &told.failure {
        return Readiness::no(*cause, message.clone());
    }
    let said = |kind: &str| parts.iter().find(|part| part.type_ == kind && part.status != "True");
    let cause = |part: &Condition| causes().into_iter().find(|cause| cause.reason() == part.reason);
    if let Some(part) = [ACCEPTED, PROGRAMMED, TARGETS_RESOLVED].into_iter().find_map(said) {
        return Readiness::no(cause(part).unwrap_or(StatusCause::Failed.into()), part.message.clone());
    }
    let away: Vec<_> = statuses.of_clusters().iter().filter_map(|(place, entry)| unreachable(place, entry)).collect();
    let message = format!("{} {}", names.spec.fqdns.join(", "), answers(told));
    let message: String = message.chars().take(900).collect();
    if away.is_empty() {
        return Readiness::yes(StatusCause::Ready, message);
    }
    let state = format!("{message}; {} cannot be looked at, and what is published of them stays", listed(&away));
    Readiness { state: State::True, ..Readiness::yes(StatusCause::ReadyExceptUnreachable, state) }
}

/// All that parts may name.
fn causes() -> Vec<Cause> {
    let tables = [DNSCause::TABLE, drover_zones::ProviderCause::TABLE, drover_fleet::cause::TenancyCause::TABLE];
    let runtime = [StatusCause::NoTargets.cause(), StatusCause::Failed.cause(), StatusCause::UndecodableObject.cause()];
    tables.into_iter().flatten().copied().chain(runtime).collect()
}

fn unreachable(place: &Place, entry: &PlaceEntry<PlaceStatus>) -> Option<String> {
    let is_away = matches!(entry.state, PlaceState::Unreachable(_) | PlaceState::Failed(_));
    match place {
        Place::Cluster(name) if is_away => Some(name.as_str().to_owned()),
        _ => None,
    }
}

fn offers(statuses: &PlaceStatuses<PlaceStatus>) -> impl Iterator<Item = (&Place, &Offers)> {
    statuses.iter().filter_map(|(place, entry)| match &entry.known {
        Some(PlaceStatus::Offers(offers)) => Some((place, offers)),
        _ => None,
    })
}

fn excluded(statuses: &PlaceStatuses<PlaceStatus>) -> Vec<ExcludedAddress> {
    offers(statuses).flat_map(|(_, offers)| offers.excluded.iter().cloned()).take(MOST_EXCLUDED).collect()
}

/// What each name answers with. Of one that could not be looked at, what was known before stays.
fn published(told: &Told, former: Vec<PublishedName>) -> Vec<PublishedName> {
    if told.names.is_empty() {
        return former;
    }
    let before = |name: &ToldName| former.iter().find(|published| published.fqdn == name.name).cloned();
    let of = |name: &ToldName| if name.problem.is_some() { before(name) } else { endpoints(name) };
    told.names.iter().filter_map(of).collect()
}

fn endpoints(name: &ToldName) -> Option<PublishedName> {
    let mut by_cluster: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
    for (address, cluster) in &name.published {
        by_cluster.entry(cluster.clone()).or_default().push(address.to_string());
    }
    let tier = name.tier.and_then(|tier| i32::try_from(tier).ok()).map(|tier| tier + 1);
    let endpoint = |(cluster, addresses)| PublishedEndpoint { cluster, addresses };
    let endpoints: Vec<_> = by_cluster.into_iter().map(endpoint).collect();
    (!endpoints.is_empty()).then(|| PublishedName { fqdn: name.name.clone(), tier, endpoints })
}

/// Who answers, in a few words.
fn summary(published: &[PublishedName]) -> String {
    let endpoints = || published.iter().flat_map(|name| &name.endpoints);
    let addresses: BTreeSet<&String> = endpoints().flat_map(|endpoint| &endpoint.addresses).collect();
    let clusters: BTreeSet<String> = endpoints().filter_map(|endpoint| endpoint.cluster.clone()).collect();
    counted(addresses.len(), &clusters.into_iter().collect::<Vec<_>>())
}

fn answers(told: &Told) -> String {
    let all = || told.names.iter().flat_map(|name| &name.published);
    let addresses: BTreeSet<IpAddr> = all().map(|(address, _)| *address).collect();
    let clusters: BTreeSet<String> = all().filter_map(|(_, cluster)| cluster.clone()).collect();
    format!("answer with {}", counted(addresses.len(), &clusters.into_iter().collect::<Vec<_>>()))
}

fn counted(addresses: usize, clusters: &[String]) -> String {
    match (addresses, clusters) {
        (0, _) => "nothing".to_owned(),
        (1, []) => "1 address".to_owned(),
        (count, []) => format!("{count} addresses"),
        (1, clusters) => format!("1 address of {}", listed(clusters)),
        (count, clusters) => format!("{count} addresses of {}", listed(clusters)),
    }
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use drover_runtime::Failure;
    use serde_json::json;

    use super::*;

    fn names(status: &serde_json::Value) -> GlobalDNS {
        let selection = json!({"clusters": {"all": {}}, "namespaces": ["shop"]});
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "GlobalDNS", "metadata": {"name": "shop", "namespace": "team"},
            "spec": {"providerName": "main", "fqdns": ["a.example.com"], "targets": {"selection": selection}}, "status": status,
        }))
        .unwrap()
    }

    fn told(name: ToldName) -> PlaceStatus {
        told_of(None, name)
    }

    fn told_of(generation: Option<i64>, name: ToldName) -> PlaceStatus {
        let name = ToldName { name: "a.example.com".to_owned(), ..name };
        PlaceStatus::Names(Box::new(Told { generation, names: vec![name], failure: None }))
    }

    fn answering() -> ToldName {
        let published = BTreeMap::from([("8.8.8.8".parse().unwrap(), Some("eu".to_owned()))]);
        ToldName { published, basis: Some(Basis::Healthy), ..ToldName::default() }
    }

    fn at(known: PlaceStatus, state: PlaceState) -> PlaceEntry<PlaceStatus> {
        PlaceEntry { known: Some(known), state }
    }

    fn summary_of(before: &serde_json::Value, name: ToldName, eu: PlaceState) -> GlobalDNSStatus {
        let cluster = at(PlaceStatus::Offers(Offers::default()), eu);
        let statuses = [(Place::Management, at(told(name), PlaceState::Current)), (Place::cluster("eu"), cluster)];
        summarise(&names(before), &statuses.into_iter().collect())
    }

    fn says(status: &GlobalDNSStatus, kind: &str) -> Option<String> {
        let found = status.conditions.iter().find(|found| found.type_ == kind)?;
        Some(format!("{}/{}", found.status, found.reason))
    }

    #[test]
    fn one_line_says_who_answers() {
        let status = summary_of(&json!(null), answering(), PlaceState::Current);
        assert_eq!(status.summary.as_deref(), Some("1 address of eu"));
        assert_eq!(says(&status, "Ready").as_deref(), Some("True/Ready"));
        assert_eq!(says(&status, PROPAGATED).as_deref(), Some("True/AllServersAnswer"));
        assert_eq!(status.published[0].endpoints[0].cluster.as_deref(), Some("eu"));
        let away = PlaceState::Unreachable(Failure::new(StatusCause::Unreachable, "refused"));
        let status = summary_of(&json!(null), answering(), away);
        assert_eq!(says(&status, "Ready").as_deref(), Some("True/ReadyExceptUnreachable"));
    }

    #[test]
    fn each_reason_why_a_name_does_not_answer_shows() {
        let problem =
            |cause: DNSCause| ToldName { problem: Some((cause.into(), "x".to_owned())), ..ToldName::default() };
        for (name, kind, expected) in [
            (problem(DNSCause::NameNotGranted), ACCEPTED, "False/NameNotGranted"),
            (problem(DNSCause::RecordConflict), PROGRAMMED, "False/RecordConflict"),
            (ToldName::default(), TARGETS_RESOLVED, "False/NoAddress"),
            (ToldName { basis: Some(Basis::KeptLast), ..answering() }, TARGETS_RESOLVED, "False/KeptLast"),
            (ToldName { basis: Some(Basis::Draining), ..answering() }, TARGETS_RESOLVED, "False/OnlyDraining"),
            (ToldName { is_written: true, ..answering() }, PROGRAMMED, "False/Writing"),
            (ToldName { plan: Some("x".to_owned()), ..answering() }, PROGRAMMED, "False/Observing"),
        ] {
            let status = summary_of(&json!(null), name, PlaceState::Current);
            assert_eq!(says(&status, kind).as_deref(), Some(expected));
            assert_eq!(says(&status, "Ready").as_deref(), Some(expected), "and Ready says the same");
        }
        let lags = ToldName { lags: Some("ns2:53".to_owned()), ..answering() };
        let status = summary_of(&json!(null), lags, PlaceState::Current);
        assert_eq!(says(&status, PROPAGATED).as_deref(), Some("False/Propagating"));
        assert_eq!(says(&status, "Ready").as_deref(), Some("True/Ready"));
        let held = ToldName { held: 2, ..answering() };
        assert_eq!(
            says(&summary_of(&json!(null), held, PlaceState::Current), FROZEN).as_deref(),
            Some("True/TooManyRemovals")
        );
    }

    #[test]
    fn nothing_is_claimed_of_a_spec_that_was_not_looked_at() {
        let at_rest = summary_of(&json!(null), answering(), PlaceState::Current);
        let mut before = serde_json::to_value(&at_rest).unwrap();
        before["observedGeneration"] = json!(1);
        let after = |generation: i64, known: Option<PlaceStatus>, state: PlaceState| {
            let mut names = names(&before);
            names.metadata.generation = Some(generation);
            summarise(&names, &[(Place::Management, PlaceEntry { known, state })].into_iter().collect())
        };
        let older = || Some(told_of(Some(1), answering()));
        for known in [None, older()] {
            let status = after(2, known, PlaceState::Pending);
            assert_eq!(says(&status, "Ready").as_deref(), Some("False/Progressing"));
            for kind in [ACCEPTED, PROGRAMMED, PROPAGATED, TARGETS_RESOLVED] {
                assert_eq!(says(&status, kind), None, "nobody looked at it");
            }
            assert_eq!(
                (&status.published, &status.summary),
                (&at_rest.published, &at_rest.summary),
                "it still answers"
            );
        }
        for known in [None, older()] {
            let away = PlaceState::Failed(Failure::new(StatusCause::Failed, "x"));
            let status = after(2, known, away);
            assert_eq!(says(&status, PROGRAMMED).as_deref(), Some("False/Failed"));
            for kind in [ACCEPTED, PROPAGATED, TARGETS_RESOLVED] {
                assert_eq!(says(&status, kind), None, "nobody looked at it");
            }
            assert_eq!(status.published, at_rest.published);
        }
        let stays = |known, state| assert_eq!(after(1, known, state).conditions, at_rest.conditions);
        stays(None, PlaceState::Pending); // A restart forgets nothing …
        stays(Some(PlaceStatus::Waiting), PlaceState::Current); // … nor does a slow provider.
        let unseen = ToldName { problem: Some((DNSCause::Writing.into(), "x".to_owned())), ..ToldName::default() };
        let status = summary_of(&json!(null), unseen, PlaceState::Current);
        assert_eq!(says(&status, TARGETS_RESOLVED), None, "no address was chosen for it");
    }

    #[test]
    fn what_was_published_is_remembered_while_the_provider_is_away() {
        let before = json!({"published": [{"fqdn": "a.example.com", "endpoints": [{"cluster": "eu", "addresses": ["8.8.8.8"]}]}]});
        let away = ToldName {
            problem: Some((drover_zones::ProviderCause::ProviderUnavailable.into(), "x".to_owned())),
            ..ToldName::default()
        };
        let status = summary_of(&before, away, PlaceState::Current);
        assert_eq!(status.summary.as_deref(), Some("1 address of eu"));
        assert_eq!(says(&status, "Ready").as_deref(), Some("False/ProviderUnavailable"));
    }
}
