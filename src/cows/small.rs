//! The small cow: ASCII, without colours, drawn for this project.
//!
//! With its header and a bubble of one line a message takes nine lines, so a conversation fits on a screen of 24.

/// All that stands below the bubble, without an LF at its end.
pub const BODY: &str = r#"  \    ,n___n,
   \   ( o o )_______
       (  "  )  @  # \~*
        `-u-'|  ___  |
             |_|   |_|"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cows::bubble::Bubble;

    #[test]
    fn it_takes_nine_lines_and_few_bytes_with_header_and_bubble() {
        let message = format!("remilia-scarlet says:\n{}{BODY}\n", Bubble::default().draw("good morning, cows"));
        assert!(message.lines().count() <= 9, "{message}");
        assert!(message.len() <= 350, "{} bytes:\n{message}", message.len());
    }

    #[test]
    fn it_is_ascii_without_loose_ends() {
        assert!(BODY.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{BODY}");
        assert!(BODY.lines().all(|line| line == line.trim_end() && !line.is_empty()), "{BODY}");
        assert!(!BODY.ends_with('\n'));
    }

    #[test]
    fn its_pointer_begins_under_the_shortest_bubble() {
        let columns: Vec<_> = BODY.lines().take(2).map(|line| line.find('\\')).collect();
        assert_eq!(columns, [Some(2), Some(3)]);
        let width = Bubble::default().draw("m").lines().map(str::len).min();
        assert!(width > Some(3), "{width:?}");
    }
}
