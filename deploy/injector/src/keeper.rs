//! Keeps the certificates: the replica that holds the lease makes and renews them in
//! a Secret, tells the API server whom to trust, and every replica shows what the
//! Secret has.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use futures_util::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::certificates::{CertificateError, Kept, Lifetimes};
use crate::clock::now;
use crate::lease;
use crate::namespaces::NamespaceError;
use crate::service::Service;
use crate::settings::Controller;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(5);

/// How long one may take: an API server that stands still must not leave a replica
/// that believes it leads after its term.
const LOOK: Duration = Duration::from_secs(lease::TERM.as_secs() - PERIOD.as_secs());

/// Everything of ours, in one value.
const KEPT: &str = "kept.json";

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("the API server refused{}", remedy(.0))]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(
        "the Secret {secret} holds what cannot be read; certificates are made anew once it is empty: \
         kubectl patch secret {secret} --namespace {namespace} --type merge --patch '{{\"data\":null}}'"
    )]
    Unreadable { namespace: String, secret: String, source: serde_json::Error },
    #[error("what is to be written cannot be put into JSON")]
    Json(#[from] serde_json::Error),
    #[error("the certificate cannot be shown")]
    Show(#[source] std::io::Error),
    #[error("the API server did not answer within {} s", LOOK.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
}

/// The chart makes the Secrets, the Lease and the rights to them: the injector may change
/// what is there, and create nothing.
fn remedy(e: &kube::Error) -> &'static str {
    match e {
        kube::Error::Api(status) if [403, 404].contains(&status.code) => {
            "; a Secret, the Lease or a right of the release may be gone: run helm upgrade, which makes it again"
        }
        _ => "",
    }
}

