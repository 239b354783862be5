use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use drover_client::DialPolicy;

use super::*;
use drover_fetch::testing::{Server, reply};

const INDEX_YAML: &str =
    "apiVersion: v1\nentries:\n  web:\n  - {name: web, version: 1.0.0, urls: [gone.tgz, web.tgz], digest: DIGEST}\n";

fn index() -> String {
    INDEX_YAML.replace("DIGEST", &Digest::of(b"chart").hex())
}

fn repository(server: &Server) -> Repository {
    let source = Source { timeout: Duration::from_secs(5), ..Source::default() };
    Repository { url: server.url("/charts"), source, index: IndexLimits::default(), chart_bytes: 100 }
}

async fn fetcher() -> Fetcher {
    spawn_blocking(|| Fetcher::new(DialPolicy::AllowLocal)).await.unwrap()
}

fn row(file: &IndexFile) -> IndexRow {
    index::versions("web", file.open().unwrap(), &IndexLimits::default()).unwrap().remove(0)
}

#[tokio::test]
async fn a_chart_is_found_through_the_index_and_compared_with_its_digest() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/charts/index.yaml" => reply(200, &[], index()),
        "/charts/web.tgz" => reply(200, &[], "chart"),
        _ => reply(404, &[], ""),
    })
    .await;
    let (folder, fetcher) = (tempfile::tempdir().unwrap(), fetcher().await);
    let (repository, file) = (repository(&server), IndexFile::new(&folder.path().join("a/b"), "ns", "ns/name"));
    let refreshed = repository.refresh(&fetcher, &file, None).await.unwrap();
    let counts = IndexCounts { charts: 1, versions: 1 };
    let (digest, bytes) = (Digest::of(index().as_bytes()), index().len());
    assert_eq!(refreshed, Refreshed::Changed(IndexState { digest, etag: None, bytes, counts }));
    let found = row(&file);
    assert_eq!(repository.chart(&fetcher, &found).await.unwrap(), "chart", "from the second URL");
    let other = IndexRow { digest: Some(Digest::of(b"other")), ..found.clone() };
    let refused = repository.chart(&fetcher, &other).await.unwrap_err();
    assert_eq!(refused, FetchFailure::DigestMismatch.at("localhost").into());
    let unknown = IndexRow { digest: None, ..found.clone() };
    assert_eq!(repository.chart(&fetcher, &unknown).await.unwrap(), "chart");
    let gone = IndexRow { urls: vec!["gone.tgz".to_owned()], ..found.clone() };
    assert_eq!(repository.chart(&fetcher, &gone).await, Err(FetchFailure::NotFound.at("localhost").into()));
    let elsewhere = IndexRow { urls: vec!["file:///etc/passwd".to_owned()], ..found.clone() };
    assert_eq!(repository.chart(&fetcher, &elsewhere).await, Err(UrlError::Invalid.into()));
    let small = Repository { chart_bytes: 4, ..repository };
    assert_eq!(small.chart(&fetcher, &found).await, Err(FetchFailure::TooLarge { limit: 4 }.at("localhost").into()));
}

#[tokio::test]
async fn an_index_is_fetched_again_only_if_it_changed_or_is_lost() {
    let server = Server::start(|seen| match seen.header("if-none-match") {
        Some("\"1\"") => reply(304, &[], ""),
        _ => reply(200, &[("etag", "\"1\"")], index()),
    })
    .await;
    let (folder, fetcher) = (tempfile::tempdir().unwrap(), fetcher().await);
    let (repository, file) = (repository(&server), IndexFile::new(folder.path(), "ns", "ns/name"));
    let Refreshed::Changed(state) = repository.refresh(&fetcher, &file, Some("\"1\"")).await.unwrap() else {
        panic!("there was no file")
    };
    assert_eq!(state.etag.as_deref(), Some("\"1\""));
    assert_eq!(repository.refresh(&fetcher, &file, state.etag.as_deref()).await, Ok(Refreshed::Unchanged));
    assert_eq!(row(&file).version.as_str(), "1.0.0");
    file.remove().unwrap();
    file.remove().unwrap();
    assert!(matches!(repository.refresh(&fetcher, &file, Some("\"1\"")).await, Ok(Refreshed::Changed(_))));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
}

#[tokio::test]
async fn a_bad_index_does_not_take_the_place_of_a_good_one() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => reply(200, &[], index()),
        1 => reply(200, &[], "<html>Sign in</html>"),
        2 => reply(200, &[], "entries: {\n"),
        _ => reply(500, &[], ""),
    })
    .await;
    let (folder, fetcher) = (tempfile::tempdir().unwrap(), fetcher().await);
    let (repository, file) = (repository(&server), IndexFile::new(folder.path(), "ns", "ns/name"));
    repository.refresh(&fetcher, &file, None).await.unwrap();
    for expected in [
        IndexError::NoIndex.into(),
        IndexError::Broken { line: 2 }.into(),
        RepositoryError::Fetch(FetchFailure::Server { status: 500 }.at("localhost")),
    ] {
        assert_eq!(repository.refresh(&fetcher, &file, None).await, Err(expected));
        assert_eq!(row(&file).version.as_str(), "1.0.0");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }
}
