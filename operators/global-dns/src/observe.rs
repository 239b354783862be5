//! What there is of names: in a cluster what offers addresses, in the management cluster the provider, the claims, and what the provider
//! has and its servers answer. Decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use drover_crds::{DNSSource, GlobalDNS, GlobalDNSProvider, names::DROVER_NAMESPACE};
use drover_fleet::{cause::TenancyCause, targets};
use drover_names::{AddressRule, Fqdn, Grants, Guard};
use drover_runtime::{
    Cause, Classify as _, ClusterView, FleetView, LabelQuery, ObjectKey, Owner, OwnerRecord, Place, PlaceContext,
    PlaceState, PlaceStatuses, StatusCause, cache::Kept, operator::record_of, owned::Owned, place::deletion_of,
};
use drover_zones::{Driver as _, Rfc2136, Seen};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::ResourceExt as _;

use crate::{
    DNSCause, DNSError, GlobalDNSOperator, claim, cluster_of,
    offers::{Offers, is_selected, rule_of},
    plan::PlaceStatus,
    sources::{SlimIngress, SlimService, Source},
};

/// What a reconcile knows.
#[derive(Debug)]
pub enum World {
    /// What a cluster offers.
    Cluster(Offers),
    /// What there is in the management cluster and at the provider.
    Management(Box<Zone>),
}

/// What there is in the management cluster and at the provider.
#[derive(Debug, Default)]
pub struct Zone {
    /// Drover's namespace, in which claims are.
    pub namespace: String,
    /// The installation.
    pub installation: String,
    /// The providers that the spec and the claims name, as far as they are there.
    pub providers: BTreeMap<String, Provider>,
    /// The claims that carry the labels of the object.
    pub claims: Vec<Owned<ConfigMap>>,
    /// Names that others have claimed, with the object if that is in the same namespace.
    pub taken: BTreeMap<Fqdn, Option<String>>,
    /// What each selected cluster offers.
    pub clusters: BTreeMap<String, Offered>,
    /// The Clusters that exist and are not being deleted.
    pub existing: BTreeMap<String, Member>,
    /// What this process did with each name lately.
    pub memories: BTreeMap<Fqdn, Memory>,
    /// How long this process runs.
    pub age: Duration,
}

/// A Cluster, as it is in the management cluster: that is known of one that cannot be reached, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is to be taken out.
    pub is_draining: bool,
    /// Whether its owner lets names of this namespace answer with nothing that it has.
    pub refuses: bool,
    /// Which of its addresses may be published; none if that cannot be read.
    pub rule: Option<AddressRule>,
}

/// What this process did with a name lately.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What failures removed.
    pub guard: Guard,
    /// The time to live that was written last, in seconds.
    pub ttl: Option<u32>,
}

/// A provider.
#[derive(Clone, Debug, Default)]
pub struct Provider {
    /// What it grants to the namespace.
    pub grants: Grants,
    /// Owners from which records are taken over.
    pub adopts: Vec<String>,
    /// Why it cannot be used.
    pub failure: Option<(Cause, String)>,
    /// Whether it is slow and others wait for it already, so that nothing was looked at now.
    pub is_busy: bool,
    /// What is known of each name there that may be written, or is claimed.
    pub names: BTreeMap<Fqdn, Seen>,
}

/// What a selected cluster offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offered {
    /// What it offered when it was looked at last; none if it was not since the start.
    pub offers: Option<Offers>,
    /// Whether that is so now.
    pub is_current: bool,
}

pub(crate) async fn observe(
    operator: &GlobalDNSOperator,
    owner: Owner<'_, GlobalDNS>,
    place: &PlaceContext,
) -> Result<World, DNSError> {
    if place.place != Place::Management {
        return Ok(World::Cluster(owner.object().map(|names| offers(names, place)).unwrap_or_default()));
    }
    let namespace = place.fleet.operator_namespace().unwrap_or(DROVER_NAMESPACE).to_owned();
    let mut zone = Zone {
        installation: place.fleet.installation().to_owned(),
        claims: claims(&owner.key(), place, &namespace),
        existing: existing(owner, &place.fleet),
        age: operator.age(),
        namespace,
        ..Zone::default()
    };
    if owner.object().is_none_or(|names| names.metadata.deletion_timestamp.is_some()) {
        operator.forget(&owner.key());
    }
    let mut wanted: BTreeMap<String, BTreeSet<Fqdn>> = BTreeMap::new();
    for (provider, name) in zone.claimed() {
        wanted.entry(provider).or_default().insert(name);
    }
    if let Owner::Present(object) = owner {
        wanted.entry(object.spec.provider_name.clone()).or_default();
    }
    let providers = place.related::<GlobalDNSProvider>();
    // What a claim says of one provider is judged by what that one has, and by no other.
    for (provider, mut names) in wanted {
        let Some(found) = providers.get(&ObjectKey::cluster_scoped(&provider)) else { continue };
        let read = read(&found, owner, place);
        if let Owner::Present(object) = owner
            && object.spec.provider_name == provider
        {
            let parsed = object.spec.fqdns.iter().filter_map(|name| name.parse().ok());
            names.extend(parsed.filter(|name| read.grants.domain_of(name).is_ok()));
            zone.taken = taken(&names, &owner.key(), &provider, place, &zone);
        }
        let memories = names.iter().map(|name| (name.clone(), operator.memory(&owner.key(), name)));
        zone.memories.extend(memories);
        let looked_at = read.look(operator, &found, names, place).await;
        zone.providers.insert(provider, looked_at);
    }
    Ok(World::Management(Box::new(zone)))
}

