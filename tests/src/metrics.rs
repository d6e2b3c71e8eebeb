//! The Prometheus text format, read strictly enough to notice a page that Prometheus would refuse.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    samples: Vec<Sample>,
}

impl Page {
    /// Parses a page. Refused are samples without `# TYPE`, a type given twice, and the same series twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut types = BTreeSet::new();
        let mut series = BTreeSet::new();
        let mut page = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# TYPE ") {
                let name = comment.split(' ').next().unwrap_or_default();
                if !types.insert(name.to_owned()) {
                    bail!("{name} has two types");
                }
            } else if !line.starts_with('#') {
                let sample = parse_sample(line).with_context(|| format!("line `{line}`"))?;
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| sample.name.strip_suffix(end));
                if !types.contains(&sample.name) && !family.is_some_and(|family| types.contains(family)) {
                    bail!("{} has no type", sample.name);
                }
                if !series.insert((sample.name.clone(), sample.labels.clone())) {
                    bail!("series twice: {line}");
                }
                page.samples.push(sample);
            }
        }
        Ok(page)
    }

    /// All samples.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Sum of all series of `name` that have these labels, or nothing when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut values = self.samples.iter().filter(|sample| {
            let has =
                |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|found| found == value);
            sample.name == name && labels.iter().all(has)
        });
        let first = values.next()?.value;
        Some(values.fold(first, |sum, sample| sum + sample.value))
    }
}

fn parse_sample(line: &str) -> Result<Sample> {
    let (series, value) = line.rsplit_once(' ').context("no value")?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (
            name,
            parse_labels(rest.strip_suffix('}').context("labels have no end")?)?,
        ),
        None => (series, BTreeMap::new()),
    };
    if name.is_empty()
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
    {
        bail!("bad name");
    }
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().context("bad value")?,
    })
}

fn parse_labels(mut text: &str) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"").context("a label without a value")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next().context("a value without an end")? {
                (end, '"') => break end,
                (_, '\\') => match characters.next().context("a value without an end")?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.to_owned(), value);
        let rest = rest.get(end + 1..).unwrap_or_default();
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_series_that_match() {
        let page = Page::parse(
            "# HELP bytes Octets.\n# TYPE bytes counter\n\
             bytes{tunnel=\"a\",direction=\"in\"} 3\nbytes{tunnel=\"a\",direction=\"out\"} 4\nbytes{tunnel=\"b\\\"\"} 5e0\n",
        )
        .unwrap();
        assert_eq!(page.sum("bytes", &[("tunnel", "a")]), Some(7.0));
        assert_eq!(page.sum("bytes", &[("tunnel", "b\"")]), Some(5.0));
        assert_eq!(page.sum("bytes", &[("tunnel", "c")]), None);
    }

    #[test]
    fn refuses_what_prometheus_refuses() {
        for page in [
            "x 1\n",
            "# TYPE x gauge\nx 1\nx 2\n",
            "# TYPE x gauge\n# TYPE x gauge\nx 1\n",
            "# TYPE x gauge\nx{a=\"b} 1\n",
            "# TYPE x gauge\nx one\n",
        ] {
            assert!(Page::parse(page).is_err(), "{page}");
        }
    }
}
