//! What a node does with what it is told, step by step.

use super::*;
use crate::cluster::envelope::To;
use crate::cluster::records::{NodeRecord, VERSION};
use crate::cows::bubble::Bubble;
use crate::cows::herd::Cow;
use crate::directory::Claim;
use crate::ids::ConnectionId;
use crate::limits::{CLUSTER_LAST_MESSAGES, CLUSTER_RETRY, CLUSTER_TEXT_BYTES_MAX};
use crate::shard::{Message, Rules};

const TIMES: Times = Times { ttl: Duration::from_secs(30), renew: Duration::from_secs(5) };
const NOW: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Counted(Instance);

impl InstanceIds for Counted {
    fn next(&mut self) -> Instance {
        self.0 += 1;
        self.0
    }
}

/// A node of one core with a herd of two, which has joined, and knows a live peer with the instance 100.
fn joined() -> (Node, NodeRecord) {
    let cow =
        |name: &str| Cow { name: name.to_owned(), colour: String::new(), half: String::new(), plain: String::new() };
    let herd = Herd::new(vec![cow("aya"), cow("tux")], 1, Bubble::default()).expect("two names");
    let ttl = TIMES.ttl.as_millis() as u64;
    let peer = NodeRecord { version: VERSION, instance: 100, ttl, herd: HerdPrint::of(&herd), has_left: false };
    let context = ShardContext::new(Arc::new(herd), 2, Rules::default()).expect("memory");
    let config = NodeConfig { name: "a".to_owned(), times: TIMES, shard: ShardId::new(1), cores: 1 };
    let mut node = Node::new(config, context, Box::new(Counted(0)));
    node.on_connected(1, 0, NOW);
    node.on_listed(NOW);
    let actions = node.take_actions();
    let [Action::Write { key, value, expected: 0 }] = &actions[..] else { panic!("{actions:?}") };
    node.on_written(key.clone(), Some(value.clone()), Ok(1), NOW);
    node.on_node("b", 2, Some(peer.clone()), NOW);
    assert!(node.is_in_reach(NOW));
    node.take_actions();
    (node, peer)
}

fn tux(node: &Node) -> CowId {
    node.herd().find("tux", 1).expect("it has one")
}

/// The claim of a session on core 0 that asks for a cow.
fn claimed(node: &Node, cow: CowId) -> Claim {
    let mut claims = Claims::new(Arc::clone(&node.context.directory), ShardId::new(0));
    claims.claim(cow, ConnectionId::new(0)).expect("it is free here")
}

fn reconnect(node: &mut Node) {
    node.on_disconnected();
    node.on_connected(1, 0, NOW);
}

fn record(owner: u64) -> Option<CowRecord> {
    Some(CowRecord { node: "b".to_owned(), instance: 100, owner })
}

fn read(node: &str, known: Revision) -> Read {
    Read { key: Key::Node(node.to_owned()), known, confirms: None }
}

fn message(number: u64) -> Envelope {
    Envelope { from: 100, number, yields: number, sender: 0, to: To::All, text: number.to_string() }
}

fn texts(actions: &[Action]) -> Vec<&str> {
    let text = |action: &Action| match action {
        Action::Deliver(_, Frame::Yield { message, .. }) => Some(message.body().text().to_owned().leak() as &str),
        _ => None,
    };
    actions.iter().filter_map(text).collect()
}

#[test]
fn a_gap_is_counted_and_a_repeat_is_dropped() {
    let (mut node, _) = joined();
    for number in [1, 2, 2, 5, 4, 6] {
        node.on_message(message(number), NOW);
    }
    node.on_tick(NOW);
    let actions = node.take_actions();
    assert_eq!(texts(&actions), ["1", "2", "5", "6"]);
    let missed: Vec<u64> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Log(Event::MessagesMissed { messages, .. }) => Some(*messages),
            _ => None,
        })
        .collect();
    assert_eq!((missed, node.figures(NOW).dropped), (vec![2], 2));
}

