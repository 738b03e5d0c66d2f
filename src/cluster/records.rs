//! What the cluster's store has, by key: who is in the cluster, and whose each taken cow is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cows::{CowId, Herd};
use crate::limits::CLUSTER_TTL;

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

/// Of records and messages: nodes with different ones are not in one cluster.
pub const VERSION: u32 = 1;

/// A node's lease: it holds while it is renewed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeRecord {
    /// Of the node, which all nodes must have.
    pub version: u32,
    /// Who holds it.
    pub instance: Instance,
    /// How long it holds after a renewal, in milliseconds.
    pub ttl: u64,
    /// The node's herd, which all nodes must have.
    pub herd: HerdPrint,
    /// It has given the lease back. What it has said before still counts, unlike that of a lease which has run out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_left: bool,
}

impl NodeRecord {
    /// What the text says of the node `name`. If it cannot be read, the record fits no node, and has an instance of its own.
    pub fn read(name: &str, text: &[u8]) -> Self {
        let mut record: NodeRecord = serde_json::from_slice(text).unwrap_or_default();
        if record.instance == 0 {
            record.instance = fnv(name.bytes());
        }
        if record.ttl == 0 {
            record.ttl = CLUSTER_TTL.as_millis() as u64;
        }
        record
    }

    /// Whether its node and one with `herd` may be in one cluster.
    pub(super) fn fits(&self, herd: &HerdPrint) -> bool {
        self.version == VERSION && self.herd == *herd
    }

    /// How long the lease holds.
    pub(super) fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl)
    }
}

/// Whether a node may have this name.
pub fn is_node_name(text: &str) -> bool {
    let is_allowed = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b'-');
    (1..=32).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// What tells herds apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HerdPrint {
    /// Over the names of the breeds.
    pub names: u64,
    /// Breeds.
    pub breeds: usize,
    /// Cows of each.
    pub size: u32,
}

impl HerdPrint {
    /// That of a herd.
    pub fn of(herd: &Herd) -> Self {
        let names = herd.breeds().flat_map(|breed| herd.name(breed).bytes().chain([b'\n']));
        HerdPrint { names: fnv(names), breeds: herd.breeds().len(), size: herd.size() }
    }
}

/// A hash that no version of anything changes: FNV-1a.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Whose a taken cow is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CowRecord {
    /// The name of its node.
    pub node: String,
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

impl Value {
    /// The record of a node's key.
    pub fn into_node(self) -> Option<NodeRecord> {
        if let Value::Node(record) = self { Some(record) } else { None }
    }

    /// The record of a cow's key.
    pub fn into_cow(self) -> Option<CowRecord> {
        if let Value::Cow(record) = self { Some(record) } else { None }
    }
}

impl CowRecord {
    /// What the text says. If it cannot be read, it is no node's: none of another version is in the cluster.
    pub fn read(text: &[u8]) -> Self {
        let record: CowRecord = serde_json::from_slice(text).unwrap_or_default();
        if is_node_name(&record.node) { record } else { CowRecord::default() }
    }
}

/// Why two nodes may not be in one cluster.
pub(super) fn differs(me: &str, mine: &HerdPrint, other: &str, record: &NodeRecord) -> String {
    let theirs = &record.herd;
    if record.version != VERSION {
        return format!(
            "node {me} writes records of version {VERSION}, but node {other} of version {} (run the same cowchat on both)",
            record.version
        );
    }
    let herd = |print: &HerdPrint| {
        format!("{} cows, {} of each", print.breeds.saturating_mul(print.size as usize), print.size)
    };
    if (mine.breeds, mine.size) == (theirs.breeds, theirs.size) {
        return format!("node {me} and node {other} have cows of other names (give both the same --cow-dir)");
    }
    format!(
        "node {me} has {}, but node {other} has {} (give both the same --herd and --cow-dir)",
        herd(mine),
        herd(theirs)
    )
}
