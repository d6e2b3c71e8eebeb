//! Compiles SPD rules into the form that the XDP program looks up.
//!
//! The program asks one LPM trie for the class of the local address, one for the class of the peer address, and a hash for the
//! policy of the two classes. A trie answers with the longest prefix only, so nested prefixes are resolved here: every pair of
//! classes whose prefixes lie inside a rule gets the policy of the most specific rule that contains both, where a longer local
//! prefix counts first and a longer peer prefix second.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// One selector pair and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpdRule<P> {
    /// Range on our side.
    pub(super) local: Ipv4Net,
    /// Range on the peer's side.
    pub(super) peer: Ipv4Net,
    /// The policy of packets between the two.
    pub(super) policy: P,
}

/// The lookup tables of one SPD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CompiledSpd<P> {
    /// Prefixes of local addresses with their class.
    pub(super) local: Vec<(Ipv4Net, u32)>,
    /// Prefixes of peer addresses with their class.
    pub(super) peer: Vec<(Ipv4Net, u32)>,
    /// Policies by local and peer class.
    pub(super) pairs: Vec<(u32, u32, P)>,
}

impl<P> Default for CompiledSpd<P> {
    fn default() -> Self {
        Self {
            local: Vec::new(),
            peer: Vec::new(),
            pairs: Vec::new(),
        }
    }
}

/// Rules by their ranges on our side and on the peer's, without host bits.
pub(super) type SpdRules<P> = BTreeMap<(Ipv4Net, Ipv4Net), P>;

/// Orders rules. Of two with the same pair of ranges the later one counts.
pub(super) fn ordered<P>(rules: impl IntoIterator<Item = SpdRule<P>>) -> SpdRules<P> {
    rules
        .into_iter()
        .map(|rule| ((rule.local.trunc(), rule.peer.trunc()), rule.policy))
        .collect()
}

/// Compiles `rules`. Prefixes that have a class among the local or the peer `former` ones keep it, so that a small change of the rules
/// is a small change of the tables.
pub(super) fn compile<P: Copy>(rules: &SpdRules<P>, former: [&[(Ipv4Net, u32)]; 2]) -> CompiledSpd<P> {
    let [former_local, former_peer] = former;
    let local = classes(rules.keys().map(|&(local, _)| local), former_local);
    let peer = classes(rules.keys().map(|&(_, peer)| peer), former_peer);
    let mut pairs = BTreeMap::new();
    let mut by_precedence: Vec<_> = rules.iter().collect();
    by_precedence.sort_by_key(|((local, peer), _)| (local.prefix_len(), peer.prefix_len()));
    // Wide rules first: a more specific one overwrites them where it applies.
    for ((rule_local, rule_peer), &policy) in by_precedence {
        for (_, local_class) in inside(&local, *rule_local) {
            for (_, peer_class) in inside(&peer, *rule_peer) {
                pairs.insert((local_class, peer_class), policy);
            }
        }
    }
    CompiledSpd {
        local,
        peer,
        pairs: pairs
            .into_iter()
            .map(|((local, peer), policy)| (local, peer, policy))
            .collect(),
    }
}

/// Numbers distinct prefixes, in the order of their addresses: as before, or with the lowest number from 1 that is free.
fn classes(prefixes: impl Iterator<Item = Ipv4Net>, former: &[(Ipv4Net, u32)]) -> Vec<(Ipv4Net, u32)> {
    let distinct: BTreeSet<(Ipv4Addr, u8)> = prefixes
        .map(|prefix| (prefix.network(), prefix.prefix_len()))
        .collect();
    let prefix = |(network, len)| Ipv4Net::new(network, len).unwrap_or_default();
    let mut kept: BTreeMap<Ipv4Net, u32> = former.iter().copied().collect();
    kept.retain(|net, _| distinct.contains(&(net.network(), net.prefix_len())));
    let taken: BTreeSet<u32> = kept.values().copied().collect();
    let mut free = (1..).filter(|number| !taken.contains(number));
    let numbered = distinct.into_iter().map(prefix).map(|net| {
        let number = kept.get(&net).copied().or_else(|| free.next());
        (net, number.unwrap_or_default())
    });
    numbered.collect()
}

