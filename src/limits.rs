//! Every number that bounds something, with its unit in its name and the reason beside it.
//!
//! A limit with a flag has its default here; [`crate::boot::config::Config`] carries the value in force.
//! Nothing here is tuned by a test: a number is justified by its arithmetic or by a measurement.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest input line in bytes, after telnet bytes are gone and without its CR and LF. A terminal hands over 4,095 bytes
/// of a typed line and drops the rest without a word (N_TTY_BUF_SIZE), so a longer limit would never be told of.
/// RFC 1459 allows 512: there is room for a poem.
pub const LINE_BYTES_MAX: usize = 4000;

/// Other people's messages that may wait for one connection, in bytes, before it is cut as a slow
/// consumer. A message is 1.7 to 8.7 KB in colour, so 256 KiB is 30 to 150 messages behind.
pub const SENDQ_BYTES_MAX: usize = 256 * 1024;

/// Fewest bytes that a message counts towards [`SENDQ_BYTES_MAX`]: in `off` it may have 12, but it takes a
/// chunk of 24 in a queue whose room doubles, and allocations of 48, 32 and 32: the block, its bytes, and the core's
/// reference to it.
pub const SENDQ_MESSAGE_BYTES_MIN: usize = 160;

/// How far over its limit a send queue may go, as a multiple of it, and for how long: a burst that a reader
/// at full speed takes in a moment must not cut him. 64 lines pasted at once are half a megabyte in the
/// largest pictures; after a tenth of a second he is not a reader at full speed.
pub const SENDQ_OVERRUN: usize = 2;

/// See [`SENDQ_OVERRUN`].
pub const SENDQ_GRACE: Duration = Duration::from_millis(100);

/// What the connections of one address may say together: to each receiver this part of [`SENDQ_BYTES_MAX`] at once, and
/// as much again each second. So one address cuts no reader of 5 Mbit/s, however many connections it has and for however
/// long it sends:
///
/// - At once it queues 128 KiB and one largest message, 56 KiB ([`SENDQ_BYTES_MIN`]), built-in cows 28 KiB: 184 KiB at most
///   of the 256 that may wait. So even a reader that takes nothing for the moment is not cut, and two addresses together
///   stay below twice the limit. Three that burst at the same moment cut no reader of 5 Mbit/s, four did.
/// - After that it sends 128 KiB a second, 1.05 Mbit/s. A reader of 5 Mbit/s takes 600 KB, so four such addresses leave
///   it some; one of 1 Mbit/s takes 120 KB, falls 11 KB a second behind, and is cut after ten seconds or more. A larger
///   queue gets no more a second.
///
/// A message in colour has 4.6 KB: 28 at once and 28 a second are more than a class behind one router says.
pub const MESSAGES_SENDQ_PART: usize = 2;

/// A receiver is far behind when more than this part of its send queue is taken: a `say` to it waits then, a `yield` never
/// does. What is left of the queue has room for a `yield` of everybody else.
pub const BACKLOG_SENDQ_PART: usize = 2;

/// Messages of `say` that may be on their way to one cow from other cores: those that follow wait likewise. 16 in colour are
/// 74 KB, and a core takes them in within a turn.
pub const SAYS_IN_FLIGHT_MAX: u32 = 16;

/// How long a `say` waits for a receiver that is far behind. A reader at full speed takes half a queue, 128 KiB, in a
/// moment; at 1 Mbit/s it takes a second.
pub const SAY_WAIT_MAX: Duration = Duration::from_secs(1);

/// Pauses between two looks whether it is still behind: the first, and the longest, each twice the one before. 128 KiB in a
/// millisecond are more than a terminal shows; ten thousand senders that wait cost a core 300,000 looks a second at most.
pub const SAY_WAIT_LOOKS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(32)];

/// Smallest send queue that can be asked for: one message of the longest line in the largest picture, which has a bubble
/// of [`BUBBLE_BYTES_MAX`], a body of [`COW_BODY_BYTES_MAX`] and a header.
pub const SENDQ_BYTES_MIN: usize = 56 * 1024;

