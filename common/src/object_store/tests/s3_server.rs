//! A well-behaved S3 server in this process, over a directory. It ignores `If-Match` on GET, as some stores do.

use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{ACCESS_KEY, SECRET_KEY};

/// The running server; it stops, and its objects go away, when dropped.
pub(super) struct S3Server {
    pub(super) endpoint: String,
    directory: TempDir,
    task: JoinHandle<()>,
}

impl S3Server {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = FileSystem::new(directory.path()).expect("the directory exists");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        Self { endpoint, directory, task: tokio::spawn(serve(listener, service.build())) }
    }

    /// The directory that holds the buckets.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    while let Ok((socket, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
