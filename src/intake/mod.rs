//! INTAKE: decode, validate, dedupe, attribute, price, combine. Stateless but for the dedupe window; the only room that sees outside bytes.

pub mod rules;