/// How long other people's messages may wait for a connection that takes nothing at all.
pub const SENDQ_STALL: Duration = Duration::from_secs(10);

/// Shortest [`SENDQ_STALL`]: whether a peer has taken anything is looked at once a second ([`HOUSEKEEPING`]).
pub const SENDQ_STALL_MIN: Duration = Duration::from_secs(1);

/// How long the last output of a connection that has ended may wait for a peer that takes nothing; also in the
/// kernel, unless the peer has ended, too: then it is the kernel's. Nobody is kept waiting by that but a
/// descriptor, and nobody is to be cut for his own replies, however slowly he reads them: as long as a guest may
/// stay without a line.
pub const LAST_OUTPUT_STALL: Duration = Duration::from_secs(600);

/// A connection executes no further line of its own while its send queue holds more bytes than this:
/// replies throttle the one who asked for them. A quarter of [`SENDQ_BYTES_MAX`], so that they leave
/// room for what others have to say.
pub const SENDQ_OWN_BYTES: usize = 64 * 1024;

/// Chunks handed to the kernel in one write: a stack array of 64 slices is 1 KiB, and 64 colour
/// messages fill the socket's buffer several times over.
pub const WRITE_SLICES_MAX: usize = 64;

/// Frames that may wait for one core. A frame is three words and a shared message with its drawing: 2 to 10 KB
/// for a line in colour, so a full mailbox is at most 40 MB; of longest lines it is 170 MB.
pub const MAILBOX_FRAMES: usize = 4096;

/// How long a shutdown may take, from the first signal to the exit.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The last part of [`DRAIN_TIMEOUT`] is for the last lines: when only so much is left, a core waits no longer for
/// others to say that nothing more will come from them. 2.5 s of 10 are enough to write 5,000 last lines and to
/// linger; a core that has said nothing for the other 7.5 stands still.
pub const DRAIN_LAST_PART: u32 = 4;

/// How long a closing connection waits for the peer's own end after the peer's kernel has acknowledged the last
/// byte. Closing sooner would answer what the peer still sends by RST, and what is on its way to it would be
/// lost; a peer that is alive answers FIN within a round trip.
pub const LINGER: Duration = Duration::from_secs(1);

/// How often it is looked whether the peer of a closing connection has acknowledged everything: that is a
/// system call, and ten a second for each of the 5,000 that a drain may close are a twentieth of a core.
pub const LINGER_POLL: Duration = Duration::from_millis(100);

/// How long a drain lets handshakes under way come to their end before the listener goes: a round trip, on
/// most networks.
pub const HANDSHAKE_GRACE: Duration = Duration::from_millis(50);

/// At most this part of [`DRAIN_TIMEOUT`] is for [`HANDSHAKE_GRACE`]: a drain of less than half a second has to come to its
/// last lines, too.
pub const DRAIN_GRACE_PART: u32 = 10;

/// Refused newcomers that may linger at once on one core: their last line deserves the same care as
/// anybody's, but must not cost the descriptors that are scarce. More than these are closed at once. They are
/// part of [`DESCRIPTORS_PER_CORE`].
pub const REFUSED_LINGERING_MAX: usize = 3;

/// Descriptors kept for the process itself: 6, standard streams and signals, and [`DESCRIPTORS_PER_CORE`] for each
/// of four cores, which are 54 together.
pub const DESCRIPTORS_RESERVED: u64 = 64;

/// Descriptors that each core after the fourth adds to the reserve above: 9 of its own (counted: 3 rings and an
/// event descriptor of glommio's, a ring for readiness, one for sends, a remote waker, its listener, a spare one), and
/// [`REFUSED_LINGERING_MAX`].
pub const DESCRIPTORS_PER_CORE: u64 = 12;

/// Lockable memory that a core takes at most, in bytes, where the kernel counts rings: 300 to 400 KiB of it on Linux
/// 6.18, measured by how many cores start as an unprivileged user. Older kernels count the 192 KiB of buffers
/// that glommio's three rings register, and no kernel counts what has CAP_IPC_LOCK.
pub const MEMLOCK_PER_CORE: u64 = 512 * 1024;

