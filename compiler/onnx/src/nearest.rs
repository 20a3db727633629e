//! nearest - the known name most like an unknown one.

/// Longest name and largest number of names that are compared.
const NAME_CHARS: usize = 100;
const N_NAMES: usize = 20_000;

/// The name in `known` with the smallest edit distance to `name`, if that is a small part of it.
pub(crate) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wanted: Vec<char> = name.chars().take(NAME_CHARS + 1).collect();
    if wanted.len() > NAME_CHARS {
        return None;
    }
    let limit = (wanted.len() / 3).max(1);
    known
        .take(N_NAMES)
        .filter(|k| k.len().abs_diff(name.len()) <= 4 * limit)
        .map(|k| (distance(&wanted, k), k))
        .filter(|(d, _)| *d <= limit)
        .min()
        .map(|(_, k)| k)
}

/// Levenshtein distance, insertions, deletions and replacements counting one each.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, c) in b.chars().take(2 * NAME_CHARS).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for j in 0..a.len() {
            let replaced = diagonal + usize::from(a[j] != c);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let known = ["conv1/weight", "conv2/weight", "x"];
        assert_eq!(nearest("conv1/wieght", known.into_iter()), Some("conv1/weight"));
        assert_eq!(nearest("y", known.into_iter()), Some("x"));
        assert_eq!(nearest("unrelated", known.into_iter()), None);
    }
}
