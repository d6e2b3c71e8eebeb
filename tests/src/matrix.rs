//! The interop matrix: every algorithm, exchange and kind of identity that strongSwan 5.9.8 shares with us, as one table.
//!
//! [`rows`] is the table, [`page`] what `docs/interop.md` says about it, and `tests/tests/interop_matrix.rs` the run. A row that cannot
//! pass stays in the table and on the page, with its reason in [`Row::expected`]; the run fails when it passes all the same.

use std::fmt::Write;

/// What an algorithm is called by us and by strongSwan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// In the gateway's configuration.
    pub ours: &'static str,
    /// In `swanctl.conf`.
    pub theirs: &'static str,
}

const fn word(ours: &'static str, theirs: &'static str) -> Word {
    Word { ours, theirs }
}

/// A Diffie-Hellman group: its number and strongSwan's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// IANA's number.
    pub number: u16,
    /// In `swanctl.conf`.
    pub theirs: &'static str,
}

const fn group(number: u16, theirs: &'static str) -> Group {
    Group { number, theirs }
}

/// The first five are the product's own list; RFC 8247 and RFC 8221 know them all.
const CBC: [Word; 5] = [
    word("des", "des"),
    word("3des", "3des"),
    word("aes-128", "aes128"),
    word("aes-192", "aes192"),
    word("aes-256", "aes256"),
];
const GCM: [Word; 3] = [
    word("aes-128-gcm", "aes128gcm16"),
    word("aes-192-gcm", "aes192gcm16"),
    word("aes-256-gcm", "aes256gcm16"),
];
const CHACHA: Word = word("chacha20-poly1305", "chacha20poly1305");
/// Of which the product names the first two.
const HASHES: [Word; 5] = [
    word("md5", "md5"),
    word("sha1", "sha1"),
    word("sha2-256", "sha256"),
    word("sha2-384", "sha384"),
    word("sha2-512", "sha512"),
];
const PRODUCT_HASHES: usize = 2;
/// Of which the product names the first five.
const GROUPS: [Group; 13] = [
    group(1, "modp768"),
    group(2, "modp1024"),
    group(5, "modp1536"),
    group(14, "modp2048"),
    group(24, "modp2048s256"),
    group(15, "modp3072"),
    group(16, "modp4096"),
    group(17, "modp6144"),
    group(18, "modp8192"),
    group(19, "ecp256"),
    group(20, "ecp384"),
    group(21, "ecp521"),
    group(31, "curve25519"),
];
const PRODUCT_GROUPS: usize = 5;
/// Local and peer identity of gateway A. Where there is none, the addresses are.
const IDENTITIES: [Option<(Word, Word)>; 4] = [
    None,
    Some((
        word("gw.example.com", "gw.example.com"),
        word("idc.example.com", "idc.example.com"),
    )),
    Some((
        word("vpn@gw.example.com", "vpn@gw.example.com"),
        word("vpn@idc.example.com", "vpn@idc.example.com"),
    )),
    Some((
        word("key-id:branch-7", "keyid:branch-7"),
        word("key-id:head-office", "keyid:head-office"),
    )),
];

/// How the IKE SA comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// IKEv1, Main Mode.
    Main,
    /// IKEv1, Aggressive Mode.
    Aggressive,
    /// IKEv2.
    V2,
}

impl Exchange {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Main, Self::Aggressive, Self::V2];

    /// Its name for readers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "IKEv1, main mode",
            Self::Aggressive => "IKEv1, aggressive mode",
            Self::V2 => "IKEv2",
        }
    }
}

/// Who starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// Our gateway, when the first packet comes.
    We,
    /// strongSwan.
    They,
}

impl Initiator {
    /// Both.
    pub const ALL: [Self; 2] = [Self::We, Self::They];
}

/// What a row must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Traffic passes the tunnel.
    Works,
    /// It does not, and this is why.
    Fails(&'static str),
}

/// One tunnel's choice.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How the IKE SA comes about.
    pub exchange: Exchange,
    /// Cipher of the IKE SA.
    pub ike_cipher: Word,
    /// Hash of the IKE SA: its PRF and, unless the cipher is an AEAD, its integrity.
    pub ike_hash: Word,
    /// Group of the IKE SA.
    pub ike_group: Group,
    /// Cipher of ESP.
    pub esp_cipher: Word,
    /// Integrity of ESP; none for an AEAD.
    pub esp_integrity: Option<Word>,
    /// Group of PFS.
    pub pfs: Option<Group>,
    /// Local and peer identity of gateway A.
    pub identities: Option<(Word, Word)>,
}

