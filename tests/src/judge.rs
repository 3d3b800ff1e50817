//! Judges a console.

use std::collections::BTreeMap;

use regex::Regex;

use crate::scenario::{Expectation, Scenario};

/// A complete line of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Who printed it; `None` when it has no prefix.
    pub speaker: Option<&'a str>,
    /// Without the prefix.
    pub text: &'a str,
}

/// What a console says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Tests that passed inside guests.
    pub passed: usize,
    /// What is wrong, one line each.
    pub failures: Vec<String>,
    /// Tests that guests skipped: their names.
    pub skipped: Vec<String>,
}

/// Judges the console of a scenario whose run ended as it should; `names` are the table's partitions.
pub fn judge(scenario: &Scenario, lines: &[Line<'_>], names: &[String]) -> Verdict {
    let mut verdict = Verdict::default();
    for expectation in &scenario.expect {
        verdict.failures.extend(unmet(expectation, lines, names));
    }
    for (speaker, suite) in suites(lines) {
        verdict.passed += suite.passed;
        verdict.skipped.extend(suite.skipped.iter().cloned());
        let failures = suite.complaints().into_iter();
        verdict
            .failures
            .extend(failures.map(|text| format!("{speaker}: {text}")));
    }
    let seen = suites(lines);
    for name in &scenario.suites {
        if seen
            .get(name.as_str())
            .is_none_or(|suite| suite.done.is_none())
        {
            verdict
                .failures
                .push(format!("{name}: its tests did not reach DONE"));
        }
    }
    verdict
}

/// Tests of one guest, by its lines `PASS name`, `FAIL name: why`, `SKIP name: why`, `DONE n passed n failed n
/// skipped`.
#[derive(Debug, Default)]
struct Suite {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
    /// Passed, failed, skipped since the partition was started last.
    this_life: (usize, usize, usize),
    /// What `DONE` says, and what was counted by then.
    done: Option<[(usize, usize, usize); 2]>,
}

impl Suite {
    /// Takes a line of the guest.
    fn take(&mut self, word: &str, rest: &str) {
        match word {
            "PASS" => {
                self.passed += 1;
                self.this_life.0 += 1;
            }
            "FAIL" => {
                self.failed.push(rest.to_owned());
                self.this_life.1 += 1;
            }
            "SKIP" => {
                let name = rest.split(':').next().unwrap_or(rest).to_owned();
                if !self.skipped.contains(&name) {
                    self.skipped.push(name);
                }
                self.this_life.2 += 1;
            }
            "DONE" => self.done = counts(rest).map(|said| [said, self.this_life]),
            _ => {}
        }
    }

    /// Says what is wrong.
    fn complaints(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .failed
            .iter()
            .map(|text| format!("FAIL {text}"))
            .collect();
        if let Some([said, counted]) = self.done
            && said != counted
        {
            all.push(format!(
                "DONE says {said:?} passed, failed, skipped; {counted:?} lines were counted"
            ));
        }
        all
    }
}

/// Collects the guests' tests by partition. A partition that is started again begins its tests anew.
fn suites<'a>(lines: &[Line<'a>]) -> BTreeMap<&'a str, Suite> {
    let mut all: BTreeMap<&str, Suite> = BTreeMap::new();
    for line in lines {
        let speaker = line.speaker.unwrap_or_default();
        if let Some((name, _)) = line.text.split_once(": started again")
            && speaker == "bulkhead"
        {
            all.entry(name).or_default().this_life = (0, 0, 0);
        }
        let Some((word, rest)) = line.text.split_once(' ') else {
            continue;
        };
        if ["PASS", "FAIL", "SKIP", "DONE"].contains(&word) {
            all.entry(speaker).or_default().take(word, rest);
        }
    }
    all
}

/// Reads `n passed n failed n skipped`.
fn counts(text: &str) -> Option<(usize, usize, usize)> {
    let mut words = text.split(' ');
    let mut number = |word: &str| {
        let number = words.next()?.parse().ok()?;
        (words.next()? == word).then_some(number)
    };
    Some((number("passed")?, number("failed")?, number("skipped")?))
}

