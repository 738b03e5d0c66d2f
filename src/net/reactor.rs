//! The one thing that tasks need to know about glommio's reactor.

use std::time::Duration;

use glommio::timer::Timer;

/// Lets the reactor poll before the caller goes on.
///
/// glommio's `yield_now` does not: a task queue that stays runnable keeps the reactor waiting for 100 ms.
/// A timer is registered with the reactor, however short it is.
pub(super) async fn breathe() {
    Timer::new(Duration::from_micros(1)).await;
}
