use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::hook::{HookEvent, HookPhase};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn record() -> Record {
    let hook: Hook = serde_json::from_value(json!({
        "name": "a", "kind": "Job", "path": "c/templates/a.yaml", "manifest": "kind: Job", "events": ["pre-install"],
        "last_run": {"started_at": "2026-11-26T18:00:00Z", "phase": "Running"}, "weight": -5,
    }))
    .unwrap();
    Record {
        name: "web".to_owned(),
        info: Info { first_deployed: Some(at(1)), status: Status::Deployed, notes: "hi".to_owned(), ..Info::default() },
        chart: ChartRecord { metadata: json!({"name": "c"}).as_object().cloned().unwrap(), ..ChartRecord::default() },
        config: json!({"a": {"b": 1}}).as_object().cloned().unwrap(),
        manifest: "---\n# Source: c/templates/b.yaml\nkind: Service\n".to_owned(),
        hooks: vec![hook],
        version: 3,
        namespace: "shop".to_owned(),
        apply_method: Some(ApplyMethod::Server),
    }
}

fn packed(json: &Value) -> Vec<u8> {
    BASE64_STANDARD.encode(json.to_string()).into_bytes()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut packer, bytes).unwrap();
    BASE64_STANDARD.encode(packer.finish().unwrap()).into_bytes()
}

#[test]
fn a_record_reads_as_it_was_written() {
    let secret = record().to_secret(Written::Created, at(7)).unwrap();
    assert_eq!(Record::from_secret(&secret), Ok(record()));
    assert_eq!(secret.metadata.name.as_deref(), Some("sh.helm.release.v1.web.v3"));
    let labels = secret.metadata.labels.unwrap();
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["createdAt=7", "name=web", "owner=helm", "status=deployed", "version=3"]);
}

#[test]
fn it_keeps_the_lists_that_helm_expects_though_they_are_empty() {
    let json = serde_json::to_value(record()).unwrap();
    assert_eq!(json["chart"]["templates"], json!([]));
    assert_eq!(json["chart"]["files"], json!([]));
    assert_eq!(json["apply_method"], "ssa");
    assert_eq!(json["hooks"][0]["last_run"], json!({"started_at": "2026-11-26T18:00:00Z", "phase": "Running"}));
}

#[test]
fn without_hooks_and_values_it_says_nothing_of_them_as_helm() {
    let json = serde_json::to_value(Record { hooks: Vec::new(), config: Map::new(), ..record() }).unwrap();
    assert_eq!((json.get("hooks"), json.get("config")), (None, None));
}

/// What `helm upgrade` of Helm 4.3.1 wrote.
const BY_HELM: &[u8] = include_bytes!("helm-4.3.1.txt");

#[test]
fn what_helm_4_writes_is_read() {
    let record = Record::decode(BY_HELM).unwrap();
    assert_eq!((record.name.as_str(), record.namespace.as_str(), record.version), ("web", "shop", 2));
    assert_eq!((record.info.status, record.info.notes.as_str()), (Status::Deployed, "Mode y of web\n"));
    assert_eq!((record.chart.metadata["version"].as_str(), &record.config["mode"]), (Some("1.2.3"), &json!("y")));
    assert_eq!((record.hooks[0].last_run.phase, record.hooks[0].weight), (HookPhase::Succeeded, -5));
    assert_eq!(record.hooks[0].reread().unwrap().events, record.hooks[0].events);
    assert_eq!(crate::manifest::objects(&record.manifest).unwrap().len(), 2);
    let slim = Record::decode(&record.encode().unwrap()).unwrap();
    assert_eq!(slim, record, "nothing is lost but templates and files");
    assert!(record.encode().unwrap().len() < BY_HELM.len());
}

/// What `helm upgrade` of Helm 3.17.3 wrote, over a revision of ours.
const BY_HELM_3: &[u8] = include_bytes!("helm-3.17.3.txt");

#[test]
fn what_helm_3_writes_is_read() {
    let record = Record::decode(BY_HELM_3).unwrap();
    assert_eq!((record.name.as_str(), record.version, record.info.status), ("ours", 4, Status::Deployed));
    assert_eq!((record.info.deleted, record.apply_method, &record.config["mode"]), (None, None, &json!(3)));
    assert!(record.info.first_deployed.is_some_and(|first| Some(first) < record.info.last_deployed));
    assert_eq!(crate::Rendered::from_record(&record).unwrap().objects.len(), 2);
    assert_eq!(record.hooks[0].last_run.phase, HookPhase::Succeeded);
}

