//! Policies as somebody who writes them meets them: the command line, what wrong files are told, and the same answers as another CEL.

mod command;
mod description;
mod oracle;
mod wrong;
