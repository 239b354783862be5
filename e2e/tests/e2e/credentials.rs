//! Credentials and certificates: their dates, and how one follows the other without a gap. On real API servers.

#![expect(clippy::disallowed_methods, reason = "a test may read the clock")]

use drover_e2e::installation::{DROVER_USER, End, Installation, downstream_token};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use k8s_openapi::jiff;
use serde_json::json;

drover_e2e::tests![
    a_local_address_is_refused_until_the_installer_allows_it,
    a_credential_is_rotated_without_a_gap_and_a_withdrawn_one_is_said,
    a_certificate_that_ends_soon_is_said_and_nothing_stops,
    at_first_contact_the_failed_hop_is_named_and_the_secret_alone_heals_it,
    an_expired_kubeconfig_is_said_and_a_new_secret_alone_heals_it,
];

/// The names of the certificates that the status lists.
async fn certificates(installation: &Installation) -> Vec<String> {
    let status = get(installation, "cluster", "eu").await.unwrap()["status"].clone();
    let all = status["certificates"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<_> = all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

async fn a_local_address_is_refused_until_the_installer_allows_it() {
    let Some(mut installation) = prepared("addresses", &["eu"]).await else { return };
    installation.store_kubeconfig("eu").await.unwrap();
    installation.allow_local_addresses = false;
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/AddressNotAllowed").await;
    reads(&installation, "cluster", "eu", "Stalled", "True/AddressNotAllowed").await;
    let status = get(&installation, "cluster", "eu").await.unwrap()["status"].to_string();
    assert!(status.contains("allowLocalAddresses"), "{status}");
    // A name that leads here is no way round, and the management cluster is reached wherever it is.
    let named = installation.cluster("eu").unwrap().kubeconfig_for(DROVER_USER, &[]).unwrap();
    installation.store_secret("eu", &named.replace("https://127.0.0.1:", "https://localhost:")).await.unwrap();
    let mut local = a_cluster("local");
    local["spec"]["connection"] = json!({"local": {}});
    installation.apply(&local).await.unwrap();
    reads(&installation, "cluster", "local", "Ready", "True/Connected").await;
    reads(&installation, "cluster", "eu", "Ready", "False/AddressNotAllowed").await;

    installation.stop_drover(End::Terminate).await.unwrap();
    installation.allow_local_addresses = true;
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
}

async fn a_credential_is_rotated_without_a_gap_and_a_withdrawn_one_is_said() {
    const ACCOUNT: &str = "system:serviceaccount:default:rotated";
    let Some(installation) = story("rotation", &["eu"]).await else { return };
    ready_with(&installation, &a_project("shop", &["team-web"])).await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    let before = ready_condition(&installation, "eu").await;
    assert_eq!(certificates(&installation).await, ["api-server", "client"]);
    let pace = time_to_heal(&installation, "eu").await;
    let eu = installation.cluster("eu").unwrap();
    let mark = eu.audit_mark().unwrap();
    let creations_by = |user: &str| {
        let events = eu.audit_events_since(mark).unwrap();
        let created = |event: &&drover_e2e::audit::AuditEvent| event.verb == "create" && event.resource == "namespaces";
        events.iter().filter(created).filter(|event| event.user == user).count()
    };

    installation
        .store_secret("eu", &eu.kubeconfig_with_token(&downstream_token(eu, "default", "rotated").await.unwrap()))
        .await
        .unwrap();
    let meanwhile = time_to_heal(&installation, "eu").await;
    not_held_up("a rotation", pace, meanwhile);
    eventually("only the server's certificate is left", soon(), async || {
        Ok((certificates(&installation).await == ["api-server"]).then_some(()))
    })
    .await
    .unwrap();
    let status = get(&installation, "cluster", "eu").await.unwrap()["status"].clone();
    assert!(status["credential"]["notAfter"].is_string(), "the end of the token: {status}");
    time_to_heal(&installation, "eu").await;
    assert!(creations_by(ACCOUNT) >= 1, "nothing was done with the token");
    assert_eq!(ready_condition(&installation, "eu").await, before, "Ready never changed");

    // An account that is gone: nothing is written any more, and what is wrong is said.
    deleted_downstream(&installation, "eu", "serviceaccount", "default", "rotated").await;
    reads(&installation, "cluster", "eu", "Ready", "False/Unauthorized").await;
    reads(&installation, "cluster", "eu", "CredentialValid", "False/Unauthorized").await;
    installation.store_kubeconfig("eu").await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    time_to_heal(&installation, "eu").await;
    converged(&installation, "shop").await;
}

async fn a_certificate_that_ends_soon_is_said_and_nothing_stops() {
    let Some(installation) = story("certificates", &["eu"]).await else { return };
    reads(&installation, "cluster", "eu", "CertificatesValid", "True/Valid").await;
    let soon = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date() + jiff::Span::new().days(3);
    let end = (i32::from(soon.year()), u8::try_from(soon.month()).unwrap(), u8::try_from(soon.day()).unwrap());
    let eu = installation.cluster("eu").unwrap();
    installation.store_secret("eu", &eu.kubeconfig_until(DROVER_USER, &[], end).unwrap()).await.unwrap();
    reads(&installation, "cluster", "eu", "CertificatesValid", "False/Expiring").await;
    reads(&installation, "cluster", "eu", "CredentialValid", "False/Expiring").await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    let status = get(&installation, "cluster", "eu").await.unwrap()["status"].clone();
    assert!(status["credential"]["notAfter"].as_str().unwrap().starts_with(&soon.to_string()), "{status}");
    ready_with(&installation, &a_project("shop", &["team-web"])).await;

    // Whoever renews it at the last moment says so, and is not warned before.
    let mut late = a_cluster("eu");
    late["spec"]["certificates"] = json!({"warnBefore": "1h"});
    installation.apply(&late).await.unwrap();
    reads(&installation, "cluster", "eu", "CertificatesValid", "True/Valid").await;
    reads(&installation, "cluster", "eu", "CredentialValid", "True/Accepted").await;
}

async fn at_first_contact_the_failed_hop_is_named_and_the_secret_alone_heals_it() {
    let Some(mut installation) = prepared("first contact", &["eu", "us"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    let good = eu.kubeconfig_for(DROVER_USER, &[]).unwrap();
    let endpoint = eu.endpoint();
    let stranger = installation.cluster("us").unwrap().endpoint();
    let nobody = eu.kubeconfig_for("nobody", &[]).unwrap();
    let long_name = format!("{}\n", "x".repeat(40_000));
    let context = good.lines().find(|line| line.starts_with("current-context:")).unwrap();
    installation.store_secret("eu", "kind: [").await.unwrap();
    installation.start_drover().await.unwrap();
    for (kubeconfig, reason) in [
        ("kind: [".to_owned(), "InvalidKubeconfig"),
        (good.replace(context, &format!("current-context: {long_name}")), "InvalidKubeconfig"),
        (good.replace(&endpoint, "https://no-such-host.invalid:6443"), "DNSFailed"),
        (good.replace(&endpoint, &stranger), "TLSFailed"),
        (nobody, "Forbidden"),
    ] {
        installation.store_secret("eu", &kubeconfig).await.unwrap();
        reads(&installation, "cluster", "eu", "Ready", &format!("False/{reason}")).await;
    }
    installation.store_secret("eu", &good).await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
}

async fn an_expired_kubeconfig_is_said_and_a_new_secret_alone_heals_it() {
    let Some(mut installation) = prepared("expired", &["eu"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    let expired = eu.kubeconfig_until(DROVER_USER, &[], (2026, 1, 1)).unwrap();
    installation.store_secret("eu", &expired).await.unwrap();
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/Unauthorized").await;
    reads(&installation, "cluster", "eu", "CredentialValid", "False/Unauthorized").await;
    let status = get(&installation, "cluster", "eu").await.unwrap()["status"].to_string();
    assert!(status.contains("ended at 2026-01-01"), "{status}");
    installation.store_kubeconfig("eu").await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
}
