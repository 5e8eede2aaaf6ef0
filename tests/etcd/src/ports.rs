//! Ports for processes that take them from their configuration.

use std::net::TcpListener;

/// Ports that were free a moment ago, each another one.
///
/// # Panics
/// If the machine has none left.
pub fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    // All are held until each has one.
    let held: Vec<TcpListener> = (0..count).map(bind).collect();
    held.iter().map(|listener| listener.local_addr().expect("a bound socket has an address").port()).collect()
}
