//! Which cows are far behind: one word for each, shared by all cores.
//!
//! The core of a cow's holder sets the word when much waits there, and a sender on any core reads it before a `say`. Messages
//! on their way from other cores count too: a sender may be faster than the holder's core. The word is a hint: a core may
//! read it a moment late, and a wrong one costs a short wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::allocator::may_fail;
use crate::cows::CowId;
use crate::directory::NoMemory;
use crate::limits::SAYS_IN_FLIGHT_MAX;

/// The bits of a word: much waits; a sender has waited in vain; how often the holder has caught up; how many messages are on
/// their way from other cores.
const IS_LONG: u32 = 1 << 31;
const WAITED: u32 = 1 << 30;
const CATCH_UP: u32 = 1 << 16;
const CATCH_UPS: u32 = WAITED - CATCH_UP;
const IN_FLIGHT: u32 = CATCH_UP - 1;

/// Whether a `say` should wait.
fn is_long(word: u32) -> bool {
    word & WAITED == 0 && (word & IS_LONG != 0 || word & IN_FLIGHT >= SAYS_IN_FLIGHT_MAX)
}

/// The words of all cows.
#[derive(Debug)]
pub struct Backlogs {
    words: Box<[AtomicU32]>,
    /// Cows of each breed.
    size: u32,
}

impl Backlogs {
    /// No cow of `breeds` of `size` is behind.
    pub fn new(breeds: usize, size: u32) -> Result<Arc<Self>, NoMemory> {
        let cows = breeds * size as usize;
        // Zeros take no memory until they are written, however large the herd is.
        let words = may_fail(|| bytemuck::try_zeroed_slice_box(cows));
        Ok(Arc::new(Backlogs { words: words.map_err(|()| NoMemory { cows })?, size }))
    }

    /// Whether a `say` to `cow` should wait.
    pub fn is_long(&self, cow: CowId) -> bool {
        is_long(self.word(cow).load(Ordering::Relaxed))
    }

    /// How often the holder of `cow` has caught up, in a number that wraps around.
    pub fn catch_ups(&self, cow: CowId) -> u32 {
        self.word(cow).load(Ordering::Relaxed) & CATCH_UPS
    }

    /// A message has waited as long as it may. If the holder of `cow` has not caught up since `catch_ups` was read, the wait
    /// was in vain, and no other message waits until it has.
    pub fn mark_waited(&self, cow: CowId, catch_ups: u32) {
        let waited = |word| (is_long(word) && word & CATCH_UPS == catch_ups).then_some(word | WAITED);
        let _ = self.word(cow).fetch_update(Ordering::Relaxed, Ordering::Relaxed, waited);
    }

    /// Much waits for the holder of `cow`, or does not any more. Only the holder's core calls this.
    pub fn set(&self, cow: CowId, is_long: bool) {
        if is_long {
            self.word(cow).fetch_or(IS_LONG, Ordering::Relaxed);
        } else {
            let caught_up = |word: u32| {
                let catch_ups = word.wrapping_add(CATCH_UP) & CATCH_UPS;
                Some(word & IN_FLIGHT | catch_ups)
            };
            let _ = self.word(cow).fetch_update(Ordering::Relaxed, Ordering::Relaxed, caught_up);
        }
    }

    fn word(&self, cow: CowId) -> &AtomicU32 {
        &self.words[cow.place(self.size)]
    }
}

/// Counts a message to one cow on its way to another core, until this is dropped.
#[derive(Debug)]
pub struct InFlight {
    backlogs: Arc<Backlogs>,
    cow: CowId,
}

impl InFlight {
    /// One message more is on its way to `cow`.
    pub fn new(backlogs: &Arc<Backlogs>, cow: CowId) -> Self {
        backlogs.word(cow).fetch_add(1, Ordering::Relaxed);
        InFlight { backlogs: Arc::clone(backlogs), cow }
    }
}

impl Clone for InFlight {
    fn clone(&self) -> Self {
        InFlight::new(&self.backlogs, self.cow)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let word = self.backlogs.word(self.cow);
        let before = word.fetch_sub(1, Ordering::Relaxed);
        if before & (IS_LONG | WAITED | IN_FLIGHT) == WAITED | 1 {
            word.fetch_and(!WAITED, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::herd_of;

    fn of_one_cow() -> (Arc<Backlogs>, CowId) {
        (Backlogs::new(1, 1).expect("memory"), herd_of(&["a"], 1).find("a", 1).expect("a cow"))
    }

    #[test]
    fn what_is_on_its_way_counts_until_it_arrives() {
        let (backlogs, cow) = of_one_cow();
        let mut flights: Vec<InFlight> = (1..SAYS_IN_FLIGHT_MAX).map(|_| InFlight::new(&backlogs, cow)).collect();
        assert!(!backlogs.is_long(cow));
        flights.push(flights[0].clone());
        assert!(backlogs.is_long(cow));
        backlogs.set(cow, true);
        drop(flights);
        assert!(backlogs.is_long(cow), "much waits for it where it is");
        backlogs.set(cow, false);
        assert!(!backlogs.is_long(cow));
    }

    #[test]
    fn no_second_say_waits_until_the_cow_has_caught_up() {
        let (backlogs, cow) = of_one_cow();
        backlogs.set(cow, true);
        let before = backlogs.catch_ups(cow);
        backlogs.set(cow, false);
        backlogs.set(cow, true);
        backlogs.mark_waited(cow, before);
        assert!(backlogs.is_long(cow), "it has caught up meanwhile");
        backlogs.mark_waited(cow, backlogs.catch_ups(cow));
        assert!(!backlogs.is_long(cow));
        backlogs.set(cow, false);
        backlogs.set(cow, true);
        assert!(backlogs.is_long(cow));
        backlogs.set(cow, false);
        let fly = || (0..SAYS_IN_FLIGHT_MAX).map(|_| InFlight::new(&backlogs, cow)).collect::<Vec<_>>();
        let flights = fly();
        backlogs.mark_waited(cow, backlogs.catch_ups(cow));
        assert!(!backlogs.is_long(cow));
        drop(flights);
        let _flights = fly();
        assert!(backlogs.is_long(cow), "the others have arrived meanwhile");
    }
}
