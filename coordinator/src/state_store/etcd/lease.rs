//! etcd's lease of this process: what is bound to it goes when the process does.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Error};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{Connection, Failure, within};

/// A lease, renewed for as long as this lives and etcd agrees.
pub(super) struct Lease {
    id: i64,
    /// Ends when the lease is lost.
    renewals: AbortOnDropHandle<()>,
}

impl Lease {
    pub(super) async fn grant(connection: Arc<Connection>, ttl: Duration) -> Result<Self, Failure> {
        let asked_at = Instant::now();
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let grant = async |mut client: Client| client.lease_grant(seconds, None).await;
        let id = connection.call(grant).await?.id();
        let renewals = AbortOnDropHandle::new(tokio::spawn(renew(connection, id, ttl, asked_at)));
        Ok(Self { id, renewals })
    }

    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// Whether nothing says yet that it is lost. Proves nothing: every write is guarded on the leader's key.
    pub(super) fn seems_alive(&self) -> bool {
        !self.renewals.is_finished()
    }
}

/// Renews until the lease is lost: etcd says so, or no renewal succeeded for `ttl`.
///
/// A stream that broke or fell silent is opened again: it neither reconnects nor fails over by itself.
async fn renew(connection: Arc<Connection>, id: i64, ttl: Duration, mut renewed_at: Instant) {
    while renewed_at.elapsed() < ttl {
        match renew_on_one_stream(&connection, id, ttl, &mut renewed_at).await {
            Renewal::Gone => break,
            Renewal::Broken(error) => {
                tracing::debug!(%error, "renewing etcd's lease failed, it is tried again")
            }
        }
        tokio::time::sleep(RETRY).await;
    }
    tracing::warn!("etcd's lease is lost, and with it the lead if this process has it");
}

/// Two may be lost, and there is time for a third.
const RENEWALS_PER_TTL: u32 = 4;
/// Between streams that broke: another member may be asked by then.
const RETRY: Duration = Duration::from_millis(200);

enum Renewal {
    /// The lease is not there any more.
    Gone,
    /// Nobody knows.
    Broken(Failure),
}

async fn renew_on_one_stream(
    connection: &Connection,
    id: i64,
    ttl: Duration,
    renewed_at: &mut Instant,
) -> Renewal {
    let mut sent_at = Instant::now();
    let open = async |mut client: Client| client.lease_keep_alive(id).await;
    let (mut keeper, mut answers) = match connection.call(open).await {
        Ok(stream) => stream,
        Err(Failure::Etcd(Error::LeaseKeepAliveError(_))) => return Renewal::Gone,
        Err(failure) => return Renewal::Broken(failure),
    };
    loop {
        *renewed_at = sent_at;
        tokio::time::sleep_until(sent_at + ttl / RENEWALS_PER_TTL).await;
        sent_at = Instant::now();
        let answer = within(async {
            keeper.keep_alive().await?;
            answers.message().await
        });
        match answer.await {
            Ok(Some(answer)) if answer.ttl() > 0 => {}
            Ok(Some(_)) => return Renewal::Gone,
            Ok(None) => return Renewal::Broken(Failure::TimedOut),
            Err(failure) => return Renewal::Broken(failure),
        }
    }
}