/// Entries of rings that take [`MEMLOCK_PER_CORE`] together where the kernel counts rings: 100 bytes for each (64 of a
/// submission and 4 of its index, twice 16 of a completion).
pub const MEMLOCK_PER_CORE_RINGS: [u32; 2] = [4096, 1024];

/// Fewest descriptors the server starts with: the reserve, and half as many again for users.
pub const DESCRIPTORS_MIN: u64 = 96;

/// Kernel send buffer asked for each connection, in bytes. Without it the kernel grows the buffer of a
/// peer that never reads to 4 MB; with it such a peer costs at most this (doubled by the kernel) and
/// its send queue.
pub const SOCKET_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Kernel receive buffer asked for each connection, in bytes: what a connection that is throttled may send meanwhile. The
/// kernel doubles it, for its own bookkeeping; without it the kernel lets the buffer of one that sends without end grow to
/// megabytes. A window of 64 KiB is 1.3 MB a second over 50 ms.
pub const SOCKET_RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// Connections that may wait to be accepted, per listener; the kernel cuts it to `somaxconn`, which is
/// 4096 since Linux 5.4. A burst of 10,000 connections fits two cores.
pub const BACKLOG: i32 = 4096;

/// First probe of a silent peer after this long without a byte either way.
pub const KEEPALIVE: Duration = Duration::from_secs(60);

/// The pause between probes of a silent peer is this part of [`KEEPALIVE`], 10 s, and at least a second,
/// which is the kernel's unit.
pub const KEEPALIVE_INTERVAL_PART: u32 = 6;

/// Probes that a peer may leave unanswered: one that is silent is dead after 90 s. It holds also for those by which
/// the kernel asks whether a closed window is open again (`policy::liveness`).
pub const KEEPALIVE_PROBES: u32 = 3;

/// Longest [`KEEPALIVE`] that the kernel takes: TCP_KEEPIDLE has 15 bits of seconds.
pub const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// How long what was sent may stay unacknowledged before the peer counts as gone: seven retransmissions or
/// so. The kernel by itself would try for 15 minutes, and keepalive does not probe while something is on its
/// way.
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Shortest [`USER_TIMEOUT`]: three or four retransmissions, since the first come after a fifth of a second and each
/// pause is twice as long as the last; [`HOUSEKEEPING`] looks once a second.
pub const USER_TIMEOUT_MIN: Duration = Duration::from_secs(5);

/// How long somebody who is not logged in may send no line: he holds a descriptor and a kilobyte, no name, so
/// he may look at his screen for ten minutes.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(600);

/// Lines that may be executed at once before [`FLOOD_RATE`] counts: a login, a look around and a few lines
/// pasted.
pub const FLOOD_BURST: u32 = 10;

/// Lines a second that one connection may have executed. Nobody types so fast, and a core executes tens
/// of thousands.
pub const FLOOD_RATE: u32 = 5;

/// Most that can be asked for as [`FLOOD_BURST`] or [`FLOOD_RATE`]: one line a microsecond, which is the unit
/// in which a bucket counts.
pub const FLOOD_LINES_MAX: usize = 1_000_000;

/// Receivers of a `yield` that cost its sender as much as a line more. A delivery takes 2 to 12 us of a core, by the
/// length of the message, so that is a millisecond at most. At [`FLOOD_RATE`] lines may cost 2 ms each if no client is
/// to take more than 1 % of a core; `cargo bench --bench stampede -- price` measures what they do cost.
pub const FLOOD_RECEIVERS: u64 = 100;

/// Bytes of a line that cost as much as a line more, and so do as many bytes that are in no line: telnet commands, and
/// the excess of a line that is too long. To read and draw them takes 30 us at most, but a longer message takes longer
/// to deliver to each receiver, too. A line of RFC 1459 has 512 bytes.
pub const FLOOD_BYTES: u64 = 512;

/// What a read that ends no line is charged, in such bytes: an eighth of a line. It wakes the core like one that does,
/// 25 us where nothing else does, so that a line may be sent byte by byte, as by telnet clients, but not for ever.
pub const FLOOD_READ_BYTES: usize = 64;