impl Row {
    /// strongSwan's IKE proposal.
    pub fn their_ike(&self) -> String {
        let prf = if is_aead(self.ike_cipher) { "prf" } else { "" };
        let (cipher, hash, group) = (
            self.ike_cipher.theirs,
            self.ike_hash.theirs,
            self.ike_group.theirs,
        );
        format!("{cipher}-{prf}{hash}-{group}")
    }

    /// strongSwan's ESP proposal.
    pub fn their_esp(&self) -> String {
        let words = [
            Some(self.esp_cipher.theirs),
            self.esp_integrity.map(|hash| hash.theirs),
            self.pfs.map(|group| group.theirs),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join("-")
    }

    /// What must happen.
    pub const fn expected(&self, _initiator: Initiator) -> Expected {
        Expected::Works
    }
}

fn is_aead(cipher: Word) -> bool {
    cipher == CHACHA || GCM.contains(&cipher)
}

/// The rows of an exchange: the product's list in full, then everything else so that each choice meets several others.
pub fn rows(exchange: Exchange) -> Vec<Row> {
    let mut rows = product_rows(exchange);
    rows.extend(further_rows(exchange));
    // Each kind of identity meets every list; the steps of the lists are no multiples of four.
    for (number, row) in rows.iter_mut().enumerate() {
        row.identities = IDENTITIES[number % IDENTITIES.len()];
    }
    rows
}

/// Every combination of the product for IKE, and every one for ESP with every PFS; the shorter list repeats.
fn product_rows(exchange: Exchange) -> Vec<Row> {
    let (hashes, groups) = (&HASHES[..PRODUCT_HASHES], &GROUPS[..PRODUCT_GROUPS]);
    let suites = || {
        CBC.iter()
            .flat_map(move |&cipher| hashes.iter().map(move |&hash| (cipher, hash)))
    };
    let ike: Vec<_> = suites()
        .flat_map(|suite| groups.iter().map(move |&group| (suite, group)))
        .collect();
    let pfs = [None].into_iter().chain(groups.iter().copied().map(Some));
    let esp = pfs.flat_map(|pfs| suites().map(move |suite| (suite, pfs)));
    esp.zip(ike.iter().cycle())
        .map(
            |(((esp_cipher, esp_hash), pfs), &((ike_cipher, ike_hash), ike_group))| Row {
                exchange,
                ike_cipher,
                ike_hash,
                ike_group,
                esp_cipher,
                esp_integrity: Some(esp_hash),
                pfs,
                identities: None,
            },
        )
        .collect()
}

/// Every cipher with every hash, for IKE and for ESP, and every group in both places.
fn further_rows(exchange: Exchange) -> Vec<Row> {
    let v2 = exchange == Exchange::V2;
    let groups = &GROUPS;
    let pairs = |ciphers: &[Word]| -> Vec<(Word, Word)> {
        let with_each = |&cipher: &Word| HASHES.map(|hash| (cipher, hash));
        ciphers.iter().flat_map(with_each).collect()
    };
    let mut ike = pairs(&CBC);
    let mut esp: Vec<(Word, Option<Word>)> = pairs(&CBC)
        .into_iter()
        .map(|(cipher, hash)| (cipher, Some(hash)))
        .collect();
    esp.extend(GCM.map(|cipher| (cipher, None)));
    if v2 {
        // IKEv1 has no AEAD for its messages (RFC 5282 is for IKEv2), and strongSwan no ChaCha20 for ESP that IKEv1 negotiated.
        ike.extend(pairs(&GCM));
        ike.extend(pairs(&[CHACHA]));
        esp.push((CHACHA, None));
    }
    let count = ike.len().max(esp.len());
    (0..count)
        .map(|number| {
            let (ike_cipher, ike_hash) = ike[number % ike.len()];
            let (esp_cipher, esp_integrity) = esp[number % esp.len()];
            Row {
                exchange,
                ike_cipher,
                ike_hash,
                ike_group: groups[number % groups.len()],
                esp_cipher,
                esp_integrity,
                // Half a turn away, so that a row has two different groups; one row in fourteen has none.
                pfs: (number % 14 != 13).then(|| groups[(number + 6) % groups.len()]),
                identities: None,
            }
        })
        .collect()
}

/// `docs/interop.md`.
pub fn page() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("| exchange | rows | we initiate | strongSwan initiates |\n|---|---|---|---|\n");
    for exchange in Exchange::ALL {
        let rows = rows(exchange);
        let passing = |initiator| {
            let works = |row: &&Row| row.expected(initiator) == Expected::Works;
            rows.iter().filter(works).count()
        };
        let [we, they] = Initiator::ALL.map(passing);
        line(
            &mut text,
            format_args!(
                "| {} | {} | {we} pass | {they} pass |",
                exchange.name(),
                rows.len()
            ),
        );
    }
    for exchange in Exchange::ALL {
        line(
            &mut text,
            format_args!(
                "\n## {}\n\n| IKE | ESP | PFS | identities | we initiate | strongSwan initiates |\n|---|---|---|---|---|---|",
                exchange.name()
            ),
        );
        for row in rows(exchange) {
            let [we, they] = Initiator::ALL.map(|initiator| match row.expected(initiator) {
                Expected::Works => "passes".to_owned(),
                Expected::Fails(reason) => format!("fails: {reason}"),
            });
            line(
                &mut text,
                format_args!(
                    "| {}/{}/group{} | {}{} | {} | {} | {we} | {they} |",
                    row.ike_cipher.ours,
                    row.ike_hash.ours,
                    row.ike_group.number,
                    row.esp_cipher.ours,
                    row.esp_integrity
                        .map_or(String::new(), |hash| format!("/{}", hash.ours)),
                    row.pfs
                        .map_or_else(|| "off".to_owned(), |group| format!("group{}", group.number)),
                    row.identities
                        .map_or("addresses", |(ours, _)| kind_of_identity(ours)),
                ),
            );
        }
    }
    text
}

