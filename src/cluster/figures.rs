//! What a node has counted, for the operator.

/// Counts since the start, and what is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether it can speak to the others now.
    pub is_in_reach: bool,
    /// Nodes of the cluster that are known, without this one.
    pub others: u64,
    /// Messages sent to other nodes.
    pub sent: u64,
    /// Messages of other nodes, for users here.
    pub received: u64,
    /// Messages of other nodes that have not come, by their numbers.
    pub missed: u64,
    /// Messages dropped, here or of other nodes: the receiver had gone, the lease of the sender was over, or they came twice.
    pub dropped: u64,
    /// Times that it lost the cluster.
    pub lost: u64,
}
