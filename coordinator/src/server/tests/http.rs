//! The HTTP side, spoken by hand: one request a connection.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::Harness;

async fn get(harness: &Harness, path: &str) -> String {
    let mut connection = TcpStream::connect(harness.coordinator.http_addr().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn health_readiness_and_metrics_are_served() {
    let mut harness = Harness::start().await;
    harness.create("run-1", harness.spec()).await.unwrap();
    assert!(get(&harness, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(&harness, "/readyz").await.contains("leading in term 1"));
    let metrics = get(&harness, "/metrics").await;
    for line in [
        "warifu_leading 1",
        "warifu_commits_total{outcome=\"refused\"} 0",
        "warifu_workers{state=\"active\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in\n{metrics}");
    }
    assert!(get(&harness, "/nothing").await.starts_with("HTTP/1.1 404"));
}
