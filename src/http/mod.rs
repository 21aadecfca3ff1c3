//! HTTP: health for orchestrators, metrics for Prometheus, the compliance check for who asks before acting, and pages that other
//! rooms bring along. Health and metrics ask for no password; the check wants a token, and is there on loopback only.

pub mod compliance;
mod desk;
pub mod flow;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

pub use self::desk::Desk;
use crate::health::{HealthBoard, Report};
use crate::metrics::Metrics;
use crate::model::time::Timestamp;

const INDEX: &str = "Tollgate

/health/live               is the process alive
/health/ready              has every role joined its group and restored its state
/metrics                   OpenMetrics
/v1/compliance/check       POST a plan: would it be allowed? With a token of http.tokens_file
/v1/data-flow              which data feeds which model, where it answers, what breaks a rule; ?team=, ?format=svg. With a token
/answer/...                people answer alerts here, by the links in mails and cards
/v1/openapi.json           what the plan and the answer look like
";

pub const OPENAPI: &str = include_str!("../../schemas/openapi.json");

/// A plan is a few hundred bytes.
const LARGEST_PLAN: usize = 64 * 1024;

#[derive(Clone)]
struct Pages {
    health: Arc<HealthBoard>,
    metrics: Arc<Metrics>,
    now: fn() -> Timestamp,
    desk: Arc<Desk>,
}

/// Serves until `shutdown` is ready. `more`: pages of other rooms.
pub async fn serve(
    listener: tokio::net::TcpListener,
    health: Arc<HealthBoard>,
    metrics: Arc<Metrics>,
    now: fn() -> Timestamp,
    desk: Arc<Desk>,
    more: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let pages = Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(page))
        .route("/v1/compliance/check", post(check))
        .route("/v1/data-flow", get(data_flow))
        .route("/v1/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) }))
        .layer(DefaultBodyLimit::max(LARGEST_PLAN))
        .with_state(Pages { health, metrics, now, desk })
        .merge(more);
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

async fn check(State(pages): State<Pages>, headers: HeaderMap, body: Bytes) -> Response {
    let bearer = bearer(&headers);
    // It may have to read what lineage knows.
    let answered = tokio::task::spawn_blocking(move || pages.desk.answer(&bearer, &body, (pages.now)())).await;
    let (status, answer) = answered.unwrap_or_else(|_| (500, serde_json::json!({"error": "the check failed: see the log"})));
    json_of(status, &answer)
}

async fn data_flow(State(pages): State<Pages>, Query(asked): Query<flow::Asked>, headers: HeaderMap) -> Response {
    let bearer = bearer(&headers);
    let answered = tokio::task::spawn_blocking(move || pages.desk.data_flow(&bearer, &asked, (pages.now)())).await;
    match answered {
        Ok(flow::Answer::Svg(svg)) => ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response(),
        Ok(flow::Answer::Json(status, json)) => json_of(status, &json),
        Err(_) => json_of(500, &serde_json::json!({"error": "the map could not be made: see the log"})),
    }
}

fn bearer(headers: &HeaderMap) -> String {
    headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string()
}

fn json_of(status: u16, json: &serde_json::Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{json:#}\n")).into_response()
}

async fn page(State(pages): State<Pages>) -> Response {
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], pages.metrics.page()).into_response()
}
