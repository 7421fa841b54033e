//! What is said instead of an answer.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use understudy_call::Declined;

use crate::adapters::Missing;

/// A request that cannot be understood or honoured.
pub(crate) fn bad_request(message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, message, "invalid_request_error", None)
}

/// A path or model that is not there.
pub(crate) fn unknown(message: &str) -> Response {
    error(StatusCode::NOT_FOUND, message, "invalid_request_error", Some("not_found"))
}

/// An adapter that is not there or is refused.
pub(crate) fn no_adapter(why: &Missing) -> Response {
    tracing::warn!(code = why.code(), error = %why, "no adapter");
    error(why.status(), &why.to_string(), "adapter_error", Some(why.code()))
}

/// An ask that was understood and is not answered.
pub(crate) fn declined(why: Declined) -> Response {
    let status = if why == Declined::Busy { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::CONFLICT };
    let mut response = error(status, &format!("the engine declined: {why}"), "declined", Some(why.label()));
    if why == Declined::Busy {
        // The least that the header can say.
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// An error as OpenAI has it.
pub(crate) fn error(status: StatusCode, message: &str, kind: &str, code: Option<&str>) -> Response {
    (status, Json(json!({"error": {"message": message, "type": kind, "param": null, "code": code}})))
        .into_response()
}