#[test]
fn a_store_that_was_lost_is_begun_again() {
    let (mut node, _) = joined();
    let cow = tux(&node);
    node.on_cow(cow, 500, record(7), NOW);
    node.on_disconnected();
    node.on_connected(2, 0, NOW);
    assert!(node.take_actions().iter().any(|action| matches!(action, Action::LogOutAll)));
    node.on_listed(NOW);
    let is_join = |action: &Action| matches!(action, Action::Write { key: Key::Node(_), expected: 0, .. });
    assert!(node.take_actions().iter().any(is_join));
    assert_eq!(node.context.directory.owner(cow), None);
}

#[test]
fn a_store_that_was_set_back_is_believed() {
    let (mut node, peer) = joined();
    let cow = tux(&node);
    node.on_node("c", 500, Some(NodeRecord { instance: 300, ..peer.clone() }), NOW);
    reconnect(&mut node);
    node.on_node("c", 3, Some(NodeRecord { instance: 400, ..peer }), NOW);
    node.on_cow(cow, 4, Some(CowRecord { node: "c".to_owned(), instance: 400, owner: 7 }), NOW);
    node.on_listed(NOW);
    assert!(node.context.directory.owner(cow).is_some());
}

#[test]
fn a_node_that_renews_while_it_is_listed_stays() {
    let (mut node, peer) = joined();
    let is_left = |node: &mut Node| {
        node.take_actions().iter().any(|action| matches!(action, Action::Log(Event::NodeLeft { .. })))
    };
    reconnect(&mut node);
    // Its record is replaced before it is told.
    node.on_listed(NOW);
    let actions = node.take_actions();
    assert!(
        actions.iter().any(|action| matches!(action, Action::Read(asked) if *asked == read("b", 0))),
        "{actions:?}"
    );
    node.on_read(read("b", 0), Ok(Some((7, Some(Value::Node(peer.clone()))))), NOW);
    node.on_node("b", 7, Some(peer), NOW);
    assert!(!is_left(&mut node));
    node.on_message(message(1), NOW);
    assert_eq!(texts(&node.take_actions()), ["1"]);
    // And one that is not there has left, but not for a broker that does not know what is new.
    reconnect(&mut node);
    node.on_listed(NOW);
    node.on_read(read("b", 0), Ok(None), NOW);
    assert!(!is_left(&mut node));
    node.on_read(read("b", 0), Ok(None), NOW + TIMES.ttl);
    assert!(is_left(&mut node));
}

#[test]
fn a_copy_that_is_behind_ends_no_node() {
    let (mut node, peer) = joined();
    reconnect(&mut node);
    // A broker's copy that is behind has the leases of earlier processes.
    node.on_node("a", 1, Some(NodeRecord { instance: 98, ..peer.clone() }), NOW);
    node.on_node("b", 1, Some(NodeRecord { instance: 99, ..peer.clone() }), NOW);
    node.on_message(message(1), NOW);
    assert_eq!(texts(&node.take_actions()), ["1"]);
    node.on_node("b", 2, Some(peer.clone()), NOW);
    node.on_node("a", 3, Some(NodeRecord { instance: node.lease.instance, ..peer }), NOW);
    node.on_listed(NOW);
    node.on_message(message(2), NOW);
    let actions = node.take_actions();
    assert_eq!(texts(&actions), ["2"]);
    assert!(!actions.iter().any(|action| matches!(action, Action::LogOutAll | Action::Refuse(_))));
    assert_eq!(node.figures(NOW).others, 1);
}

#[test]
fn a_copy_that_is_behind_ends_no_session() {
    for is_there in [true, false] {
        let (mut node, peer) = joined();
        let cow = tux(&node);
        node.on_cow(cow, 3, None, NOW);
        let claim = claimed(&node, cow);
        node.enter(cow, claim.owner(), NOW);
        let actions = node.take_actions();
        let [Action::Write { key, value, expected: 3 }] = &actions[..] else { panic!("{actions:?}") };
        node.on_written(key.clone(), Some(value.clone()), Ok(4), NOW);
        reconnect(&mut node);
        // A broker's copy that is behind has the cow's revision of before.
        node.on_cow(cow, 3, None, NOW);
        node.on_node("a", 1, Some(NodeRecord { instance: node.lease.instance, ..peer }), NOW);
        node.on_listed(NOW);
        let late = NOW + TIMES.renew;
        node.on_tick(late);
        let actions = node.take_actions();
        let is_read = |action: &Action| matches!(action, Action::Read(asked) if asked.key == *key);
        let is_end = |action: &Action| matches!(action, Action::LogOutAll);
        let renews = |action: &Action| matches!(action, Action::Write { key: Key::Node(_), .. });
        assert!(actions.iter().any(is_read) && !actions.iter().any(|action| is_end(action) || renews(action)));
        let found = if is_there { (4, Some(value.clone())) } else { (3, None) };
        node.on_read(Read { key: key.clone(), known: 3, confirms: None }, Ok(Some(found)), late);
        assert_eq!(node.take_actions().iter().any(is_end), !is_there);
    }
}

