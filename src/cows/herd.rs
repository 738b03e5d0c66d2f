//! The herd: the cows of a server and their pictures.
//!
//! A herd has *breeds*, each with a picture: `tux`, `sheep`. Each breed has equally many cows, numbered from 1, and each cow
//! has a name of its own, which `protocol::name` spells.

use super::art;
use super::bubble::Bubble;
use super::half::halve;
use super::plain::shade;
use crate::limits::HERD_COWS_MAX;

/// A cow of the herd. Ids are ordered as names are listed: by breed, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CowId {
    breed: Breed,
    number: u32,
}

impl CowId {
    /// Its breed.
    pub fn breed(self) -> Breed {
        self.breed
    }

    /// Its number within its breed, from 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// Its place among all cows of a herd with `size` of each breed, from 0.
    pub(crate) fn place(self, size: u32) -> usize {
        self.breed.index() * size as usize + self.number as usize - 1
    }
}

/// A breed of the herd: its place in the list sorted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Breed(u32);

impl Breed {
    /// Its place among the breeds, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The cow of this number, which the herd need not have.
    pub(crate) fn cow(self, number: u32) -> CowId {
        CowId { breed: self, number }
    }
}

/// A cow before it becomes a breed of a herd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cow {
    /// See [`is_name`].
    pub name: String,
    /// Its body, which stands below the bubble, in colour and without an LF at its end.
    pub colour: String,
    /// That body at half its width and height.
    pub half: String,
    /// Its body without colour.
    pub plain: String,
}

/// Why there is no such herd; each text says what to do instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum HerdError {
    #[error("two cows are named {0}: every name must be unique")]
    Twice(String),
    #[error("{0:?} cannot be a cow's name: 1 to 32 of A-Z a-z 0-9 . _ -")]
    BadName(String),
    #[error("a herd of {breeds} breeds of {size} cows is too large: ask for a smaller --herd, or fewer --cow-dir")]
    Size { breeds: usize, size: u32 },
    #[error("charasay's cow {0} is not a bubble and a body: this charasay is not the one cowchat was made for")]
    NoBody(&'static str),
}

/// The cows of this server: the same on all cores, and never changed.
#[derive(Debug)]
pub struct Herd {
    /// Sorted by name.
    breeds: Vec<Cow>,
    size: u32,
    bubble: Bubble,
}

