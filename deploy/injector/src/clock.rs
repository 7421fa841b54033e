//! The time.

/// Unix seconds.
pub(crate) fn now() -> i64 {
    k8s_openapi::jiff::Timestamp::now().as_second()
}
