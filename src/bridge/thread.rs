//! The bridge as a thread: how it starts, and how it leaves the cluster.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;

use super::access;
use super::driver::Driver;
use super::requests::Requests;
use super::uplink::{Asked, Uplink, now};
use super::{BridgeReport, ClusterConfig};
use crate::cluster::node::{InstanceIds, Node, NodeConfig};
use crate::cluster::records::Instance;
use crate::ids::ShardId;
use crate::log::Log;
use crate::net::delivery::mesh::{Inbox, Mesh};
use crate::net::worker::CoreHandle;
use crate::panics;
use crate::shard::ShardContext;

/// A bridge that does not run yet: cores can be given its uplink.
#[derive(Debug)]
pub struct Bridge {
    uplink: Arc<Uplink>,
    mesh: Mesh,
    inbox: Inbox,
    asked: Receiver<Asked>,
    shard: ShardId,
}

/// A bridge that runs.
#[derive(Debug)]
pub struct RunningBridge {
    uplink: Arc<Uplink>,
    ended: Receiver<()>,
}

impl Bridge {
    /// The bridge that is the end `shard` of the mesh.
    pub fn new(shard: ShardId, mesh: Mesh, inbox: Inbox) -> Self {
        let (asks, asked) = channel();
        Bridge { uplink: Uplink::new(shard, mesh.clone(), asks), mesh, inbox, asked, shard }
    }

    /// What cores see of it.
    pub fn uplink(&self) -> Arc<Uplink> {
        Arc::clone(&self.uplink)
    }

    /// Starts it, on a thread of its own.
    ///
    /// # Errors
    /// When the credentials are none, or the thread or its event loop cannot be set up.
    pub fn start(
        self,
        config: ClusterConfig,
        context: ShardContext,
        cores: Vec<CoreHandle>,
        log: Log,
        report: impl Fn(BridgeReport) + Send + Sync + 'static,
    ) -> io::Result<RunningBridge> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = access::options(&config)?;
        let Bridge { uplink, mesh, inbox, asked, shard } = self;
        let (tell, told) = unbounded_channel();
        let report = Arc::new(report);
        let tell_supervisor = {
            let report = Arc::clone(&report);
            move |said| report(said)
        };
        let name = config.node.clone();
        let node = NodeConfig { name: config.node, times: config.times, shard, cores: cores.len() };
        let driver = Driver {
            node: Node::new(node, context, Box::new(RandomIds)),
            uplink: Arc::clone(&uplink),
            mesh,
            inbox,
            asked,
            log,
            report: Box::new(tell_supervisor),
            requests: Requests::new(config.replicas, tell),
            incoming: None,
            is_forbidden: false,
            setting_up: 0,
            listed_at: None,
            stuck: cores.iter().map(|_| VecDeque::new()).collect(),
            pending: vec![None; cores.len()],
            waiting: VecDeque::new(),
            taken: 0,
            publishing: None,
            ended: 0,
            has_ended: false,
            is_leaving: false,
            name,
            told_error: None,
            is_in_reach: false,
            epoch: 0,
            cores,
        };
        let (end, ended) = sync_channel(1);
        let serve = move || {
            let serve = AssertUnwindSafe(|| runtime.block_on(driver.serve(config.servers, options, told)));
            match catch_unwind(serve) {
                // The supervisor may have stopped waiting.
                Ok(Ok(())) => _ = end.send(()),
                Ok(Err(error)) => report(BridgeReport::Failed(error.to_string())),
                Err(panic) => report(BridgeReport::Failed(panics::text(&*panic).to_owned())),
            }
        };
        std::thread::Builder::new().name("cluster".to_owned()).spawn(serve)?;
        Ok(RunningBridge { uplink, ended })
    }
}

impl RunningBridge {
    /// Gives back what is left, and leaves the cluster: when every core has ended. Waits for that, at most so long.
    pub fn leave(&self, wait_max: Duration) -> Result<(), RecvTimeoutError> {
        self.uplink.ask(Asked::Leave);
        self.ended.recv_timeout(wait_max)
    }
}

#[derive(Debug)]
struct RandomIds;

impl InstanceIds for RandomIds {
    fn next(&mut self) -> Instance {
        // The system's own random numbers: machines that were copied while they ran must differ.
        RandomState::new().hash_one(now()).max(1)
    }
}
