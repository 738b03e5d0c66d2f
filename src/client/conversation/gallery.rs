//! The pictures that the client has fetched, and the items that wait for one, or behind one that does.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::client::item::Item;
use crate::client::picture::Picture;

/// How long a message waits for its sender's picture. If the server throttles, the answer comes later, and the message is
/// drawn with the small cow.
pub(super) const PICTURE_WAIT_MAX: Duration = Duration::from_secs(1);

/// Pictures to keep. A server has a few dozen breeds.
const PICTURES_MAX: usize = 1000;

/// Pictures on their way at once: as many lines as a server takes without a pause.
const ASKED_MAX: usize = 8;

/// Items that wait for pictures, at most.
const HELD_MAX: usize = 1000;

/// What is known of a breed's picture.
#[derive(Debug)]
enum Known {
    Asked,
    /// It is on its way for so long that no message waits for it.
    Late,
    Picture(Rc<Picture>),
    /// The server has none.
    Nothing,
}

impl Known {
    fn is_on_its_way(&self) -> bool {
        matches!(self, Known::Asked | Known::Late)
    }
}

/// Pictures by breed, and items in their order.
#[derive(Debug, Default)]
pub(super) struct Gallery {
    pictures: HashMap<String, Known>,
    /// Items that wait for a picture, or behind one that does, and since when.
    held: VecDeque<Item>,
    held_since: Duration,
    /// Items that may be shown.
    ready: Vec<Item>,
}

impl Gallery {
    /// The items to show since the last call.
    pub(super) fn take_ready(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.ready)
    }

    /// Shows `item` after all that is held.
    pub(super) fn show(&mut self, item: Item) {
        self.held.push_back(item);
        self.release_ready();
    }

    /// Shows a message with its sender's picture, as soon as that has come, and after all that is held. Returns whether
    /// the caller must ask for the picture.
    pub(super) fn show_message(&mut self, sender: String, private: bool, text: String, now: Duration) -> bool {
        let breed = breed_of(&sender);
        let (picture, must_ask) = match self.pictures.get(breed) {
            Some(Known::Picture(picture)) => (Some(Rc::clone(picture)), false),
            Some(_) => (None, false),
            None => (None, self.pictures.values().filter(|known| known.is_on_its_way()).count() < ASKED_MAX),
        };
        if must_ask {
            if self.pictures.len() >= PICTURES_MAX {
                self.pictures.retain(|_, known| known.is_on_its_way());
            }
            self.pictures.insert(breed.to_owned(), Known::Asked);
        }
        if self.held.is_empty() {
            self.held_since = now;
        }
        self.show(Item::Message { sender, private, text, picture });
        must_ask
    }

    /// The picture of `breed` has come, or there is none.
    pub(super) fn learn(&mut self, breed: &str, picture: Option<Rc<Picture>>) {
        for item in &mut self.held {
            if let Item::Message { sender, picture: missing, .. } = item
                && breed_of(sender) == breed
            {
                missing.clone_from(&picture);
            }
        }
        self.pictures.insert(breed.to_owned(), picture.map_or(Known::Nothing, Known::Picture));
        self.release_ready();
    }

    /// Nothing answers for `breed` any more: it is asked for with its next message.
    pub(super) fn forget(&mut self, breed: &str) {
        self.pictures.remove(breed);
        self.release_ready();
    }

    /// Nothing is on its way any more.
    pub(super) fn forget_asked(&mut self) {
        self.pictures.retain(|_, known| !known.is_on_its_way());
        self.release_ready();
    }

    /// Until when items are held.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (!self.held.is_empty()).then(|| self.held_since + PICTURE_WAIT_MAX)
    }

    /// Shows what has waited long enough, without the pictures that have not come.
    pub(super) fn on_time(&mut self, now: Duration) {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            for known in self.pictures.values_mut().filter(|known| matches!(known, Known::Asked)) {
                *known = Known::Late;
            }
            self.release_ready();
        }
    }

    fn release_ready(&mut self) {
        let is_awaited = |item: &Item| match item {
            Item::Message { sender, .. } => matches!(self.pictures.get(breed_of(sender)), Some(Known::Asked)),
            _ => false,
        };
        let ready = if self.held.len() > HELD_MAX {
            self.held.len()
        } else {
            self.held.iter().take_while(|item| !is_awaited(item)).count()
        };
        self.ready.extend(self.held.drain(..ready));
    }
}

/// The breed of a cow's name.
pub(super) fn breed_of(name: &str) -> &str {
    name.split_once('#').map_or(name, |(breed, _)| breed)
}
