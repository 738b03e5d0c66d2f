//! The cows of this node in the store: what it wants to have there, what is there, and the one step under way for each.

use std::collections::BTreeMap;
use std::time::Duration;

use super::records::{CowRecord, Instance, Revision};
use crate::cows::CowId;
use crate::directory::Owner;
use crate::limits::CLUSTER_RETRY;
use crate::shard::Entered;

/// What the store has of a cow, as far as is known here.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) revision: Revision,
    pub(super) record: Option<CowRecord>,
}

/// A cow that this node wants, has, or gives back.
#[derive(Debug, Default)]
struct Slot {
    wanted: Option<Wanted>,
    /// The store is asked to do something.
    is_busy: bool,
    /// The record's revision when the store was last asked to change it.
    tried: Revision,
    /// When the store may be asked again, after a try that has failed; at once if there is news of the record.
    retry_at: Option<Duration>,
}

#[derive(Debug)]
struct Wanted {
    owner: Owner,
    /// Its login has been told that the cow is its own.
    is_entered: bool,
}

impl Wanted {
    /// Whether the store has this claim of the instance `me`.
    fn is_in(&self, known: &Known, me: Instance) -> bool {
        known.record.as_ref().is_some_and(|record| record.instance == me && record.owner == self.owner.word())
    }
}

impl Slot {
    /// What there is to do, if the store may be asked.
    fn next(&mut self, known: &Known, me: Instance, is_taken: bool) -> Step {
        let Some(wanted) = &mut self.wanted else {
            let is_mine = known.record.as_ref().is_some_and(|record| record.instance == me);
            return if is_mine { Step::Delete } else { Step::None };
        };
        let owner = wanted.owner;
        if wanted.is_in(known, me) {
            let is_told = std::mem::replace(&mut wanted.is_entered, true);
            return if is_told { Step::None } else { Step::Answer(owner, Entered::Yes) };
        }
        if wanted.is_entered {
            return Step::Lost;
        }
        if is_taken {
            self.wanted = None;
            return Step::Answer(owner, Entered::Taken);
        }
        Step::Write(owner)
    }
}

/// What to do next about a cow.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, for now.
    None,
    /// Enter this claim in the store.
    Write(Owner),
    /// Take the record out of the store.
    Delete,
    /// Tell the login with this claim.
    Answer(Owner, Entered),
    /// A session has a cow that is another node's.
    Lost,
}

/// The cows that this node wants, has, or gives back.
#[derive(Debug, Default)]
pub(super) struct OwnCows {
    slots: BTreeMap<CowId, Slot>,
}

impl OwnCows {
    pub(super) fn enter(&mut self, cow: CowId, owner: Owner) {
        self.slots.entry(cow).or_default().wanted = Some(Wanted { owner, is_entered: false });
    }

    /// Whether a session holds `cow` by this claim.
    pub(super) fn holds(&self, cow: CowId, owner: Owner) -> bool {
        self.wanted(cow).is_some_and(|wanted| wanted.is_entered && wanted.owner == owner)
    }

    /// Whether a login waits for `cow`.
    pub(super) fn awaits(&self, cow: CowId) -> bool {
        self.wanted(cow).is_some_and(|wanted| !wanted.is_entered)
    }

    /// Whether a session has `cow`, and the store has not its claim.
    pub(super) fn is_lost(&self, cow: CowId, known: &Known, me: Instance) -> bool {
        self.wanted(cow).is_some_and(|wanted| wanted.is_entered && !wanted.is_in(known, me))
    }

    fn wanted(&self, cow: CowId) -> Option<&Wanted> {
        self.slots.get(&cow)?.wanted.as_ref()
    }

    pub(super) fn release(&mut self, cow: CowId, owner: Owner) {
        if let Some(slot) = self.slots.get_mut(&cow) {
            slot.wanted.take_if(|wanted| wanted.owner == owner);
        }
    }

    /// The store has a record of this node, which is taken back if no login or session wants it.
    pub(super) fn adopt(&mut self, cow: CowId) {
        self.slots.entry(cow).or_default();
    }

    /// The next step for `cow`, of which `known` is known. `is_taken`: by a live instance of another node.
    pub(super) fn step(&mut self, cow: CowId, known: &Known, me: Instance, is_taken: bool, now: Duration) -> Step {
        let Some(slot) = self.slots.get_mut(&cow).filter(|slot| !slot.is_busy) else { return Step::None };
        let step = slot.next(known, me, is_taken);
        match step {
            Step::Write(_) | Step::Delete => {
                if known.revision == slot.tried && slot.retry_at.is_some_and(|at| now < at) {
                    return Step::None;
                }
                (slot.is_busy, slot.tried) = (true, known.revision);
            }
            Step::None if slot.wanted.is_none() => _ = self.slots.remove(&cow),
            _ => slot.retry_at = None,
        }
        step
    }

    /// The store has done what it was asked, or is asked to say what it has.
    pub(super) fn set_busy(&mut self, cow: CowId, is_busy: bool) {
        if let Some(slot) = self.slots.get_mut(&cow) {
            (slot.is_busy, slot.retry_at) = (is_busy, None);
        }
    }

    /// The store could not be asked.
    pub(super) fn retry(&mut self, cow: CowId, now: Duration) {
        if let Some(slot) = self.slots.get_mut(&cow) {
            (slot.is_busy, slot.retry_at) = (false, Some(now + CLUSTER_RETRY));
        }
    }

    /// Cows whose next try is due.
    pub(super) fn due(&self, now: Duration) -> Vec<CowId> {
        let is_due = |slot: &Slot| slot.retry_at.is_some_and(|at| now >= at);
        self.slots.iter().filter(|(_, slot)| is_due(slot)).map(|(&cow, _)| cow).collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<CowId> {
        self.slots.keys().copied().collect()
    }

    /// Forgets all; returns the logins that wait.
    pub(super) fn clear(&mut self) -> Vec<Owner> {
        let wanted = std::mem::take(&mut self.slots).into_values().filter_map(|slot| slot.wanted);
        wanted.filter(|wanted| !wanted.is_entered).map(|wanted| wanted.owner).collect()
    }
}
