//! Asking before something is changed that cannot be taken back.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};

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
/// The terminal cannot be read.
pub fn confirm(question: &str, yes: bool) -> Result<Answer> {
    if yes {
        return Ok(Answer::Yes);
    }
    if !std::io::stdin().is_terminal() {
        println!("\nNothing was changed: nobody is there to confirm. Add --yes.");
        return Ok(Answer::Unasked);
    }
    print!("\n{question} [y/N] ");
    std::io::stdout().flush().context("cannot ask")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(Answer::Yes);
    }
    println!("Nothing was changed.");
    Ok(Answer::No)
}
