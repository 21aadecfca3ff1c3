//! The word that was meant, when another one was written.

/// "did you mean 'x'?" if one of the known words is near enough.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|meant| format!("did you mean '{meant}'?"))
}

/// The known word that is near enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let known: Vec<&str> = known.into_iter().collect();
    // Cut short: "deploy" for "deployment".
    let mut longer = known.iter().filter(|candidate| lower.len() > 2 && candidate.to_lowercase().starts_with(&lower));
    if let (Some(only), None) = (longer.next(), longer.next()) {
        return Some(only);
    }
    let (distance, nearest) = known.into_iter().map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate)).min()?;
    (distance <= (word.chars().count() / 3).max(1)).then_some(nearest)
}

/// Edit distance: insertions, deletions, replacements; a swap of neighbours counts one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (row, from) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in b.iter().enumerate() {
            let replaced = last[column] + usize::from(from != to);
            let mut least = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && a[row - 1] == *to && b[column - 1] == *from {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut last, current);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "abc", 3), ("same", "same", 0), ("treshold", "thresholds", 2), ("prot", "port", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["thresholds", "lateness", "port"];
        assert_eq!(did_you_mean("treshold", known).as_deref(), Some("did you mean 'thresholds'?"));
        assert_eq!(did_you_mean("prot", known).as_deref(), Some("did you mean 'port'?"));
        assert_eq!(did_you_mean("colour", known), None);
        assert_eq!(did_you_mean("late", known).as_deref(), Some("did you mean 'lateness'?"));
        assert_eq!(did_you_mean("late", ["lateness", "latency"]), None, "either could be meant");
    }
}