/// Says why an expectation is not met.
fn unmet(expectation: &Expectation, lines: &[Line<'_>], names: &[String]) -> Vec<String> {
    let source = &expectation.line;
    let (speaker, regex) = match source.split_once(':') {
        Some((name, rest)) if name == "bulkhead" || names.iter().any(|n| n == name) => {
            (Some(name), rest)
        }
        _ => (None, source.as_str()),
    };
    let regex = match Regex::new(regex) {
        Ok(regex) => regex,
        Err(error) => return vec![format!("`{source}` is no regular expression: {error}")],
    };
    let heard = lines
        .iter()
        .filter(|line| speaker.is_none() || line.speaker == speaker);
    let found: Vec<_> = heard.filter_map(|line| regex.captures(line.text)).collect();
    let mut all: Vec<String> = wrong_count(expectation, found.len()).into_iter().collect();
    let values = found
        .iter()
        .map(|captures| captures.get(1).and_then(|text| text.as_str().parse().ok()));
    let wrong: Vec<_> = values
        .filter_map(|value| wrong_value(expectation, value))
        .collect();
    if let Some(last) = wrong.last() {
        all.push(format!("{last} ({} of {} lines)", wrong.len(), found.len()));
    }
    if expectation.same {
        let mut texts = found.iter().map(|captures| captures.get(1));
        let first = texts.next().flatten().map(|text| text.as_str());
        let other = texts.find(|text| text.map(|text| text.as_str()) != first);
        if let Some(other) = other {
            let (first, other) = (first.unwrap_or(""), other.map_or("", |text| text.as_str()));
            all.push(format!("`{source}`: first `{first}`, later `{other}`"));
        }
    }
    all
}

/// Says why a number of lines is wrong.
fn wrong_count(expectation: &Expectation, found: usize) -> Option<String> {
    let Expectation {
        line,
        count,
        at_least,
        at_most,
        ..
    } = expectation;
    let nothing_said = count.is_none() && at_least.is_none() && at_most.is_none();
    let least = count.or(*at_least).unwrap_or(usize::from(nothing_said));
    let most = count.or(*at_most).unwrap_or(usize::MAX);
    if (least..=most).contains(&found) {
        return None;
    }
    let bound = if found < least {
        format!("at least {least}")
    } else {
        format!("at most {most}")
    };
    Some(format!("`{line}`: {found} lines, expected {bound}"))
}

/// Says why a number in a line is wrong.
fn wrong_value(expectation: &Expectation, value: Option<u64>) -> Option<String> {
    let Expectation {
        line,
        value_at_least,
        value_at_most,
        ..
    } = expectation;
    if value_at_least.is_none() && value_at_most.is_none() {
        return None;
    }
    let Some(value) = value else {
        return Some(format!("`{line}`: the first group holds no number"));
    };
    let least = value_at_least.unwrap_or(0);
    let most = value_at_most.unwrap_or(u64::MAX);
    let wrong = !(least..=most).contains(&value);
    wrong.then(|| format!("`{line}`: {value} is not within {least}..={most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges lines `SPEAKER TEXT`.
    fn verdict(rest: &str, lines: &[&str]) -> Verdict {
        let head = "about = ''\ntable = 't'\ntimeout = 1\n";
        let scenario: Scenario = toml::from_str(&format!("{head}{rest}")).unwrap();
        let lines: Vec<Line<'_>> = lines
            .iter()
            .filter_map(|line| line.split_once(' '))
            .map(|(speaker, text)| Line {
                speaker: Some(speaker),
                text,
            })
            .collect();
        judge(&scenario, &lines, &["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn counts_lines_of_the_named_partition() {
        let expect = "expect = [{ line = 'a:^n=\\d', count = 2 }]";
        assert_eq!(
            verdict(expect, &["a n=1", "b n=2", "a n=3"]).failures.len(),
            0
        );
        assert_eq!(verdict(expect, &["a n=1", "b n=2"]).failures.len(), 1);
        assert_eq!(
            verdict(expect, &["a n=1", "a n=2", "a n=3"]).failures.len(),
            1
        );
    }

    #[test]
    fn a_bare_expectation_wants_one_line() {
        assert_eq!(
            verdict("expect = [{ line = 'up' }]", &["a down"])
                .failures
                .len(),
            1
        );
        assert_eq!(
            verdict("expect = [{ line = 'up', at_most = 0 }]", &["a down"])
                .failures
                .len(),
            0
        );
    }

    #[test]
    fn bounds_hold_for_every_line() {
        let expect = "expect = [{ line = 'w=(\\d+)', value_at_most = 5 }]";
        assert_eq!(verdict(expect, &["a w=5"]).failures.len(), 0);
        let failures = verdict(expect, &["a w=5", "a w=6", "a w=7"]).failures;
        assert_eq!(failures.len(), 1);
        assert!(failures[0].contains("7 is not within 0..=5 (2 of 3 lines)"));
    }

    #[test]
    fn what_must_stay_the_same_is_compared() {
        let expect = "expect = [{ line = '^used (.*)', same = true }]";
        assert_eq!(verdict(expect, &["a used 1", "a used 1"]).failures.len(), 0);
        let failures = verdict(expect, &["a used 1", "a used 1", "a used 2"]).failures;
        assert_eq!(failures, ["`^used (.*)`: first `1`, later `2`"]);
        assert_eq!(verdict(expect, &[]).failures.len(), 1);
    }

    #[test]
    fn guests_tests_are_counted() {
        let lines = [
            "a PASS x",
            "a SKIP y: no such CPU",
            "a DONE 1 passed 0 failed 1 skipped",
        ];
        let good = verdict("suites = ['a']", &lines);
        assert_eq!((good.passed, good.failures.len()), (1, 0));
        assert_eq!(good.skipped, ["y"]);
    }

    #[test]
    fn a_restart_begins_the_count_anew() {
        let lines = [
            "a PASS x",
            "bulkhead a: started again, start 2",
            "a PASS x",
            "a DONE 1 passed 0 failed 0 skipped",
        ];
        let verdict = verdict("", &lines);
        assert_eq!((verdict.passed, verdict.failures.len()), (2, 0));
    }

    #[test]
    fn a_failed_a_missing_and_a_miscounted_test_fail() {
        assert_eq!(verdict("", &["a FAIL x: why"]).failures, ["a: FAIL x: why"]);
        assert_eq!(verdict("suites = ['a']", &["a PASS x"]).failures.len(), 1);
        assert_eq!(
            verdict("", &["a DONE 1 passed 0 failed 0 skipped"])
                .failures
                .len(),
            1
        );
    }
}
