//! What is said to a cow before it has a session: its claim is in the directory while its login waits for the cluster, and another
//! server may know sooner than this one that the login has succeeded.

use std::collections::HashMap;

use super::effects::Frame;
use crate::directory::Owner;
use crate::ids::ConnectionId;
use crate::limits::{CLUSTER_EARLY_SAYS, CLUSTER_EARLY_SAYS_TOTAL};

/// What was said to the claims of logins that wait, by the connection of each.
#[derive(Debug, Default)]
pub(super) struct Early {
    by_connection: HashMap<ConnectionId, (Owner, Vec<Frame>)>,
    kept: usize,
}

impl Early {
    /// A login waits for this claim.
    pub(super) fn expect(&mut self, owner: Owner) {
        self.by_connection.insert(owner.connection(), (owner, Vec::new()));
    }

    /// Keeps a `say` to a claim that a login waits for; `false` if there is none, or no room.
    pub(super) fn keep(&mut self, to: Owner, mut say: Frame) -> bool {
        let waiting = self.by_connection.get_mut(&to.connection()).filter(|(owner, _)| *owner == to);
        let has_room = |says: &[Frame]| says.len() < CLUSTER_EARLY_SAYS && self.kept < CLUSTER_EARLY_SAYS_TOTAL;
        let Some((_, says)) = waiting.filter(|(_, says)| has_room(says)) else { return false };
        // No sender waits for the cluster.
        if let Frame::Say { in_flight, .. } = &mut say {
            *in_flight = None;
        }
        says.push(say);
        self.kept += 1;
        true
    }

    /// No login of this connection waits any more. Returns what was said to it, in that order.
    pub(super) fn end(&mut self, connection: ConnectionId) -> Vec<Frame> {
        let (_, says) = self.by_connection.remove(&connection).unzip();
        let says = says.unwrap_or_default();
        self.kept -= says.len();
        says
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::{Cluster, Entered, Outcome, PendingLogin, Reach, Rules, Shard, ShardContext, herd_of};
    use super::*;
    use crate::cows::CowId;
    use crate::ids::ShardId;
    use crate::metrics::{CoreMetrics, Counter, Metrics};

    #[derive(Debug)]
    struct Silent;

    impl Cluster for Silent {
        fn shard(&self) -> ShardId {
            ShardId::new(1)
        }

        fn reach(&self) -> Reach {
            Reach::Open
        }

        fn epoch(&self) -> u64 {
            0
        }

        fn enter(&self, _: CowId, _: Owner) {}

        fn release(&self, _: CowId, _: Owner) {}
    }

    fn shard(herd: u32) -> (Shard, Arc<Metrics>) {
        let mut context =
            ShardContext::new(Arc::new(herd_of(&["tux", "aya"], herd)), 2, Rules::default()).expect("memory");
        context.cluster = Some(Arc::new(Silent));
        let (metrics, id) = (Metrics::new(1), ShardId::new(0));
        (Shard::new(id, context, CoreMetrics::new(Arc::clone(&metrics), id)), metrics)
    }

    fn login(shard: &mut Shard, user: ConnectionId, line: &str) -> PendingLogin {
        *shard.on_line(user, line.as_bytes().into()).pending.expect("it waits")
    }

    #[test]
    fn what_is_said_to_a_login_that_waits_is_heard_when_it_is_in() {
        for end in [Some(Entered::Yes), Some(Entered::OutOfReach), Some(Entered::Taken), None] {
            let (mut shard, metrics) = shard(1);
            let [aya, tux] = [0, 1].map(ConnectionId::new);
            let pending = login(&mut shard, aya, "login aya");
            shard.on_entered(aya, pending, Entered::Yes);
            let pending = login(&mut shard, tux, "login tux");
            for text in ["1", "2"] {
                let effects = shard.on_line(aya, format!("say tux {text}").as_bytes().into());
                assert_eq!(effects.reply, b"Sent to tux\n");
                assert!(shard.on_frame(effects.local.expect("a message"), Duration::ZERO).is_none());
            }
            let mut heard = Vec::new();
            match end {
                Some(entered) => {
                    let effects = shard.on_entered(tux, pending, entered);
                    assert_eq!(matches!(effects.outcome, Outcome::LoggedIn(_)), entered == Entered::Yes);
                    for say in shard.take_early(tux) {
                        let delivery = shard.on_frame(say, Duration::ZERO).expect("it has a receiver");
                        let receiver = delivery.receivers().next().expect("it has a receiver");
                        let text = String::from_utf8(delivery.payload(receiver.rendering).to_vec()).expect("ASCII");
                        heard.push(text.contains(" 1 "));
                    }
                }
                None => _ = shard.on_close(tux),
            }
            let is_in = end == Some(Entered::Yes);
            assert_eq!(heard, if is_in { vec![true, false] } else { vec![] });
            assert_eq!(metrics.total(Counter::StaleFrames), if is_in { 0 } else { 2 });
        }
    }

    #[test]
    fn what_was_said_to_a_taken_cow_is_not_heard_as_the_next() {
        let (mut shard, metrics) = shard(2);
        let [aya, tux] = [0, 1].map(ConnectionId::new);
        let pending = login(&mut shard, aya, "login aya");
        shard.on_entered(aya, pending, Entered::Yes);
        let pending = login(&mut shard, tux, "login tux#");
        let effects = shard.on_line(aya, b"say tux 1".as_slice().into());
        assert!(shard.on_frame(effects.local.expect("a message"), Duration::ZERO).is_none());
        let next = shard.on_entered(tux, pending, Entered::Taken).pending.expect("it waits for tux#2");
        let effects = shard.on_entered(tux, *next, Entered::Yes);
        assert!(matches!(effects.outcome, Outcome::LoggedIn(_)));
        assert!(shard.take_early(tux).is_empty());
        assert_eq!(metrics.total(Counter::StaleFrames), 1);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut early = Early::default();
        let owner = |connection: u64| Owner::of_word(connection << 32 | 1).expect("not 0");
        assert!(!early.keep(owner(0), Frame::End), "no login waits for it");
        let logins = CLUSTER_EARLY_SAYS_TOTAL / CLUSTER_EARLY_SAYS;
        for login in 0..=logins as u64 {
            early.expect(owner(login));
            let kept = (0..=CLUSTER_EARLY_SAYS).filter(|_| early.keep(owner(login), Frame::End)).count();
            assert_eq!(kept, if login < logins as u64 { CLUSTER_EARLY_SAYS } else { 0 });
        }
        assert_eq!(early.end(owner(0).connection()).len(), CLUSTER_EARLY_SAYS);
        assert!(early.keep(owner(logins as u64), Frame::End), "there is room again");
    }
}