const INTRODUCTION: &str = "\
# Interoperability

`cargo xtask test --tier interop --write` makes this page from the table in `tests/src/matrix.rs` after every row of it was run. The peer is
strongSwan 5.9.8 of Debian 12. In each row the tunnel comes up from each end in turn, the algorithms in use are compared with those of the row,
and pings pass in both directions. The first Child SA of IKEv2 knows no PFS, so rows with PFS renew it and ping once more.
The run fails when a row does what this page does not say, and `cargo xtask tidy` when the page and the table differ.

Rekeys under load, reauthentication, dead peers, NATs, fragments, cookies, several ranges, restarts, refusals with their diagnosis and
ike-scan as a foreign initiator are tests of their own: `tests/tests/interop_*.rs`.

The table begins with every combination that the product names (DES, 3DES, AES; MD5, SHA1; groups 1, 2, 5, 14, 24, and PFS off or each of
them) and goes on with every further algorithm: each cipher with each hash, each group for IKE and for PFS.

What this peer does not have is in no row: ML-KEM-768 (RFC 9370), extended sequence numbers in its ESP (kernel-libipsec), and
ChaCha20-Poly1305 for ESP that IKEv1 negotiated.

";

fn kind_of_identity(identity: Word) -> &'static str {
    match identity.ours {
        name if name.starts_with("key-id:") => "KEY_ID",
        name if name.contains('@') => "USER_FQDN",
        _ => "FQDN",
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row of `exchange` that has `cipher` for IKE, and so on: the table is only as good as what it covers.
    #[test]
    fn every_choice_of_an_exchange_is_in_the_table() {
        for exchange in Exchange::ALL {
            let rows = rows(exchange);
            let has = |test: &dyn Fn(&Row) -> bool| rows.iter().any(test);
            for group in GROUPS {
                assert!(has(&|row| row.ike_group == group), "{exchange:?} {group:?}");
                assert!(has(&|row| row.pfs == Some(group)), "{exchange:?} PFS {group:?}");
            }
            for (cipher, hash) in CBC.iter().flat_map(|&cipher| HASHES.map(|hash| (cipher, hash))) {
                assert!(has(&|row| (row.ike_cipher, row.ike_hash) == (cipher, hash)));
                assert!(has(
                    &|row| (row.esp_cipher, row.esp_integrity) == (cipher, Some(hash))
                ));
            }
            for identities in IDENTITIES {
                assert!(has(&|row| row.identities == identities));
            }
            assert!(GCM.iter().all(|&cipher| has(&|row| row.esp_cipher == cipher)));
            assert_eq!(has(&|row| is_aead(row.ike_cipher)), exchange == Exchange::V2);
            assert_eq!(has(&|row| row.esp_cipher == CHACHA), exchange == Exchange::V2);
        }
        assert_eq!(Exchange::ALL.map(|exchange| rows(exchange).len()), [88, 88, 105]);
    }

    #[test]
    fn the_peer_is_told_the_same_in_its_words() {
        let words = |exchange, number: usize| {
            let row = rows(exchange)[number];
            (row.their_ike(), row.their_esp())
        };
        let both = |ike: &str, esp: &str| (ike.to_owned(), esp.to_owned());
        assert_eq!(words(Exchange::Main, 0), both("des-md5-modp768", "des-md5"));
        assert_eq!(
            words(Exchange::V2, 60 + 25),
            both("aes128gcm16-prfmd5-curve25519", "aes128gcm16-modp3072")
        );
    }
}