impl Herd {
    /// A herd of `size` cows of each breed, which speak in this bubble.
    ///
    /// # Errors
    /// When a name is invalid or occurs twice, `size` is 0, or the herd is too large.
    pub fn new(mut breeds: Vec<Cow>, size: u32, bubble: Bubble) -> Result<Self, HerdError> {
        breeds.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(bad) = breeds.iter().find(|cow| !is_name(&cow.name)) {
            return Err(HerdError::BadName(bad.name.clone()));
        }
        if let Some(pair) = breeds.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(HerdError::Twice(pair[0].name.clone()));
        }
        if size == 0 || breeds.len().saturating_mul(size as usize) > HERD_COWS_MAX {
            return Err(HerdError::Size { breeds: breeds.len(), size });
        }
        Ok(Herd { breeds, size, bubble })
    }

    /// charasay's 24 cows, as they look below this bubble. Takes some 20 ms.
    ///
    /// # Errors
    /// When charasay's pictures are not what `art::builtin_body` expects.
    pub fn builtin(bubble: &Bubble) -> Result<Vec<Cow>, HerdError> {
        let cow = |name: &'static str| {
            let colour = art::builtin_body(name, bubble).ok_or(HerdError::NoBody(name))?;
            let (half, plain) = (halve(&colour), shade(&colour));
            Ok(Cow { name: name.to_owned(), colour, half, plain })
        };
        art::BUILTIN_NAMES.into_iter().map(cow).collect()
    }

    /// How many cows the herd has.
    pub fn len(&self) -> usize {
        self.breeds.len() * self.size as usize
    }

    /// Whether the herd has no cow.
    pub fn is_empty(&self) -> bool {
        self.breeds.is_empty()
    }

    /// How many cows each breed has.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// All breeds, sorted by name.
    pub fn breeds(&self) -> impl ExactSizeIterator<Item = Breed> + use<> {
        (0..self.breeds.len()).map(|place| Breed(place as u32))
    }

    /// The breed of this name, in this case.
    pub fn breed(&self, name: &str) -> Option<Breed> {
        let place = self.breeds.binary_search_by(|cow| cow.name.as_str().cmp(name)).ok()?;
        Some(Breed(place as u32))
    }

    /// The cow of this breed and number, if the herd has it.
    pub fn find(&self, breed: &str, number: u32) -> Option<CowId> {
        let breed = self.breed(breed)?;
        (1..=self.size).contains(&number).then_some(breed.cow(number))
    }

    /// The cow at this place among all, if there is one.
    pub fn at(&self, place: usize) -> Option<CowId> {
        let (breed, number) = (place / self.size as usize, place % self.size as usize);
        (breed < self.breeds.len()).then(|| Breed(breed as u32).cow(number as u32 + 1))
    }

    /// The name of a breed.
    pub fn name(&self, breed: Breed) -> &str {
        &self.breeds[breed.index()].name
    }

    /// The bubble of all cows.
    pub fn bubble(&self) -> &Bubble {
        &self.bubble
    }

    /// The body of this breed's cows in colour, without an LF at its end.
    pub fn colour(&self, breed: Breed) -> &str {
        &self.breeds[breed.index()].colour
    }

    /// That body at half its width and height.
    pub fn half(&self, breed: Breed) -> &str {
        &self.breeds[breed.index()].half
    }

    /// Their body without colour.
    pub fn plain(&self, breed: Breed) -> &str {
        &self.breeds[breed.index()].plain
    }
}

/// Whether a cow can have this name: 1 to 32 of `A-Z a-z 0-9 . _ -`, and no dot first. A user can type it, and it breaks no
/// reply line.
pub fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn herd(names: &[&str], size: u32) -> Result<Herd, HerdError> {
        let cow = |name: &&str| Cow {
            name: (*name).to_owned(),
            colour: "moo".to_owned(),
            half: "moo".to_owned(),
            plain: "moo".to_owned(),
        };
        Herd::new(names.iter().map(cow).collect(), size, Bubble::default())
    }

    #[test]
    fn every_breed_has_as_many_cows_as_the_herd_is_large() {
        let herd = herd(&["b", "a"], 3).expect("two breeds");
        assert_eq!(herd.len(), 6);
        let cow = |breed, number| herd.find(breed, number);
        assert!(cow("a", 3) < cow("b", 1) && cow("a", 1) < cow("a", 2));
        assert_eq!(cow("a", 2).map(|cow| (cow.breed().index(), cow.number())), Some((0, 2)));
        assert_eq!((cow("a", 0), cow("a", 4)), (None, None));
    }

    #[test]
    fn an_empty_or_too_large_herd_is_refused() {
        assert!(herd(&["a"], HERD_COWS_MAX as u32).is_ok());
        assert_eq!(
            herd(&["a", "b"], HERD_COWS_MAX as u32).err(),
            Some(HerdError::Size { breeds: 2, size: HERD_COWS_MAX as u32 })
        );
        assert!(herd(&["a"], 0).is_err());
    }

    #[test]
    fn an_invalid_or_repeated_name_is_refused() {
        assert!(matches!(herd(&["a", "b", "a"], 1), Err(HerdError::Twice(name)) if name == "a"));
        for bad in ["", "a b", "a,b", "tux#1", "é", &"x".repeat(33)] {
            assert!(matches!(herd(&[bad], 1), Err(HerdError::BadName(name)) if name == bad));
        }
        assert!(herd(&["A-Za.z0_9", &"x".repeat(32)], 1).is_ok());
    }
}
