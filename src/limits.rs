//! Every number that bounds something, with its unit in its name and its reason beside it.
//!
//! A limit with a flag has its default here, and its reason for operators in [`crate::cli::REASONS`];
//! [`crate::policy::limits::Limits`] has the value in force. No number is tuned
//! by a test: arithmetic or a measurement justifies it.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest input line, without telnet commands, CR and LF, in bytes: less than N_TTY_BUF_SIZE.
pub const LINE_BYTES_MAX: usize = 4000;

/// Messages of other senders that may wait for one connection, in bytes; beyond it is cut as a slow consumer.
pub const SENDQ_BYTES_MAX: usize = 256 * 1024;

/// What a message counts at least: in `off` it may have 12 bytes, but takes a chunk of 24 in a queue whose room
/// doubles, and three allocations: 48 for the block, 32 for its bytes, 32 for the core's reference.
pub const SENDQ_MESSAGE_BYTES_MIN: usize = 160;

/// How far a send queue may be over its limit for [`SENDQ_GRACE`], as a multiple of the limit: a burst must not cut a
/// reader at full speed. 64 lines pasted at once are half a megabyte in the largest pictures.
pub const SENDQ_OVERRUN: usize = 2;

/// See [`SENDQ_OVERRUN`]. A reader at full speed takes such a burst in less.
pub const SENDQ_GRACE: Duration = Duration::from_millis(100);

/// What one address may say to each receiver: this part of [`SENDQ_BYTES_MAX`] at once, and as much again each second.
/// So it cuts no reader of 5 Mbit/s, with any number of connections. A message in colour has 4.6 KB: 28 at once and 28 a
/// second are more than a class behind one router says.
///
/// - At once it queues 128 KiB and one largest message ([`SENDQ_BYTES_MIN`]): 184 KiB of the 256 that may wait. So a
///   reader that takes nothing for the moment is not cut, and two addresses stay below twice the limit. Of addresses that
///   burst together, three cut no reader of 5 Mbit/s, four did.
/// - After that it sends 1.05 Mbit/s, whatever the queue: four such addresses leave a reader of 5 Mbit/s some. A reader of
///   1 Mbit/s falls 11 KB a second behind, and is cut after ten seconds or more.
pub const MESSAGES_SENDQ_PART: usize = 2;

/// A `say` waits while more than this part of its receiver's send queue is taken; the rest is for yields.
pub const BACKLOG_SENDQ_PART: usize = 2;

/// Messages of `say` on their way from other cores to one cow: 16 in colour are 74 KB, taken in within a turn.
pub const SAYS_IN_FLIGHT_MAX: u32 = 16;

/// How long a `say` waits for its receiver: a reader of 1 Mbit/s takes half a queue, 128 KiB, in a second.
pub const SAY_WAIT_MAX: Duration = Duration::from_secs(1);

/// First pause between two checks of the receiver; each pause doubles. 128 KiB in a millisecond are more than a
/// terminal shows. Ten thousand waiting senders cost a core 300,000 checks a second at most.
pub const SAY_POLL_MIN: Duration = Duration::from_millis(1);

/// Longest pause between two such checks.
pub const SAY_POLL_MAX: Duration = Duration::from_millis(32);

/// The largest message: a bubble of [`BUBBLE_BYTES_MAX`], a body of [`COW_BODY_BYTES_MAX`] and a header.
pub const SENDQ_BYTES_MIN: usize = 56 * 1024;

/// How long messages may wait for a connection that takes nothing.
pub const SENDQ_STALL: Duration = Duration::from_secs(10);

/// Shortest [`SENDQ_STALL`]: progress is checked once a second ([`CONNECTION_CHECK_INTERVAL`]).
pub const SENDQ_STALL_MIN: Duration = Duration::from_secs(1);

/// How long the last output of a closed session may wait for its peer, also in the kernel. It costs a descriptor only,
/// and a peer that reads its own replies slowly must not be cut: so as long as a guest may stay without a line.
pub const LAST_OUTPUT_STALL: Duration = Duration::from_secs(600);

