//! How many of something there are, as people say it.

use std::fmt::Display;

/// `1 alert`, `2 alerts`, `0 policies`.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(number: N, word: &str) -> String {
    format!("{number} {}", noun(number, word))
}

/// The word alone, for a number that is written in another way.
pub fn noun<N: PartialEq + From<u8>>(number: N, word: &str) -> String {
    if number == N::from(1) {
        return word.to_string();
    }
    match word.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one() {
        assert_eq!([0_u64, 1, 2].map(|number| counted(number, "alert")), ["0 alerts", "1 alert", "2 alerts"]);
        assert_eq!([1_i64, 3].map(|number| counted(number, "policy")), ["1 policy", "3 policies"]);
        assert_eq!(counted(7_usize, "day"), "7 days");
    }
}