/// The prefixes that lie inside `range`: neighbours in the order of addresses.
fn inside(prefixes: &[(Ipv4Net, u32)], range: Ipv4Net) -> impl Iterator<Item = (Ipv4Net, u32)> {
    let first = prefixes.partition_point(|(prefix, _)| prefix.network() < range.network());
    let (_, rest) = prefixes.split_at(first);
    let end = range.broadcast();
    let candidates = rest
        .iter()
        .copied()
        .take_while(move |(prefix, _)| prefix.network() <= end);
    candidates.filter(move |(prefix, _)| range.contains(prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(local: &str, peer: &str, policy: u32) -> SpdRule<u32> {
        SpdRule {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
            policy,
        }
    }

    fn longest_match(prefixes: &[(Ipv4Net, u32)], address: Ipv4Addr) -> Option<u32> {
        let matching = prefixes.iter().filter(|(prefix, _)| prefix.contains(&address));
        matching
            .max_by_key(|(prefix, _)| prefix.prefix_len())
            .map(|&(_, class)| class)
    }

    /// What the XDP program does.
    fn look_up(spd: &CompiledSpd<u32>, local: Ipv4Addr, peer: Ipv4Addr) -> Option<u32> {
        let classes = (longest_match(&spd.local, local)?, longest_match(&spd.peer, peer)?);
        spd.pairs
            .iter()
            .find(|&&(local, peer, _)| (local, peer) == classes)
            .map(|&(_, _, policy)| policy)
    }

    /// The reference: the most specific rule that contains both addresses.
    fn search(rules: &[SpdRule<u32>], local: Ipv4Addr, peer: Ipv4Addr) -> Option<u32> {
        let matching = rules
            .iter()
            .filter(|rule| rule.local.contains(&local) && rule.peer.contains(&peer));
        matching
            .max_by_key(|rule| (rule.local.prefix_len(), rule.peer.prefix_len()))
            .map(|rule| rule.policy)
    }

    #[track_caller]
    fn check(rules: &[SpdRule<u32>], local: &str, peer: &str, expected: Option<u32>) {
        let (local, peer) = (local.parse().unwrap(), peer.parse().unwrap());
        assert_eq!(
            look_up(&compile(&ordered(rules.iter().copied()), [&[], &[]]), local, peer),
            expected,
            "{local} to {peer}"
        );
        assert_eq!(
            search(rules, local, peer),
            expected,
            "the reference, {local} to {peer}"
        );
    }

    #[test]
    fn a_host_inside_a_wider_rule_keeps_the_wider_rules_other_peers() {
        let rules = [
            rule("10.0.0.0/16", "192.168.0.0/16", 1),
            rule("10.0.1.0/24", "192.168.7.0/24", 2),
            rule("10.0.1.0/24", "172.16.0.0/12", 3),
        ];
        for (local, peer, expected) in [
            ("10.0.1.1", "192.168.7.1", Some(2)),
            ("10.0.1.1", "192.168.8.1", Some(1)),
            ("10.0.2.1", "192.168.7.1", Some(1)),
            ("10.0.1.1", "172.16.0.1", Some(3)),
            ("10.0.2.1", "172.16.0.1", None),
            ("10.1.0.1", "192.168.7.1", None),
        ] {
            check(&rules, local, peer, expected);
        }
    }

    #[test]
    fn the_longer_local_range_wins_over_the_longer_peer_range() {
        let rules = [
            rule("10.0.0.0/8", "192.168.1.0/24", 1),
            rule("10.0.0.0/24", "192.168.0.0/16", 2),
        ];
        check(&rules, "10.0.0.1", "192.168.1.1", Some(2));
        check(&rules, "10.9.0.1", "192.168.1.1", Some(1));
    }

    #[test]
    fn no_rules_give_no_entries() {
        assert_eq!(
            compile::<u32>(&SpdRules::new(), [&[], &[]]),
            CompiledSpd::default()
        );
    }

    /// Prefixes from a small corner of the address space, so that they nest often.
    fn nested_prefix() -> impl Strategy<Value = Ipv4Net> {
        (0_u32..256, 24_u8..=32).prop_map(|(low, len)| {
            Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 | low), len)
                .unwrap()
                .trunc()
        })
    }

    proptest! {
        #[test]
        fn lookups_agree_with_a_linear_search(
            pairs in prop::collection::btree_set((nested_prefix(), nested_prefix()), 0..24),
            packets in prop::collection::vec((0_u32..256, 0_u32..256), 32),
        ) {
            let rules: Vec<_> =
                pairs.into_iter().zip(0..).map(|((local, peer), policy)| SpdRule { local, peer, policy }).collect();
            let first = compile(&ordered(rules.iter().copied().step_by(2)), [&[], &[]]);
            let spd = compile(&ordered(rules.iter().copied()), [&first.local, &first.peer]);
            // What was there keeps its class.
            prop_assert!(first.local.iter().all(|prefix| spd.local.contains(prefix)));
            prop_assert!(first.peer.iter().all(|prefix| spd.peer.contains(prefix)));
            for (local, peer) in packets {
                let (local, peer) = (Ipv4Addr::from(0x0a00_0000 | local), Ipv4Addr::from(0x0a00_0000 | peer));
                prop_assert_eq!(look_up(&spd, local, peer), search(&rules, local, peer));
            }
        }
    }
}
