use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use kube::client::Body;
use serde_json::Value;

use super::*;

type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// An API server that gives these answers, one after the other; 0 is none at all. After them it accepts everything.
pub(crate) fn server(answers: &[u16]) -> (Client, Asked) {
    let answers = Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<_>>()));
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect_bytes().await.unwrap();
            seen.lock().unwrap().push((line, serde_json::from_slice(&body).unwrap()));
            let code = answers.lock().unwrap().pop_front().unwrap_or(200);
            if code == 0 {
                std::future::pending::<()>().await;
            }
            let answer = if code == 200 {
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
            } else {
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no: c2VjcmV0", "reason": "No", "code": code})
            };
            let response = Response::builder().status(code).body(Body::from(serde_json::to_vec(&answer).unwrap()));
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    (Client::new(service, "default"), asked)
}

async fn sent(answers: &[u16], seconds: u64) -> (Result<(), SendError>, usize) {
    let (client, asked) = server(answers);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let result = send(client, ("drover-system", "s"), b"packed".to_vec(), deadline).await;
    let count = asked.lock().unwrap().len();
    (result, count)
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_one_merge_patch_of_its_secret() {
    let (client, asked) = server(&[]);
    send(client, ("drover-system", "s"), b"packed".to_vec(), Instant::now() + FIRST_PAUSE).await.unwrap();
    let expected = (
        "PATCH /api/v1/namespaces/drover-system/secrets/s?&fieldManager=drover-bench".to_owned(),
        json!({"data": {"answer": "cGFja2Vk"}}),
    );
    assert_eq!(*asked.lock().unwrap(), [expected]);
}

#[tokio::test(start_paused = true)]
async fn what_may_heal_is_tried_again_and_the_rest_is_not() {
    let (result, count) = sent(&[403, 401, 429, 503, 500, 0], 120).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(count, 7);
    let (result, count) = sent(&[404], 120).await;
    assert!(matches!(result, Err(SendError::Gone(ref name)) if name == "drover-system/s") && count == 1, "{result:?}");
    let (result, count) = sent(&[422], 120).await;
    assert!(matches!(result, Err(SendError::Refused(_))) && count == 1, "{result:?}");
    let said = result.unwrap_err().to_string();
    assert!(!said.contains("c2VjcmV0"), "the server may quote the answer: {said}");
}

#[tokio::test(start_paused = true)]
async fn it_ends_in_time() {
    let start = Instant::now();
    let (result, count) = sent(&[403; 100], 60).await;
    let Err(SendError::TimedOut { attempts, last }) = result else { panic!("{result:?}") };
    assert!(last.contains("write the Secret drover-system/s"), "{last}");
    // After 1, 2, 4, 8, 15 and 15 seconds.
    assert_eq!((attempts, count), (7, 7));
    assert!(start.elapsed() <= Duration::from_mins(1));
    let (result, _) = sent(&[0; 100], 10).await;
    assert!(matches!(result, Err(SendError::TimedOut { attempts: 1, .. })), "{result:?}");
}

#[test]
fn pauses_double_up_to_the_longest() {
    let pauses = [1, 2, 3, 4, 5, 6, 40, u32::MAX].map(|attempts| pause(attempts).as_secs());
    assert_eq!(pauses, [1, 2, 4, 8, 15, 15, 15, 15]);
}
