//! Messages between nodes: gaps, repeats, and those that come too early or too late.

use super::*;

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
