//! The processes of a function: as many as have something to do, the last one used first, and some kept ahead.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;
use warifu_common::config::handlers::LambdaConfig;
use warifu_common::model::CallFailure;

use super::runtime::Runtime;
use super::starts::Starts;

/// After a process has ended by itself while it waited: one that replaces it at once would do the same.
const REPLACEMENT_PAUSE: Duration = Duration::from_secs(1);

/// The processes of a function. They are killed when the value goes.
pub(super) struct Pool {
    shared: Arc<Shared>,
    /// Ends what is idle and starts what is wanted ahead, from the first process on that has started.
    keeper: OnceLock<AbortOnDropHandle<()>>,
}

struct Shared {
    config: LambdaConfig,
    starts: Starts,
    census: Arc<Census>,
    /// The one used last at the end.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    runtime: Runtime,
    since: Instant,
}

/// Counts the processes, whoever has them.
struct Census {
    members: AtomicU32,
    /// Rung when the keeper may have something to do.
    bell: Arc<Notify>,
}

/// Stands for one process in the census, from the attempt to start it.
pub(super) struct Member(Arc<Census>);

/// Tells the keeper that something happened.
pub(super) struct Bell(Arc<Notify>);

impl Member {
    fn new(census: &Arc<Census>) -> Self {
        census.members.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(census))
    }

    /// For whoever watches the process.
    pub(super) fn clone_bell(&self) -> Bell {
        Bell(Arc::clone(&self.0.bell))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.members.fetch_sub(1, Ordering::Relaxed);
        self.0.bell.notify_one();
    }
}

impl Bell {
    pub(super) fn ring(&self) {
        self.0.notify_one();
    }
}

impl Pool {
    pub(super) fn new(config: &LambdaConfig) -> Self {
        let shared = Shared {
            config: config.clone(),
            starts: Starts::new(&config.handler),
            census: Arc::new(Census { members: AtomicU32::new(0), bell: Arc::default() }),
            idle: Mutex::default(),
        };
        Self { shared: Arc::new(shared), keeper: OnceLock::new() }
    }

    /// A process that waits for an event: the one used last, or a new one.
    pub(super) async fn take(&self) -> Result<Runtime, CallFailure> {
        match self.shared.take_idle() {
            Some(runtime) => Ok(runtime),
            None => self.shared.start().await,
        }
    }

    /// The same, but a start that fails is neither told nor remembered: whoever asked for the check tells it.
    pub(super) async fn take_for_check(&self) -> Result<Runtime, CallFailure> {
        match self.shared.take_idle() {
            Some(runtime) => Ok(runtime),
            None => self.shared.start_once().await,
        }
    }

    /// Gives back a process that may take another event.
    pub(super) fn put(&self, runtime: Runtime) {
        self.shared.put(runtime);
        self.keeper.get_or_init(|| AbortOnDropHandle::new(tokio::spawn(keep(Arc::clone(&self.shared)))));
    }
}

impl Shared {
    async fn start(&self) -> Result<Runtime, CallFailure> {
        self.starts.run(self.start_once()).await
    }

    async fn start_once(&self) -> Result<Runtime, CallFailure> {
        Runtime::start(&self.config, Member::new(&self.census)).await
    }

    fn take_idle(&self) -> Option<Runtime> {
        let mut idle = self.idle();
        std::iter::from_fn(|| idle.pop()).map(|idle| idle.runtime).find(|runtime| !runtime.has_ended())
    }

    fn put(&self, runtime: Runtime) {
        self.idle().push(Idle { runtime, since: Instant::now() });
        self.census.bell.notify_one();
    }

    /// Processes beyond those that are kept.
    fn surplus(&self) -> u32 {
        self.census.members.load(Ordering::Relaxed).saturating_sub(self.config.warm)
    }

    fn is_short(&self) -> bool {
        self.census.members.load(Ordering::Relaxed) < self.config.warm
    }

    /// Takes out a process that was idle for too long.
    fn take_expired(&self, now: Instant) -> Option<Runtime> {
        let mut idle = self.idle();
        let expired = idle.first().is_some_and(|idle| now >= self.expires_at(idle));
        (expired && self.surplus() > 0).then(|| idle.remove(0).runtime)
    }

    /// When the next one is idle for too long; `None`: it will be kept.
    fn next_expiry(&self) -> Option<Instant> {
        let idle = self.idle();
        idle.first().filter(|_| self.surplus() > 0).map(|idle| self.expires_at(idle))
    }

    fn expires_at(&self, idle: &Idle) -> Instant {
        idle.since + self.config.idle_timeout
    }

    /// Lets go of processes that ended although nobody told them to; says whether there were any.
    fn forget_ended(&self) -> bool {
        let mut idle = self.idle();
        let before = idle.len();
        idle.retain(|idle| !idle.runtime.has_ended());
        let ended = before - idle.len();
        if ended > 0 {
            let handler = &self.config.handler;
            warn!(
                handler,
                processes = ended,
                "processes of the function ended while they waited for an event"
            );
        }
        ended > 0
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // What is done under it are single operations of the list: a panic leaves it whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep(shared: Arc<Shared>) {
    loop {
        if shared.forget_ended() {
            sleep(REPLACEMENT_PAUSE).await;
        }
        while let Some(runtime) = shared.take_expired(Instant::now()) {
            runtime.stop().await;
        }
        if shared.is_short() {
            // A failure has been told by then, and the next start waits before it tries.
            if let Ok(runtime) = shared.start().await {
                shared.put(runtime);
            }
            continue;
        }
        let expiry = async {
            match shared.next_expiry() {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        // Both arms are cancel-safe.
        tokio::select! {
            () = expiry => {}
            () = shared.census.bell.notified() => {}
        }
    }
}
