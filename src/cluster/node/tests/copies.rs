//! What a node makes of a store that is listed again: by a copy that is behind, after it was set back, or lost.

use super::*;

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
