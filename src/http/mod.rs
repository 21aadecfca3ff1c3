//! HTTP: health and metrics, for orchestrators and Prometheus. Reads the boards that the roles write; never calls a role.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::clock;
use crate::health::{HealthBoard, RoleReport, RoleState};
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::model::time::Timestamp;

/// A loop that has not come round for so long is stuck. A commit may drain for 8 s and wait for a coordinator as long again.
const STUCK_AFTER_MS: i64 = 60_000;
/// Restoring reads a changelog to its end in one go, a million series in less than a minute.
const STUCK_RESTORING_AFTER_MS: i64 = 600_000;

#[derive(Clone)]
pub struct HttpState {
    pub health: Arc<HealthBoard>,
    pub metrics: Arc<Metrics>,
}

/// Serves until `shutdown` is over; requests under way are answered.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let server = axum::serve(listener, router(state)).with_graceful_shutdown(shutdown);
    server.await.context("the HTTP server ended")
}

pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

#[derive(Debug, PartialEq, Serialize)]
struct Health {
    status: &'static str,
    roles: BTreeMap<String, RoleHealth>,
}

/// A role as its worst thread.
#[derive(Debug, PartialEq, Serialize)]
struct RoleHealth {
    state: &'static str,
    threads: usize,
    since: Timestamp,
    last_beat_ms_ago: i64,
    stuck: bool,
}

async fn live(State(state): State<HttpState>) -> Response {
    let health = health(&state.health.reports(), clock::now(), is_alive, "live", "not live");
    answer(&health, health.status == "live")
}

async fn ready(State(state): State<HttpState>) -> Response {
    let health = health(&state.health.reports(), clock::now(), |report, now| report.state == RoleState::Running && is_alive(report, now), "ready", "not ready");
    // Before the first role has reported there is nothing to be ready.
    answer(&health, health.status == "ready" && !health.roles.is_empty())
}

async fn metrics(State(state): State<HttpState>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], state.metrics.render()).into_response()
}

/// A failed role is started again by its supervisor; only a loop that stands still needs a restart from outside.
fn is_alive(report: &RoleReport, now: Timestamp) -> bool {
    let patience = match report.state {
        RoleState::Restoring => STUCK_RESTORING_AFTER_MS,
        RoleState::Starting | RoleState::Running | RoleState::Rebalancing | RoleState::Failed => STUCK_AFTER_MS,
    };
    now.0 - report.last_beat.0 < patience
}

fn health(
    reports: &[RoleReport],
    now: Timestamp,
    good: impl Fn(&RoleReport, Timestamp) -> bool,
    yes: &'static str,
    no: &'static str,
) -> Health {
    let mut roles: BTreeMap<String, RoleHealth> = BTreeMap::new();
    let mut worst: BTreeMap<&str, u8> = BTreeMap::new();
    for report in reports {
        let rank = badness(report.state) + if is_alive(report, now) { 0 } else { 10 };
        let threads = roles.get(&report.role).map_or(0, |role| role.threads) + 1;
        if threads == 1 || worst.get(report.role.as_str()).is_none_or(|other| rank > *other) {
            worst.insert(&report.role, rank);
            let (since, last_beat_ms_ago) = (report.since, now.0 - report.last_beat.0);
            let stuck = !is_alive(report, now);
            roles.insert(report.role.clone(), RoleHealth { state: report.state.as_str(), threads, since, last_beat_ms_ago, stuck });
        } else if let Some(role) = roles.get_mut(&report.role) {
            role.threads = threads;
        }
    }
    Health { status: if reports.iter().all(|report| good(report, now)) { yes } else { no }, roles }
}

fn badness(state: RoleState) -> u8 {
    match state {
        RoleState::Running => 0,
        RoleState::Rebalancing => 1,
        RoleState::Restoring => 2,
        RoleState::Starting => 3,
        RoleState::Failed => 4,
    }
}

fn answer(health: &Health, good: bool) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(health).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    fn state() -> HttpState {
        HttpState { health: Arc::default(), metrics: Arc::default() }
    }

    /// Status line and body, over a real connection.
    async fn ask(state: &HttpState, path: &str) -> (String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, state.clone(), async move { drop(stopped.await) }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_string(), body.to_string())
    }

    #[tokio::test]
    async fn ready_once_every_role_runs() {
        let state = state();
        let (status, body) = ask(&state, "/health/ready").await;
        assert!(status.contains("503"), "nobody has reported: {status} {body}");
        assert!(ask(&state, "/health/live").await.0.contains("200"));
        state.health.report("intake", 0, RoleState::Running, clock::now());
        state.health.report("watch", 0, RoleState::Running, clock::now());
        state.health.report("watch", 1, RoleState::Restoring, clock::now());
        let (status, body) = ask(&state, "/health/ready").await;
        assert!(status.contains("503"), "{body}");
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json["roles"]["watch"]["state"], "restoring");
        assert_eq!(json["roles"]["watch"]["threads"], 2);
        assert_eq!(json["roles"]["intake"]["state"], "running");
        state.health.report("watch", 1, RoleState::Running, clock::now());
        assert!(ask(&state, "/health/ready").await.0.contains("200"));
        assert!(ask(&state, "/nothing").await.0.contains("404"));
    }

    #[tokio::test]
    async fn a_loop_that_stands_still_is_not_live() {
        let state = state();
        state.health.report("watch", 0, RoleState::Running, clock::now().minus_ms(STUCK_AFTER_MS + 1));
        assert!(ask(&state, "/health/live").await.0.contains("503"));
        state.health.beat("watch", 0, clock::now());
        assert!(ask(&state, "/health/live").await.0.contains("200"));
        state.health.report("watch", 0, RoleState::Failed, clock::now());
        assert!(ask(&state, "/health/live").await.0.contains("200"), "the supervisor starts it again");
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let (status, body) = ask(&state(), "/metrics").await;
        assert!(status.contains("200"));
        assert!(body.contains("tollgate_build_info") && body.contains("# EOF"), "{body}");
    }
}
