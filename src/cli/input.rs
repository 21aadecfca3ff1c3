//! What commands read from a file, or from stdin where its name is -.

use std::io::Read as _;
use std::path::Path;

use crate::lab::read::without_mark;
pub use crate::lab::read::{is_stdin, shown};

/// # Errors
/// It cannot be read.
pub fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = if is_stdin(path) {
        std::io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(path).map(|content| bytes = content)
    };
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let mark = bytes.len() - without_mark(&bytes).len();
    bytes.drain(..mark);
    Ok(bytes)
}

/// # Errors
/// It cannot be read, or is no text.
pub fn text(path: &Path) -> Result<String, String> {
    String::from_utf8(bytes(path)?).map_err(|_| "cannot be read: it is no text in UTF-8".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let read = |content: &[u8]| {
            let path = folder.path().join("x.json");
            std::fs::write(&path, content).unwrap();
            text(&path)
        };
        for content in ["\u{feff}{}", "{}"] {
            assert_eq!(read(content.as_bytes()).as_deref(), Ok("{}"));
        }
        assert_eq!(read(b"").as_deref(), Ok(""));
        assert!(read(b"\xff\xfe{").is_err_and(|problem| problem.contains("no text in UTF-8")));
        assert!(text(&folder.path().join("none")).is_err_and(|problem| problem.starts_with("cannot be read: ")));
    }
}
