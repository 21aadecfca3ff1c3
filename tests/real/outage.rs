//! A schema registry that is away delays the records that need it, and nothing else.
