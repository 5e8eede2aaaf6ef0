//! Real database servers for tests: PostgreSQL and MariaDB on loopback, to be stopped, killed and started again.
//!
//! Owns the process and its directory: both go with the [`DatabaseServer`]. Durability is left as it is by default, so that
//! a killed server shows what a killed server shows.

use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use sqlx::any::{Any, install_default_drivers};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _};
use warifu_test_etcd::free_ports;

/// A start may take so long on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A stop may take so long; then it is killed.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Where Debian puts PostgreSQL's programs.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// A server with an empty database.
#[derive(Debug)]
pub struct DatabaseServer {
    kind: ServerKind,
    port: u16,
    directory: tempfile::TempDir,
    process: Option<Child>,
}

impl DatabaseServer {
    /// Makes a database and starts its server.
    ///
    /// # Panics
    /// If the server is not installed, or does not serve.
    pub fn start(kind: ServerKind) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the database");
        let mut server = Self { kind, port: free_ports(1)[0], directory, process: None };
        server.initialise();
        server.start_again();
        if kind == ServerKind::MariaDb {
            server.blocking(sqlx_execute(
                server.url_of(""),
                "CREATE DATABASE warifu CHARACTER SET utf8mb4".to_owned(),
            ));
        }
        server
    }

    /// Which server it is.
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// How handlers reach it.
    pub fn url(&self) -> String {
        self.url_of(match self.kind {
            ServerKind::Postgres => "postgres",
            ServerKind::MariaDb => "warifu",
        })
    }

    fn url_of(&self, database: &str) -> String {
        let (scheme, user) = match self.kind {
            ServerKind::Postgres => ("postgres", "warifu"),
            ServerKind::MariaDb => ("mysql", "root"),
        };
        format!("{scheme}://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Stops the server as an administrator does who does not wait for clients.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let signal = match self.kind {
            ServerKind::Postgres => Signal::SIGINT,
            ServerKind::MariaDb => Signal::SIGTERM,
        };
        signal_to(&process, signal);
        if !ends_within(&mut process, STOPPED_WITHIN) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again over the same data.
    ///
    /// # Panics
    /// If it does not serve.
    pub fn start_again(&mut self) {
        let give_up_at = Instant::now() + READY_WITHIN;
        self.spawn();
        while !self.serves() {
            assert!(Instant::now() < give_up_at, "the server does not start: {}", self.log());
            std::thread::park_timeout(PAUSE);
            // After a kill PostgreSQL refuses to start until the last of its processes has noticed.
            if self.process.as_mut().is_none_or(|process| process.try_wait().is_ok_and(|end| end.is_some())) {
                self.spawn();
            }
        }
    }

    fn spawn(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("server.log"));
        let log = log.expect("a file for the server's log");
        let mut command = self.server_command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        self.process = Some(process);
    }

    fn serves(&self) -> bool {
        // A bare connection first: a driver waits long for a port where nobody listens yet.
        TcpStream::connect(("127.0.0.1", self.port)).is_ok() && {
            let url = self.url_of(if self.kind == ServerKind::Postgres { "postgres" } else { "" });
            self.blocking(async move { connect(&url).await.is_ok() })
        }
    }

    /// Runs statements, in a thread that has no runtime.
    ///
    /// # Panics
    /// If the database refuses.
    pub fn execute(&self, sql: &str) {
        self.blocking(sqlx_execute(self.url(), sql.to_owned()));
    }

    /// The first column of a query's rows, which is a text.
    ///
    /// # Panics
    /// If the database refuses.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let (url, sql) = (self.url(), sql.to_owned());
        self.blocking(async move {
            let mut connection = connect(&url).await.expect("the database takes connections");
            let rows = sqlx::query::<Any>(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
            let rows = rows.expect("the query is right");
            rows.iter().map(|row| row.get::<String, _>(0)).collect()
        })
    }

    /// The one number that a query gives.
    ///
    /// # Panics
    /// If the database refuses.
    pub fn count(&self, sql: &str) -> u64 {
        let (url, sql) = (self.url(), sql.to_owned());
        self.blocking(async move {
            let mut connection = connect(&url).await.expect("the database takes connections");
            let row = sqlx::query::<Any>(AssertSqlSafe(sql)).fetch_one(&mut connection).await;
            row.expect("the query is right").get::<i64, _>(0).unsigned_abs()
        })
    }

    /// Tests may be within a runtime or not: a thread of its own is fine in both.
    fn blocking<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(work)
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn initialise(&self) {
        let mut command = match self.kind {
            ServerKind::Postgres => {
                let mut command = self.postgres("initdb");
                command.arg("-D").arg(self.path("data"));
                command.args(["-U", "warifu", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]);
                command
            }
            ServerKind::MariaDb => {
                let mut command = Command::new("mariadb-install-db");
                // Servers that are made at the same time must not share temporary tables.
                command.env("TMPDIR", self.directory.path());
                command.arg("--no-defaults").arg(format!("--datadir={}", self.path("data").display()));
                command.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--user=root"]);
                command
            }
        };
        if self.kind == ServerKind::Postgres && geteuid().is_root() {
            let user = postgres_user();
            let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
            chown(self.directory.path(), uid, gid).expect("the directory can be given to PostgreSQL's user");
        }
        let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn server_command(&self) -> Command {
        match self.kind {
            ServerKind::Postgres => {
                let mut command = self.postgres("postgres");
                command.arg("-D").arg(self.path("data")).args(["-p", &self.port.to_string()]);
                command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
                command
            }
            ServerKind::MariaDb => {
                let mut command = Command::new("mariadbd");
                command.env("TMPDIR", self.directory.path());
                command.arg("--no-defaults").arg(format!("--datadir={}", self.path("data").display()));
                command.arg(format!("--socket={}", self.path("socket").display()));
                command.arg(format!("--port={}", self.port));
                command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--user=root"]);
                command
            }
        }
    }

    /// PostgreSQL refuses to run as root.
    fn postgres(&self, program: &str) -> Command {
        let mut command = Command::new(postgres_program(program));
        command.current_dir(self.directory.path());
        if geteuid().is_root() {
            let user = postgres_user();
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // PostgreSQL ends its children first this way; MariaDB has none.
        signal_to(&process, Signal::SIGQUIT);
        if !ends_within(&mut process, Duration::from_secs(2)) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

async fn connect(url: &str) -> Result<AnyConnection, sqlx::Error> {
    install_default_drivers();
    AnyConnection::connect(url).await
}

async fn sqlx_execute(url: String, sql: String) {
    let mut connection = connect(&url).await.expect("the database takes connections");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("the statements are right");
}

fn postgres_user() -> User {
    let user = User::from_name("postgres").expect("users can be read");
    user.expect("PostgreSQL's package makes the user postgres")
}

/// The newest version that is installed.
fn postgres_program(program: &str) -> PathBuf {
    let versions = std::fs::read_dir(Path::new(POSTGRES_VERSIONS)).into_iter().flatten().flatten();
    let newest = versions.filter_map(|version| version.file_name().to_str()?.parse::<u32>().ok()).max();
    match newest {
        Some(version) => Path::new(POSTGRES_VERSIONS).join(version.to_string()).join("bin").join(program),
        None => PathBuf::from(program),
    }
}

fn signal_to(process: &Child, signal: Signal) {
    let pid = i32::try_from(process.id()).map(Pid::from_raw);
    // An error means that it has ended already.
    let _ = pid.map(|pid| kill(pid, signal));
}

fn ends_within(process: &mut Child, patience: Duration) -> bool {
    let give_up_at = Instant::now() + patience;
    while Instant::now() < give_up_at {
        if process.try_wait().is_ok_and(|status| status.is_some()) {
            return true;
        }
        std::thread::park_timeout(PAUSE);
    }
    false
}
