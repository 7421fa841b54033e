//! One replica and an API server that lets it change what is there, and create nothing,
//! as the chart's Role has it.

use std::sync::Mutex;

use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri};
use axum::{Json, Router};
use serde_json::Value;

use super::*;
use crate::Settings;
use crate::settings::Certificates;

const HOME: &str = "understudy";
const SECRET: &str = "/api/v1/namespaces/understudy/secrets/certificates";

/// Its objects, by their paths.
#[derive(Clone)]
struct Server(Arc<Mutex<BTreeMap<String, Value>>>);

impl Server {
    /// With what the chart makes, still empty.
    fn new() -> Self {
        let object = |version: &str, kind: &str, name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"namespace": HOME, "name": name}});
        let coordination = "/apis/coordination.k8s.io/v1/namespaces/understudy/leases/injector";
        let admission = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/injector";
        let webhook = object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "injector");
        let all = [
            (SECRET, object("v1", "Secret", "certificates")),
            (coordination, object("coordination.k8s.io/v1", "Lease", "injector")),
            (admission, webhook),
        ];
        Self(Arc::new(Mutex::new(all.map(|(path, object)| (path.to_owned(), object)).into())))
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let answer = move |method: Method, uri: Uri, body: Bytes| {
            let answered = server.answer(&method, uri.path(), &body);
            async move { answered }
        };
        let router: Router = Router::new().fallback(answer);
        Client::new(router, HOME)
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Json<Value>) {
        let refused = |code: StatusCode, reason: &str| {
            let status = json!({"status": "Failure", "code": code.as_u16(), "reason": reason});
            (code, Json(status))
        };
        if *method == Method::POST {
            return refused(StatusCode::FORBIDDEN, "Forbidden");
        }
        let mut all = self.0.lock().unwrap();
        let Some(found) = all.get_mut(path) else { return refused(StatusCode::NOT_FOUND, "NotFound") };
        if *method == Method::PUT {
            *found = serde_json::from_slice(body).unwrap();
        }
        (StatusCode::OK, Json(found.clone()))
    }

    /// Writes over the Secret's data.
    fn set(&self, data: Value) {
        self.0.lock().unwrap().get_mut(SECRET).unwrap()["data"] = data;
    }
}

async fn keeper(server: &Server) -> Keeper {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let controller = Controller {
        namespace: HOME.to_owned(),
        service: "injector".to_owned(),
        engine_service: None,
        webhook: "injector".to_owned(),
        lease: "injector".to_owned(),
        certificates: Certificates {
            secret: "certificates".to_owned(),
            engine_secret: "engine-tls".to_owned(),
            also: Vec::new(),
            authority_seconds: 9_000_000,
            server_seconds: 900_000,
            settle_seconds: 3_600,
        },
    };
    let made = rcgen::generate_simple_self_signed(vec!["provisional.invalid".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes());
    let shown = RustlsConfig::from_pem(certificate, key).await.unwrap();
    let service = Arc::new(Service::new(Settings::default(), HOME, server.client()));
    Keeper { service, controller, me: "one".to_owned(), shown }
}

#[tokio::test]
async fn a_secret_that_was_emptied_is_filled_anew_as_its_message_says() {
    let server = Server::new();
    let keeper = keeper(&server).await;
    let mut last = None;
    assert!(keeper.look(&mut last).await.unwrap(), "it leads");
    let mut before = last.clone().unwrap();
    // `data: null` is what the command leaves.
    for emptied in [Value::Null, json!({}), json!({"kept.json": ""})] {
        // In base64: no.
        server.set(json!({"kept.json": "bm8="}));
        let said = keeper.look(&mut last).await.unwrap_err().to_string();
        let command = "kubectl patch secret certificates --namespace understudy --type merge --patch \
                       '{\"data\":null}'";
        assert!(said.ends_with(command), "{said}");
        server.set(emptied);
        assert!(keeper.look(&mut last).await.unwrap(), "it leads");
        let after = last.clone().unwrap();
        assert_eq!(after.authorities.len(), 1);
        assert_ne!(after.authorities, before.authorities);
        assert_eq!(keeper.service.trusted(), after.trusted());
        before = after;
    }
}

#[tokio::test]
async fn what_was_deleted_is_the_chart_s_to_make() {
    let server = Server::new();
    server.0.lock().unwrap().remove(SECRET);
    let said = keeper(&server).await.look(&mut None).await.unwrap_err().to_string();
    assert!(said.contains("run helm upgrade"), "{said}");
}

#[tokio::test]
async fn it_is_told_when_a_certificate_ends_and_when_it_is_to_be_renewed() {
    let server = Server::new();
    let keeper = keeper(&server).await;
    let mut last = None;
    keeper.look(&mut last).await.unwrap();
    let certificate = last.unwrap().servers.remove("injector").unwrap();
    let (from, until) = (certificate.from, certificate.until);
    assert_eq!(until - from, 900_000);
    let told = keeper.service.metrics.encode(Vec::new());
    for (name, at) in [("end", until), ("renewal", from + 600_000)] {
        let line = format!("\nunderstudy_injector_certificate_{name}_timestamp_seconds {at}\n");
        assert!(told.contains(&line), "{told}");
    }
}