/// While the send queue of a connection holds more bytes than this, no line of it is executed: replies throttle their
/// own asker. A quarter of [`SENDQ_BYTES_MAX`], so that messages have room.
pub const SENDQ_OWN_BYTES: usize = 64 * 1024;

/// Chunks of one write: 1 KiB of stack; 64 messages in colour fill the socket's buffer several times.
pub const WRITE_SLICES_MAX: usize = 64;

/// Frames that may wait for one core. A frame is three words and a shared message with its drawing, 2 to 10 KB for a
/// line in colour.
pub const MAILBOX_FRAMES: usize = 4096;

/// How long a node holds its lease without renewing it, and how often it renews. Six times in a lease: a broker may be away
/// for most of it.
pub const CLUSTER_TTL: Duration = Duration::from_secs(30);
/// See [`CLUSTER_TTL`].
pub const CLUSTER_RENEW: Duration = Duration::from_secs(5);

/// Shorter, and a pause of a machine or a broker ends a lease.
pub const CLUSTER_TTL_MIN: Duration = Duration::from_secs(2);
/// See [`CLUSTER_TTL_MIN`].
pub const CLUSTER_RENEW_MIN: Duration = Duration::from_millis(100);

/// The part of a lease that a node does without: clocks of two machines run apart by far less.
pub const CLUSTER_TTL_MARGIN_PART: u32 = 10;

/// How long a login waits for the cluster at most. The promise is 2 s, and a reply takes a moment.
pub const CLUSTER_LOGIN_WAIT: Duration = Duration::from_millis(1800);

/// How long a start waits until the server has joined its cluster.
pub const CLUSTER_JOIN_WAIT: Duration = Duration::from_secs(2);

/// How long a drained server takes at most to leave its cluster, and has at least, however late it is.
pub const CLUSTER_LEAVE_MAX: Duration = Duration::from_secs(2);
/// See [`CLUSTER_LEAVE_MAX`].
pub const CLUSTER_LEAVE_MIN: Duration = Duration::from_millis(500);

/// After what time a failed request to the cluster's store is made again.
pub const CLUSTER_RETRY: Duration = Duration::from_millis(500);

/// How long NATS remembers the id of a write. Two writes of one revision that are under way together must both fall into it.
pub const CLUSTER_SAME_WRITES: Duration = Duration::from_secs(30);

/// How often the store is asked for what its list lacked; a request takes 1.5 s at most.
pub const CLUSTER_UNSURE_AGAIN: Duration = Duration::from_secs(2);

/// How long the last messages of a server that has left may take: longer than a broker takes, but not until its cows are known
/// as others'.
pub const CLUSTER_LAST_MESSAGES: Duration = Duration::from_secs(2);

/// Messages of nodes that are not known yet which are kept, and for how long. The store tells of a node within milliseconds.
pub const CLUSTER_STRANGER_MESSAGES: usize = 256;
/// See [`CLUSTER_STRANGER_MESSAGES`].
pub const CLUSTER_STRANGER_WAIT: Duration = Duration::from_secs(2);

/// Messages that are kept for a login that waits for the cluster: as many as a reader may be behind before a `say` waits for it.
pub const CLUSTER_EARLY_SAYS: usize = SAYS_IN_FLIGHT_MAX as usize;
/// The same for all logins of a core, 5 KB each or less unless they are long.
pub const CLUSTER_EARLY_SAYS_TOTAL: usize = 1024;

/// Bytes of a message between servers at most: of the longest line that a server may take, made safe, which triples it at most.
pub const CLUSTER_TEXT_BYTES_MAX: usize = 3 * 64 * 1024;

/// What a NATS server must take as one message (`max_payload`): such a text, as JSON, which doubles it at most, and the rest.
pub const CLUSTER_PAYLOAD_BYTES_MIN: usize = 2 * CLUSTER_TEXT_BYTES_MAX + 1024;

/// How often an error of the way to the cluster's store is logged at most, and how often the same one.
pub const CLUSTER_ERROR_TOLD: Duration = Duration::from_secs(1);
/// See [`CLUSTER_ERROR_TOLD`].
pub const CLUSTER_ERROR_AGAIN: Duration = Duration::from_secs(60);