#[test]
fn what_an_older_helm_writes_is_read() {
    let json = json!({
        "name": "web", "version": 1, "namespace": "shop", "manifest": "x", "config": null,
        "info": {"first_deployed": "2026-11-26T19:00:00.5+01:00", "last_deployed": "", "deleted": "", "status": "pending-upgrade",
            "description": "Preparing upgrade", "resources": {"v1/Pod": [{}]}},
        "chart": {"metadata": {"name": "c", "version": "1.0.0"}, "lock": null, "schema": null, "values": {"a": 1},
            "templates": [{"name": "templates/a.yaml", "data": "YQ=="}], "files": null},
        "hooks": [{"name": "h", "kind": "Pod", "manifest": "y", "events": ["test", "crd-install"],
            "last_run": {"started_at": "", "completed_at": "", "phase": ""}, "delete_policies": ["hook-succeeded", "odd"]}],
    });
    let record = Record::decode(&packed(&json)).unwrap();
    assert_eq!(record.info.first_deployed, Some("2026-11-26T18:00:00.5Z".parse().unwrap()));
    assert_eq!((record.info.last_deployed, record.info.status), (None, Status::PendingUpgrade));
    assert!(record.info.status.is_pending() && record.apply_method.is_none() && record.config.is_empty());
    assert_eq!(record.chart.values["a"], 1);
    assert_eq!(record.hooks[0].events, [HookEvent::Test, HookEvent::Other("crd-install".to_owned())]);
    assert_eq!(record.hooks[0].last_run.phase, HookPhase::Never);
    let zero = json!({"info": {"first_deployed": "0001-01-01T00:00:00Z", "status": "new-in-helm-5"}, "hooks": null, "chart": null});
    let record = Record::decode(&packed(&zero)).unwrap();
    assert_eq!((record.info.first_deployed, record.info.status), (None, Status::Unknown));
}

#[test]
fn a_bomb_is_refused_before_it_fills_memory() {
    let bomb = gzipped(&vec![b' '; MAX_UNPACKED + 1]);
    assert!(bomb.len() < MAX_PACKED);
    assert_eq!(Record::decode(&bomb), Err(RecordError::TooLarge));
    assert_eq!(Record::decode(&vec![b'A'; MAX_PACKED + 1]), Err(RecordError::TooLarge));
    let values = format!("{{\"config\": {{\"a\": [{}0]}}}}", "0,".repeat(150_000));
    assert_eq!(Record::decode(&gzipped(values.as_bytes())), Err(RecordError::TooLarge));
    let text = json!({"manifest": "\\\",:[{".repeat(500_000)});
    assert!(Record::decode(&gzipped(text.to_string().as_bytes())).is_ok(), "text does not count as values");
    let deep = format!("{{\"config\": {{\"a\": {}{}}}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(Record::decode(&gzipped(deep.as_bytes())), Err(RecordError::Damaged));
}

#[test]
fn a_record_takes_room_before_it_is_decoded_whatever_it_holds() {
    let of = |json: &Value| {
        let mut secret = record().to_secret(Written::Modified, at(7)).unwrap();
        secret.data = Some([("release".to_owned(), ByteString(gzipped(json.to_string().as_bytes())))].into());
        secret
    };
    let maps = |count: usize| vec![json!({"a": 0}); count];
    let known = json!({"name": "web", "namespace": "shop", "version": 3});
    for field in ["config", "chart", "info", "other", "hooks"] {
        let mut json = known.clone();
        json[field] = json!({"values": {"a": maps(40_000)}, "a": maps(10)});
        let secret = of(&json);
        let mut room = Room::default();
        let first = Record::from_secret_within(&secret, &mut room);
        assert_ne!(first, Err(RecordError::TooLarge), "{field}");
        let more: Vec<_> = (0..10).map(|_| Record::from_secret_within(&secret, &mut room)).collect();
        assert_eq!(
            more.last(),
            Some(&Err(RecordError::TooLarge)),
            "{field}: ten of these are more than a release may have"
        );
        assert_eq!(Record::from_secret_within(&of(&known), &mut room).map(drop), Ok(()), "what is small still fits");
    }
    let mut room = Room::default();
    let long = of(&json!({"name": "web", "namespace": "shop", "version": 3, "other": " ".repeat(30 << 20)}));
    let fit = (0..5).filter(|_| Record::from_secret_within(&long, &mut room).is_ok()).count();
    assert_eq!(fit, 2, "text counts, whatever field it is in");
}

#[test]
fn no_record_is_written_that_is_not_read() {
    let values = |count: usize| Map::from_iter([("a".to_owned(), json!(vec![0; count]))]);
    let large = Record { config: values(160_000), ..record() };
    assert!(large.encode().is_err());
    let mut fits = Record { config: values(100_000), ..record() };
    fits.manifest = "a: {b: [c, d]}\n".repeat(100_000);
    assert_eq!(Record::decode(&fits.encode().unwrap()), Ok(fits));
}

#[test]
fn a_record_that_fits_no_secret_says_its_size() {
    let mut state = 1_u64;
    let noise = (0..2_000_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap())
    });
    let large = Record { manifest: noise.collect(), ..record() };
    let TooLarge { bytes } = large.encode().unwrap_err();
    assert!(bytes > MAX_PACKED);
}

