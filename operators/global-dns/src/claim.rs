//! Who has a name at a provider: a `ConfigMap` in Drover's namespace that is named by both, so that the API server lets one have it. It is
//! there before the first record and until the last one is gone, and says which those are, and of which cluster each address is: that is
//! noted before the address is written, so no crash makes Drover forget it. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use drover_names::Fqdn;
use drover_runtime::ObjectKey;
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use ring::digest::{SHA256, digest};

const NAME: &str = "fqdn";
const PROVIDER: &str = "provider";
const HOLDERS: &str = "clusters";

/// The cluster of each address of a name.
pub type Holders = BTreeMap<IpAddr, String>;

/// The key of the claim of a name.
#[must_use]
pub fn key(namespace: &str, provider: &str, name: &Fqdn) -> ObjectKey {
    let hash = digest(&SHA256, format!("{provider}/{name}").as_bytes());
    let digits = hash.as_ref().iter().take(16).flat_map(|byte| [byte >> 4, byte & 0xf]);
    let hex: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
    ObjectKey::namespaced(namespace, &format!("dns-name-{hex}"))
}

/// The claim of a name.
#[must_use]
pub fn desired(namespace: &str, provider: &str, name: &Fqdn, holders: &Holders) -> ConfigMap {
    let key = key(namespace, provider, name);
    let mut data = BTreeMap::from([(NAME.to_owned(), name.to_string()), (PROVIDER.to_owned(), provider.to_owned())]);
    let noted = serde_json::to_string(holders).ok().filter(|_| !holders.is_empty());
    data.extend(noted.map(|noted| (HOLDERS.to_owned(), noted)));
    ConfigMap {
        metadata: ObjectMeta { name: Some(key.name), namespace: Some(key.namespace), ..ObjectMeta::default() },
        data: Some(data),
        ..ConfigMap::default()
    }
}

/// The provider and the name that a claim is about; none if it is named after another one.
#[must_use]
pub fn read(claim: &ConfigMap) -> Option<(String, Fqdn)> {
    let data = claim.data.as_ref()?;
    let (provider, name) = (data.get(PROVIDER)?, data.get(NAME)?.parse().ok()?);
    let expected = key(claim.metadata.namespace.as_deref()?, provider, &name);
    (claim.metadata.name.as_deref() == Some(&*expected.name)).then(|| (provider.clone(), name))
}

/// The clusters that a claim notes. What cannot be read notes nothing.
#[must_use]
pub fn holders(claim: &ConfigMap) -> Holders {
    let noted = claim.data.as_ref().and_then(|data| data.get(HOLDERS));
    noted.and_then(|noted| serde_json::from_str(noted).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_named_by_provider_and_name_and_read_back() {
        let name: Fqdn = "shop.example.com".parse().unwrap();
        let noted = Holders::from([("8.8.8.8".parse().unwrap(), "eu".to_owned())]);
        let claim = desired("drover", "main", &name, &noted);
        assert_eq!((read(&claim), holders(&claim)), (Some(("main".to_owned(), name.clone())), noted));
        let mut odd = desired("drover", "main", &name, &Holders::new());
        assert!(holders(&odd).is_empty() && !odd.data.as_ref().unwrap().contains_key(HOLDERS));
        odd.data.as_mut().unwrap().insert(HOLDERS.to_owned(), "[]".to_owned());
        assert!(holders(&odd).is_empty(), "what cannot be read notes nothing");
        assert_ne!(key("drover", "main", &name), key("drover", "other", &name));
        let mut forged = claim;
        forged.metadata.name = Some("dns-name-0".to_owned());
        assert_eq!(read(&forged), None);
    }
}