#[test]
fn a_refused_write_is_not_repeated_at_once() {
    let (mut node, _) = joined();
    let cow = tux(&node);
    let claim = claimed(&node, cow);
    node.enter(cow, claim.owner(), NOW);
    let actions = node.take_actions();
    let [Action::Write { key, value, .. }] = &actions[..] else { panic!("{actions:?}") };
    node.on_written(key.clone(), Some(value.clone()), Err(WriteError::Conflict), NOW);
    let actions = node.take_actions();
    let [Action::Read(asked)] = &actions[..] else { panic!("{actions:?}") };
    // A broker that leads no longer knows no better.
    node.on_read(asked.clone(), Ok(None), NOW);
    assert!(node.take_actions().is_empty());
    node.on_tick(NOW + CLUSTER_RETRY);
    assert!(matches!(node.take_actions()[..], [Action::Write { .. }]));
    node.on_written(key.clone(), Some(value.clone()), Err(WriteError::Conflict), NOW);
    node.on_read(asked.clone(), Ok(None), NOW);
    node.take_actions();
    // News of it ends the wait.
    node.on_cow(cow, 3, None, NOW);
    assert!(matches!(node.take_actions()[..], [Action::Write { expected: 3, .. }]));
    node.on_written(key.clone(), Some(value.clone()), Err(WriteError::Conflict), NOW);
    node.on_read(Read { known: 3, ..asked.clone() }, Ok(Some((3, None))), NOW);
    node.take_actions();
    node.on_cow(cow, 4, record(7), NOW);
    let actions = node.take_actions();
    assert!(matches!(actions[..], [Action::Answer(_, Entered::Taken)]), "{actions:?}");
}

#[test]
fn a_late_read_erases_nothing() {
    let (mut node, peer) = joined();
    let cow = tux(&node);
    node.on_cow(cow, 3, record(7), NOW);
    node.on_read(Read { key: Key::Cow(cow), known: 0, confirms: None }, Ok(None), NOW);
    assert!(node.context.directory.owner(cow).is_some());
    node.on_node("b", 4, Some(peer), NOW);
    node.on_read(read("b", 3), Ok(None), NOW + TIMES.ttl);
    assert_eq!(node.figures(NOW).others, 1);
    // Nor does it say that a process after that one has no lease.
    node.on_cow(cow, 5, Some(CowRecord { node: "b".to_owned(), instance: 101, owner: 7 }), NOW);
    let claim = claimed(&node, cow);
    node.enter(cow, claim.owner(), NOW);
    node.take_actions();
    node.on_read(Read { confirms: Some(101), ..read("b", 0) }, Ok(None), NOW);
    assert!(node.take_actions().is_empty());
    node.release(cow, claim.owner(), NOW);
    drop(claim);
    node.on_cow(cow, 6, record(7), NOW);
    // One that was asked with all that is known: the store was emptied.
    node.on_read(Read { key: Key::Cow(cow), known: 6, confirms: None }, Ok(None), NOW);
    assert!(node.context.directory.owner(cow).is_none());
}

#[test]
fn a_lease_lasts_as_long_as_its_node_says() {
    let (mut node, peer) = joined();
    let patient = NodeRecord { instance: 200, ttl: 2 * peer.ttl, ..peer };
    node.on_node("c", 3, Some(patient), NOW);
    node.on_tick(NOW + TIMES.ttl);
    let is_of = |action: &Action, of: &str| matches!(action, Action::Delete { key: Key::Node(name), .. } if name == of);
    let actions = node.take_actions();
    assert!(actions.iter().any(|action| is_of(action, "b")) && !actions.iter().any(|action| is_of(action, "c")));
    node.on_tick(NOW + 2 * TIMES.ttl);
    assert!(node.take_actions().iter().any(|action| is_of(action, "c")));
}

