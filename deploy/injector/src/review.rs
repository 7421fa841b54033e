//! An AdmissionReview in, an AdmissionReview out. Whatever comes, a pod is
//! admitted: at worst as it was, with a warning that says why.
//!
//! The pod stays plain JSON all the way: a typed one would lose the fields of
//! a newer Kubernetes, and a patch must be one of the very pod that was sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Settings;
use crate::pod::{Around, Outcome, inject};
use crate::skip::Skip;

const VERSION: &str = "admission.k8s.io/v1";

/// The parts of an AdmissionReview that matter here (Kubernetes API,
/// `admission.k8s.io/v1`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    api_version: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    #[serde(default)]
    kind: Value,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    object: Value,
}

/// What was answered, for counters and for what has to be done in the pod's namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct Reviewed {
    /// The answer's body.
    pub body: Value,
    /// The pod's namespace.
    pub namespace: String,
    /// Whether the API server only asks what would happen.
    pub dry_run: bool,
    /// Why the pod was left alone, if it was.
    pub skipped: Option<Skip>,
}

/// A body that is no review. Nothing can be answered then, and the webhook's
/// `failurePolicy: Ignore` admits the pod.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// Not JSON of that shape.
    #[error("the body is not an AdmissionReview of {VERSION}")]
    Malformed(#[source] serde_json::Error),
    /// A version that we do not speak.
    #[error("the AdmissionReview is of {0:?} and must be of {VERSION}")]
    Version(String),
    /// A review without a request.
    #[error("the AdmissionReview has no request")]
    Empty,
}

impl Reviewed {
    /// The same review with the pod left alone.
    pub(crate) fn without(mut self, skip: Skip) -> Self {
        self.body["response"] = left_alone(&self.body["response"]["uid"], &skip);
        self.skipped = Some(skip);
        self
    }
}

fn left_alone(uid: &Value, skip: &Skip) -> Value {
    let mut response = json!({"uid": uid, "allowed": true});
    // An opt-out is no news to whoever wrote it.
    if *skip != Skip::OptedOut {
        response["warnings"] = json!([format!("understudy: no sidecar: {}", skip.text())]);
    }
    response
}

/// Answers a review.
///
/// # Errors
/// [`ReviewError`], where there is nothing to answer.
pub fn review(body: &[u8], settings: &Settings, around: &dyn Around) -> Result<Reviewed, ReviewError> {
    let asked: Asked = serde_json::from_slice(body).map_err(ReviewError::Malformed)?;
    if asked.api_version != VERSION {
        return Err(ReviewError::Version(asked.api_version));
    }
    let request = asked.request.ok_or(ReviewError::Empty)?;
    let outcome = if request.kind["kind"] == "Pod" {
        inject(&request.object, &request.namespace, settings, around)
    } else {
        Outcome::Skipped(Skip::Unreadable("it is none"))
    };
    let uid = json!(request.uid);
    let (response, skipped) = match outcome {
        Outcome::Injected { patch, .. } => (injected(&uid, &patch), None),
        Outcome::Skipped(skip) => (left_alone(&uid, &skip), Some(skip)),
    };
    Ok(Reviewed {
        body: json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response}),
        namespace: request.namespace,
        dry_run: request.dry_run,
        skipped,
    })
}

fn injected(uid: &Value, patch: &Patch) -> Value {
    let mut response = json!({"uid": uid, "allowed": true});
    if !patch.0.is_empty() {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(json!(patch).to_string()));
    }
    response
}
