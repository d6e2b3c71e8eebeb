//! Explicit congestion notification across the tunnel, RFC 6040.

/// The ECN field of the type of service octet, RFC 3168 section 5.
const MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const CE: u8 = 0b11;

/// The outer type of service in normal mode: DSCP (RFC 4301 section 5.1.2.1) and ECN field (RFC 6040 section 4.1) are copied.
pub(crate) const fn encapsulate(inner_tos: u8) -> u8 {
    inner_tos
}

/// The type of service of the forwarded inner packet, RFC 6040 section 4.2; its DSCP stays. `None` if the packet must be dropped:
/// the outer header tells of congestion, and the inner transport would not learn of it.
pub(crate) const fn decapsulate(inner_tos: u8, outer_tos: u8) -> Option<u8> {
    match (inner_tos & MASK, outer_tos & MASK) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) | (CE, _) => Some(inner_tos),
        (_, CE) => Some(inner_tos | CE),
        (_, ECT_1) => Some(inner_tos & !MASK | ECT_1),
        (_, _) => Some(inner_tos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECT_0: u8 = 0b10;

    #[test]
    fn decapsulation_follows_figure_4_of_rfc_6040() {
        // Rows: arriving inner header. Columns: arriving outer header Not-ECT, ECT(0), ECT(1), CE.
        let table = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                for (inner_dscp, outer_dscp) in [(0, 0), (46 << 2, 0), (0, 46 << 2)] {
                    let result = decapsulate(inner_dscp | inner, outer_dscp | outer);
                    let expected = expected.map(|ecn| inner_dscp | ecn);
                    assert_eq!(result, expected, "inner {inner:02b}, outer {outer:02b}");
                }
            }
        }
    }

    #[test]
    fn encapsulation_copies_dscp_and_ecn() {
        assert!((0..=255).all(|tos| encapsulate(tos) == tos));
    }
}
