//! What names are to answer with, and what that changes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use drover_crds::{DNSMode, GlobalDNS, condition::PROPAGATED};
use drover_names::{Basis, Conflict, Fqdn, Limits, NameChange, Owner as RecordOwner, Ownership, Wanted, change};
use drover_runtime::{
    Cause, ObjectKey, Owner, Plan, Requeue, Title,
    error::legible,
    owned::{Change, Owned},
};
use drover_zones::Seen;
use k8s_openapi::{
    api::core::v1::ConfigMap,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    Action, DNSCause, GlobalDNSOperator,
    choose::{published, selection},
    claim::{self, Holders},
    observe::{Provider, World, Zone},
    offers::Offers,
};

/// How many addresses of one name failures may remove.
pub(crate) const LIMITS: Limits = Limits { percent: 50, window: Duration::from_mins(1), least: 4 };
/// What is there is compared with what is wanted so often, where nothing tells of a change …
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// … so often while the provider does not answer, or addresses leave one after the other …
const LOOK_AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(10);
/// … and so often while a server does not answer as it should.
const LOOK_SOON: SignedDuration = SignedDuration::from_secs(1);

/// Most bytes of what a zone says of an owner that are shown.
const MOST_OF_OWNER: usize = 64;

type Decided = Plan<GlobalDNSOperator>;

/// What a place says of names.
#[derive(Clone, Debug, PartialEq)]
pub enum PlaceStatus {
    /// What a cluster offers.
    Offers(Offers),
    /// How the names are.
    Names(Box<Told>),
    /// The provider is slow, and others wait for it already: what was told stays.
    Waiting,
}

/// How names are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// The `metadata.generation` of the spec that this is about.
    pub generation: Option<i64>,
    /// Each of them.
    pub names: Vec<ToldName>,
    /// Why nothing can be done for any of them.
    pub failure: Option<(Cause, String)>,
}

/// How a name is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToldName {
    /// The name.
    pub name: String,
    /// What it answers with, and the clusters of that.
    pub published: BTreeMap<IpAddr, Option<String>>,
    /// Why it is not written.
    pub problem: Option<(Cause, String)>,
    /// Whether that is as the provider did not answer.
    pub is_away: bool,
    /// Whether something is to be written.
    pub is_written: bool,
    /// What would be written, if it only says so.
    pub plan: Option<String>,
    /// On what the answer rests: the least that counts for a family that has one.
    pub basis: Option<Basis>,
    /// The tier that answers, the first is 0.
    pub tier: Option<usize>,
    /// How many addresses stay only because too many would leave at once.
    pub held: usize,
    /// The first server that does not answer as it should; none if all do, or nothing is to be asked.
    pub lags: Option<String>,
}

/// Decides for names that are to be.
#[must_use]
pub fn plan(names: &GlobalDNS, world: &World, now: Timestamp) -> Decided {
    match world {
        World::Cluster(offers) => {
            Plan { place_status: PlaceStatus::Offers(offers.clone()), groups: Vec::new(), requeue: Requeue::Watch }
        }
        World::Management(zone) => wanted(names, zone, now),
    }
}

fn wanted(names: &GlobalDNS, zone: &Zone, now: Timestamp) -> Decided {
    let provider = &names.spec.provider_name;
    let Some(found) = zone.providers.get(provider) else {
        let message =
            format!("there is no GlobalDNSProvider {provider}; create it, or create a GlobalDNS with another one");
        return failed(names, DNSCause::ProviderNotFound.into(), message, now);
    };
    if let Some((cause, message)) = &found.failure {
        return failed(names, *cause, message.clone(), now);
    }
    if found.is_busy {
        return Plan { place_status: PlaceStatus::Waiting, groups: Vec::new(), requeue: again(now, LOOK_SOON) };
    }
    let mut told = Told { generation: names.metadata.generation, ..Told::default() };
    let mut groups = Vec::new();
    for text in &names.spec.fqdns {
        let (name, actions) = one(names, zone, found, text);
        told.names.push(name);
        groups.extend(actions);
    }
    groups.extend(unwanted(names, zone));
    let requeue = again(now, pause(names, &told, now));
    Plan { place_status: PlaceStatus::Names(Box::new(told)), groups, requeue }
}

