//! The cows: their names and pictures, and how a message is drawn.
//!
//! The only room that knows charasay. It is pure: the herd is built once at the start and shared by all cores, and drawing a
//! message is a function of cow and text.

pub mod art;
pub mod bubble;
pub mod cow_file;
pub mod half;
pub mod herd;
pub mod plain;
pub mod sgr;
pub mod small;
pub mod wrap;

pub use herd::{Breed, CowId, Herd};
