//! Directories of cow files: reads the files for the `cows` room, which touches none.
//!
//! A file that cannot be a cow never stops the start: it is skipped, with a reason for the log. The result depends on names
//! and contents only: each directory is read in the order of its names, and of two cows with one name the first stays.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::boot::files::{self, FileError};
use crate::cows::art::BUILTIN_NAMES;
use crate::cows::bubble::Bubble;
use crate::cows::cow_file::{self, CowFileError, Kind, Picture};
use crate::cows::herd::{Cow, is_name};
use crate::limits::{COW_BODY_BYTES_MAX, COW_FILE_BYTES_MAX, COW_FILES_MAX};

/// A file that is no cow.
#[derive(Debug)]
pub(super) struct Skipped {
    pub(super) path: PathBuf,
    pub(super) reason: SkipReason,
}

#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// In the order of the files. No two share a name, and none has that of a built-in cow.
    pub(super) cows: Vec<Cow>,
    pub(super) skipped: Vec<Skipped>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SkipReason {
    #[error(
        "its name cannot be a cow's: rename it to 1 to 32 of A-Z a-z 0-9 . _ - before the extension, and no dot first"
    )]
    Name,
    #[error("the built-in {0} stays: rename the file to have both")]
    Builtin(String),
    #[error("{} is the cow of that name: rename one to have both", .0.display())]
    Twice(PathBuf),
    #[error("{} has that name but for its case: rename one to have both", .0.display())]
    Case(PathBuf),
    #[error("{COW_FILES_MAX} cows from files are the most: take others out")]
    TooMany,
    #[error("it {0}")]
    Unread(#[from] FileError),
    #[error("line {0}: it is not UTF-8 (iconv can turn Latin-1 into that)")]
    NotUtf8(usize),
    #[error(transparent)]
    File(#[from] CowFileError),
    #[error("its picture has {0} bytes, {COW_BODY_BYTES_MAX} are the most: draw it smaller or with fewer colours")]
    BodyTooLarge(usize),
}

/// A directory is not readable.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot read the directory of --cow-dir, {path}: {error} (give a directory of .cow and .chara files)",
    path = .path.display()
)]
pub struct CowDirError {
    path: PathBuf,
    error: io::Error,
}

/// The cows in the `.cow` and `.chara` files of these directories, not of directories within them, as they look below
/// `bubble`. Blocks while it reads.
pub(super) fn load(directories: &[PathBuf], bubble: &Bubble) -> Result<Loaded, CowDirError> {
    let mut loaded = Loaded::default();
    let mut origins = BTreeMap::new();
    for directory in directories {
        let paths = paths(directory).map_err(|error| CowDirError { path: directory.clone(), error })?;
        for path in paths {
            let kind = path.extension().and_then(OsStr::to_str).and_then(Kind::of_extension);
            let Some(kind) = kind else { continue };
            match cow(&path, kind, bubble, &origins) {
                Ok(cow) => {
                    origins.insert(cow.name.to_ascii_lowercase(), path);
                    loaded.cows.push(cow);
                }
                Err(reason) => loaded.skipped.push(Skipped { path, reason }),
            }
        }
    }
    Ok(loaded)
}

/// What is in a directory, in the order of the names.
fn paths(directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

/// The cow of one file. `origins` are the files of the cows so far, by their names in lower case.
fn cow(path: &Path, kind: Kind, bubble: &Bubble, origins: &BTreeMap<String, PathBuf>) -> Result<Cow, SkipReason> {
    let name = path.file_stem().and_then(OsStr::to_str).filter(|name| is_name(name)).ok_or(SkipReason::Name)?;
    if let Some(builtin) = BUILTIN_NAMES.into_iter().find(|builtin| builtin.eq_ignore_ascii_case(name)) {
        return Err(SkipReason::Builtin(builtin.to_owned()));
    }
    if let Some(other) = origins.get(&name.to_ascii_lowercase()) {
        let is_same = other.file_stem() == path.file_stem();
        return Err(if is_same { SkipReason::Twice(other.clone()) } else { SkipReason::Case(other.clone()) });
    }
    if origins.len() == COW_FILES_MAX {
        return Err(SkipReason::TooMany);
    }
    let Picture { colour, half, plain } = cow_file::parse(&read(path)?, kind, bubble.thoughts())?;
    // A client that ends its lines in CR LF receives a CR before each LF. Half a picture whose colours are all mixed takes more
    // bytes than the whole one.
    let bytes_of = |body: &str| body.len() + memchr::memchr_iter(b'\n', body.as_bytes()).count();
    let bytes = bytes_of(&colour).max(bytes_of(&half));
    if bytes > COW_BODY_BYTES_MAX {
        return Err(SkipReason::BodyTooLarge(bytes));
    }
    Ok(Cow { name: name.to_owned(), colour, half, plain })
}

fn read(path: &Path) -> Result<String, SkipReason> {
    String::from_utf8(files::read(path, COW_FILE_BYTES_MAX)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        SkipReason::NotUtf8(1 + memchr::memchr_iter(b'\n', valid).count())
    })
}
