//! What the client shows: one item is one thing that happened, not drawn yet.

use std::rc::Rc;

use super::picture::Picture;

/// One thing to show above the typed line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    /// A line of the client's own.
    Status(String),
    /// A line of the client's own that asks the user to do something else.
    Problem(String),
    /// A reply to what the user typed.
    Reply(String),
    /// A refusal, without `error: `.
    Refusal(String),
    /// A user has joined or left, or another notice of the server.
    Notice(String),
    /// A line that the user typed, and what stood before it.
    Typed {
        /// The prompt.
        prompt: String,
        /// The line.
        text: String,
    },
    /// A message.
    Message {
        /// Its sender.
        sender: String,
        /// Whether it is for this user only.
        private: bool,
        /// What was said.
        text: String,
        /// The sender's picture, if the server has one.
        picture: Option<Rc<Picture>>,
    },
    /// A message from before: it has no picture.
    Past {
        /// Its sender.
        sender: String,
        /// What was said.
        text: String,
    },
    /// A cow alone, as `show` asks for it.
    Cow {
        /// Its name.
        name: String,
        /// Its picture.
        picture: Rc<Picture>,
    },
    /// A line that the client shows as it came: of a greeting, a picture, or a server without ids. May have colours.
    Raw(String),
}

impl Item {
    /// The item as one line of a transcript, without colours and pictures.
    pub(super) fn transcript(&self) -> String {
        match self {
            Item::Status(text) | Item::Problem(text) => format!("- {text}"),
            Item::Reply(text) | Item::Notice(text) => text.clone(),
            Item::Refusal(text) => format!("error: {text}"),
            Item::Typed { text, .. } => format!("> {text}"),
            Item::Message { sender, private, text, .. } => {
                format!("{} {text}", says(sender, *private))
            }
            Item::Past { sender, text } => format!("{} {text}", said(sender)),
            Item::Cow { name, .. } => format!("({name})"),
            Item::Raw(text) => super::picture::without_colours(text),
        }
    }
}

/// What stands before a message.
pub(super) fn says(sender: &str, private: bool) -> String {
    format!("{sender} says{}:", if private { " to you" } else { "" })
}

/// What stands before a message from before.
pub(super) fn said(sender: &str) -> String {
    format!("{sender} said:")
}
