//! On which line each row of a CSV file begins, whatever its line ends are and where lines are empty: the parser counts a line when it comes
//! to the line feed, and of CR LF that is with the next row.

use std::collections::VecDeque;
use std::io::{self, Read};

/// Passes the bytes on, and remembers where lines begin that are not empty. No more of them than have been read ahead.
pub struct Lines<R> {
    inner: R,
    byte: u64,
    line: u64,
    is_between: bool,
    /// Byte and line.
    begun: VecDeque<(u64, u64)>,
}

impl<R> Lines<R> {
    pub fn of(inner: R) -> Lines<R> {
        Lines { inner, byte: 0, line: 1, is_between: true, begun: VecDeque::new() }
    }

    /// The line of the row that begins there, or behind the line ends that are there. Rows are asked for in their order.
    pub fn at(&mut self, byte: u64) -> u64 {
        while self.begun.front().is_some_and(|(begun, _)| *begun < byte) {
            self.begun.pop_front();
        }
        self.begun.front().map_or(self.line, |(_, line)| *line)
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        for byte in buffer.iter().take(length) {
            let is_end = matches!(byte, b'\n' | b'\r');
            if self.is_between && !is_end {
                self.begun.push_back((self.byte, self.line));
            }
            self.is_between = is_end;
            self.line += u64::from(*byte == b'\n');
            self.byte += 1;
        }
        Ok(length)
    }
}
