//! HTTP: health for orchestrators, metrics for Prometheus. Read-only, no secrets, no login; it listens on loopback unless told otherwise.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::health::{HealthBoard, Report};
use crate::metrics::Metrics;
use crate::model::time::Timestamp;

const INDEX: &str = "Tollgate\n\n/health/live   is the process alive\n/health/ready  has every role joined its group and restored its state\n/metrics       OpenMetrics\n";

#[derive(Clone)]
struct Pages {
    health: Arc<HealthBoard>,
    metrics: Arc<Metrics>,
    now: fn() -> Timestamp,
}

/// Serves until `shutdown` is ready.
pub async fn serve(
    listener: tokio::net::TcpListener,
    health: Arc<HealthBoard>,
    metrics: Arc<Metrics>,
    now: fn() -> Timestamp,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let pages = Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(page))
        .with_state(Pages { health, metrics, now });
    if let Err(error) = axum::serve(listener, pages).with_graceful_shutdown(shutdown).await {
        tracing::error!(%error, "HTTP server ended; health and metrics are no longer served");
    }
}

async fn live(State(pages): State<Pages>) -> Response {
    report(&pages.health.live((pages.now)()))
}

async fn ready(State(pages): State<Pages>) -> Response {
    report(&pages.health.ready((pages.now)()))
}

fn report(report: &Report) -> Response {
    let status = if report.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string_pretty(report).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body + "\n").into_response()
}

async fn page(State(pages): State<Pages>) -> Response {
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], pages.metrics.page()).into_response()
}
