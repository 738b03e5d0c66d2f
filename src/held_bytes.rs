//! Bytes of messages, replies and input, counted on each thread when a block is made and when it is dropped.
//!
//! One core may make a message and another drop it, so a thread's balance may be negative; the sum over all threads is what
//! the process holds. Nothing here is shared: each core publishes its balance ([`crate::policy::memory_budget`]).

use std::cell::Cell;

thread_local! {
    static BALANCE: Cell<i64> = const { Cell::new(0) };
}

/// A number of bytes that counts in the balance while this lives.
#[derive(Debug, Default)]
pub struct HeldBytes(u32);

impl HeldBytes {
    /// Counts `bytes`, 4 GiB at most.
    pub fn new(bytes: usize) -> Self {
        let mut held = HeldBytes(0);
        held.set(bytes);
        held
    }

    /// How many.
    pub fn bytes(&self) -> usize {
        self.0 as usize
    }

    /// Counts `bytes` instead.
    pub fn set(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        count(i64::from(bytes) - i64::from(self.0));
        self.0 = bytes;
    }
}

impl Clone for HeldBytes {
    fn clone(&self) -> Self {
        HeldBytes::new(self.0 as usize)
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Adds to the balance, for a block that knows its own size.
pub fn count(bytes: i64) {
    BALANCE.set(BALANCE.get() + bytes);
}

/// Bytes made on this thread, minus bytes dropped on it.
pub fn balance() -> i64 {
    BALANCE.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_made_here_and_dropped_elsewhere_sums_to_zero() {
        let before = balance();
        let mut held = HeldBytes::new(100);
        held.set(150);
        let copy = held.clone();
        assert_eq!(balance() - before, 300);
        drop(copy);
        assert_eq!(balance() - before, 150);
        let elsewhere = std::thread::spawn(move || {
            drop(held);
            balance()
        });
        assert_eq!(elsewhere.join().expect("no panic"), -150);
        assert_eq!(balance() - before, 150);
    }
}