#[test]
fn a_node_that_does_not_fit_and_lives_is_refused() {
    let (mut node, peer) = joined();
    let refused = |node: &mut Node| node.take_actions().iter().any(|action| matches!(action, Action::Refuse(_)));
    // Of two that have joined the later name goes.
    let other = NodeRecord { version: VERSION + 1, instance: 200, ..peer };
    node.on_node("z", 3, Some(other.clone()), NOW);
    assert!(!refused(&mut node));
    node.on_node("A", 4, Some(NodeRecord { instance: 300, ..other.clone() }), NOW);
    assert!(refused(&mut node));
    // What a crashed one has left is taken out after its time.
    let (mut node, _) = joined();
    node.lose(NOW);
    node.on_disconnected();
    node.on_connected(2, 0, NOW);
    node.on_node("A", 3, Some(other), NOW);
    node.on_listed(NOW);
    node.on_tick(NOW + TIMES.ttl);
    let actions = node.take_actions();
    let is_delete = |action: &Action| matches!(action, Action::Delete { key: Key::Node(name), .. } if name == "A");
    assert!(actions.iter().any(is_delete) && !actions.iter().any(|action| matches!(action, Action::Refuse(_))));
}

#[test]
fn the_last_renewal_of_a_killed_process_refuses_no_node() {
    let (mut node, peer) = joined();
    node.lose(NOW);
    reconnect(&mut node);
    let killed = NodeRecord { instance: 500, ..peer };
    node.on_node("a", 7, Some(killed.clone()), NOW);
    node.on_listed(NOW);
    let is_refused = |node: &mut Node, revision| {
        node.on_node("a", revision, Some(killed.clone()), NOW);
        node.take_actions().iter().any(|action| matches!(action, Action::Refuse(_)))
    };
    assert!(!is_refused(&mut node, 8));
    assert!(is_refused(&mut node, 9));
}

#[test]
fn what_an_old_copy_tells_after_its_list_is_no_news() {
    let (mut node, peer) = joined();
    let renew = |node: &mut Node, revision| {
        node.on_node("a", revision, Some(NodeRecord { instance: 98, ..peer.clone() }), NOW);
        node.take_actions().iter().any(|action| matches!(action, Action::Refuse(_)))
    };
    node.on_disconnected();
    // Another store, in which a process before has the lease of this name.
    node.on_connected(2, 20, NOW);
    renew(&mut node, 5);
    node.on_listed(NOW);
    assert!(![10, 15, 20].into_iter().any(|revision| renew(&mut node, revision)), "it may have crashed since");
    assert!([25, 30].into_iter().any(|revision| renew(&mut node, revision)), "it lives");
}

#[test]
fn a_record_that_cannot_be_read_fits_no_node() {
    let (mut node, peer) = joined();
    let garbage = NodeRecord::read("A", b"garbage");
    assert!(!garbage.fits(&node.print) && garbage.instance != 0 && garbage.ttl() == TIMES.ttl);
    node.on_node("A", 2, Some(garbage), NOW);
    assert!(!node.take_actions().iter().any(|action| matches!(action, Action::Refuse(_))));
    let text = serde_json::to_vec(&peer).expect("JSON");
    assert_eq!(NodeRecord::read("b", &text), peer);
    // A cow's is overwritten.
    let cow = tux(&node);
    node.on_cow(cow, 3, Some(CowRecord::read(b"garbage")), NOW);
    assert_eq!(node.context.directory.owner(cow), None);
    let claim = claimed(&node, cow);
    node.enter(cow, claim.owner(), NOW);
    let actions = node.take_actions();
    assert!(matches!(actions[..], [Action::Write { expected: 3, .. }]), "{actions:?}");
}