#[test]
fn a_forged_record_is_told_by_its_secret() {
    let good = record().to_secret(Written::Modified, at(7)).unwrap();
    let changed = |change: fn(&mut Secret)| {
        let mut secret = good.clone();
        change(&mut secret);
        Record::from_secret(&secret)
    };
    assert_eq!(changed(|secret| secret.type_ = Some("Opaque".to_owned())), Err(RecordError::NoRecord));
    assert_eq!(changed(|secret| secret.data = None), Err(RecordError::NoRecord));
    let other_name = changed(|secret| secret.metadata.name = Some("sh.helm.release.v1.web.v4".to_owned()));
    assert_eq!(other_name, Err(RecordError::Contradiction));
    for version in [0, -1] {
        let secret = Record { version, ..record() }.to_secret(Written::Created, at(7)).unwrap();
        assert_eq!(Record::from_secret(&secret), Err(RecordError::Contradiction));
    }
    let other_namespace = changed(|secret| secret.metadata.namespace = Some("kube-system".to_owned()));
    assert_eq!(other_namespace, Err(RecordError::Contradiction));
}

#[test]
fn the_digest_covers_all_that_is_applied_and_nothing_that_changes_while_it_is() {
    let mut later = record();
    later.info.status = Status::Superseded;
    later.hooks[0].finish(HookPhase::Succeeded, at(9));
    assert_eq!(later.digest(), record().digest());
    let mut hook = record();
    hook.hooks[0].manifest.push(' ');
    let manifest = Record { manifest: record().manifest + " ", ..record() };
    let as_one = record().manifest + "c/templates/a.yaml" + "kind: Job";
    let moved = Record { manifest: as_one, hooks: Vec::new(), ..record() };
    let digests = [record(), hook, manifest, moved].map(|record| record.digest());
    let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
    assert_eq!(digest("", &[]).len(), 64);
}

#[test]
fn every_status_reads_as_it_is_spelled() {
    for (status, name) in Status::ALL {
        assert_eq!(serde_json::to_value(status).unwrap(), name);
        assert_eq!(name.parse(), Ok(status));
    }
    assert_eq!("odd".parse(), Ok(Status::Unknown));
}

proptest! {
    #[test]
    fn no_bytes_are_a_defect(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::decode(&bytes);
        let _ = Record::decode(BASE64_STANDARD.encode(&bytes).as_bytes());
        let _ = Record::decode(&gzipped(&bytes));
        let mut headed = GZIP.to_vec();
        headed.extend(&bytes);
        let _ = Record::decode(BASE64_STANDARD.encode(headed).as_bytes());
    }

    #[test]
    fn any_text_survives(manifest in ".{0,200}", notes in ".{0,50}", version in 1_i64..1_000_000, second in 1_i64..4_000_000_000) {
        let info = Info { notes, last_deployed: Some(at(second)), ..Info::default() };
        let record = Record { info, manifest, version, ..record() };
        let decoded = Record::decode(&record.encode().unwrap());
        prop_assert_eq!(decoded, Ok(record));
    }
}
