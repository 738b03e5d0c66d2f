//! Two cores joined by a mesh, and how long frames take from one to the other and back.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity};

use cowchat::ids::ShardId;
use cowchat::limits::MAILBOX_FRAMES;
use cowchat::net::delivery::mesh::{Inbox, Mesh};
use cowchat::runtime::executor::{block_on, pin_to};
use cowchat::runtime::notifications::Notifications;
use cowchat::runtime::progress::Progress;
use cowchat::runtime::reactor::Reactor;
use cowchat::runtime::remote_waker::RemoteWaker;
use cowchat::shard::Frame;

/// The number of rounds, and of the frames in each.
type Job = (u64, usize);

/// Two cores joined by a mesh, each on a thread and, if there are two, on a CPU of its own. They end with the process.
pub struct Cores {
    jobs: mpsc::Sender<Job>,
    near: Arc<RemoteWaker>,
    times: mpsc::Receiver<Duration>,
}

impl Cores {
    /// Starts them. All frames of a round but its last are copies of `frame`.
    pub fn start(frame: Frame) -> Self {
        let mut mesh = Mesh::build(2, MAILBOX_FRAMES).expect("descriptors").into_iter();
        let mut next = || mesh.next().expect("a mesh of two");
        let ((near, from_far), (far, from_near)) = (next(), next());
        let remote_waker = Arc::clone(near.remote_waker());
        let (jobs, todo) = mpsc::channel();
        let (report, times) = mpsc::channel();
        std::thread::spawn(move || {
            run_core(0, Arc::clone(near.remote_waker()), async |reactor| {
                send_rounds(&near, &mut reactor.notifications(), &from_far, &frame, &todo, &report).await;
            });
        });
        std::thread::spawn(move || {
            run_core(1, Arc::clone(far.remote_waker()), async |reactor| {
                answer_each_end(&far, &mut reactor.notifications(), &from_near).await;
            });
        });
        Cores { jobs, near: remote_waker, times }
    }

    /// How long `rounds` take, of `frames` frames there and one back each.
    pub fn measure(&self, rounds: u64, frames: usize) -> Duration {
        self.jobs.send((rounds, frames)).expect("the near core waits for jobs");
        self.near.wake();
        self.times.recv().expect("the near core measures each job")
    }
}

/// Sends the frames of a round, the last of which is an `End`, and waits for its answer.
async fn send_rounds(
    mesh: &Mesh,
    notifications: &mut Notifications,
    inbox: &Inbox,
    frame: &Frame,
    todo: &mpsc::Receiver<Job>,
    report: &mpsc::Sender<Duration>,
) {
    let far = ShardId::new(1);
    loop {
        let Ok((rounds, frames)) = todo.try_recv() else {
            notifications.notified().await;
            continue;
        };
        let began = Instant::now();
        for _ in 0..rounds {
            for _ in 1..frames {
                mesh.try_forward(far, frame.clone()).expect("a mailbox has room for a turn");
            }
            mesh.try_forward(far, Frame::End).expect("a mailbox has room for a turn");
            while inbox.try_recv().is_err() {
                notifications.notified().await;
            }
        }
        if report.send(began.elapsed()).is_err() {
            return;
        }
    }
}

/// Receives frames like the pump, and sends an `End` back for each `End`.
async fn answer_each_end(mesh: &Mesh, notifications: &mut Notifications, inbox: &Inbox) {
    loop {
        notifications.notified().await;
        while let Ok(frame) = inbox.try_recv() {
            if matches!(black_box(frame), Frame::End) {
                mesh.try_forward(ShardId::new(0), Frame::End).expect("one answer at a time");
            }
        }
    }
}

/// Runs a core on the `index`th of the CPUs that this process may use, on any if there are fewer.
fn run_core(index: usize, remote_waker: Arc<RemoteWaker>, main: impl AsyncFnOnce(Rc<Reactor>)) {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let cpu = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).nth(index);
    // Where pinning is forbidden the kernel chooses.
    cpu.map(pin_to);
    block_on(remote_waker, Progress::default(), main).expect("io_uring works here: cowchat doctor says what it lacks");
}
