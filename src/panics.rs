//! Panics: the place and the message of each go to the log.
//!
//! The standard library's hook writes to stderr on the thread that panics, so a stuck terminal would stall that core. A
//! formatted message may quote a user's text, as the panics of `str` do, so only a literal is logged.

use std::any::Any;

use crate::events::Event;
use crate::log::Log;

const NOT_SHOWN: &str = "its message is not shown, it may quote a user";

/// A panic's message if it is a literal; else a text that stands for it.
pub fn text(panic: &(dyn Any + Send)) -> &'static str {
    panic.downcast_ref::<&'static str>().copied().unwrap_or(NOT_SHOWN)
}

/// From now on each panic of any thread goes to `log`, which never waits. `RUST_BACKTRACE` has no effect.
pub fn log_to(log: Log) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = std::thread::current().name().unwrap_or("?").to_owned();
        log.emit(Event::Panicked { thread, place, message: text(panic.payload()) });
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_literal_message_is_logged() {
        let text_of = |act: fn(&str)| {
            let panic = std::panic::catch_unwind(|| act("haystack")).expect_err("it panics");
            text(&*panic)
        };
        assert_eq!(text_of(|_| panic!("a literal")), "a literal");
        for act in [|text: &str| panic!("{text}"), |text: &str| drop(text[..99].to_owned())] {
            assert_eq!(text_of(act), NOT_SHOWN);
        }
        assert_eq!(text(&7), NOT_SHOWN);
    }
}