/// How often it is logged at most how many messages of a node are lost.
pub const CLUSTER_MISSED_TOLD: Duration = Duration::from_secs(1);

/// Largest file of `--cluster-ca`, `--cluster-certificate` and `--cluster-credentials`. Those of all public issuers are 250 KB.
pub const CLUSTER_FILE_BYTES_MAX: usize = 1024 * 1024;

/// Frames that wait for a core whose mailbox is full, before nothing more is taken from the broker.
pub const CLUSTER_STUCK_FRAMES: usize = MAILBOX_FRAMES;

/// Messages that the client of the broker keeps for a bridge that takes none; the rest is lost, and counted.
pub const CLUSTER_UNREAD_MESSAGES: usize = 8192;

/// Instances without a lease that are remembered, so that their late messages are dropped.
pub const CLUSTER_GONE_KEPT: usize = 256;

/// How long a shutdown may take, from the first signal to the exit.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The last part of [`DRAIN_TIMEOUT`] is for last lines: a core no longer waits for others to say that they send
/// nothing more. 2.5 s are enough to write 5,000 and to linger; a core silent for the other 7.5 s stands still.
pub const DRAIN_LAST_PART: u32 = 4;

/// How long a closing connection waits for the peer's FIN after the last acknowledgement: a live peer answers within a
/// round trip. Closing sooner answers input on its way with RST, and output on its way is lost.
pub const LINGER: Duration = Duration::from_secs(1);

/// How often a closing connection checks for the last acknowledgement: 5,000 in a drain take a twentieth of a core.
pub const LINGER_POLL: Duration = Duration::from_millis(100);

/// How long a drain waits for handshakes under way before it closes the listener: a round trip on most networks.
pub const HANDSHAKE_GRACE: Duration = Duration::from_millis(50);

/// Largest part of [`DRAIN_TIMEOUT`] for [`HANDSHAKE_GRACE`]: a short drain needs time for its last lines, too.
pub const DRAIN_GRACE_PART: u32 = 10;

/// Refused connections of a core that linger for their last line: a part of the scarce [`DESCRIPTORS_PER_CORE`].
pub const REFUSED_LINGERING_MAX: usize = 3;

/// Descriptors of the process: 6 for standard streams and signals, 48 for four cores ([`DESCRIPTORS_PER_CORE`]), and 8 for
/// metrics: the listener, three of its event loop, and [`SCRAPES_AT_ONCE`].
pub const DESCRIPTORS_RESERVED: u64 = 64;

/// Descriptors of each core: 9 of its own (3 rings and an event descriptor of glommio, a ring for readiness, a ring for
/// sends, its remote waker, its listener, its reserve), and [`REFUSED_LINGERING_MAX`].
pub const DESCRIPTORS_PER_CORE: u64 = 12;

/// Lockable memory of a core, in bytes: 300 to 400 KiB on Linux 6.18, measured as an unprivileged user; older kernels
/// count the 192 KiB that glommio's three rings register. Rings under CAP_IPC_LOCK never count.
pub const MEMLOCK_PER_CORE: u64 = 512 * 1024;

/// Entries of rings that take [`MEMLOCK_PER_CORE`] together where the kernel counts rings: 100 bytes for each entry (64
/// of a submission, 4 of its index, twice 16 of a completion).
pub const MEMLOCK_PER_CORE_RINGS: [u32; 2] = [4096, 1024];

/// How long the check of io_uring waits for each operation; each takes some microseconds.
pub const PROBE_WAIT_MAX: Duration = Duration::from_secs(1);

/// Fewest descriptors with which the server starts: the reserve, and half as many for users.
pub const DESCRIPTORS_MIN: u64 = 96;

/// Kernel send buffer of each connection, in bytes; the kernel doubles it. Without a limit the kernel grows the buffer
/// of a peer that never reads to 4 MB.
pub const SOCKET_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// What a throttled connection may send, in the kernel, which doubles it for its own bookkeeping and grows an unlimited
/// one to megabytes. A window of 64 KiB is 1.3 MB a second at a round trip of 50 ms.
pub const SOCKET_RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// Connections that wait for accept; the kernel cuts it to `somaxconn`. A burst of 10,000 fits two cores.
pub const BACKLOG: i32 = 4096;

