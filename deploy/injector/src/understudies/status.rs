//! What pods have, written into the status of what they asked for.

use std::sync::Arc;
use std::time::Duration;

use crate::resources::write_status;
use crate::service::Service;

/// Between two writings of the status.
const PERIOD: Duration = Duration::from_secs(1);

/// Counts what pods have into every status, until dropped. Each replica sees the same
/// pods, so it does not matter who is first.
pub(crate) async fn write(service: Arc<Service>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        for understudy in service.understudies.told() {
            write_status(&service.client, &understudy).await;
        }
    }
}