/// When names are looked at again though nothing tells of a change.
fn pause(names: &GlobalDNS, told: &Told, now: Timestamp) -> SignedDuration {
    let lags = told.names.iter().any(|name| name.lags.is_some());
    let waits = told.names.iter().any(|name| name.is_away || name.held > 0);
    let conditions = names.status.iter().flat_map(|status| &status.conditions);
    let lagging = conditions.into_iter().find(|found| found.type_ == PROPAGATED && found.status == "False");
    // A server that has not followed within a minute will not do so within the next second.
    let is_old = lagging.is_some_and(|since| now.duration_since(since.last_transition_time.0) > LOOK_AGAIN);
    match (lags && !is_old, lags || waits) {
        (true, _) => LOOK_SOON,
        (_, true) => LOOK_AFTER_FAILURE,
        _ => LOOK_AGAIN,
    }
}

/// What one name is to answer with, and what is done for that.
fn one(names: &GlobalDNS, zone: &Zone, provider: &Provider, text: &str) -> (ToldName, Option<Vec<Action>>) {
    let mut told = ToldName { name: text.to_owned(), ..ToldName::default() };
    let (name, seen) = match writable(zone, provider, text) {
        Ok(found) => found,
        Err(problem) => {
            told.problem = Some(problem);
            return (told, None);
        }
    };
    let found = match &seen.found {
        Ok(found) => found,
        Err(error) => {
            told.problem = Some((error.provider_cause().into(), error.to_string()));
            told.is_away = true;
            return (told, None);
        }
    };
    let owner = record_owner(names, zone, &provider.adopts);
    told.published = published(names, zone, &name, found, &owner);
    let selection = selection(names, zone, &name, &told.published);
    told.basis =
        selection.basis.values().copied().filter(|basis| *basis != Basis::Nothing).max_by_key(|basis| rank(*basis));
    told.tier = selection.tier;
    let memory = zone.memories.get(&name).cloned().unwrap_or_default();
    let guarded = memory.guard.bound(&name, &told.published, &selection, zone.age, &LIMITS);
    told.held = guarded.held;
    let wanted = Wanted { addresses: guarded.addresses.keys().copied().collect(), ttl: names.spec.ttl() };
    let decided = change(&name, found, &wanted, &owner).map(|change| {
        // A server that keeps records for another time than it was asked for is not asked again.
        change.filter(|change| memory.ttl != Some(wanted.ttl) || !change.is_only_of_ttl())
    });
    let change = match decided {
        Err(conflict) => {
            told.problem = Some((DNSCause::RecordConflict.into(), shown(conflict)));
            return (told, None);
        }
        Ok(change) => change,
    };
    // Of which cluster an address is stands in the claim before it is written, and as long as it may be there.
    let noted = holders(&guarded.addresses).chain(holders(&told.published)).collect();
    let provider = names.spec.provider_name.clone();
    match change {
        None => {
            // What was written before is claimed too: by its claim a deletion finds it.
            let is_ours = names.spec.mode == DNSMode::Enforce && !told.published.is_empty();
            let claim = is_ours.then(|| claimed(zone, &provider, &name, &noted)).flatten();
            told.lags = lags(&wanted.addresses, seen);
            (told, claim.map(|claim| vec![Action::Claim(claim)]))
        }
        Some(change) if names.spec.mode == DNSMode::Observe => {
            told.plan = Some(described(&change));
            (told, None)
        }
        Some(change) => {
            told.is_written = true;
            let claim = claimed(zone, &provider, &name, &noted).map(Action::Claim);
            let write = Action::Write { provider, change: Box::new(change), removed: guarded.removed };
            (told, Some(claim.into_iter().chain([write]).collect()))
        }
    }
}

/// The addresses of which the cluster is known.
fn holders(published: &BTreeMap<IpAddr, Option<String>>) -> impl Iterator<Item = (IpAddr, String)> {
    published.iter().filter_map(|(address, cluster)| Some((*address, cluster.clone()?)))
}

