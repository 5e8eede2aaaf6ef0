//! Ports for processes that take them from their configuration.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::SystemTime;

/// Below the ports that systems give to outgoing connections, so that the port of a process that is gone is still free
/// when it comes back.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

/// Ports that were free a moment ago, each another one.
///
/// # Panics
/// If the machine has none left.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another process looks elsewhere.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    let offset = (now / 1_000).wrapping_add(std::process::id().wrapping_mul(7_919)) as usize;
    let range = usize::from(LAST - FIRST);
    let mut ports = Vec::with_capacity(count);
    for _ in 0..range {
        if ports.len() == count {
            break;
        }
        let next = usize::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from((offset + next) % range).unwrap_or(0);
        if !ports.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    assert_eq!(ports.len(), count, "the machine has no free ports");
    ports
}