/// The kernel probes a peer after this long without a byte either way.
pub const KEEPALIVE: Duration = Duration::from_secs(60);

/// The pause between two probes is this part of [`KEEPALIVE`], 10 s, and at least a second, the kernel's unit.
pub const KEEPALIVE_INTERVAL_PART: u32 = 6;

/// Probes that a peer may leave unanswered, also of a closed window (`policy::liveness`): it is gone after 90 s.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Longest [`KEEPALIVE`]: TCP_KEEPIDLE has 15 bits of seconds.
pub const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// How long sent bytes may stay unacknowledged before the peer is gone. Keepalive does not probe while bytes are on
/// their way.
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Shortest [`USER_TIMEOUT`]: three or four retransmissions, since the first comes after a fifth of a second and each
/// pause doubles. It is checked once a second ([`CONNECTION_CHECK_INTERVAL`]).
pub const USER_TIMEOUT_MIN: Duration = Duration::from_secs(5);

/// How long a guest may send no line.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(600);

/// Lines that a connection may send at once before [`FLOOD_RATE`] holds.
pub const FLOOD_BURST: u32 = 10;

/// Lines of one connection a second.
pub const FLOOD_RATE: u32 = 5;

/// Largest [`FLOOD_BURST`] and [`FLOOD_RATE`]: a line a microsecond, the unit in which a bucket counts.
pub const FLOOD_LINES_MAX: usize = 1_000_000;

/// Receivers of a `yield` that cost a line more. A delivery takes 2 to 12 us, so 100 are a millisecond at most; at
/// [`FLOOD_RATE`] a line may cost 2 ms if one client may take 1 % of a core (`cargo bench --bench stampede -- price`).
pub const FLOOD_RECEIVERS: u64 = 100;

/// Bytes of a line that cost a line more, and bytes outside of lines: telnet commands, and the excess of a too long
/// line. Drawing 512 takes 30 us at most, but each delivery takes longer, too. A line of RFC 1459 has 512.
pub const FLOOD_BYTES: u64 = 512;

/// What a read that ends no line costs, in such bytes: an eighth of a line. Like any read it wakes the core, 25 us if
/// the core is idle, so a telnet client may send a line byte by byte, but not for ever.
pub const FLOOD_READ_BYTES: usize = 64;

/// Bytes of a reply that cost one line more: `who`, `cows` and `history` print up to 128 KiB in a millisecond and a
/// half. So even the longest history costs less than [`FLOOD_BURST`].
pub const FLOOD_REPLY_BYTES: u64 = 16 * 1024;

/// A line that would wait for longer is refused, so that its sender knows.
pub const FLOOD_DEBT_MAX: Duration = Duration::from_secs(30);

/// Connections that one address may open at once, before [`CONNECT_RATE`] holds: an office may share it.
pub const CONNECT_BURST: u32 = 20;

/// Connections of one address that are served a second.
pub const CONNECT_RATE: u32 = 2;

/// Longest wait of a connection for its turn, whatever its address has opened before.
pub const CONNECT_WAIT_MAX: Duration = Duration::from_secs(30);

/// Rounds of [`CONNECTION_CHECK_INTERVAL`] between two log lines about unserved connections of one address.
pub const UNSERVED_TOLD_EVERY: u64 = 10;

/// Bans of `cowchat ctl` at once, of 64 bytes at most: a new connection is compared with each.
pub const BANS_MAX: usize = 1000;

/// Connections of one IPv4 address or IPv6 network of 64 bits.
pub const CONNECTIONS_PER_ADDRESS: usize = 64;

/// The part of all cows for one address, at least [`COWS_PER_ADDRESS_MIN`].
pub const COWS_PER_ADDRESS_PART: usize = 2;

/// See [`COWS_PER_ADDRESS_PART`].
pub const COWS_PER_ADDRESS_MIN: u32 = 8;

/// Cows are scarce while fewer than this part of them is free: of 24, two.
pub const SCARCE_PART: usize = 8;

/// How long a session may say nothing to others while cows are scarce.
pub const SCARCE_IDLE: Duration = Duration::from_secs(3600);

