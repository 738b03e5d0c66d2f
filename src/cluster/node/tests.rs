//! What a node does with what it is told, step by step: its lease, its cows and other nodes. `copies`: a store that is listed again;
//! `messages`: those between nodes.

use super::*;
use crate::cluster::envelope::To;
use crate::cluster::records::{NodeRecord, VERSION};
use crate::cows::bubble::Bubble;
use crate::cows::herd::Cow;
use crate::directory::Claim;
use crate::ids::ConnectionId;
use crate::limits::{CLUSTER_LAST_MESSAGES, CLUSTER_RETRY, CLUSTER_TEXT_BYTES_MAX};
use crate::shard::{Message, Rules};

mod copies;
mod messages;

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