#[test]
fn a_node_whose_lease_was_set_back_ends_its_sessions() {
    let (mut node, peer) = joined();
    reconnect(&mut node);
    node.on_node("b", 2, Some(peer), NOW);
    // Its own lease may still come.
    assert!(!node.take_actions().iter().any(|action| matches!(action, Action::LogOutAll | Action::Write { .. })));
    node.on_listed(NOW);
    assert!(!node.take_actions().iter().any(|action| matches!(action, Action::LogOutAll)));
    node.on_read(read("a", 0), Ok(None), NOW);
    assert!(node.take_actions().iter().any(|action| matches!(action, Action::LogOutAll)));
}

#[test]
fn of_two_leases_at_one_revision_the_later_counts() {
    let (mut node, peer) = joined();
    let cow = tux(&node);
    node.on_cow(cow, 3, record(7), NOW);
    reconnect(&mut node);
    node.on_listed(NOW);
    // The store was set back, and came to this revision again.
    node.on_node("b", 2, Some(NodeRecord { instance: 200, ..peer }), NOW);
    assert_eq!(node.context.directory.owner(cow), None);
}

#[test]
fn a_node_without_its_lease_in_the_store_enters_no_cow() {
    let (mut node, peer) = joined();
    let cow = tux(&node);
    reconnect(&mut node);
    node.on_listed(NOW);
    node.take_actions();
    let claim = claimed(&node, cow);
    node.enter(cow, claim.owner(), NOW);
    assert!(node.take_actions().is_empty());
    node.on_node("a", 1, Some(NodeRecord { instance: node.lease.instance, ..peer }), NOW);
    let is_its = |action: &Action| matches!(action, Action::Write { key: Key::Cow(entered), .. } if *entered == cow);
    assert!(node.take_actions().iter().any(is_its));
}

#[test]
fn a_lease_is_not_renewed_while_a_cow_of_it_is_in_doubt() {
    let (mut node, peer) = joined();
    let cow = tux(&node);
    let claim = claimed(&node, cow);
    node.enter(cow, claim.owner(), NOW);
    let actions = node.take_actions();
    let [Action::Write { key, value, .. }] = &actions[..] else { panic!("{actions:?}") };
    node.on_written(key.clone(), Some(value.clone()), Ok(3), NOW);
    reconnect(&mut node);
    node.on_node("a", 1, Some(NodeRecord { instance: node.lease.instance, ..peer }), NOW);
    node.on_listed(NOW);
    let late = NOW + TIMES.renew;
    node.on_tick(late);
    let renews = |action: &Action| matches!(action, Action::Write { key: Key::Node(_), .. });
    assert!(!node.take_actions().iter().any(renews));
    // The store has it not: its session ends at once.
    node.on_read(Read { key: Key::Cow(cow), known: 0, confirms: None }, Ok(None), late);
    assert!(node.take_actions().iter().any(|action| matches!(action, Action::LogOutAll)));
}

#[test]
fn a_cow_of_an_unknown_node_is_taken_until_that_is_known() {
    for is_there in [true, false] {
        let (mut node, peer) = joined();
        let cow = tux(&node);
        let record = CowRecord { node: "c".to_owned(), instance: 200, owner: 7 };
        node.on_cow(cow, 3, Some(record), NOW);
        let claim = claimed(&node, cow);
        node.enter(cow, claim.owner(), NOW);
        let actions = node.take_actions();
        let asked = Read { confirms: Some(200), ..read("c", 0) };
        assert!(matches!(&actions[..], [Action::Read(read)] if *read == asked), "{actions:?}");
        // The lease was renewed, which comes after the cow.
        let lease = NodeRecord { instance: 200, ..peer };
        let found = is_there.then_some((4, Some(Value::Node(lease))));
        node.on_read(asked, Ok(found), NOW);
        let actions = node.take_actions();
        let is_taken = |action: &Action| matches!(action, Action::Answer(_, Entered::Taken));
        let is_written = |action: &Action| matches!(action, Action::Write { key: Key::Cow(_), expected: 3, .. });
        assert_eq!(actions.iter().any(is_taken), is_there);
        assert_eq!(actions.iter().any(is_written), !is_there);
    }
}