/// The name, and what is known of it, if it may be written.
fn writable<'a>(zone: &Zone, provider: &'a Provider, text: &str) -> Result<(Fqdn, &'a Seen), (Cause, String)> {
    let name: Fqdn = text.parse().map_err(|error| (DNSCause::NameInvalid.into(), format!("{text} {error}")))?;
    let refused = |why| (DNSCause::NameNotGranted.into(), format!("{text} {why}"));
    provider.grants.domain_of(&name).map_err(refused)?;
    if let Some(holder) = zone.taken.get(&name) {
        let holder =
            holder.as_ref().map_or("a GlobalDNS of another namespace".to_owned(), |name| format!("GlobalDNS {name}"));
        let message = format!("{text} is of {holder} already; choose another name, or remove it there");
        return Err((DNSCause::NameTaken.into(), message));
    }
    let unseen = || (DNSCause::Writing.into(), format!("{text} was not looked at yet"));
    let seen = provider.names.get(&name).ok_or_else(unseen)?;
    Ok((name, seen))
}

fn record_owner(names: &GlobalDNS, zone: &Zone, adopts: &[String]) -> RecordOwner {
    let namespace = names.namespace().unwrap_or_default();
    let ownership = Ownership::of_global_dns(&zone.installation, &namespace, &names.name_any());
    RecordOwner { ownership, adopts: adopts.to_vec() }
}

/// A conflict, for people: what the zone says of an owner may be any text.
fn shown(conflict: Conflict) -> String {
    let cut = |text: String| legible(&text, MOST_OF_OWNER);
    let conflict = match conflict {
        Conflict::Owned { name, family, owner, resource } => {
            Conflict::Owned { name, family, owner: cut(owner), resource: cut(resource) }
        }
        other => other,
    };
    conflict.to_string()
}

/// The first server that does not answer with these addresses.
fn lags(wanted: &BTreeSet<IpAddr>, seen: &Seen) -> Option<String> {
    let differs = |answer: &&drover_zones::Answer| answer.addresses.as_ref().ok() != Some(wanted);
    seen.answers.iter().find(differs).map(|answer| answer.server.clone())
}

fn rank(basis: Basis) -> u8 {
    match basis {
        Basis::Nothing => 0,
        Basis::Healthy => 1,
        Basis::Draining => 2,
        Basis::KeptLast => 3,
    }
}

