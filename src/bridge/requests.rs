//! Requests to the broker, each a task beside the loop: none makes the loop wait.

use async_nats::Client;
use async_nats::jetstream::kv::{Entry, Watch};
use futures_lite::StreamExt;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use super::access;
use super::incoming::Incoming;
use super::store::{self, NotWritten, Opened, Store};
use crate::cluster::node::{Read, WriteError};
use crate::cluster::records::{Key, Revision, Value};
use crate::cows::Herd;
use crate::limits::CLUSTER_RETRY;

/// What tasks beside the loop tell it.
pub(super) enum Told {
    Client(Client),
    Connected,
    Disconnected(String),
    /// The client says that something is wrong.
    Failed(String),
    /// The broker lets this server not hear the others, or not speak to them.
    Forbidden(String),
    /// What has come of the attempt with this number to open the store.
    Opened(u64, Result<Box<Opened>, String>),
    Subscribed(Result<Box<Incoming>, String>),
    /// Of the watch with this number; `None` for its end.
    Entry(u64, Option<Box<Entry>>),
    Written(Key, Option<Value>, Result<Revision, WriteError>),
    Read(Read, Result<Option<Box<Entry>>, ()>),
}

/// The way to make requests; what comes of them is told.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) client: Option<Client>,
    pub(super) store: Option<Store>,
    replicas: usize,
    tell: UnboundedSender<Told>,
    /// What tells of the store; its end gives back what the broker has for it.
    watch: Option<JoinHandle<()>>,
}

impl Requests {
    /// For a store that the brokers keep `replicas` copies of, if it is made here.
    pub(super) fn new(replicas: usize, tell: UnboundedSender<Told>) -> Self {
        Requests { client: None, store: None, replicas, tell, watch: None }
    }

    /// The way in which anything is told.
    pub(super) fn tell(&self) -> UnboundedSender<Told> {
        self.tell.clone()
    }

    /// Subscribes to the messages of other nodes, for this one.
    pub(super) fn subscribe(&self, client: Client, node: String) {
        let tell = self.tell.clone();
        tokio::spawn(async move {
            let subscribed = Incoming::subscribe(&client, &node).await.map(Box::new).map_err(|error| error.to_string());
            if subscribed.is_err() {
                tokio::time::sleep(CLUSTER_RETRY).await;
            }
            // The loop has ended.
            let _ = tell.send(Told::Subscribed(subscribed));
        });
    }

    /// Opens the store: the attempt with this number.
    pub(super) fn open(&self, client: Client, number: u64) {
        let (replicas, tell) = (self.replicas, self.tell.clone());
        tokio::spawn(async move {
            let opened = Store::open(&client, replicas).await.map(Box::new);
            let opened = opened.map_err(|error| access::in_words(&error.to_string()).to_owned());
            if opened.is_err() {
                tokio::time::sleep(CLUSTER_RETRY).await;
            }
            let _ = tell.send(Told::Opened(number, opened));
        });
    }

    /// Ends what follows the store.
    pub(super) fn unfollow(&mut self) {
        self.watch.take().into_iter().for_each(|watch| watch.abort());
    }

    /// Tells what the store has and what changes, by the watch with this number.
    pub(super) fn follow(&mut self, mut watch: Watch, number: u64) {
        self.unfollow();
        let tell = self.tell.clone();
        self.watch = Some(tokio::spawn(async move {
            while let Some(Ok(entry)) = watch.next().await {
                if tell.send(Told::Entry(number, Some(Box::new(entry)))).is_err() {
                    return;
                }
            }
            // One that ends again and again would ask for everything each time.
            tokio::time::sleep(CLUSTER_RETRY).await;
            let _ = tell.send(Told::Entry(number, None));
        }));
    }

    /// Writes, or deletes if there is no value.
    pub(super) fn write(&self, key: Key, value: Option<Value>, expected: Revision, herd: &Herd) {
        let (store, tell, text) = (self.store.clone(), self.tell.clone(), store::text_of(&key, herd));
        tokio::spawn(async move {
            let result = match &store {
                None => Err(NotWritten::Unknown("the store is not open".to_owned())),
                Some(store) => store.write(&text, value.as_ref(), expected).await,
            };
            let result = result.map_err(|error| match error {
                NotWritten::Conflict => WriteError::Conflict,
                NotWritten::Unknown(error) => {
                    let _ = tell.send(Told::Failed(format!("{text} is not written: {error}")));
                    WriteError::Unknown
                }
            });
            let _ = tell.send(Told::Written(key, value, result));
        });
    }

    pub(super) fn read(&self, read: Read, herd: &Herd) {
        let (store, tell, text) = (self.store.clone(), self.tell.clone(), store::text_of(&read.key, herd));
        tokio::spawn(async move {
            let result = match store {
                None => Err(()),
                Some(store) => store.read(&text).await.map(|entry| entry.map(Box::new)),
            };
            let _ = tell.send(Told::Read(read, result));
        });
    }
}
