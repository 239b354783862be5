use std::{convert::Infallible, io};

use futures::{StreamExt as _, stream};
use http::{HeaderName, Response};
use http_body_util::StreamBody;
use hyper::{body::Frame, server::conn::http2 as server, service::service_fn};

use super::{super::messages::Piece, *};

/// What a server sends after its head.
#[derive(Clone)]
enum Sent {
    Data(Vec<u8>),
    Status(&'static str, &'static str),
    /// The connection breaks.
    Break,
    /// Nothing more comes.
    Silence,
}

fn message(remaining: u64, blob: &[u8]) -> Vec<u8> {
    let message = Piece { remaining_bytes: remaining, blob: Bytes::copy_from_slice(blob) }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

/// A member that answers any call like this.
async fn member(status: u16, head: &'static [(&'static str, &'static str)], sent: Vec<Sent>) -> Channel {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let service = service_fn(move |_| {
        let frames = stream::iter(sent.clone()).then(|sent| async move {
            match sent {
                Sent::Data(data) => Ok(Frame::data(Bytes::from(data))),
                Sent::Status(name, value) => Ok(Frame::trailers(HeaderMap::from_iter([(
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )]))),
                Sent::Break => Err(io::Error::other("broken")),
                Sent::Silence => std::future::pending().await,
            }
        });
        async move {
            let mut response = Response::builder().status(status);
            for (name, value) in head {
                response = response.header(*name, *value);
            }
            Ok::<_, Infallible>(response.body(StreamBody::new(frames.boxed())).unwrap())
        }
    });
    tokio::spawn(server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(theirs), service));
    Channel::over(ours, "http://localhost".to_owned()).await.unwrap()
}

async fn all(channel: &Channel) -> Result<Vec<(u64, Bytes)>, RpcError> {
    let mut messages = channel.stream::<Piece>("/x.Y/Z", &Piece::default()).await?;
    let mut found = Vec::new();
    while let Some(piece) = messages.next().await? {
        found.push((piece.remaining_bytes, piece.blob));
    }
    Ok(found)
}

const OK: Sent = Sent::Status("grpc-status", "0");

#[tokio::test]
async fn messages_come_whole_however_they_are_cut() {
    let both = [message(7, b"one"), message(0, &vec![b'2'; 40_000])].concat();
    for length in [1, 3, 5, 4_096, both.len()] {
        let pieces = both.chunks(length).take(50).map(<[u8]>::to_vec);
        let rest = both.chunks(length).skip(50).flatten().copied().collect();
        let sent = pieces.chain([rest]).map(Sent::Data).chain([OK]).collect();
        let found = all(&member(200, &[], sent).await).await.unwrap_or_else(|error| panic!("{length}: {error}"));
        assert_eq!(found, [(7, Bytes::from("one")), (0, Bytes::from(vec![b'2'; 40_000]))], "{length}");
    }
    assert_eq!(all(&member(200, &[], vec![OK]).await).await, Ok(vec![]));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    let good = message(0, b"one");
    let (compressed, huge) = ([1, 0, 0, 0, 0].to_vec(), [0, 0xff, 0xff, 0xff, 0xff].to_vec());
    for (sent, why) in [
        (vec![Sent::Data(good.clone())], "without a status"),
        (vec![], "nothing"),
        (vec![Sent::Data(good.clone()), Sent::Break], "broken"),
        (vec![Sent::Data(good[..7].to_vec()), OK], "half a message"),
        (vec![Sent::Data(good.clone()), Sent::Status("x", "0")], "trailers without a status"),
        (vec![Sent::Data(good.clone()), Sent::Status("grpc-status", "x")], "a status that is none"),
        (vec![Sent::Data(compressed), OK], "compressed"),
        (vec![Sent::Data(huge), OK], "too large"),
        (vec![Sent::Data(vec![0, 0, 0, 0, 1, 0xff]), OK], "no message"),
    ] {
        assert_eq!(all(&member(200, &[], sent).await).await, Err(RpcError::Broken), "{why}");
    }
    assert_eq!(all(&member(404, &[], vec![OK]).await).await, Err(RpcError::Broken));
}

#[tokio::test]
async fn a_status_is_told_wherever_it_stands() {
    let denied = |message: &str| Err(RpcError::Status { code: 7, message: message.to_owned() });
    let head = member(200, &[("grpc-status", "7"), ("grpc-message", "permission denied")], vec![]).await;
    assert_eq!(all(&head).await, denied("permission denied"));
    let trailers = member(200, &[], vec![Sent::Data(message(1, b"x")), Sent::Status("grpc-status", "7")]).await;
    assert_eq!(all(&trailers).await, denied(""));
}

#[tokio::test]
async fn one_answer_is_one_and_comes_in_time() {
    let limit = Duration::from_millis(200);
    let ask = async |sent| member(200, &[], sent).await.unary::<Piece>("/x.Y/Z", &Piece::default(), limit).await;
    let one = Sent::Data(message(1, b"x"));
    assert_eq!(ask(vec![one.clone(), OK]).await.unwrap().remaining_bytes, 1);
    assert_eq!(ask(vec![one.clone(), one.clone(), OK]).await, Err(RpcError::Broken));
    assert_eq!(ask(vec![OK]).await, Err(RpcError::Broken));
    assert_eq!(ask(vec![one, Sent::Silence]).await, Err(RpcError::Timeout));
}
