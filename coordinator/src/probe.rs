//! Asks a coordinator of this machine whether it is ready, for health checks of containers without a shell.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Each of connecting, asking and hearing may take so long; health checks have bounds of their own.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Far more than `/readyz` says.
const MOST_BYTES: u64 = 4096;

/// Why nobody says that the coordinator is ready.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nothing listens there, or it does not answer.
    #[error("no coordinator answers on {address}")]
    NoAnswer {
        /// Where it was looked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It answers that it is not.
    #[error("the coordinator on {address} is not ready: {answer}")]
    NotReady {
        /// Where it is.
        address: SocketAddr,
        /// What it says.
        answer: String,
    },
}

/// Asks `/readyz` of the process that listens for HTTP on `http_listen`, and returns what it says.
pub fn readiness(http_listen: SocketAddr) -> Result<String, ProbeError> {
    let address = SocketAddr::new(reachable(http_listen.ip()), http_listen.port());
    let answer = ask(address).map_err(|source| ProbeError::NoAnswer { address, source })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let is_ready = head.split(' ').nth(1) == Some("200");
    let said = if body.is_empty() { head.lines().next().unwrap_or_default() } else { body };
    let said = said.trim().to_owned();
    if is_ready { Ok(said) } else { Err(ProbeError::NotReady { address, answer: said }) }
}

/// Who listens on every address listens on loopback, too.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one request on a port of its own, once it has read all of it: closing earlier would reset the connection.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut piece = [0; 512];
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0, "the request ends early: {request:?}");
                request.extend_from_slice(&piece[..read]);
            }
            assert!(request.starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port())
    }

    #[test]
    fn what_a_coordinator_says_of_itself_is_told() {
        let ready = answering("HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\nleading in term 3\n");
        assert_eq!(readiness(ready).unwrap(), "leading in term 3");
        let not_ready = answering("HTTP/1.1 503 Service Unavailable\r\n\r\nnobody leads\n");
        let error = readiness(not_ready).unwrap_err().to_string();
        assert!(error.contains("127.0.0.1") && error.ends_with("is not ready: nobody leads"), "{error}");
        let silent = answering("");
        assert!(matches!(readiness(silent), Err(ProbeError::NotReady { .. })));
    }

    #[test]
    fn nobody_there_is_an_error_that_says_where() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = readiness(address).unwrap_err().to_string();
        assert_eq!(error, format!("no coordinator answers on {address}"));
    }
}