/// Bytes of a reply that cost as much as a line more: `who`, `cows` and `history` print up to 128 KiB, for which they take
/// a millisecond and a half. So even the longest history costs less than [`FLOOD_BURST`].
pub const FLOOD_REPLY_BYTES: u64 = 16 * 1024;

/// A line that would have to wait for longer than this is refused: its sender should know.
pub const FLOOD_DEBT_MAX: Duration = Duration::from_secs(30);

/// Connections that one address may open at once, and the usual rate of those that it opens then, a second. A user opens
/// one, and opens it again some times; behind an address may be an office. With a burst of lines for each, an address gets
/// 20 lines a second more than its connections have by their own rates.
pub const CONNECT_BURST: u32 = 20;

/// See [`CONNECT_BURST`].
pub const CONNECT_RATE: u32 = 2;

/// A connection waits for no longer until it is served, however often its address has connected.
pub const CONNECT_WAIT_MAX: Duration = Duration::from_secs(30);

/// Rounds of [`HOUSEKEEPING`] between two lines of the log about connections of one address that were not served.
pub const UNSERVED_TOLD_EVERY: u64 = 10;

/// Connections of one IPv4 address or one IPv6 network of 64 bits: a household or a class behind one router,
/// and 64 KiB of replies for each are no more than 4 MB.
pub const CONNECTIONS_PER_ADDRESS: usize = 64;

/// Cows that the connections of one address may hold: this part of all, and [`COWS_PER_ADDRESS_MIN`] at least. One address
/// leaves half of the names to others, and two households or a small class find room.
pub const COWS_PER_ADDRESS_PART: usize = 2;

/// See [`COWS_PER_ADDRESS_PART`].
pub const COWS_PER_ADDRESS_MIN: u32 = 8;

/// Cows are scarce while fewer than this part of them is free: of 24, two.
pub const SCARCE_PART: usize = 8;

/// How long a session may say nothing to others while cows are scarce. A session that says a word an hour keeps its cow.
pub const SCARCE_IDLE: Duration = Duration::from_secs(3600);

/// Who is exempt from flood control, from the limit on connections of an address and from [`LOGIN_TIMEOUT`]:
/// this machine itself by its loopback addresses, since whoever is on it has other ways, and bridges and bots are.
pub const LOOPBACK: &str = "127.0.0.0/8,::1";

/// What may wait for all connections together, in mailboxes and queues, as replies, history and input: this part of the
/// memory that the process may have. Connections have to fit in, too, with 2 KiB each and up to 256 KiB of the kernel's.
pub const QUEUES_MEMORY_PART: u64 = 4;

/// How long the queues may be over that together before the largest is cut: what was counted on another core
/// is up to two of its beats old, and a burst that everybody reads is over by then.
pub const QUEUES_GRACE: Duration = Duration::from_millis(100);

/// Own beats for which a core hears nothing of another before it no longer leaves it to that one to cut its
/// queue, which is the largest: a second of them, as [`STALL_NOTICED`]. One that is only busy beats late.
pub const QUEUES_BEATS_MISSED_MAX: u32 = 20;

/// Bytes read from a socket at once, into one buffer per core.
pub const READ_BYTES: usize = 16 * 1024;

/// Frames that the pump takes from the inbox before it flushes: one turn, unless [`TURN_TIME`] ends it.
pub const TURN_FRAMES: usize = 256;

/// Lines of one connection executed before others run: one turn, likewise.
pub const TURN_LINES: usize = 64;

/// Longest turn. Most lines and frames take 2 us, but the longest text may take 250, and accepting, reading and
/// everybody else's lines wait meanwhile.
pub const TURN_TIME: Duration = Duration::from_millis(1);

/// Sends of one batch, after which the reactor is polled: at 3-6 us each, about a millisecond.
pub const RING_SENDS: usize = 256;

