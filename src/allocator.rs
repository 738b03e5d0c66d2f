//! The system's allocator; when an allocation fails, the process ends at once with exit code 1.
//!
//! It writes a line to stderr if stderr takes it without waiting. The standard library would wait for stderr, and print a
//! backtrace under a lock: if the failed allocation was part of a backtrace, its thread holds that lock, and the process
//! hangs. Code that handles the failure itself runs in [`may_fail`].

#![expect(unsafe_code, reason = "an allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

use crate::last_words;

thread_local! {
    /// Const and without Drop, so its first use allocates nothing.
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// Runs `act`, whose allocations may fail: they return null instead of ending the process, and `act` handles it.
pub fn may_fail<T>(act: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            MAY_FAIL.set(self.0);
        }
    }
    let _before = Before(MAY_FAIL.replace(true));
    act()
}

/// The system's allocator, but a failed allocation ends the process.
pub struct Allocator;

// SAFETY: every method passes its arguments to `System` and returns its result, or ends the process; that allocates
// nothing and does not unwind.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is that of `System`.
        checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Returns `memory`. Ends the process if it is null and the thread is not in [`may_fail`].
#[inline]
fn checked(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() && !MAY_FAIL.get() {
        end(bytes);
    }
    memory
}

/// Ends the process. Allocates nothing, takes no lock and does not wait.
#[cold]
fn end(bytes: usize) -> ! {
    let mut line = [0; 160];
    let mut rest = &mut line[..];
    // The text fits with the longest number: 101 and 20 bytes.
    let _ = writeln!(
        rest,
        "cowchat: out of memory: {bytes} bytes cannot be allocated (give the process more memory, or smaller limits)"
    );
    let left = rest.len();
    last_words::say_now(&line[..line.len() - left]);
    // SAFETY: the call ends the process and runs no exit handlers.
    unsafe { libc::_exit(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_that_may_fail_returns_null() {
        let layout = Layout::from_size_align(isize::MAX as usize - 4096, 1).expect("a valid layout");
        // SAFETY: the layout has a size, and the null pointers are not used.
        let refused = may_fail(|| unsafe { [Allocator.alloc(layout), Allocator.alloc_zeroed(layout)] });
        assert_eq!(refused, [std::ptr::null_mut(); 2]);
        assert!(!MAY_FAIL.get(), "a failure ends the process again");
    }
}
