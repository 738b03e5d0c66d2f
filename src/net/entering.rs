//! The logins of one core that wait for the cluster's answer.
//!
//! The answer comes as a frame, in one lane with the messages that follow it: the session begins where it arrives, before
//! any of these. The connection's task waits beside.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::connection::Connection;
use crate::directory::Owner;
use crate::shard::{Outcome, PendingLogin};

/// The logins of one core that wait, by their claims.
#[derive(Debug, Default)]
pub(crate) struct Entering {
    logins: RefCell<HashMap<Owner, Rc<Login>>>,
    /// Of the sessions: those that were asked for in another one are void.
    epoch: Cell<u64>,
}

/// A login that waits.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) connection: Rc<Connection>,
    pub(crate) epoch: u64,
    pending: RefCell<Option<Box<PendingLogin>>>,
    outcome: Cell<Option<Outcome>>,
    waker: RefCell<Option<Waker>>,
}

impl Entering {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// From here on `epoch` holds; `true` if another one did.
    pub(super) fn change_epoch(&self, epoch: u64) -> bool {
        self.epoch.replace(epoch) != epoch
    }

    /// A login of `connection` waits from now on.
    pub(crate) fn begin(&self, connection: &Rc<Connection>, pending: Box<PendingLogin>) -> Waiting<'_> {
        let login = Rc::new(Login {
            connection: Rc::clone(connection),
            epoch: self.epoch(),
            pending: RefCell::default(),
            outcome: Cell::default(),
            waker: RefCell::default(),
        });
        self.wait(Rc::clone(&login), pending);
        Waiting { entering: self, login }
    }

    /// The login goes on waiting, for this claim.
    pub(crate) fn wait(&self, login: Rc<Login>, pending: Box<PendingLogin>) {
        let owner = pending.owner();
        login.pending.replace(Some(pending));
        self.logins.borrow_mut().insert(owner, login);
    }

    /// The login with this claim, and what waits of it: it waits no longer.
    pub(crate) fn take(&self, owner: Owner) -> Option<(Rc<Login>, Box<PendingLogin>)> {
        let login = self.logins.borrow_mut().remove(&owner)?;
        let pending = login.pending.take()?;
        Some((login, pending))
    }
}

impl Login {
    /// Tells the connection's task what has become of it.
    pub(crate) fn end(&self, outcome: Outcome) {
        self.outcome.set(Some(outcome));
        self.waker.take().into_iter().for_each(Waker::wake);
    }
}

/// The wait of a connection's task. Dropped, it takes back what was asked.
pub(crate) struct Waiting<'e> {
    entering: &'e Entering,
    login: Rc<Login>,
}

impl Waiting<'_> {
    /// Waits for the end of the login.
    pub(crate) async fn outcome(&self) -> Outcome {
        poll_fn(|cx| {
            if let Some(outcome) = self.login.outcome.get() {
                return Poll::Ready(outcome);
            }
            self.login.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// What waits, which waits no longer.
    pub(crate) fn take(&self) -> Option<Box<PendingLogin>> {
        let pending = self.login.pending.take()?;
        self.entering.logins.borrow_mut().remove(&pending.owner());
        Some(pending)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
