//! Asking before something is changed that cannot be taken back.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};

use super::print;

/// What came of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    /// Nobody is there to ask.
    Unasked,
}

/// `--yes` answers by itself; without it a person on a terminal does, and a script is told what to write.
///
/// # Errors
/// The question cannot be shown, or the terminal cannot be read.
pub fn confirm(question: &str, yes: bool) -> Result<Answer> {
    if yes {
        return Ok(Answer::Yes);
    }
    if !std::io::stdin().is_terminal() {
        print("\nNothing was changed: nobody is there to confirm. Add --yes.\n")?;
        return Ok(Answer::Unasked);
    }
    // Whose screen does not show the question cannot answer it: here a reader that is gone is a failure.
    let mut screen = std::io::stdout().lock();
    write!(screen, "\n{question} [y/N] ").and_then(|()| screen.flush()).context("cannot ask; --yes answers by itself")?;
    drop(screen);
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(Answer::Yes);
    }
    print("Nothing was changed.\n")?;
    Ok(Answer::No)
}