/// Networks without limits by address, flood control and [`LOGIN_TIMEOUT`].
pub const LOOPBACK: &str = "127.0.0.0/8,::1";

/// What may wait for all connections together, in mailboxes and queues, as replies, history and input: this part of the
/// memory of the process.
pub const QUEUES_MEMORY_PART: u64 = 4;

/// How long the queues may be over that before the largest is cut: another core's count is up to two of its checks old,
/// and a burst to fast readers is over by then.
pub const QUEUES_GRACE: Duration = Duration::from_millis(100);

/// Own checks without one of another core, after which a core no longer waits for that core to cut the largest queue:
/// a second, as [`STALL_NOTICED`]. A busy core checks late.
pub const QUEUE_CHECKS_MISSED_MAX: u32 = 20;

/// Bytes of one read, into one buffer per core.
pub const READ_BYTES: usize = 16 * 1024;

/// Frames that the pump takes from the inbox before it flushes: one turn, unless [`TURN_TIME`] ends it.
pub const TURN_FRAMES: usize = 256;

/// Lines of one connection that are executed before other tasks run: one turn, likewise.
pub const TURN_LINES: usize = 64;

/// Longest turn. Most lines and frames take 2 us, but the longest text may take 250 while everything else waits.
pub const TURN_TIME: Duration = Duration::from_millis(1);

/// Sends of one batch, after which the reactor is polled: at 3 to 6 us each, about a millisecond.
pub const RING_SENDS: usize = 256;

/// The pause after a large flush of joined messages, as a multiple of the time that the flush took. With 4 senders of 8
/// messages each to 1,000 receivers, 3 took 7 % less CPU time than 1, and 4 no less than 3. A flush of single messages
/// has no pause: it saved nothing there.
pub const BATCHING_FLUSHES: u32 = 3;

/// Longest such pause. A flush to 1,000 takes 3 ms.
pub const BATCHING_MAX: Duration = Duration::from_millis(10);

/// Fewer connections than these are written to one by one: the ring's own system call costs as much as it saves.
pub const RING_SENDS_WORTH: usize = 8;

/// How long a core without its ring for sends writes to each connection by itself before it builds a new ring, which takes
/// 100 us. By then memory may be free again, and the closed ring has given back what it had locked.
pub const SEND_RING_PAUSE: Duration = Duration::from_secs(1);

/// Different runs of messages that one flush remembers to share. A run that no other connection shares makes room.
pub const RUNS_MAX: usize = 8;

/// Connections accepted in a row before the reactor is polled: at 20 us each, about a millisecond.
pub const TURN_ACCEPTS: usize = 64;

/// Pause after the kernel has refused a descriptor: it refuses again until one is closed.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Polls and cancellations that one call submits; the rest waits for the next call. 64 KiB of ring.
pub const RING_SUBMISSIONS: u32 = 1024;

/// Completions that one call collects; the kernel keeps the rest for the next call. 64 KiB of ring.
pub const RING_COMPLETIONS: u32 = 4096;

/// Completions that one call posts at least, if there are: 20 since Linux 6.13 (IO_LOCAL_TW_DEFAULT_MAX), all before.
pub const RING_POSTED_AT_ONCE: usize = 20;

/// A core whose tasks wake each other polls its ring no more often: as long as ten lines take, or a hundred polls.
pub const IO_POLL_INTERVAL: Duration = Duration::from_micros(100);

/// A yield of the CPU that takes this long was to a thread that computes: a client or another core blocks after some hundred
/// microseconds, unless the machine is full of work for them.
pub const CPU_YIELD_LONG: Duration = Duration::from_millis(1);

/// Events that make a long yield worth its time: where clients keep the machine full there are dozens.
pub const CPU_YIELD_WORTH: usize = 4;

/// How long a core does not yield its CPU after a long yield that was not worth it. Threads that compute cost it one slice
/// (3 ms on Linux 6.18) in this time, a tenth.
pub const CPU_YIELD_PAUSE: Duration = Duration::from_millis(30);

/// Depth of each of glommio's three rings, which have one timer to watch.
pub const EXECUTOR_RING_DEPTH: usize = 128;

