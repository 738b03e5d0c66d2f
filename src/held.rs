//! What this thread holds of messages, replies and input, in bytes: counted when it is made and when it is dropped.
//!
//! A message may be made on one core and dropped on another, so one thread's balance may be negative; the sum over all
//! threads is what there is. Nothing here is shared: a core tells its balance to the others now and then.

use std::cell::Cell;

thread_local! {
    static BALANCE: Cell<i64> = const { Cell::new(0) };
}

/// A number of bytes, counted for as long as this lives.
#[derive(Debug, Default)]
pub struct HeldBytes(u32);

impl HeldBytes {
    /// Counts `bytes`, and no more than 4 GiB of them.
    pub fn new(bytes: usize) -> Self {
        let mut held = HeldBytes(0);
        held.set(bytes);
        held
    }

    /// How many they are.
    pub fn bytes(&self) -> usize {
        self.0 as usize
    }

    /// Changes the number.
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

/// Adds to the balance. For what knows its own size, and counts it when it is made and when it is dropped.
pub fn count(bytes: i64) {
    BALANCE.set(BALANCE.get() + bytes);
}

/// Bytes made on this thread, less those dropped on it.
pub fn balance() -> i64 {
    BALANCE.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_here_and_dropped_elsewhere_is_nothing_in_all() {
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
