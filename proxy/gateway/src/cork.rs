//! A request's head and body in one segment. pingora writes the head, flushes, and
//! writes the body: two segments, two ways through the stack, and a provider that
//! wakes twice. A connection that is corked (Linux: `TCP_CORK`) holds what is written
//! until it is let go of, which is when the agent's connection next waits for
//! something: whatever had been there to send has been written by then. Worth it where
//! several calls are under way; a call that is alone has its provider woken sooner by a
//! head that goes first.

use std::cell::RefCell;
use std::future::{Future, poll_fn};

/// A connection to a provider, by its number in this process.
pub(crate) type Socket = std::os::fd::RawFd;

thread_local! {
    /// Those that this thread holds back.
    static CORKED: RefCell<Vec<Socket>> = const { RefCell::new(Vec::new()) };
}

/// Holds back what is written, until the future that runs lets go
/// ([`letting_go`]).
pub(crate) fn hold(socket: Socket) {
    if set(socket, true) {
        CORKED.with_borrow_mut(|all| all.push(socket));
    }
}

/// Runs a connection's future, and lets go of what it has held back each time that it
/// waits, and when it ends.
pub(crate) async fn letting_go<F: Future>(connection: F) -> F::Output {
    let mut connection = std::pin::pin!(connection);
    poll_fn(|cx| {
        let done = connection.as_mut().poll(cx);
        CORKED.with_borrow_mut(|all| {
            for socket in all.drain(..) {
                set(socket, false);
            }
        });
        done
    })
    .await
}

/// Whether it was done. A number whose connection has been closed meanwhile is refused,
/// or is another connection's: if that one is held back too, its head leaves alone.
#[cfg(target_os = "linux")]
fn set(socket: Socket, corked: bool) -> bool {
    let on = libc::c_int::from(corked);
    let size = size_of::<libc::c_int>().try_into().unwrap_or_default();
    #[expect(unsafe_code, reason = "a system call that reads one number, which outlives it")]
    let done =
        unsafe { libc::setsockopt(socket, libc::IPPROTO_TCP, libc::TCP_CORK, (&raw const on).cast(), size) };
    done == 0
}

#[cfg(not(target_os = "linux"))]
fn set(_: Socket, _: bool) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[tokio::test]
    async fn what_is_held_back_leaves_in_one_piece_when_the_future_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        ours.set_nodelay(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut seen = [0; 64];
        letting_go(async {
            hold(ours.as_raw_fd());
            ours.write_all(b"head").unwrap();
            let early = theirs.read(&mut seen).map_err(|e| e.kind());
            assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
            ours.write_all(b"body").unwrap();
            tokio::task::yield_now().await;
            theirs.set_nonblocking(false).unwrap();
            let n = theirs.read(&mut seen).unwrap();
            assert_eq!(seen.get(..n), Some(&b"headbody"[..]));
        })
        .await;
    }

    #[test]
    fn a_number_that_is_no_connection_is_left_alone() {
        hold(-1);
        CORKED.with_borrow(|all| assert!(all.is_empty()));
    }
}