#[test]
fn a_node_that_an_old_copy_has_replaced_keeps_its_cows() {
    for is_there in [true, false] {
        let (mut node, peer) = joined();
        let cow = tux(&node);
        node.on_cow(cow, 3, record(7), NOW);
        let renewed = NOW + TIMES.renew;
        node.on_tick(renewed);
        let actions = node.take_actions();
        let [Action::Write { key, value, .. }] = &actions[..] else { panic!("{actions:?}") };
        node.on_written(key.clone(), Some(value.clone()), Ok(5), renewed);
        // It has heard nothing for long. Then a copy of the store has the lease of an earlier process.
        let late = NOW + TIMES.ttl;
        node.on_disconnected();
        node.on_connected(1, 6, late);
        node.on_node("a", 5, value.clone().into_node(), late);
        node.on_node("b", 1, Some(NodeRecord { instance: 99, ..peer.clone() }), late);
        node.on_cow(cow, 3, record(7), late);
        node.on_listed(late);
        node.on_message(message(1), late);
        let actions = node.take_actions();
        assert_eq!(texts(&actions), ["1"]);
        let is_read = |action: &Action| matches!(action, Action::Read(asked) if *asked == read("b", 1));
        assert!(actions.iter().any(is_read) && node.context.directory.owner(cow).is_some());
        let found = if is_there { (6, Some(Value::Node(peer))) } else { (1, None) };
        node.on_read(read("b", 1), Ok(Some(found)), late);
        assert_eq!(node.context.directory.owner(cow).is_some(), is_there);
    }
}

#[test]
fn a_lease_that_is_renewed_while_it_is_listed_stays() {
    for is_there in [true, false] {
        let (mut node, _) = joined();
        let late = NOW + TIMES.renew;
        node.on_tick(late);
        let actions = node.take_actions();
        let [Action::Write { key, value, .. }] = &actions[..] else { panic!("{actions:?}") };
        node.on_disconnected();
        node.on_connected(1, 0, late);
        node.on_listed(late);
        let is_read = |action: &Action| matches!(action, Action::Read(asked) if asked.key == *key);
        assert!(node.take_actions().iter().any(is_read));
        node.on_read(read("a", 0), Ok(is_there.then(|| (9, Some(value.clone())))), late);
        let is_over = node.take_actions().iter().any(|action| matches!(action, Action::LogOutAll));
        assert_eq!(is_over, !is_there);
    }
}

#[test]
fn a_lease_that_was_set_back_can_be_taken_out() {
    let (mut node, peer) = joined();
    node.on_node("b", 500, Some(peer.clone()), NOW);
    reconnect(&mut node);
    node.on_node("a", 1, Some(NodeRecord { instance: node.lease.instance, ..peer.clone() }), NOW);
    node.on_node("b", 3, Some(peer), NOW);
    node.on_listed(NOW);
    node.on_tick(NOW + TIMES.ttl);
    let is_it = |action: &Action| matches!(action, Action::Delete { key: Key::Node(name), expected: 3 } if name == "b");
    assert!(node.take_actions().iter().any(is_it));
}

#[test]
fn a_node_that_leaves_gives_all_its_cows_back_at_once() {
    let (mut node, _) = joined();
    let aya = node.herd().find("aya", 1).expect("it has one");
    let [given, asked] = [aya, tux(&node)].map(|cow| claimed(&node, cow));
    node.enter(aya, given.owner(), NOW);
    let actions = node.take_actions();
    let [Action::Write { key, value, .. }] = &actions[..] else { panic!("{actions:?}") };
    node.on_written(key.clone(), Some(value.clone()), Ok(3), NOW);
    node.enter(tux(&node), asked.owner(), NOW);
    node.stop_entering();
    node.take_actions();
    // No write for each of them.
    node.release(aya, given.owner(), NOW);
    assert!(node.take_actions().is_empty());
    let late = NOW + TIMES.renew;
    node.on_tick(late);
    let renewal = node.take_actions();
    let [Action::Write { key, value, expected: 1 }] = &renewal[..] else { panic!("{renewal:?}") };
    // After the renewal, not beside it.
    node.leave(late);
    let actions = node.take_actions();
    assert!(matches!(actions[..], [Action::Answer(_, Entered::OutOfReach)]), "{actions:?}");
    node.on_written(key.clone(), Some(value.clone()), Ok(4), late);
    node.leave(late);
    let actions = node.take_actions();
    let [Action::Write { key, value, expected: 4 }] = &actions[..] else { panic!("{actions:?}") };
    assert!(matches!(value, Value::Node(record) if record.has_left));
    // Its answer is lost. It is told, though.
    node.on_written(key.clone(), Some(value.clone()), Err(WriteError::Unknown), late);
    node.leave(late);
    assert!(node.take_actions().is_empty() && !node.has_left());
    node.on_node("a", 5, value.clone().into_node(), late);
    assert!(node.has_left());
}

