//! What the `status` of a usage event says: `ok`, or the kind of error. One thing only is asked of it: whether the request came to nothing.
//! It is never refused, whatever stands in it.

use super::plan::Read;

/// Other words of sources for `ok`, in lower case; 0 is that of gRPC, `unset` that of OpenTelemetry's spans.
const OK: [&str; 11] = ["ok", "success", "successful", "succeeded", "complete", "completed", "done", "finished", "stop", "unset", "0"];
/// What begins like that broke off in the midst of an answer: what came before that is billed, and is just what reports no tokens. 499 is the
/// client's own hanging up.
const BROKEN_OFF: [&str; 9] =
    ["cancel", "abort", "interrupt", "incomplete", "partial", "disconnect", "client_disconnect", "client_closed", "499"];

pub fn is_failure(status: &[u8]) -> bool {
    // Nearly all are this.
    if status.is_empty() || status == b"ok" {
        return false;
    }
    let status = status.trim_ascii();
    let begins = |with: &&str| status.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()));
    let is_http = matches!(status, [b'1'..=b'3', b'0'..=b'9', b'0'..=b'9']);
    let is_ok = status.is_empty() || is_http || OK.iter().any(|ok| status.eq_ignore_ascii_case(ok.as_bytes()));
    !is_ok && !BROKEN_OFF.iter().any(begins)
}

/// Of JSON as it is written; gateways write the number of HTTP, too.
pub fn is_failure_in_json(raw: &str) -> bool {
    match raw.as_bytes() {
        [b'"', text @ .., b'"'] => is_failure(text),
        number @ [b'0'..=b'9', ..] => is_failure(number),
        _ => false,
    }
}

/// Whether a status of this type can be read; any other one is passed over.
pub fn is_read(read: &Read) -> bool {
    match read {
        Read::Null | Read::Text | Read::Symbols(_) => true,
        Read::Union(variants) => variants.iter().all(is_read),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_to_nothing_has_failed() {
        for status in [
            "error",
            "429",
            "rate_limit_exceeded",
            "timeout",
            "500",
            "Unavailable",
            "14",
            "content_filter",
            "client_error",
            " error ",
            "\u{fc}",
        ] {
            assert!(is_failure(status.as_bytes()) && is_failure_in_json(&format!("\"{status}\"")), "{status}");
        }
        for status in ["", " ", "ok", "OK", "Success", "200", "304", "unset", "0", "cancelled", "Client_Disconnected", "499", "incomplete"]
        {
            assert!(!is_failure(status.as_bytes()), "{status}");
        }
        for (raw, failed) in
            [("429", true), ("200", false), ("null", false), ("true", false), ("[1]", false), ("{}", false), ("\"\"", false)]
        {
            assert_eq!(is_failure_in_json(raw), failed, "{raw}");
        }
    }
}
