//! What the cluster's store has, by key: who is in the cluster, and whose each taken cow is.

use serde::{Deserialize, Serialize};

use crate::cows::{CowId, Herd};

/// A stretch of a node's life in the cluster: from one join to a leave, or to the loss of its lease. Never used again.
pub type Instance = u64;

/// The number of a change in the store; 0 is before all changes.
pub type Revision = u64;

/// Which store it is: when it was made, in nanoseconds. One that is made again counts its revisions from 1.
pub type StoreId = i128;

/// Where a record is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The node of this name.
    Node(String),
    /// A cow.
    Cow(CowId),
}

/// A node's lease: it holds while it is renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Who holds it.
    pub instance: Instance,
    /// The node's herd, which all nodes must have.
    pub herd: HerdPrint,
}

/// What tells herds apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HerdPrint {
    /// Over the names of the breeds.
    pub names: u64,
    /// Breeds.
    pub breeds: usize,
    /// Cows of each.
    pub size: u32,
}

impl HerdPrint {
    /// That of a herd: names hashed by FNV-1a, which no version of anything changes.
    pub fn of(herd: &Herd) -> Self {
        let names = herd.breeds().flat_map(|breed| herd.name(breed).bytes().chain([b'\n']));
        let names = names.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        HerdPrint { names, breeds: herd.breeds().len(), size: herd.size() }
    }
}

/// Whose a taken cow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CowRecord {
    /// The instance that has it.
    pub instance: Instance,
    /// The claim, as the directory of its node has it.
    pub owner: u64,
}

/// What a key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a node's key.
    Node(NodeRecord),
    /// Of a cow's key.
    Cow(CowRecord),
}

/// How the herds of two nodes differ.
pub(super) fn differs(me: &str, mine: &HerdPrint, other: &str, theirs: &HerdPrint) -> String {
    let herd = |print: &HerdPrint| format!("{} cows, {} of each", print.breeds * print.size as usize, print.size);
    if (mine.breeds, mine.size) == (theirs.breeds, theirs.size) {
        return format!("node {me} and node {other} have cows of other names (give both the same --cow-dir)");
    }
    format!(
        "node {me} has {}, but node {other} has {} (give both the same --herd and --cow-dir)",
        herd(mine),
        herd(theirs)
    )
}
