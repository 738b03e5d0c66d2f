//! Small files that flags name: read as a whole, without waiting.
//!
//! Opening a pipe or a device may wait for ever, and so may reading a file in /proc, which says that it is regular and
//! empty. Both are refused before they are opened.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{PROC_SUPER_MAGIC, statfs};

/// Why a file is not read; the text continues a sentence after its path.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is no regular file: give one, or a link to one")]
    NotRegular,
    /// A file whose text the kernel makes when it is read.
    #[error("is a file of /proc: give one that is stored somewhere")]
    OfProc,
    #[error("is larger than {0} bytes: make it smaller")]
    TooLarge(usize),
}

/// The bytes of a regular file or of a link to one, `bytes_max` at most. Blocks as long as a disk does.
pub(super) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, FileError> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    if statfs(path).map_err(io::Error::from)?.f_type == PROC_SUPER_MAGIC {
        return Err(FileError::OfProc);
    }
    let mut bytes = Vec::new();
    // Other files of the kernel that may wait, such as trace_pipe, have length 0, too.
    if metadata.len() > 0 {
        File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() > bytes_max { Err(FileError::TooLarge(bytes_max)) } else { Ok(bytes) }
}