/// The pause after a large flush that has joined messages, as a multiple of the time that it took: with 4 senders of 8
/// messages each to 1,000 receivers, 3 took 7 % less CPU time than 1, 4 no less than 3. After a flush of single messages
/// there is none: it saved nothing there.
pub const BATCHING_FLUSHES: u32 = 3;

/// Longest such pause. A flush to 1,000 takes 3 ms.
pub const BATCHING_MAX: Duration = Duration::from_millis(10);

/// Fewer connections than these are written to one by one: the ring's own system call costs as much as it saves.
pub const RING_SENDS_WORTH: usize = 8;

/// How long a core without its ring for sends writes to each connection by itself before it builds a new ring, which takes
/// 100 us. By then memory may be free again, and the closed ring has given back what it had locked.
pub const SEND_RING_PAUSE: Duration = Duration::from_secs(1);

/// Different runs of messages that are looked at for one flush. Those that nobody shares make room for others.
pub const RUNS_MAX: usize = 8;

/// Connections accepted in a row before the reactor is polled: at 20 us each, about a millisecond.
pub const TURN_ACCEPTS: usize = 64;

/// Pause after the kernel refused a descriptor: it refuses again until one is closed.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Polls and cancellations that one call submits; the rest waits for the next call. 64 KiB of ring.
pub const RING_SUBMISSIONS: u32 = 1024;

/// Completions that one call collects; the kernel keeps the rest for the next call. 64 KiB of ring.
pub const RING_COMPLETIONS: u32 = 4096;

/// Completions that one call posts at least if there are that many: 20 since Linux 6.13 (IO_LOCAL_TW_DEFAULT_MAX), before
/// that all of them.
pub const RING_POSTED_AT_ONCE: usize = 20;

/// A core whose tasks wake each other polls its ring when all of them have run, but not sooner than this after the last
/// poll: as long as ten lines take, and a hundred times as long as a poll.
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

/// How long glommio lets tasks run before it polls its own rings: for ever, since nothing is in them. If that time ended
/// before the first task ran, as in a stopped or preempted thread, glommio 0.9.0 would park with runnable tasks queued, and
/// nothing would wake it.
pub const EXECUTOR_PREEMPTION: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Registered buffer memory per executor, in bytes: only file I/O uses it, this is glommio's minimum.
pub const IO_MEMORY_BYTES: usize = 64 * 1024;

/// How often a core looks after its connections. Once costs 5 us (`net::housekeeping`).
pub const HEARTBEAT: Duration = Duration::from_millis(50);

/// A gap between two polls of a core counts for this long at most against a peer that was silent or took nothing
/// meanwhile: [`HEARTBEAT`], after which even a core that rests polls, and half as much again.
pub const POLL_GAP_MAX: Duration = Duration::from_millis(75);

/// How often the watchdog checks the progress of the cores.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// A core that makes no progress for this long is stalled: even on an idle core twenty tasks run in this time.
pub const STALL_NOTICED: Duration = Duration::from_secs(1);

/// Connections that are looked after in one go, after which others run: at 1 us each, a quarter of a turn.
pub const VISITED_AT_ONCE: usize = 256;

/// How often a core looks for connections that are stalled, silent or gone.
pub const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How long a start waits for the port, and for memory to lock. The io_uring of a killed process holds both for some
/// milliseconds after the process is gone.
pub const START_PATIENCE: Duration = Duration::from_secs(1);

/// Cows that there may be of each breed: more than any machine has connections.
pub const HERD_SIZE_MAX: usize = 1 << 20;

/// Cows of all breeds together. A slot is 8 bytes, so this is half a gigabyte, though only what is used takes
/// memory; a `who` looks at a million words then, which takes a millisecond or two.
pub const HERD_COWS_MAX: usize = 1 << 26;

/// Names that one `who` lists before it counts the rest.
pub const WHO_NAMES_MAX: usize = 1000;

/// Runs of free numbers that one `cows` lists of each breed.
pub const FREE_RUNS_MAX: usize = 3;

/// Digits of a request id: as many as any 64-bit number has at least.
pub const ID_DIGITS_MAX: usize = 18;

/// Lines of notices that one session gets in a second.
pub const NOTICES_A_SECOND: usize = 10;

