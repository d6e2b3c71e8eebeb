//! SPD rules of a tunnel and what must not overlap (PRODUCT.md T2 and C3).

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::site::{Quotas, Vpc};
use crate::values::overlap;

/// One rule: traffic between the local range and each of the peer ranges is protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpdRule {
    /// Range of the VPC.
    pub local: Ipv4Net,
    /// Ranges behind the customer gateway.
    pub peers: Vec<Ipv4Net>,
}

/// Field of a local range in refusals.
const LOCAL: &str = "SPD local range";
/// Field of a peer range in refusals.
const PEER: &str = "SPD peer range";

/// Checks the rules of one tunnel.
///
/// # Errors
/// [`Error::Invalid`], [`Error::RangeConflict`] or [`Error::Quota`].
pub fn check(rules: &[SpdRule], vpc: &Vpc, quotas: &Quotas) -> Result<(), Error> {
    if rules.is_empty() {
        return Err(Error::invalid("SPD", "", "has at least one rule"));
    }
    if rules.len() > quotas.rules_per_tunnel {
        return Err(quota("SPD rules per tunnel", quotas.rules_per_tunnel));
    }
    let locals: Vec<_> = rules.iter().map(|rule| rule.local).collect();
    disjoint(LOCAL, &locals, "local ranges of one tunnel must not overlap")?;
    for SpdRule { local, peers } in rules {
        if !vpc.cidr.contains(local) {
            let rule = format!("lies inside the range {} of the VPC {}", vpc.cidr, vpc.id);
            return Err(Error::invalid(LOCAL, local, rule));
        }
        if peers.is_empty() {
            let rule = format!("the rule of {local} has at least one");
            return Err(Error::invalid(PEER, "", rule));
        }
        if peers.len() > quotas.peer_ranges_per_rule {
            return Err(quota("peer ranges per SPD rule", quotas.peer_ranges_per_rule));
        }
        disjoint(PEER, peers, "peer ranges of one rule must not overlap")?;
        for peer in peers {
            if overlap(*local, *peer) {
                let rule = format!("must not overlap the local range {local} of its rule");
                return Err(conflict(PEER, *peer, rule));
            }
            if overlap(vpc.cidr, *peer) {
                let rule = format!("must not overlap the range {} of the VPC {}", vpc.cidr, vpc.id);
                return Err(conflict(PEER, *peer, rule));
            }
        }
    }
    Ok(())
}

/// Pairs of a local and a peer range.
pub fn pairs(rules: &[SpdRule]) -> impl Iterator<Item = (Ipv4Net, Ipv4Net)> {
    rules
        .iter()
        .flat_map(|rule| rule.peers.iter().map(|&peer| (rule.local, peer)))
}

/// Sorts first: when any two ranges overlap, so do two neighbours in the order of their addresses.
fn disjoint(field: &'static str, ranges: &[Ipv4Net], rule: &str) -> Result<(), Error> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| (range.network(), range.prefix_len()));
    for pair in sorted.windows(2) {
        if let [first, second] = pair
            && overlap(*first, *second)
        {
            return Err(conflict(
                field,
                *second,
                format!("{rule}, and this one overlaps {first}"),
            ));
        }
    }
    Ok(())
}

fn conflict(field: &'static str, value: Ipv4Net, rule: String) -> Error {
    Error::RangeConflict {
        field,
        value: value.to_string(),
        rule: rule.into(),
    }
}

fn quota(what: &'static str, limit: usize) -> Error {
    Error::Quota {
        what,
        limit,
        kind: Kind::Tunnel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(spec: &[(&str, &[&str])]) -> Vec<SpdRule> {
        let rule = |(local, peers): &(&str, &[&str])| SpdRule {
            local: local.parse().unwrap(),
            peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
        };
        spec.iter().map(rule).collect()
    }

    #[track_caller]
    fn check_rules(spec: &[(&str, &[&str])], expected: Option<&str>) {
        let vpc = Vpc {
            id: "vpc-main".to_owned(),
            name: "main".to_owned(),
            cidr: "10.0.0.0/16".parse().unwrap(),
        };
        let quotas = Quotas {
            rules_per_tunnel: 3,
            peer_ranges_per_rule: 2,
            ..Quotas::default()
        };
        let got = check(&rules(spec), &vpc, &quotas).map_err(|error| error.to_string());
        match (&got, expected) {
            (Ok(()), None) => {}
            (Err(error), Some(part)) if error.contains(part) => {}
            _ => panic!("{spec:?}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn the_document_example_is_legal() {
        check_rules(
            &[
                ("10.0.0.0/24", &["192.168.0.0/24", "192.168.1.0/24"]),
                ("10.0.1.0/24", &["192.168.2.0/24"]),
                ("10.0.2.0/24", &["192.168.2.0/24"]),
            ],
            None,
        );
    }

    #[test]
    fn each_overlap_is_refused_with_its_rule() {
        let peer: &[&str] = &["192.168.0.0/24"];
        check_rules(&[], Some("at least one rule"));
        check_rules(&[("10.0.0.0/24", &[])], Some("has at least one"));
        check_rules(
            &[("10.9.0.0/15", peer)],
            Some("lies inside the range 10.0.0.0/16"),
        );
        check_rules(
            &[("10.0.0.0/24", peer), ("10.0.0.128/25", peer)],
            Some("10.0.0.128/25\": local ranges of one tunnel"),
        );
        check_rules(
            &[("10.0.0.0/24", &["192.168.0.0/16", "192.168.1.0/24"])],
            Some("peer ranges of one rule"),
        );
        check_rules(
            &[("10.0.0.0/24", &["10.0.0.128/25"])],
            Some("overlap the local range"),
        );
        check_rules(
            &[("10.0.0.0/24", &["10.0.9.0/24"])],
            Some("overlap the range 10.0.0.0/16 of the VPC"),
        );
        check_rules(
            &[("10.0.0.0/24", &["0.0.0.0/0"])],
            Some("overlap the local range"),
        );
    }

    #[test]
    fn quotas_count_rules_and_ranges() {
        let peer: &[&str] = &["192.168.0.0/24"];
        check_rules(
            &[
                ("10.0.0.0/24", peer),
                ("10.0.1.0/24", peer),
                ("10.0.2.0/24", peer),
                ("10.0.3.0/24", peer),
            ],
            Some("at most 3 SPD rules"),
        );
        check_rules(
            &[(
                "10.0.0.0/24",
                &["192.168.0.0/24", "192.168.1.0/24", "192.168.2.0/24"],
            )],
            Some("at most 2 peer ranges"),
        );
    }
}
