//! The program's entry: parses, dispatches, prints what went wrong once.

use std::process::ExitCode;

fn main() -> ExitCode {
    match tollgate::cli::main() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
