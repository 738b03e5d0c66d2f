//! The cluster's store and its messages on NATS: a bucket of JetStream's for records, and subjects for messages.

use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::kv::{Entry, Operation, Store as Bucket, Watch};
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, HeaderMap, header};

use crate::cluster::records::{CowRecord, Key, NodeRecord, Revision, StoreId, Value};
use crate::cows::{CowId, Herd};
use crate::limits::{CLUSTER_PAYLOAD_BYTES_MIN, CLUSTER_SAME_WRITES};
use crate::shard::name;

/// Where messages to all nodes go.
pub(super) const SUBJECT: &str = "cowchat.messages";

/// Where messages to users of one node go.
pub(super) fn subject_of(node: &str) -> String {
    format!("{SUBJECT}.{node}")
}

const BUCKET: &str = "cowchat";

/// How long a request may take: well below the time of a login.
const REQUEST_TIME_MAX: Duration = Duration::from_millis(1500);

/// The store, which all nodes share.
#[derive(Debug, Clone)]
pub(super) struct Store {
    context: Context,
    bucket: Bucket,
    /// The broker is one of those that let two writers replace one revision.
    needs_ids: bool,
}

/// Why nothing was written, or perhaps not.
pub(super) enum NotWritten {
    /// The key is at another revision.
    Conflict,
    /// For this reason.
    Unknown(String),
}

/// What a node needs before it can join.
pub(super) struct Opened {
    pub(super) store: Store,
    /// What the store has, then what changes.
    pub(super) watch: Watch,
    /// Its last revision.
    pub(super) last: Revision,
    /// The store has nothing.
    pub(super) is_empty: bool,
    /// When it was made.
    pub(super) made: StoreId,
}

impl Store {
    /// Opens the store, which the first node makes, with `replicas` copies.
    pub(super) async fn open(client: &Client, replicas: usize) -> Result<Opened, async_nats::Error> {
        let max_payload = client.server_info().max_payload;
        if max_payload < CLUSTER_PAYLOAD_BYTES_MIN {
            let least = CLUSTER_PAYLOAD_BYTES_MIN;
            return Err(
                format!("the NATS server takes {max_payload} bytes a message: set max_payload to {least}").into()
            );
        }
        let mut context = jetstream::new(client.clone());
        context.set_timeout(REQUEST_TIME_MAX);
        // Not by create_key_value, which a server of version 2.9 does not answer.
        let config = Config {
            name: format!("KV_{BUCKET}"),
            subjects: vec![format!("$KV.{BUCKET}.>")],
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: replicas,
            allow_rollup: true,
            deny_delete: true,
            duplicate_window: CLUSTER_SAME_WRITES,
            ..Config::default()
        };
        let name = config.name.clone();
        // Another node may make it at the same moment.
        let stream = match context.get_or_create_stream(config).await {
            Ok(stream) => stream,
            Err(error) => context.get_stream(name).await.map_err(|_| error)?,
        };
        let info = stream.cached_info();
        let (is_empty, last, made) =
            (info.state.messages == 0, info.state.last_sequence, info.created.unix_timestamp_nanos());
        let bucket = context.get_key_value(BUCKET).await?;
        let watch = bucket.watch_with_history(">").await?;
        let needs_ids = !client.is_server_compatible(2, 10, 0);
        Ok(Opened { store: Store { context, bucket, needs_ids }, watch, last, is_empty, made })
    }

    /// Writes the value, or a marker that there is none, if the key is still at the revision `expected`.
    ///
    /// Not by the bucket's own `update`: in NATS up to 2.9.20 brokers with several copies look at the revision before they agree on
    /// the order of writes, so two writers that come at the same moment both replace it (nats-server issue 4320). But there each
    /// copy stores only the first of two messages with one `Nats-Msg-Id`. Later versions need no such id, and may refuse it for
    /// as long as they remember it, though they have lost the write.
    pub(super) async fn write(
        &self,
        key: &str,
        value: Option<&Value>,
        expected: Revision,
    ) -> Result<Revision, NotWritten> {
        let text = match value {
            Some(Value::Node(record)) => serde_json::to_vec(record),
            Some(Value::Cow(record)) => serde_json::to_vec(record),
            None => Ok(Vec::new()),
        };
        let text = text.expect("a record has no map with odd keys");
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        // Whether there is a key at all these brokers check in the agreed order.
        if self.needs_ids && expected > 0 {
            headers.insert(header::NATS_MESSAGE_ID, format!("{key}@{expected}"));
        }
        if value.is_none() {
            headers.insert("KV-Operation", "DEL");
        }
        let unknown = |error: &dyn std::fmt::Display| NotWritten::Unknown(error.to_string());
        let subject = format!("$KV.{BUCKET}.{key}");
        let sent = self.context.publish_with_headers(subject, headers, text.into()).await;
        match sent.map_err(|error| unknown(&error))?.await {
            Ok(acknowledged) if acknowledged.duplicate => Err(NotWritten::Conflict),
            Ok(acknowledged) => Ok(acknowledged.sequence),
            Err(error) if is_conflict(&error) => Err(NotWritten::Conflict),
            Err(error) => Err(unknown(&error)),
        }
    }

    /// The key's revision and value; `None` if it never was.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Entry>, ()> {
        self.bucket.entry(key).await.map_err(|_| ())
    }
}

/// Whether another write of the key was first: it is stored, or under way, which newer versions of NATS tell apart.
fn is_conflict(error: &PublishError) -> bool {
    let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    let is_under_way =
        answer.is_some_and(|answer| answer.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT);
    is_under_way || error.kind() == PublishErrorKind::WrongLastSequence
}

/// A key as the bucket writes it.
pub(super) fn text_of(key: &Key, herd: &Herd) -> String {
    match key {
        Key::Node(name) => format!("node.{name}"),
        Key::Cow(cow) => format!("cow.{}.{}", encode(name(herd, *cow).breed), cow.number()),
    }
}

/// What an entry says, if this version knows such keys.
pub(super) fn read_entry(entry: &Entry, herd: &Herd) -> Option<(Key, Option<Value>)> {
    let is_there = entry.operation == Operation::Put;
    if let Some(name) = entry.key.strip_prefix("node.") {
        let record = || Value::Node(NodeRecord::read(name, &entry.value));
        return Some((Key::Node(name.to_owned()), is_there.then(record)));
    }
    // Not by another text for it, which this node would never write.
    let cow =
        cow_of(entry.key.strip_prefix("cow.")?, herd).filter(|&cow| text_of(&Key::Cow(cow), herd) == entry.key)?;
    Some((Key::Cow(cow), is_there.then(|| Value::Cow(CowRecord::read(&entry.value)))))
}

fn cow_of(text: &str, herd: &Herd) -> Option<CowId> {
    let (breed, number) = text.rsplit_once('.')?;
    herd.find(&decode(breed)?, number.parse().ok()?)
}

/// A cow's name in a key, where few letters are allowed: others become `=2E`.
fn encode(name: &str) -> String {
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        _ => format!("={byte:02X}"),
    };
    name.bytes().map(letter).collect()
}

fn decode(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_comes_back_from_its_key(name in ".*") {
            let key = encode(&name);
            prop_assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-=".contains(&byte)));
            prop_assert_eq!(decode(&key), Some(name));
        }
    }
}
