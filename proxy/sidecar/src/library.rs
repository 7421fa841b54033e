//! What a library of ours would tell others. Builds of ONNX Runtime for PyPI note each
//! process and its machine under `Microsoft/DeveloperTools` in the user's cache folder and
//! look for their maker's server, whatever the API's own switch says; this variable keeps
//! them from both.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::process::Command;

/// Whether the variable is of our making.
static OURS: AtomicBool = AtomicBool::new(false);

/// What such a build looks at when it is loaded.
const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// Has it tell nobody anything, in this process and its children.
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "the library reads no other place, and no other thread reads the environment yet"
)]
pub(crate) fn tells_nobody() {
    if std::env::var_os(VARIABLE).is_none() {
        OURS.store(true, Ordering::Release);
        // SAFETY: `main` calls it first, and nobody else has started a thread.
        unsafe { std::env::set_var(VARIABLE, "1") }
    }
}

/// Gives a command the environment that it would have without us.
pub(crate) fn as_before(command: &mut Command) -> &mut Command {
    if OURS.load(Ordering::Acquire) { command.env_remove(VARIABLE) } else { command }
}
