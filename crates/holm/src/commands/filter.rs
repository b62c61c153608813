//! `--filter KEY=VALUE`: the same key given twice means either, different keys mean both; labels mean all.

use std::collections::BTreeMap;

use crate::error::Failure;
use crate::format::time;

/// The filters of one command.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    pairs: Vec<(String, String)>,
}

/// Matching that several commands share.
pub struct Filter;

impl Filters {
    /// Reads them; a key that is not `known` is refused.
    pub fn parse(texts: &[String], known: &[&str]) -> Result<Self, Failure> {
        let one = |text: &String| {
            let bad = |why: String| Failure::flag("--filter", text, why).with_code(1);
            let (key, value) = text.split_once('=').ok_or_else(|| bad("it must be KEY=VALUE".to_owned()))?;
            let key = key.trim().to_ascii_lowercase();
            if !known.contains(&key.as_str()) {
                return Err(
                    bad(format!("there is no filter `{key}`")).with_hint(format!("filters are {}", known.join(", ")))
                );
            }
            Ok((key, value.to_owned()))
        };
        texts.iter().map(one).collect::<Result<_, _>>().map(|pairs| Self { pairs })
    }

    /// The values of a key.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The last value of a key.
    pub fn last<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.values(key).last()
    }

    /// Whether any value of the key fits; true where there is none.
    pub fn any(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        let mut values = self.values(key).peekable();
        values.peek().is_none() || values.any(fits)
    }

    /// A point in time.
    pub fn time(&self, key: &str, text: &str, now_ns: u64) -> Result<u64, Failure> {
        time::parse_point(text, now_ns).ok_or_else(|| {
            Failure::flag("--filter", &format!("{key}={text}"), "it must be a time, as 24h or 2026-01-31").with_code(1)
        })
    }

    /// A value that is `true` or `false`.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Failure> {
        let read = |text| {
            crate::args::go_bool(text)
                .map_err(|why| Failure::flag("--filter", &format!("{key}={text}"), why).with_code(1))
        };
        self.last(key).map(read).transpose()
    }
}

/// The filters of a `prune`: what does not fit is kept.
#[derive(Clone, Debug, Default)]
pub struct PruneFilters {
    filters: Filters,
    until_ns: Option<u64>,
}

impl PruneFilters {
    /// Reads them; `known` are those of this kind of object.
    pub fn parse(texts: &[String], known: &[&str]) -> Result<Self, Failure> {
        let code = |failure: Failure| failure.with_code(crate::error::CODE_HOLM);
        let filters = Filters::parse(texts, known).map_err(code)?;
        let now_ns = time::now_ns();
        let until_ns =
            filters.last("until").map(|text| filters.time("until", text, now_ns)).transpose().map_err(code)?;
        Ok(Self { filters, until_ns })
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.filters.pairs.is_empty()
    }

    /// Whether something that was made then and has these labels may go.
    pub fn fit(&self, created_ns: u64, labels: &BTreeMap<String, String>) -> bool {
        self.until_ns.is_none_or(|until| created_ns <= until) && Filter::labels_fit(&self.filters, labels)
    }

    /// A value that is `true` or `false`.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Failure> {
        self.filters.flag(key)
    }

    /// Whether a value was given for a key.
    pub fn has(&self, key: &str) -> bool {
        self.filters.last(key).is_some()
    }
}

impl Filter {
    /// Whether labels have every `label` and no `label!`.
    pub fn labels_fit(filters: &Filters, labels: &BTreeMap<String, String>) -> bool {
        let has = |text: &str| match text.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(text),
        };
        filters.values("label").all(has) && !filters.values("label!").any(has)
    }

    /// Whether `pattern` with `*` and `?` fits all of `text`.
    pub fn wildcard(pattern: &str, text: &str) -> bool {
        let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(c) if *c == '?' || *c == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match star {
                    Some((at, from)) => {
                        star = Some((at, from + 1));
                        p = at + 1;
                        t = from + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_alternatives_of_one_key_and_labels_are_all_wanted() {
        let texts = ["status=exited", "status=created", "label=a=1", "label=b"].map(str::to_owned);
        let filters = Filters::parse(&texts, &["status", "label"]).expect("filters");
        assert!(filters.any("status", |s| s == "created"));
        assert!(!filters.any("status", |s| s == "running"));
        assert!(filters.any("name", |_| false));
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert!(Filter::labels_fit(&filters, &labels(&[("a", "1"), ("b", "2")])));
        assert!(!Filter::labels_fit(&filters, &labels(&[("a", "1")])));
        assert!(Filters::parse(&["nope=1".to_owned()], &["status"]).is_err());
        assert!(Filters::parse(&["status".to_owned()], &["status"]).is_err());
    }

    #[test]
    fn wildcards_fit_the_whole_text() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*", "abc", true),
            ("abc", "abcd", false),
            ("**a", "ba", true),
            ("", "a", false),
        ] {
            assert_eq!(Filter::wildcard(pattern, text), fits, "{pattern} {text}");
        }
    }
}