/// What the cluster at `place` offers.
fn offers(names: &GlobalDNS, place: &PlaceContext) -> Offers {
    let mut offers = Offers::default();
    let namespaces = &names.spec.targets.selection.namespaces;
    let (admitted, refused): (Vec<_>, Vec<_>) =
        namespaces.iter().partition(|namespace| targets::admits_namespace(names, place, namespace));
    let refusal = refused.first().map(|namespace| {
        let message = format!(
            "cluster {} does not allow namespace {namespace} to this namespace; its owner decides that in spec.tenants of the Cluster",
            cluster_of(place)
        );
        (TenancyCause::NotATenant.into(), message)
    });
    if admitted.is_empty() {
        offers.obstacle = refusal;
        return offers;
    }
    offers.refused = refusal;
    if names.spec.takes(DNSSource::Ingress) {
        take::<SlimIngress>(&mut offers, names, &admitted, place);
    }
    if names.spec.takes(DNSSource::Service) {
        take::<SlimService>(&mut offers, names, &admitted, place);
    }
    offers
}

fn take<S: Source + Kept>(offers: &mut Offers, names: &GlobalDNS, namespaces: &[&String], place: &PlaceContext) {
    let (Some(cluster), informer) = (place.cluster.as_deref(), place.cache.informer::<S>(&LabelQuery::everything()))
    else {
        return;
    };
    let name = cluster_of(place);
    if informer.refusal().is_some() {
        let message = format!("Drover may not read {} on cluster {name}; import the cluster again", S::plural(&()));
        offers.obstacle = Some((DNSCause::SourcesNotReadable.into(), message));
        return;
    }
    // What it offers is unknown, which is not nothing.
    let is_here = |meta: &ObjectMeta| meta.namespace.as_ref().is_some_and(|namespace| namespaces.contains(&namespace));
    if let Some(unread) = informer.undecodable().into_iter().find(|unread| is_here(&unread.meta)) {
        let key = ObjectKey::of(&unread.meta);
        let message = format!(
            "{} {key} on cluster {name} cannot be decoded, so the addresses there stay; correct or remove it",
            S::kind(&())
        );
        offers.obstacle = Some((StatusCause::UndecodableObject.into(), message));
        return;
    }
    let rule = rule_of(cluster);
    let mut objects: Vec<_> = namespaces.iter().flat_map(|namespace| informer.in_namespace(namespace)).collect();
    objects.retain(|object| is_selected(&**object, names));
    objects.sort_by_key(|object| ObjectKey::of(object.meta()));
    for object in &objects {
        offers.take(&**object, names, &name, &rule);
    }
}

fn claims(owner: &ObjectKey, place: &PlaceContext, namespace: &str) -> Vec<Owned<ConfigMap>> {
    let mut claims = Owned::<ConfigMap>::at(place, &record_of::<GlobalDNSOperator>(owner.clone()));
    // Tenants may write our labels in their namespaces.
    claims.retain(|found| found.meta().namespace.as_deref() == Some(namespace));
    claims
}

fn existing(owner: Owner<'_, GlobalDNS>, fleet: &FleetView) -> BTreeMap<String, Member> {
    let refuses = |view: &ClusterView| {
        owner.object().is_some_and(|names| {
            let admits = |namespace: &String| targets::view_admits_namespace(names, view, fleet, namespace);
            !names.spec.targets.selection.namespaces.iter().any(admits)
        })
    };
    let stays = fleet.iter().filter(|(_, view)| deletion_of(&view.object).is_none());
    let members = stays.map(|(name, view)| {
        let member = Member {
            labels: view.object.labels().clone(),
            is_draining: view.object.spec.drain_traffic,
            refuses: refuses(view),
            rule: Some(rule_of(&view.object)),
        };
        (name.as_str().to_owned(), member)
    });
    members.chain(fleet.unread().map(|name| (name.as_str().to_owned(), Member::default()))).collect()
}

