//! Limits that the system keeps for us.

use crate::EngineError;

/// Lowers the priority of the calling thread and of those that it starts. On
/// Linux a nice level is a thread's: call it before the threads are started.
///
/// # Errors
/// [`EngineError::Limit`].
pub fn lower_priority(nice: i32) -> Result<(), EngineError> {
    if nice == 0 {
        return Ok(());
    }
    #[expect(unsafe_code, reason = "a system call on numbers only")]
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    check("nice level", done)
}

/// Limits the private memory of the process.
///
/// # Errors
/// [`EngineError::Limit`].
pub fn limit_memory(bytes: u64) -> Result<(), EngineError> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    #[expect(unsafe_code, reason = "a system call that reads one structure that outlives it")]
    let done = unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) };
    check("memory limit", done)
}

fn check(what: &'static str, done: libc::c_int) -> Result<(), EngineError> {
    if done == 0 { Ok(()) } else { Err(EngineError::Limit { what, source: std::io::Error::last_os_error() }) }
}
