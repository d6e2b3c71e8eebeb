//! The secrets that the initiator of a recording wrote down, by name and in order.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;

pub(crate) struct Recorded {
    by_name: HashMap<String, VecDeque<Vec<u8>>>,
    ivs: HashSet<Vec<u8>>,
}

impl Recorded {
    pub(crate) fn read(json: &str) -> Self {
        let mut by_name: HashMap<String, VecDeque<Vec<u8>>> = HashMap::new();
        let mut ivs = HashSet::new();
        let entries: Value = serde_json::from_str(json).unwrap();
        for entry in entries.as_array().unwrap() {
            let (Some(name), Some(hex)) = (entry["name"].as_str(), entry["hex"].as_str()) else {
                continue;
            };
            if name.starts_with("next IV") {
                ivs.insert(unhex(hex));
            } else {
                by_name.entry(name.to_owned()).or_default().push_back(unhex(hex));
            }
        }
        Self { by_name, ivs }
    }

    /// Takes the next value of that name.
    #[track_caller]
    pub(crate) fn next(&mut self, name: &str) -> Vec<u8> {
        self.by_name
            .get_mut(name)
            .and_then(VecDeque::pop_front)
            .unwrap_or_else(|| panic!("no {name} left"))
    }

    /// Takes the next value of that name, if there is one.
    pub(crate) fn try_next(&mut self, name: &str) -> Option<Vec<u8>> {
        self.by_name.get_mut(name).and_then(VecDeque::pop_front)
    }

    /// Whether a value of that name is still there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|values| !values.is_empty())
    }

    /// Takes an IV out of the recorded ones.
    pub(crate) fn take_iv(&mut self, iv: &[u8]) -> bool {
        self.ivs.remove(iv)
    }

    /// Whether one of the values of that name is `octets`.
    pub(crate) fn any(&self, name: &str, octets: &[u8]) -> bool {
        self.by_name
            .get(name)
            .is_some_and(|values| values.iter().any(|value| value == octets))
    }

    pub(crate) fn unused_ivs(&self) -> usize {
        self.ivs.len()
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