#[test]
fn the_last_messages_of_a_node_that_has_left_count() {
    let (mut node, peer) = joined();
    node.on_message(message(1), NOW);
    node.on_node("b", 3, Some(NodeRecord { has_left: true, ..peer }), NOW);
    assert_eq!(node.figures(NOW).others, 0);
    node.on_message(message(2), NOW);
    assert_eq!(texts(&node.take_actions()), ["1", "2"]);
    // Its cows may be others' by now.
    node.on_message(message(3), NOW + CLUSTER_LAST_MESSAGES);
    assert_eq!(texts(&node.take_actions()), [""; 0]);
}

#[test]
fn a_forged_text_moves_no_cursor() {
    let (mut node, _) = joined();
    node.on_message(Envelope { text: "a\x1b[2Jb\nc\r".to_owned(), ..message(1) }, NOW);
    node.on_message(Envelope { text: "x".repeat(CLUSTER_TEXT_BYTES_MAX + 1), ..message(2) }, NOW);
    let actions = node.take_actions();
    let texts = texts(&actions);
    assert_eq!(texts.len(), 1);
    assert!(!texts[0].contains(char::is_control), "{texts:?}");
}

#[test]
fn what_was_sent_before_a_message_is_not_heard_after_it() {
    let (mut node, _) = joined();
    let me = node.lease.instance;
    let say = |number, yields| Envelope { to: To::Claim(me, 1), yields, ..message(number) };
    let heard = |node: &mut Node, envelope| {
        let before = node.figures(NOW).received;
        node.on_message(envelope, NOW);
        node.figures(NOW).received > before
    };
    assert!(heard(&mut node, say(1, 0)) && heard(&mut node, message(1)));
    // The yield came on another connection, before them.
    assert!(!heard(&mut node, say(2, 0)));
    assert!(heard(&mut node, say(3, 4)) && !heard(&mut node, message(3)) && heard(&mut node, message(5)));
    // Two says and three yields: one of each came too late.
    assert_eq!((node.figures(NOW).missed, node.figures(NOW).dropped), (4, 2));
}

#[test]
fn a_message_that_cannot_be_sent_leaves_a_gap() {
    let (mut node, _) = joined();
    let aya = node.herd().find("aya", 1).expect("it has one");
    let claim = claimed(&node, aya);
    node.enter(aya, claim.owner(), NOW);
    let (instance, owner) = (node.lease.instance, claim.owner().word());
    let value = Value::Cow(CowRecord { node: "a".to_owned(), instance, owner });
    node.on_written(Key::Cow(aya), Some(value), Ok(9), NOW);
    let frame = || Frame::Yield { message: Message::new(aya, "hi", false, None), author: claim.owner() };
    node.on_disconnected();
    node.on_frame(frame(), NOW);
    node.on_connected(1, 0, NOW);
    node.take_actions();
    node.on_frame(frame(), NOW);
    let actions = node.take_actions();
    assert!(matches!(&actions[..], [Action::Publish(Envelope { number: 2, .. })]), "{actions:?}");
}

#[test]
fn a_message_waits_for_the_lease_of_its_sender() {
    let (mut node, peer) = joined();
    let early = Envelope { from: 200, ..message(1) };
    node.on_message(early, NOW);
    assert_eq!(texts(&node.take_actions()), [""; 0]);
    node.on_node("c", 3, Some(NodeRecord { instance: 200, ..peer }), NOW);
    assert_eq!(texts(&node.take_actions()), ["1"]);
}

