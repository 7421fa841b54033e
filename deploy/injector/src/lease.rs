//! Who of the replicas writes: the holder of a Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use kube::{Api, Client};

/// How long a holder that does not renew is waited for.
pub(crate) const TERM: Duration = Duration::from_secs(15);

/// Takes or renews the lease; whether it is ours now. Two replicas that try at once
/// are told apart by the API server, which accepts one write of a version.
///
/// # Errors
/// The API server's.
pub(crate) async fn hold(client: &Client, namespace: &str, name: &str, me: &str) -> kube::Result<bool> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let now = Timestamp::now();
    let wrote = match leases.get_opt(name).await? {
        None => {
            let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(renewed(None, me, now)) };
            leases.create(&PostParams::default(), &lease).await
        }
        Some(lease) if is_free(lease.spec.as_ref(), me, now) => {
            let spec = Some(renewed(lease.spec.as_ref(), me, now));
            leases.replace(name, &PostParams::default(), &Lease { spec, ..lease }).await
        }
        Some(_) => return Ok(false),
    };
    match wrote {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(refused)) if refused.code == 409 => Ok(false),
        Err(e) => Err(e),
    }
}

fn is_free(spec: Option<&LeaseSpec>, me: &str, now: Timestamp) -> bool {
    let Some(spec) = spec else { return true };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let term = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds.unwrap_or(0)));
    let over = spec.renew_time.as_ref().is_none_or(|t| t.0.duration_until(now) > term);
    holder.is_empty() || holder == me || over
}

fn renewed(old: Option<&LeaseSpec>, me: &str, now: Timestamp) -> LeaseSpec {
    let mut spec = old.cloned().unwrap_or_default();
    if spec.holder_identity.as_deref() != Some(me) {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n + 1));
        spec.holder_identity = Some(me.to_owned());
    }
    spec.lease_duration_seconds = i32::try_from(TERM.as_secs()).ok();
    spec.renew_time = Some(MicroTime(now));
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_free_for_its_holder_and_for_anyone_once_it_has_run_out() {
        let at = |s: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(s);
        let held = renewed(None, "a", at(100));
        assert!(is_free(None, "b", at(0)));
        assert!(is_free(Some(&held), "a", at(101)));
        assert!(!is_free(Some(&held), "b", at(115)));
        assert!(is_free(Some(&held), "b", at(116)));
        let taken = renewed(Some(&held), "b", at(116));
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("b"), Some(1)));
        assert_eq!(renewed(Some(&taken), "b", at(120)).acquire_time, taken.acquire_time);
    }
}
