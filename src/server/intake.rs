//! The request's body: bounded in size and time.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::reply::Refusal;
use crate::wire::anthropic::{ApiError, ErrorKind};

/// From the end of the head until the last byte of the body. actix has no such clock.
const DEADLINE: Duration = Duration::from_secs(30);

/// Reads a body of at most `max` bytes into one buffer.
pub(super) async fn read(request: &HttpRequest, payload: Payload, max: usize) -> Result<Bytes, Refusal> {
    read_within(DEADLINE, request, payload, max).await
}

async fn read_within(
    deadline: Duration,
    request: &HttpRequest,
    payload: Payload,
    max: usize,
) -> Result<Bytes, Refusal> {
    let headers = request.headers();
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")
    {
        let mut error =
            ApiError::invalid_request("compressed request bodies are not supported: send the JSON as it is");
        error.details = Some(r#"{"error_code":"request_body_encoding_unsupported"}"#.to_owned());
        return Err(Refusal::from(error).closing());
    }
    let announced: Option<usize> =
        headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    if announced.is_some_and(|n| n > max) {
        return Err(too_large(max));
    }
    let Ok(result) = tokio::time::timeout(deadline, collect(payload, announced, max)).await else {
        let message = format!("the request's body did not arrive within {} s", deadline.as_secs_f32());
        return Err(Refusal::from(ApiError::new(408, ErrorKind::InvalidRequest, message)).closing());
    };
    result
}

async fn collect(mut payload: Payload, announced: Option<usize>, max: usize) -> Result<Bytes, Refusal> {
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|e| broken(&e))?;
    if first.len() > max {
        return Err(too_large(max));
    }
    if announced == Some(first.len()) {
        return Ok(first);
    }
    let mut all = BytesMut::with_capacity(announced.unwrap_or(64 * 1024).min(max).max(first.len()));
    all.extend_from_slice(&first);
    drop(first);
    while let Some(bytes) = payload.next().await {
        let bytes = bytes.map_err(|e| broken(&e))?;
        if all.len() + bytes.len() > max {
            return Err(too_large(max));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all.freeze())
}

fn too_large(max: usize) -> Refusal {
    let message = format!("the request's body is larger than {max} bytes (config key `max_body_bytes`)");
    Refusal::from(ApiError::new(413, ErrorKind::RequestTooLarge, message)).closing()
}

fn broken(error: &PayloadError) -> Refusal {
    if matches!(error, PayloadError::Incomplete(_)) {
        let error = ApiError::invalid_request("the client left before the request's body had come");
        return Refusal::from(error).unread();
    }
    let message = format!("the request's body could not be read: {error}");
    Refusal::from(ApiError::invalid_request(message)).closing()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use actix_web::{FromRequest, dev};
    use futures_util::stream;

    use super::*;

    #[actix_web::test]
    async fn a_body_that_does_not_come_is_408() {
        let request = TestRequest::post().to_http_request();
        let first = stream::iter([Ok(Bytes::from_static(b"{"))]);
        let stream: dev::Payload = dev::Payload::Stream { payload: Box::pin(first.chain(stream::pending())) };
        let mut payload = stream;
        let payload = Payload::from_request(&request, &mut payload).await.unwrap();
        let refusal = read_within(Duration::from_millis(50), &request, payload, 100).await.unwrap_err();
        assert_eq!((refusal.error.status, refusal.error.kind), (408, ErrorKind::InvalidRequest));
    }
}
