//! The logins of one core that wait for the cluster's answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use crate::directory::Owner;
use crate::shard::Entered;

/// The logins of one core that wait.
#[derive(Debug, Default)]
pub(crate) struct Entering {
    logins: RefCell<HashMap<Owner, Waiting>>,
    /// Of the sessions.
    epoch: Cell<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    answer: Option<Entered>,
    waker: Option<Waker>,
}

impl Entering {
    /// That of the sessions of this core: logins that were asked for in another one are void.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// From here on `epoch` holds; `true` if another one did.
    pub(super) fn change_epoch(&self, epoch: u64) -> bool {
        self.epoch.replace(epoch) != epoch
    }

    /// Hands an answer to the login with this claim, which may have ended.
    #[cfg(feature = "cluster")]
    pub(super) fn set_answer(&self, owner: Owner, answer: Entered) {
        let waker = self.logins.borrow_mut().get_mut(&owner).and_then(|waiting| {
            waiting.answer = Some(answer);
            waiting.waker.take()
        });
        waker.into_iter().for_each(Waker::wake);
    }

    /// Waits for the answer to the login with this claim. To be called in the turn that has asked.
    pub(crate) async fn answer(&self, owner: Owner) -> Entered {
        self.logins.borrow_mut().insert(owner, Waiting::default());
        let _forgotten = Forgotten { entering: self, owner };
        poll_fn(|cx| {
            let mut waiting = self.logins.borrow_mut();
            let waiting = waiting.get_mut(&owner).expect("it is forgotten only when this is dropped");
            waiting.waker = Some(cx.waker().clone());
            waiting.answer.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Ends a wait when it is dropped.
struct Forgotten<'e> {
    entering: &'e Entering,
    owner: Owner,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.entering.logins.borrow_mut().remove(&self.owner);
    }
}