/// The provider, as the namespace of the object may use it.
fn read(provider: &GlobalDNSProvider, owner: Owner<'_, GlobalDNS>, place: &PlaceContext) -> Provider {
    let namespace = owner.key().namespace;
    let none = BTreeMap::new();
    let labels = place.fleet.namespace_labels(&namespace).unwrap_or(&none);
    let parsed = |text: &String| text.parse().ok();
    let suffixes = provider.spec.suffixes_for(&namespace, labels).filter_map(parsed).collect();
    let domains = provider.spec.domains.iter().filter_map(parsed).collect();
    let adopts = provider.spec.adopt_owners.clone();
    Provider { grants: Grants { domains, suffixes }, adopts, ..Provider::default() }
}

/// The names that other objects have claimed.
fn taken(
    names: &BTreeSet<Fqdn>,
    owner: &ObjectKey,
    provider: &str,
    place: &PlaceContext,
    zone: &Zone,
) -> BTreeMap<Fqdn, Option<String>> {
    let kind = record_of::<GlobalDNSOperator>(owner.clone()).kind;
    let claims = place.management.informer::<ConfigMap>(&OwnerRecord::query(kind));
    let other = |name: &Fqdn| {
        let claim = claims.get(&claim::key(&zone.namespace, provider, name))?;
        let holder = OwnerRecord::recorded(&claim.metadata, kind)?;
        let told = (holder.namespace == owner.namespace).then(|| holder.name.clone());
        (holder != *owner).then(|| (name.clone(), told))
    };
    names.iter().filter_map(other).collect()
}

impl Zone {
    /// The provider and the name of each claim.
    pub(crate) fn claimed(&self) -> impl Iterator<Item = (String, Fqdn)> {
        self.claims.iter().filter_map(|found| claim::read(found.live.as_deref().ok()?))
    }
}

impl Provider {
    /// Asks the provider what it has of each name, and its servers what they answer.
    async fn look(
        mut self,
        operator: &GlobalDNSOperator,
        provider: &GlobalDNSProvider,
        names: BTreeSet<Fqdn>,
        place: &PlaceContext,
    ) -> Self {
        // Who is granted nothing there gets no look, neither at its Secret nor at its servers.
        if names.is_empty() {
            return self;
        }
        let namespace = place.fleet.operator_namespace().unwrap_or(DROVER_NAMESPACE);
        match operator.zones.open(&place.management.client(), namespace, provider).await {
            Err(error) => self.failure = Some((error.cause(), error.to_string())),
            Ok(driver) => match driver.look(names).await {
                Some(seen) => self.names = seen,
                None => self.is_busy = true,
            },
        }
        self
    }
}

impl World {
    /// Takes up what the clusters said last.
    pub(crate) fn reduce(&mut self, places: &PlaceStatuses<PlaceStatus>) {
        let Self::Management(zone) = self else { return };
        // A Cluster that cannot be read may be selected: nothing of it is known, which is not nothing.
        let unread = zone.existing.iter().filter(|(_, member)| member.rule.is_none());
        zone.clusters.extend(unread.map(|(name, _)| (name.clone(), Offered::default())));
        for (place, entry) in places.iter().filter(|(_, entry)| entry.state != PlaceState::Released) {
            let Place::Cluster(name) = place else { continue };
            let offers = match &entry.known {
                Some(PlaceStatus::Offers(offers)) => Some(offers.clone()),
                _ => None,
            };
            let is_current = matches!(entry.state, PlaceState::Current | PlaceState::Suspended);
            zone.clusters.insert(name.as_str().to_owned(), Offered { offers, is_current });
        }
    }
}

/// The driver of a provider that is there.
pub(crate) async fn open(
    operator: &GlobalDNSOperator,
    provider: &str,
    place: &PlaceContext,
) -> Result<Option<Rfc2136>, DNSError> {
    let Some(found) = place.related::<GlobalDNSProvider>().get(&ObjectKey::cluster_scoped(provider)) else {
        return Ok(None);
    };
    let namespace = place.fleet.operator_namespace().unwrap_or(DROVER_NAMESPACE);
    Ok(Some(operator.zones.open(&place.management.client(), namespace, &found).await?))
}
