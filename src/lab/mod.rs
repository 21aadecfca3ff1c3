//! LAB: the engine on files, to try it out and to measure it. The very code of WATCH; what is here reads, feeds and prints.

pub mod score;
mod spacing;