/// Messages that one `history` gives, and bytes: half a send queue, written as fast as its asker reads.
pub const HISTORY_REPLY_MESSAGES_MAX: usize = 50;

/// See [`HISTORY_REPLY_MESSAGES_MAX`].
pub const HISTORY_REPLY_BYTES_MAX: usize = 128 * 1024;

/// Messages that a history may be asked to keep.
pub const HISTORY_MESSAGES_MAX: usize = 10_000;

/// Bytes that one core's history may take: 10,000 messages of a line, 250 of the longest.
pub const HISTORY_BYTES_MAX: usize = 1024 * 1024;

/// Characters of a user's word that an error echoes.
pub const ECHO_CHARS_MAX: usize = 64;

/// Combining marks that one base character keeps: enough for Vietnamese and pointed Hebrew, too few
/// to paint over a neighbour's lines.
pub const COMBINING_MARKS_MAX: usize = 4;

/// Columns of a message's text, unless others are asked for.
pub const BUBBLE_COLUMNS: usize = 40;

/// Columns that can be asked for. A word and its frame need a few; on a line of 400 nothing wraps any more.
pub const BUBBLE_COLUMNS_ALLOWED: RangeInclusive<usize> = 10..=400;

/// Largest bubble that a line of [`LINE_BYTES_MAX`] can have, in bytes, of all texts that were tried. Ten columns are filled
/// worst by words of five, of which every second byte is an invalid one that becomes three: at most 682 lines of 11
/// bytes, 5 of padding and 11 of sides, and 98 of edges.
pub const BUBBLE_BYTES_MAX: usize = 19 * 1024;

/// Largest cow file in bytes: twice the largest picture, since escapes such as `\N{U+2584}` take more room in the file than in
/// the picture.
pub const COW_FILE_BYTES_MAX: usize = 64 * 1024;

/// Largest body of a cow that a file brings, in bytes: with [`BUBBLE_BYTES_MAX`] a message has to fit into
/// [`SENDQ_BYTES_MIN`]. The largest of charasay's has 8.5 KB, and pictures of 50 rows in 24-bit colours, as converters make
/// them, 20 KB.
pub const COW_BODY_BYTES_MAX: usize = 32 * 1024;

/// Bytes of all values of a cow file together while its assignments are followed: 16 of the largest pictures. It bounds the
/// time and memory that a file takes, since a string may hold another one many times.
pub const COW_FILE_VALUES_BYTES_MAX: usize = 512 * 1024;

/// Parentheses and blocks of a cow file that may stand within each other.
pub const COW_FILE_DEPTH_MAX: usize = 16;

/// Breeds that files may add: in a herd of one, all of them in a `cows` reply, 34 bytes each, stay below
/// [`SENDQ_OWN_BYTES`].
pub const COW_FILES_MAX: usize = 1000;

/// Longest `--motd` file in bytes: greetings count as own bytes, see [`SENDQ_OWN_BYTES`].
pub const MOTD_BYTES_MAX: usize = 64 * 1024;

/// Events that may wait for the log. At some 100 bytes each this is 3 MB; what does not fit is counted
/// and the count is logged, since a stuck terminal must not stop a core.
pub const LOG_EVENTS: usize = 32_768;

/// How long the log thread waits for more once it has something to write: a storm of logins wakes it 100 times a
/// second instead of once for each line, and a reader of the log notices nothing. Meanwhile come 600 lines, a fiftieth
/// of [`LOG_EVENTS`].
pub const LOG_GATHERING: Duration = Duration::from_millis(10);

/// Bytes of log lines that leave in one write, if there are so many.
pub const LOG_WRITE_BYTES: usize = 64 * 1024;

/// How long the end of the process waits for the log: a stuck terminal must not stop that either.
pub const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Cores that an owner word can name (10 bits), see [`crate::directory::Owner`].
pub const CORES_MAX: usize = 1 << 10;

/// Connections per core that an owner word can name (22 bits).
pub const CONNECTIONS_PER_CORE_MAX: usize = 1 << 22;