/// How long glommio lets tasks run before it polls its own rings, in which there is nothing. If it ended before the
/// first task ran, as in a preempted thread, glommio 0.9.0 would park with runnable tasks, and nothing would wake it.
pub const EXECUTOR_PREEMPTION: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Registered buffer memory per executor, in bytes: glommio's minimum; only file I/O uses it.
pub const IO_MEMORY_BYTES: usize = 64 * 1024;

/// How often a core checks its queues (`net::housekeeping`), which costs 5 us.
pub const QUEUE_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Longest time between two polls after which a core still blames a peer for silence: [`QUEUE_CHECK_INTERVAL`] and half of it.
pub const POLL_GAP_MAX: Duration = Duration::from_millis(75);

/// How often the watchdog checks the progress of the cores.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// A core that makes no progress for this long is stalled: even on an idle core twenty tasks run in this time.
pub const STALL_NOTICED: Duration = Duration::from_secs(1);

/// Ends of connections that `cowchat ctl closed` can show, and that each core keeps: 96 bytes each, 94 KiB a core.
pub const CLOSED_KEPT: usize = 1000;

/// Connections that one task visits before others run: at 1 us each, a quarter of a turn.
pub const VISITED_AT_ONCE: usize = 256;

/// How often a core looks for connections that are stalled, silent or gone.
pub const CONNECTION_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a start waits for the port and lockable memory: a killed process holds them for some milliseconds.
pub const START_RETRY_MAX: Duration = Duration::from_secs(1);

/// Cows of each breed: more than any machine has connections.
pub const HERD_SIZE_MAX: usize = 1 << 20;

/// Cows of all breeds together. A slot is 8 bytes, so this is half a gigabyte, though only used slots take memory. A
/// `who` then looks at a million words, in a millisecond or two.
pub const HERD_COWS_MAX: usize = 1 << 26;

/// Names that one `who` lists; it counts the rest.
pub const WHO_NAMES_MAX: usize = 1000;

/// Runs of free numbers that one `cows` lists of each breed.
pub const FREE_RUNS_MAX: usize = 3;

/// Connections that ask for metrics at once, a part of [`DESCRIPTORS_RESERVED`]; more wait in the kernel's queue. A scraper opens
/// one.
pub const SCRAPES_AT_ONCE: usize = 4;

/// How long a connection that asks for metrics may stay. The answer has 8 KB and is ready in a millisecond.
pub const SCRAPE_TIME_MAX: Duration = Duration::from_secs(5);

/// One line in as many is timed until its message is written: it costs a look at the clock.
pub const DELIVERY_SAMPLED_EVERY: u32 = 32;

/// Upper bounds of the buckets of that time: an idle server needs 50 us, and a message that takes longer than a second is late whatever it takes.
pub const DELIVERY_DELAYS: [Duration; 13] = {
    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }
    [
        us(50),
        us(100),
        us(250),
        us(500),
        us(1000),
        us(2500),
        us(5000),
        us(10_000),
        us(25_000),
        us(50_000),
        us(100_000),
        us(250_000),
        us(1_000_000),
    ]
};

/// Those, and one for what takes longer.
pub const DELIVERY_DELAY_BUCKETS: usize = DELIVERY_DELAYS.len() + 1;

/// Digits of a request id: any number of as many fits into a signed integer of 64 bits.
pub const ID_DIGITS_MAX: usize = 18;

/// Lines of notices that one session gets in a second.
pub const NOTICES_A_SECOND: usize = 10;

/// Messages of one `history`, which has [`HISTORY_REPLY_BYTES_MAX`] at most.
pub const HISTORY_REPLY_MESSAGES_MAX: usize = 50;

/// Bytes of one `history`: half a send queue, written as fast as its asker reads.
pub const HISTORY_REPLY_BYTES_MAX: usize = 128 * 1024;

/// Messages that a flag may ask a history to keep.
pub const HISTORY_MESSAGES_MAX: usize = 10_000;

/// Bytes of one core's history: 10,000 messages of a line, 250 of the longest.
pub const HISTORY_BYTES_MAX: usize = 1024 * 1024;

