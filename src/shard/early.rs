//! What is said to a cow before it has a session: its claim is in the directory while its login waits for the cluster, and another
//! server may know sooner than this one that the login has succeeded.

use std::collections::HashMap;

use super::effects::Frame;
use crate::directory::Owner;
use crate::ids::ConnectionId;
use crate::limits::CLUSTER_EARLY_SAYS;

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
    pub(super) fn keep(&mut self, to: Owner, say: Frame) -> bool {
        let waiting = self.by_connection.get_mut(&to.connection()).filter(|(owner, _)| *owner == to);
        let Some((_, says)) = waiting.filter(|_| self.kept < CLUSTER_EARLY_SAYS) else { return false };
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

    #[test]
    fn what_is_said_to_a_login_that_waits_is_heard_when_it_is_in() {
        for end in [Some(Entered::Yes), Some(Entered::OutOfReach), Some(Entered::Taken), None] {
            let herd = Arc::new(herd_of(&["tux", "aya"], 1));
            let mut context = ShardContext::new(herd, 2, Rules::default()).expect("memory");
            context.cluster = Some(Arc::new(Silent));
            let metrics = Metrics::new(1);
            let mut shard =
                Shard::new(ShardId::new(0), context, CoreMetrics::new(Arc::clone(&metrics), ShardId::new(0)));
            let [aya, tux] = [0, 1].map(ConnectionId::new);
            let login = |shard: &mut Shard, user, line: &[u8]| -> PendingLogin {
                *shard.on_line(user, line.into()).pending.expect("it waits")
            };
            let pending = login(&mut shard, aya, b"login aya");
            shard.on_entered(aya, pending, Entered::Yes);
            let pending = login(&mut shard, tux, b"login tux");
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
    fn no_more_is_kept_than_there_is_room_for() {
        let mut early = Early::default();
        let [owner, other] = [1, 2].map(|word| Owner::of_word(word).expect("not 0"));
        early.expect(owner);
        assert!(!early.keep(other, Frame::End), "no login waits for it");
        assert!((0..CLUSTER_EARLY_SAYS).all(|_| early.keep(owner, Frame::End)));
        assert!(!early.keep(owner, Frame::End));
        assert_eq!(early.end(owner.connection()).len(), CLUSTER_EARLY_SAYS);
        early.expect(owner);
        assert!(early.keep(owner, Frame::End));
    }
}
