//! The injector's own certificate authority and what it signs: pure, given the time.
//!
//! Who checks a certificate must know its authority before it is shown one. So a new
//! authority is trusted for a while ([`Lifetimes::settle`]) before it signs, and an
//! old one stays trusted until it ends: at no moment is a certificate shown that
//! somebody does not know yet.

use std::collections::BTreeMap;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// How long certificates hold; each is renewed after two thirds of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    /// An authority's.
    pub(crate) authority: Duration,
    /// A server certificate's.
    pub(crate) server: Duration,
    /// How long an authority is trusted before it signs.
    pub(crate) settle: Duration,
}

/// All that is kept in the Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Trusted, the newest last.
    pub(crate) authorities: Vec<Signed>,
    /// Of each server, by name.
    pub(crate) servers: BTreeMap<String, Signed>,
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signed {
    /// PEM.
    pub(crate) certificate: String,
    /// PEM, PKCS #8.
    pub(crate) key: String,
    /// Unix seconds.
    pub(crate) from: i64,
    /// Unix seconds.
    pub(crate) until: i64,
    /// Of a server: the names that it holds for.
    #[serde(default)]
    pub(crate) names: Vec<String>,
    /// Of a server: when its authority began.
    #[serde(default)]
    pub(crate) by: i64,
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signed").field("from", &self.from).field("until", &self.until).finish_non_exhaustive()
    }
}

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("a certificate could not be made")]
pub(crate) struct CertificateError(#[from] rcgen::Error);

impl Signed {
    /// When two thirds of its time are over, Unix seconds.
    fn due(&self) -> i64 {
        self.from + (self.until - self.from) / 3 * 2
    }

    fn is_due(&self, now: i64) -> bool {
        now >= self.due()
    }
}

impl Kept {
    /// What is to be trusted, PEM.
    #[must_use]
    pub(crate) fn trusted(&self) -> String {
        self.authorities.iter().rev().map(|a| a.certificate.as_str()).collect()
    }

    /// What is in use, and renewed in time.
    fn in_use(&self) -> impl Iterator<Item = &Signed> {
        self.authorities.last().into_iter().chain(self.servers.values())
    }

    /// Whatever ends first, Unix seconds.
    #[must_use]
    pub(crate) fn ends(&self) -> Option<i64> {
        self.in_use().map(|s| s.until).min()
    }

    /// Whatever is to be renewed first, Unix seconds.
    #[must_use]
    pub(crate) fn due(&self) -> Option<i64> {
        self.in_use().map(Signed::due).min()
    }

    /// What is to be kept from now on, for servers of these names; the same where
    /// nothing is due.
    ///
    /// # Errors
    /// [`CertificateError`], when the system gives no keys.
    pub(crate) fn renewed(
        mut self,
        servers: &BTreeMap<String, Vec<String>>,
        lifetimes: Lifetimes,
        now: i64,
    ) -> Result<Self, CertificateError> {
        self.authorities.retain(|a| a.until > now);
        if self.authorities.last().is_none_or(|a| a.is_due(now)) {
            self.authorities.push(authority(lifetimes.authority, now)?);
        }
        let settled = |a: &&Signed| now >= a.from + seconds(lifetimes.settle);
        let signer = self.authorities.iter().rev().find(settled).or(self.authorities.first());
        let Some(signer) = signer else { return Ok(self) };
        self.servers.retain(|name, _| servers.contains_key(name));
        for (name, names) in servers {
            let holds = |s: &Signed| s.names == *names && s.by == signer.from && !s.is_due(now);
            if !self.servers.get(name).is_some_and(holds) {
                self.servers.insert(name.clone(), server(signer, names, lifetimes.server, now)?);
            }
        }
        Ok(self)
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// From a minute ago on: the clocks of two nodes are seldom one.
const BEFORE: i64 = 60;

fn params(
    names: &[String],
    common: &str,
    from: i64,
    until: i64,
) -> Result<CertificateParams, CertificateError> {
    let at = |t: i64| OffsetDateTime::from_unix_timestamp(t).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params.not_before = at(from - BEFORE);
    params.not_after = at(until);
    Ok(params)
}

fn authority(lifetime: Duration, now: i64) -> Result<Signed, CertificateError> {
    let until = now.saturating_add(seconds(lifetime));
    // The name tells one authority from the next.
    let mut params = params(&[], &format!("understudy {now}"), now, until)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok(Signed { certificate, key: key.serialize_pem(), from: now, until, names: Vec::new(), by: 0 })
}

fn server(by: &Signed, names: &[String], lifetime: Duration, now: i64) -> Result<Signed, CertificateError> {
    let until = now.saturating_add(seconds(lifetime)).min(by.until);
    let mut params = params(names, names.first().map_or("understudy", String::as_str), now, until)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let issuer = Issuer::from_ca_cert_pem(&by.certificate, KeyPair::from_pem(&by.key)?)?;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    Ok(Signed { certificate, key: key.serialize_pem(), from: now, until, names: names.to_vec(), by: by.from })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    const DAY: i64 = 86_400;
    const LIFETIMES: Lifetimes = Lifetimes {
        authority: Duration::from_secs(365 * 86_400),
        server: Duration::from_secs(30 * 86_400),
        settle: Duration::from_secs(3_600),
    };

    fn servers() -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([("injector".to_owned(), vec!["injector.understudy.svc".to_owned()])])
    }

    fn at(kept: Kept, now: i64) -> Kept {
        kept.renewed(&servers(), LIFETIMES, now).unwrap()
    }

    #[test]
    fn the_first_authority_signs_at_once_and_nothing_changes_before_it_is_due() {
        let kept = at(Kept::default(), 0);
        assert_eq!((kept.authorities.len(), kept.servers["injector"].until), (1, 30 * DAY));
        assert_eq!((kept.due(), kept.ends()), (Some(20 * DAY), Some(30 * DAY)));
        assert_eq!(Kept::default().due(), None);
        assert_eq!(at(kept.clone(), 19 * DAY), kept);
        let later = at(kept.clone(), 20 * DAY);
        assert_eq!(later.authorities, kept.authorities);
        assert_eq!(later.servers["injector"].until, 50 * DAY);
        assert_eq!(later.due(), Some(40 * DAY));
    }

    #[test]
    fn a_new_authority_is_trusted_before_it_signs_and_the_old_one_until_it_ends() {
        let due = 365 * DAY / 3 * 2;
        let kept = at(at(Kept::default(), 0), due);
        assert_eq!(kept.authorities.len(), 2);
        assert_eq!(kept.servers["injector"].by, 0);
        assert!(kept.trusted().starts_with(&kept.authorities[1].certificate));
        let settled = at(kept, due + 3_600);
        assert_eq!(settled.servers["injector"].by, due);
        let ended = at(settled, 365 * DAY);
        assert_eq!(ended.authorities.len(), 1);
    }

    #[test]
    fn other_names_want_another_certificate() {
        let kept = at(Kept::default(), 0);
        let names = BTreeMap::from([("injector".to_owned(), vec!["other.svc".to_owned()])]);
        let other = kept.clone().renewed(&names, LIFETIMES, 1).unwrap();
        assert_eq!(other.servers["injector"].names, ["other.svc"]);
        assert_eq!(other.authorities, kept.authorities);
    }

    /// What a TLS client makes of the injector's certificate, which trusts these authorities.
    fn checked(shown: &Kept, trusted: &str, now: i64) -> Result<(), rustls::Error> {
        let mut roots = rustls::RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let shown = CertificateDer::from_pem_slice(shown.servers["injector"].certificate.as_bytes()).unwrap();
        let name = ServerName::try_from("injector.understudy.svc").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.unsigned_abs()));
        client.verify_server_cert(&shown, &[], &name, &[], now)?;
        Ok(())
    }

    #[test]
    fn a_certificate_that_has_ended_is_refused_and_its_renewal_is_taken() {
        // 2026: a certificate of the years before 1970 is nobody's.
        let began = 20_454 * DAY;
        let first = at(Kept::default(), began);
        let trusted = first.trusted();
        checked(&first, &trusted, began + 1).unwrap();
        checked(&first, &trusted, began + 30 * DAY - 1).unwrap();
        // No injector was there to renew it.
        let late = began + 31 * DAY;
        let refused = checked(&first, &trusted, late).unwrap_err();
        assert!(
            matches!(
                refused,
                rustls::Error::InvalidCertificate(
                    rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. }
                )
            ),
            "{refused}"
        );
        checked(&at(first, late), &trusted, late).unwrap();
    }

    #[test]
    fn a_new_authority_s_certificate_is_taken_by_those_who_were_told_in_time() {
        let (began, due) = (20_454 * DAY, 20_454 * DAY + 365 * DAY / 3 * 2);
        let first = at(Kept::default(), began);
        let told = at(first.clone(), due);
        let settled = at(told.clone(), due + 3_600);
        checked(&settled, &told.trusted(), due + 3_600).unwrap();
        let stranger = checked(&settled, &first.trusted(), due + 3_600).unwrap_err();
        assert!(matches!(stranger, rustls::Error::InvalidCertificate(_)), "{stranger}");
    }

    #[test]
    fn keys_are_in_no_debug_text() {
        assert!(!format!("{:?}", at(Kept::default(), 0)).contains("PRIVATE"));
    }

    #[test]
    fn after_years_without_the_injector_everything_is_made_anew() {
        let kept = at(at(Kept::default(), 0), 3 * 365 * DAY);
        assert_eq!((kept.authorities.len(), kept.servers["injector"].by), (1, 3 * 365 * DAY));
    }
}