/// Characters of a user's word that an error echoes.
pub const ECHO_CHARS_MAX: usize = 64;

/// Combining marks of one base character: enough for Vietnamese and pointed Hebrew, too few to paint over lines.
pub const COMBINING_MARKS_MAX: usize = 4;

/// Columns of a message's text by default.
pub const BUBBLE_COLUMNS: usize = 40;

/// Columns that a flag may ask for. A word and its frame need a few; on a line of 400 nothing wraps any more.
pub const BUBBLE_COLUMNS_ALLOWED: RangeInclusive<usize> = 10..=400;

/// Largest bubble of a line of [`LINE_BYTES_MAX`], in bytes, of all texts that were tried. Words of five bytes fill ten
/// columns worst, if every second byte is an invalid one that becomes three: 682 lines of 11 bytes at most, 5 of
/// padding and 11 of sides, and 98 of edges.
pub const BUBBLE_BYTES_MAX: usize = 19 * 1024;

/// Largest cow file: twice the largest picture, since `\N{U+2584}` is longer than its character.
pub const COW_FILE_BYTES_MAX: usize = 64 * 1024;

/// Largest picture of a cow file, see [`SENDQ_BYTES_MIN`]. The largest of charasay has 8.5 KB; 50 rows in 24-bit
/// colours, as converters make them, have 20 KB.
pub const COW_BODY_BYTES_MAX: usize = 32 * 1024;

/// Bytes of all values of a cow file together while its assignments are followed: 16 of the largest pictures. It bounds the
/// time and memory that a file takes, since a string may hold another one many times.
pub const COW_FILE_VALUES_BYTES_MAX: usize = 512 * 1024;

/// Parentheses and blocks of a cow file that may be nested.
pub const COW_FILE_DEPTH_MAX: usize = 16;

/// Breeds from files: a `cows` reply with all of them, 34 bytes each, stays below [`SENDQ_OWN_BYTES`].
pub const COW_FILES_MAX: usize = 1000;

/// Memory of an idle connection, in bytes: 0.86 KiB of the process and 4.0 of the kernel, between 1,000 and 9,000 connections
/// on Linux 6.18. Of the kernel's, the socket has 2.3 KiB, its inode 0.8, the directory entry 0.3, the file and the poll 0.25 each.
pub const IDLE_CONNECTION_BYTES: u64 = 5 * 1024;

/// Pages of tcp_mem for each connection. An idle one takes none: `mem` in /proc/net/sockstat stays the same with 1,000, 5,000
/// and 9,000. One to which a message in colour is on its way takes 1.1, each further message 0.65: so this is a second
/// `yield` to all while the first is on its way. One that reads nothing takes 54 or more, both ends counted.
pub const TCP_PAGES_PER_CONNECTION: u64 = 2;

/// Largest file of `--config`: each flag with a page of comment.
pub const CONFIG_FILE_BYTES_MAX: usize = 64 * 1024;

/// Longest `--motd` file in bytes: a greeting counts as a reply, see [`SENDQ_OWN_BYTES`].
pub const MOTD_BYTES_MAX: usize = 64 * 1024;

/// Events that may wait for the log, 3 MB; further ones are counted, since a stuck terminal must not stop a core.
pub const LOG_EVENTS: usize = 32_768;

/// How long the log's thread waits for more events once it has one: a storm of logins wakes it 100 times a second
/// instead of once for each line, and no reader notices. Meanwhile come 600 lines, a fiftieth of [`LOG_EVENTS`].
pub const LOG_BATCHING: Duration = Duration::from_millis(10);

/// Bytes of log lines that leave in one write, if there are as many.
pub const LOG_WRITE_BYTES: usize = 64 * 1024;

/// How long the end of the process waits for the log: a stuck terminal must not stop that either.
pub const LOG_WAIT_MAX: Duration = Duration::from_secs(1);

/// Cores that an owner word can name (10 bits), see [`crate::directory::Owner`].
pub const CORES_MAX: usize = 1 << 10;

/// Connections per core that an owner word can name (22 bits).
pub const CONNECTIONS_PER_CORE_MAX: usize = 1 << 22;
