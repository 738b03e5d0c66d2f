//! The set of cow names and their pictures.

use super::{art, bubble};

/// A name of the herd: its place in the sorted list, so ids compare as names do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CowId(u32);

impl CowId {
    /// Place in the herd's order, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A cow as it is brought into a herd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cow {
    /// What users call it: ASCII, no blanks.
    pub name: String,
    /// What stands below its bubble, without an LF at the end.
    pub body: String,
}

/// Why a herd could not be put together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HerdError {
    /// Two cows share a name.
    #[error("two cows are named {0}: every name must be unique")]
    Twice(String),
    /// A name that could not be typed, or would break a reply line.
    #[error("{0:?} can not be a cow's name: 1 to 32 of A-Z a-z 0-9 . _ -")]
    BadName(String),
    /// charasay draws a built-in cow in a way that this project does not know.
    #[error("charasay's cow {0} is not a bubble and a body: this charasay is not the one cowchat was made for")]
    NoBody(&'static str),
}

/// The cows of this server, sorted by name; the same for all cores and never changed.
#[derive(Debug)]
pub struct Herd {
    cows: Vec<Cow>,
}

impl Herd {
    /// A herd of these cows.
    ///
    /// # Errors
    /// When a name is not one, or stands twice.
    pub fn new(mut cows: Vec<Cow>) -> Result<Self, HerdError> {
        cows.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(bad) = cows.iter().find(|cow| !is_name(&cow.name)) {
            return Err(HerdError::BadName(bad.name.clone()));
        }
        if let Some(pair) = cows.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(HerdError::Twice(pair[0].name.clone()));
        }
        Ok(Herd { cows })
    }

    /// charasay's 24 cows. Takes some 20 ms.
    ///
    /// # Errors
    /// When charasay's pictures are not what [`art::builtin_body`] expects.
    pub fn builtin() -> Result<Self, HerdError> {
        let cow = |name: &'static str| {
            let body = art::builtin_body(name).ok_or(HerdError::NoBody(name))?;
            Ok(Cow { name: name.to_owned(), body })
        };
        Self::new(art::BUILTIN_NAMES.into_iter().map(cow).collect::<Result<_, _>>()?)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.cows.len()
    }

    /// Whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.cows.is_empty()
    }

    /// The cow of this name, letter for letter.
    pub fn find(&self, name: &str) -> Option<CowId> {
        let at = self.cows.binary_search_by(|cow| cow.name.as_str().cmp(name)).ok()?;
        u32::try_from(at).ok().map(CowId)
    }

    /// All cows in the order of their names.
    pub fn ids(&self) -> impl Iterator<Item = CowId> + use<> {
        (0..u32::try_from(self.cows.len()).unwrap_or(u32::MAX)).map(CowId)
    }

    /// The name of `cow`.
    pub fn name(&self, cow: CowId) -> &str {
        &self.cows[cow.index()].name
    }

    /// `text` said by `cow`: bubble, body and one LF.
    pub fn draw(&self, cow: CowId, text: &str) -> String {
        let mut picture = bubble::draw(text);
        picture.push_str(&self.cows[cow.index()].body);
        picture.push('\n');
        picture
    }
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn herd(names: &[&str]) -> Result<Herd, HerdError> {
        Herd::new(names.iter().map(|name| Cow { name: (*name).to_owned(), body: "moo".to_owned() }).collect())
    }

    #[test]
    fn the_builtin_herd_has_charasays_cows_sorted() {
        let herd = Herd::builtin().expect("charasay's cows");
        let names: Vec<&str> = herd.ids().map(|cow| herd.name(cow)).collect();
        assert_eq!(names.len(), 24);
        assert!(names.is_sorted());
        assert_eq!(herd.find("tux").map(|cow| herd.name(cow)), Some("tux"));
        assert_eq!(herd.find("Tux"), None);
        assert_eq!(herd.find(""), None);
    }

    #[test]
    fn a_message_is_a_bubble_a_body_and_one_lf() {
        let herd = herd(&["tux"]).expect("one cow");
        let tux = herd.find("tux").expect("tux");
        assert_eq!(herd.draw(tux, "hi"), format!("{}moo\n", bubble::draw("hi")));
    }

    #[test]
    fn a_name_that_could_not_be_typed_or_stands_twice_is_refused() {
        assert!(matches!(herd(&["a", "b", "a"]), Err(HerdError::Twice(name)) if name == "a"));
        for bad in ["", "a b", "a,b", "tux#1", "é", &"x".repeat(33)] {
            assert!(matches!(herd(&[bad]), Err(HerdError::BadName(name)) if name == bad));
        }
        assert!(herd(&["A-Za.z0_9", &"x".repeat(32)]).is_ok());
    }
}
