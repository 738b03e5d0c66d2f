//! What tasks beside the loop, the store and other nodes tell.

use async_nats::jetstream::kv::Entry;

use super::driver::Driver;
use super::requests::Told;
use super::store::{self, Opened};
use super::uplink::now;
use crate::cluster::records::{Key, Revision, Value};
use crate::events::Event;
use crate::limits::{CLUSTER_ERROR_AGAIN, CLUSTER_ERROR_TOLD, CLUSTER_UNSURE_AGAIN};

impl Driver {
    pub(super) fn on_told(&mut self, told: Told) {
        match told {
            Told::Client(client) => {
                self.requests.client = Some(client.clone());
                self.requests.subscribe(client, self.name.clone());
            }
            Told::Subscribed(Ok(incoming)) => {
                self.incoming = Some(incoming);
                self.open();
            }
            Told::Connected => {
                self.is_forbidden = false;
                self.open();
            }
            Told::Subscribed(Err(error)) => {
                self.disconnected(error);
                let client = self.requests.client.clone();
                client.into_iter().for_each(|client| self.requests.subscribe(client, self.name.clone()));
            }
            Told::Disconnected(error) => self.disconnected(error),
            Told::Failed(error) => self.log_error(error),
            Told::Forbidden(error) => {
                self.is_forbidden = true;
                self.disconnected(error);
            }
            Told::Opened(number, _) if number != self.setting_up => {}
            Told::Opened(_, Ok(opened)) => self.opened(*opened),
            Told::Opened(_, Err(error)) => {
                self.disconnected(error);
                self.open();
            }
            Told::Entry(number, _) if number != self.setting_up => {}
            Told::Entry(_, Some(entry)) => self.on_entry(&entry),
            Told::Entry(_, None) => self.open(),
            Told::Written(key, value, result) => self.node.on_written(key, value, result, now()),
            Told::Read(read, result) => {
                let herd = self.node.herd();
                let found = result.map(|entry| {
                    let entry = entry?;
                    let (_, value) = store::read_entry(&entry, herd)?;
                    Some((entry.revision, value))
                });
                self.node.on_read(read, found, now());
            }
        }
    }

    pub(super) fn disconnected(&mut self, error: String) {
        self.setting_up += 1;
        self.listed_at = None;
        self.requests.store = None;
        self.requests.unfollow();
        self.node.on_disconnected();
        self.log_error(error);
    }

    /// Logs what is wrong: one line a second at most, and the same one once a minute.
    pub(super) fn log_error(&mut self, error: String) {
        let now = now();
        let is_told = self.told_error.as_ref().is_some_and(|(told, at)| {
            let pause = if *told == error { CLUSTER_ERROR_AGAIN } else { CLUSTER_ERROR_TOLD };
            now.saturating_sub(*at) < pause
        });
        if !is_told {
            self.told_error = Some((error.clone(), now));
            let is_in_reach = self.node.is_in_reach(now);
            self.log.emit(if is_in_reach { Event::ClusterError { error } } else { Event::ClusterUnreached { error } });
        }
    }

    /// Opens the store; the attempts before are void.
    pub(super) fn open(&mut self) {
        if let (Some(client), Some(_), false) = (self.requests.client.clone(), &self.incoming, self.is_forbidden) {
            self.setting_up += 1;
            self.requests.open(client, self.setting_up);
        }
    }

    pub(super) fn opened(&mut self, opened: Opened) {
        let Opened { store, watch, last, is_empty, made } = opened;
        self.listed_at = None;
        self.requests.store = Some(store);
        self.node.on_connected(made, last, now());
        if is_empty {
            self.node.on_listed(now());
        }
        self.requests.follow(watch, self.setting_up);
    }

    pub(super) fn on_entry(&mut self, entry: &Entry) {
        match store::read_entry(entry, self.node.herd()) {
            Some((Key::Node(name), value)) => {
                self.node.on_node(&name, entry.revision, value.and_then(Value::into_node), now());
            }
            Some((Key::Cow(cow), value)) => {
                self.node.on_cow(cow, entry.revision, value.and_then(Value::into_cow), now());
            }
            // Of another version.
            None => {}
        }
        if entry.seen_current {
            self.listed_at.get_or_insert_with(now);
            self.end_list(entry.revision);
        }
    }

    /// Ends the list if it has come so far. A broker's copy that is behind has told all that it has before all that there is: it may
    /// take some time for the rest. But if that was purged, it never comes.
    pub(super) fn end_list(&mut self, revision: Revision) {
        let Some(listed_at) = self.listed_at else { return };
        if revision >= self.node.list_until() || now().saturating_sub(listed_at) >= CLUSTER_UNSURE_AGAIN {
            self.listed_at = None;
            self.node.on_listed(now());
        }
    }
}