#[test]
fn a_say_to_a_cow_that_changed_hands_reaches_no_session() {
    let (mut node, _) = joined();
    let cow = tux(&node);
    node.on_cow(cow, 3, record(7), NOW);
    let before = node.context.directory.owner(cow).expect("it is the peer's");
    node.on_cow(cow, 4, record(8), NOW);
    let after = node.context.directory.owner(cow).expect("it is the peer's again");
    assert_ne!(before, after);
    // A session here says it.
    let aya = node.herd().find("aya", 1).expect("it has one");
    let claim = claimed(&node, aya);
    node.enter(aya, claim.owner(), NOW);
    let value =
        Value::Cow(CowRecord { node: "a".to_owned(), instance: node.lease.instance, owner: claim.owner().word() });
    node.on_written(Key::Cow(aya), Some(value), Ok(9), NOW);
    node.take_actions();
    let message = Message::new(aya, "hi", true, None);
    for (to, published) in [(before, 0), (after, 1)] {
        node.on_frame(Frame::Say { message: Arc::clone(&message), author: claim.owner(), to, in_flight: None }, NOW);
        let actions = node.take_actions();
        let sent = |action: &&Action| matches!(action, Action::Publish(Envelope { to: To::Claim(100, 8), .. }));
        assert_eq!((actions.len(), actions.iter().filter(sent).count()), (published, published));
    }
}

#[test]
fn a_node_gives_its_cows_up_before_others_may_take_them() {
    let (mut node, _) = joined();
    let lost_at = node.lost_at().expect("it has a lease");
    assert!(lost_at < NOW + TIMES.ttl);
    node.on_disconnected();
    node.on_tick(lost_at - Duration::from_millis(1));
    assert!(!node.take_actions().iter().any(|action| matches!(action, Action::LogOutAll)));
    node.on_tick(lost_at);
    assert!(node.take_actions().iter().any(|action| matches!(action, Action::LogOutAll)));
}

#[test]
fn a_renewal_that_comes_too_late_ends_the_sessions() {
    let (mut node, _) = joined();
    node.on_tick(NOW + TIMES.renew);
    let actions = node.take_actions();
    let [Action::Write { key, value, .. }] = &actions[..] else { panic!("{actions:?}") };
    // A core has seen that the lease is over before the node does.
    let lost_at = node.lost_at().expect("it has a lease");
    node.on_written(key.clone(), Some(value.clone()), Ok(3), lost_at);
    let actions = node.take_actions();
    assert!(actions.iter().any(|action| matches!(action, Action::LogOutAll)));
    assert_eq!(node.figures(lost_at).lost, 1);
    // It joins again over what it has written.
    let joins = |action: &Action| matches!(action, Action::Write { key: Key::Node(_), expected: 3, .. });
    assert!(actions.iter().any(joins), "{actions:?}");
}

#[test]
fn a_silent_node_is_gone_when_its_lease_is_out_of_the_store() {
    let (mut node, peer) = joined();
    let cow = tux(&node);
    node.on_cow(cow, 3, record(7), NOW);
    let late = NOW + TIMES.ttl;
    let key = || Key::Node("b".to_owned());
    let deletes = |node: &mut Node, expected: Revision| {
        let is_it = |action: &Action| matches!(action, Action::Delete { key: Key::Node(name), expected: at } if name == "b" && *at == expected);
        node.take_actions().iter().any(is_it)
    };
    node.on_tick(late);
    assert!(deletes(&mut node, 2));
    // It has renewed, which was not told yet.
    node.on_written(key(), None, Err(WriteError::Conflict), late);
    node.on_read(read("b", 2), Ok(Some((4, Some(Value::Node(peer))))), late);
    assert!(node.context.directory.owner(cow).is_some());
    let later = late + TIMES.ttl;
    node.on_tick(later);
    assert!(deletes(&mut node, 4));
    assert!(node.context.directory.owner(cow).is_some());
    node.on_written(key(), None, Ok(5), later);
    assert!(node.context.directory.owner(cow).is_none());
    node.on_message(message(1), later);
    assert_eq!(texts(&node.take_actions()), [""; 0]);
}