/// A change, in a line.
fn described(change: &NameChange) -> String {
    let list = |addresses: &BTreeSet<IpAddr>| {
        if addresses.is_empty() {
            return "nothing".to_owned();
        }
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let families = change.families.iter().map(|family| {
        let after = family.after.as_ref().map(|(records, _)| records.addresses.clone()).unwrap_or_default();
        format!("{} {}: {} -> {}", change.name, family.family, list(&family.before.0.addresses), list(&after))
    });
    let line: String = families.collect::<Vec<_>>().join("; ");
    line.chars().take(512).collect()
}

/// Records of names that the spec has no more go, and then their claims.
fn unwanted(names: &GlobalDNS, zone: &Zone) -> Vec<Vec<Action>> {
    let wanted = names.spec.fqdns.iter().filter_map(|name| name.parse().ok());
    let stay: BTreeSet<ObjectKey> =
        wanted.map(|name| claim::key(&zone.namespace, &names.spec.provider_name, &name)).collect();
    if names.spec.mode == DNSMode::Observe {
        return Vec::new();
    }
    let owner = record_owner(names, zone, &[]);
    let leaves = zone.claims.iter().filter(|found| !stay.contains(&ObjectKey::of(found.meta())));
    leaves.filter_map(|found| given_up(found, zone, &owner).ok().flatten()).collect()
}

/// What removes the records of a claim, and then the claim. None if nothing is to be done; an error if the records cannot be seen.
fn given_up(
    found: &Owned<ConfigMap>,
    zone: &Zone,
    owner: &RecordOwner,
) -> Result<Option<Vec<Action>>, (Cause, String)> {
    // What does not decode says nothing of what it is about.
    if found.meta().deletion_timestamp.is_some() || found.live.is_err() {
        return Ok(None);
    }
    let live = Box::new(found.meta().clone());
    if found.title != Title::Created {
        return Ok(Some(vec![Action::Claim(Change::Disclaim(live))]));
    }
    // One that names nothing was made before anything was written.
    let Some((provider, name)) = read(found) else { return Ok(Some(vec![Action::Claim(Change::Delete(live))])) };
    let missing = || {
        let message =
            format!("the records of {name} at GlobalDNSProvider {provider} cannot be looked at, as that is not there");
        (DNSCause::ProviderNotFound.into(), message)
    };
    let at = zone.providers.get(&provider).ok_or_else(missing)?;
    let unseen = || (DNSCause::Writing.into(), format!("the records of {name} were not looked at yet"));
    let seen = at.names.get(&name).ok_or_else(|| at.failure.clone().unwrap_or_else(unseen))?;
    let there = seen.found.as_ref().map_err(|error| (error.provider_cause().into(), error.to_string()))?;
    // Records that are not ours any more stay as they are.
    let change = change(&name, there, &Wanted::default(), owner).ok().flatten();
    let write = change.map(|change| Action::Write { provider, change: Box::new(change), removed: 0 });
    Ok(Some(write.into_iter().chain([Action::Claim(Change::Delete(live))]).collect()))
}

fn read(found: &Owned<ConfigMap>) -> Option<(String, Fqdn)> {
    claim::read(found.live.as_deref().ok()?)
}

/// What makes the claim of a name as it should be; none if it is.
fn claimed(zone: &Zone, provider: &str, name: &Fqdn, noted: &Holders) -> Option<Change<ConfigMap>> {
    let desired = claim::desired(&zone.namespace, provider, name, noted);
    // A note of what is not there any more does no harm, and goes with the next change.
    let says_it = |live: &ConfigMap| {
        let found = claim::holders(live);
        claim::read(live).as_ref() == Some(&(provider.to_owned(), name.clone()))
            && noted.iter().all(|(address, cluster)| found.get(address) == Some(cluster))
    };
    let is_it = |found: &&Owned<ConfigMap>| {
        found.title == Title::Created
            && found.meta().name == desired.metadata.name
            && found.meta().deletion_timestamp.is_none()
    };
    match zone.claims.iter().find(is_it).map(|found| &found.live) {
        Some(Ok(live)) if says_it(live) => None,
        Some(Ok(live)) => {
            let live = Box::new(live.metadata.clone());
            Some(Change::Apply { desired: Box::new(desired), live, reverted: Vec::new() })
        }
        // It does not decode, which says nothing of what it is about.
        Some(Err(_)) => None,
        // What it is about stands there from the first request on: a claim of nothing would be of no use.
        None => Some(Change::Create { seed: json!({ "data": desired.data }), desired: Box::new(desired) }),
    }
}

/// Decides for names that are not to be any more.
#[must_use]
pub fn clean_up(owner: Owner<'_, GlobalDNS>, world: &World, now: Timestamp) -> Decided {
    let World::Management(zone) = world else {
        let place_status = PlaceStatus::Offers(Offers::default());
        return Plan { place_status, groups: Vec::new(), requeue: Requeue::Released };
    };
    let key = owner.key();
    let ownership = Ownership::of_global_dns(&zone.installation, &key.namespace, &key.name);
    let record_owner = RecordOwner { ownership, adopts: Vec::new() };
    let generation = owner.object().and_then(|names| names.metadata.generation);
    let mut told = Told { generation, ..Told::default() };
    let mut groups = Vec::new();
    for found in &zone.claims {
        match given_up(found, zone, &record_owner) {
            Ok(actions) => groups.extend(actions),
            Err(failure) => told.failure = Some(failure),
        }
    }
    let is_busy = zone.providers.values().any(|provider| provider.is_busy);
    let pause = if is_busy { LOOK_SOON } else { LOOK_AGAIN };
    let requeue = if zone.claims.is_empty() { Requeue::Released } else { again(now, pause) };
    Plan { place_status: PlaceStatus::Names(Box::new(told)), groups, requeue }
}

fn failed(names: &GlobalDNS, cause: Cause, message: String, now: Timestamp) -> Decided {
    let told = Told { generation: names.metadata.generation, names: Vec::new(), failure: Some((cause, message)) };
    Plan { place_status: PlaceStatus::Names(Box::new(told)), groups: Vec::new(), requeue: again(now, LOOK_AGAIN) }
}

fn again(now: Timestamp, pause: SignedDuration) -> Requeue {
    now.checked_add(pause).map_or(Requeue::Watch, Requeue::At)
}

#[cfg(test)]
mod tests;