/// Keeps the certificates until dropped.
pub(crate) async fn keep(service: Arc<Service>, controller: Controller, me: String, shown: RustlsConfig) {
    let keeper = Keeper { service, controller, me, shown };
    let mut last = None;
    loop {
        let looked = tokio::time::timeout(LOOK, keeper.look(&mut last)).await;
        match looked.map_err(KeepError::from).flatten() {
            Ok(leads) => {
                keeper.service.metrics.leads(leads);
                if leads {
                    keeper.bring_up_to_date().await;
                }
            }
            Err(e) => {
                keeper.service.metrics.leads(false);
                tracing::warn!(
                    error = &e as &dyn std::error::Error,
                    "certificates could not be looked after"
                );
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

struct Keeper {
    service: Arc<Service>,
    controller: Controller,
    me: String,
    shown: RustlsConfig,
}

impl Keeper {
    fn client(&self) -> Client {
        self.service.client.clone()
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client(), &self.controller.namespace)
    }

    /// One round; whether this replica leads. `last` is what is shown.
    async fn look(&self, last: &mut Option<Kept>) -> Result<bool, KeepError> {
        let c = &self.controller;
        let leads = lease::hold(&self.client(), &c.namespace, &c.lease, &self.me).await?;
        let found = self.secrets().get_opt(&c.certificates.secret).await?;
        let mut kept = found.as_ref().map(|s| self.read(s)).transpose()?;
        if leads {
            let old = kept.clone().unwrap_or_default();
            let new = old.clone().renewed(&self.servers(), self.lifetimes(), now())?;
            if new != old {
                self.write(found, &new).await?;
                tracing::info!(authorities = new.authorities.len(), "certificates were renewed");
            }
            self.write_engine(&new).await?;
            self.tell_api_server(&new).await?;
            kept = Some(new);
        }
        if let Some(kept) = kept
            && last.as_ref() != Some(&kept)
        {
            self.show(&kept).await?;
            *last = Some(kept);
        }
        Ok(leads)
    }

    /// Which servers there are, with their names.
    fn servers(&self) -> BTreeMap<String, Vec<String>> {
        let c = &self.controller;
        let names = |service: &str| {
            let short = format!("{service}.{}.svc", c.namespace);
            let mut all = vec![short.clone(), format!("{short}.cluster.local")];
            all.extend(c.certificates.also.iter().cloned());
            all
        };
        let services = [("injector", Some(&c.service)), ("engine", c.engine_service.as_ref())];
        services.into_iter().filter_map(|(name, s)| Some((name.to_owned(), names(s?)))).collect()
    }

    fn lifetimes(&self) -> Lifetimes {
        let c = &self.controller.certificates;
        Lifetimes {
            authority: Duration::from_secs(c.authority_seconds),
            server: Duration::from_secs(c.server_seconds),
            settle: Duration::from_secs(c.settle_seconds),
        }
    }

    fn read(&self, secret: &Secret) -> Result<Kept, KeepError> {
        let bytes = secret.data.as_ref().and_then(|d| d.get(KEPT)).filter(|bytes| !bytes.0.is_empty());
        // One that the chart made, or that somebody emptied.
        let Some(bytes) = bytes else { return Ok(Kept::default()) };
        serde_json::from_slice(&bytes.0).map_err(|source| KeepError::Unreadable {
            namespace: self.controller.namespace.clone(),
            secret: self.controller.certificates.secret.clone(),
            source,
        })
    }

    /// Writes over what was found, and over nothing that came since.
    async fn write(&self, found: Option<Secret>, kept: &Kept) -> Result<(), KeepError> {
        let name = &self.controller.certificates.secret;
        let data = BTreeMap::from([(KEPT.to_owned(), ByteString(serde_json::to_vec(kept)?))]);
        self.put(found, name, None, data).await
    }

    /// The engine has a Secret of its own: it must not see the authority's key.
    async fn write_engine(&self, kept: &Kept) -> Result<(), KeepError> {
        let Some(engine) = kept.servers.get("engine") else { return Ok(()) };
        let name = &self.controller.certificates.engine_secret;
        let wanted = BTreeMap::from([
            ("tls.crt".to_owned(), ByteString(engine.certificate.clone().into_bytes())),
            ("tls.key".to_owned(), ByteString(engine.key.clone().into_bytes())),
        ]);
        let found = self.secrets().get_opt(name).await?;
        if found.as_ref().and_then(|s| s.data.as_ref()) == Some(&wanted) {
            return Ok(());
        }
        self.put(found, name, Some("kubernetes.io/tls"), wanted).await
    }

    /// Writes a Secret's data: over the version that was found, or a new one of this type.
    async fn put(
        &self,
        found: Option<Secret>,
        name: &str,
        type_: Option<&str>,
        data: BTreeMap<String, ByteString>,
    ) -> Result<(), KeepError> {
        let (params, data) = (PostParams::default(), Some(data));
        match found {
            Some(secret) => self.secrets().replace(name, &params, &Secret { data, ..secret }).await?,
            None => {
                let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
                let type_ = type_.map(str::to_owned);
                self.secrets().create(&params, &Secret { metadata, type_, data, ..Secret::default() }).await?
            }
        };
        Ok(())
    }

    /// Whom the API server is to trust when it asks the webhook.
    async fn tell_api_server(&self, kept: &Kept) -> Result<(), KeepError> {
        let webhooks: Api<MutatingWebhookConfiguration> = Api::all(self.client());
        let name = &self.controller.webhook;
        let Some(found) = webhooks.get_opt(name).await? else {
            tracing::warn!(name, "there is no such MutatingWebhookConfiguration: nothing is injected");
            return Ok(());
        };
        let bundle = ByteString(kept.trusted().into_bytes());
        let all = found.webhooks.unwrap_or_default();
        if all.iter().all(|w| w.client_config.ca_bundle.as_ref() == Some(&bundle)) {
            return Ok(());
        }
        let operations: Vec<_> = (0..all.len())
            .map(|i| json!({"op": "add", "path": format!("/webhooks/{i}/clientConfig/caBundle"), "value": bundle}))
            .collect();
        let patch: json_patch::Patch = serde_json::from_value(json!(operations))?;
        webhooks.patch(name, &PatchParams::default(), &Patch::Json::<()>(patch)).await?;
        tracing::info!(name, "the API server knows the authority");
        Ok(())
    }

    async fn show(&self, kept: &Kept) -> Result<(), KeepError> {
        let Some(server) = kept.servers.get("injector") else { return Ok(()) };
        let (certificate, key) = (server.certificate.clone(), server.key.clone());
        self.shown
            .reload_from_pem(certificate.into_bytes(), key.into_bytes())
            .await
            .map_err(KeepError::Show)?;
        self.service.metrics.certificate_ends(kept.ends());
        self.service.metrics.certificate_is_due(kept.due());
        self.service.trust(kept.trusted());
        Ok(())
    }

    /// Namespaces with sidecars get an authority that is new, and what somebody deleted.
    async fn bring_up_to_date(&self) {
        let service = &self.service;
        let trusted = &service.trusted();
        let mut all = service.breaker().namespaces();
        all.extend(service.namespaces.seen_to());
        // Several at once: the Lease waits for this.
        let several = futures_util::stream::iter(all).for_each_concurrent(8, |namespace| async move {
            match service.namespaces.prepare(&namespace, &service.settings, trusted).await {
                // Where it is gone its pods go, too.
                Ok(()) | Err(NamespaceError::Gone) => {}
                Err(e) => {
                    let error: &dyn std::error::Error = &e;
                    tracing::warn!(namespace, error, "it may not know the authority");
                }
            }
        });
        several.await;
    }
}
