//! What keeps a flood from the IKE engine and from the host.
//!
//! Established peers come first: a packet of a present SA never gets here. Of the rest, a gateway with a shield takes what the
//! source's prefix, its buckets and the bucket of all strangers allow, in this order, so that one loud source does not use up
//! what the strangers share. The peers of tunnels have buckets of their own and no part in the common one. A gateway without a
//! shield has the rate of IKE per source alone.

use gateway_common::abi::{
    BUCKET_ALL, BUCKET_IKE, BUCKET_UNKNOWN_SPI, LimiterConfig, NO_SHIELD, SHIELD_ALLOW, SHIELD_BLOCK,
    SHIELD_PEER, ShieldValue, Verdict,
};

use crate::{
    packet::Word,
    police::{self, Clock},
    tables::{SharedCell, Tables},
};

/// The verdict of an IKE packet to one of our addresses.
#[inline(always)]
pub(crate) fn ike(shield: u32, source: Word, tables: &impl Tables) -> Verdict {
    if shield == NO_SHIELD {
        return ike_rate(source, tables);
    }
    match shielded_ike(shield, source, tables) {
        Ok(()) => Verdict::Ike,
        Err(refusal) => refuse(shield, refusal, tables),
    }
}

/// The verdict of an ESP packet whose SPI no SA has. It is dropped in any case; a source above its rate has a verdict of its own.
#[inline(always)]
pub(crate) fn unknown_spi(shield: u32, source: Word, tables: &impl Tables) -> Verdict {
    if shield == NO_SHIELD {
        return Verdict::UnknownSpi;
    }
    let mut clock = Clock::new(tables);
    let refusal = match admitted(shield, source, &mut clock) {
        Ok(Some((limits, _))) => Bucket {
            number: shield,
            source,
            bucket: BUCKET_UNKNOWN_SPI,
        }
        .charge(&limits.unknown_spi_source, Verdict::UnknownSpiRate, &mut clock)
        .map_or_else(|above| above, |()| Verdict::UnknownSpi),
        Ok(None) => Verdict::UnknownSpi,
        Err(refusal) => refusal,
    };
    refuse(shield, refusal, tables)
}

/// Refuses what is neither IKE nor a whole ESP packet where its source may not send it.
#[inline(always)]
pub(crate) fn other(shield: u32, source: Word, tables: &impl Tables) -> Result<(), Verdict> {
    if shield == NO_SHIELD {
        return Ok(());
    }
    match admitted(shield, source, &mut Clock::new(tables)) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refuse(shield, refusal, tables)),
    }
}

/// A source that the LRU table has no room for is treated as one above its rate: that only happens in a flood.
#[inline(always)]
fn ike_rate(source: Word, tables: &impl Tables) -> Verdict {
    let Some(limit) = tables.ike_limit() else {
        return Verdict::Internal;
    };
    if limit.rate == 0 {
        return Verdict::Ike;
    }
    match tables.ike_source(source) {
        Some(state) if police::conforms(&limit, state, &mut Clock::new(tables), 1) => Verdict::Ike,
        Some(_) | None => Verdict::IkeRate,
    }
}

#[inline(always)]
fn shielded_ike(number: u32, source: Word, tables: &impl Tables) -> Result<(), Verdict> {
    let mut clock = Clock::new(tables);
    let Some((limits, stranger)) = admitted(number, source, &mut clock)? else {
        return Ok(());
    };
    let own = Bucket {
        number,
        source,
        bucket: BUCKET_IKE,
    };
    own.charge(&limits.ike_source, Verdict::IkeRate, &mut clock)?;
    if !stranger {
        return Ok(());
    }
    let shared = tables.shield_state(number).ok_or(Verdict::Internal)?;
    charge(shared, &limits.ike_total, Verdict::IkeTotal, &mut clock)
}

/// What still has to be charged of a source that may send: its limits and whether it is a stranger; nothing of an allowed one.
#[inline(always)]
fn admitted<'a>(
    number: u32,
    source: Word,
    clock: &mut Clock<'a, impl Tables>,
) -> Result<Option<(&'a ShieldValue, bool)>, Verdict> {
    let tables = clock.tables();
    let limits = tables.shield(number).ok_or(Verdict::Internal)?;
    match tables.shield_prefix(number, source) {
        Some(SHIELD_ALLOW) => Ok(None),
        Some(SHIELD_PEER) => Ok(Some((limits, false))),
        Some(SHIELD_BLOCK) => Err(Verdict::Blocked),
        Some(_) | None if limits.closed != 0 => Err(Verdict::Blocked),
        Some(_) | None => {
            let all = Bucket {
                number,
                source,
                bucket: BUCKET_ALL,
            };
            all.charge(&limits.source, Verdict::SourceRate, clock)?;
            Ok(Some((limits, true)))
        }
    }
}

struct Bucket {
    number: u32,
    source: Word,
    bucket: u32,
}

impl Bucket {
    #[inline(always)]
    fn charge(
        &self,
        limit: &LimiterConfig,
        refusal: Verdict,
        clock: &mut Clock<'_, impl Tables>,
    ) -> Result<(), Verdict> {
        if limit.rate == 0 {
            return Ok(());
        }
        let tables = clock.tables();
        let state = tables
            .shield_source(self.number, self.source, self.bucket)
            .ok_or(refusal)?;
        charge(state, limit, refusal, clock)
    }
}

#[inline(always)]
fn charge(
    state: &impl SharedCell,
    limit: &LimiterConfig,
    refusal: Verdict,
    clock: &mut Clock<'_, impl Tables>,
) -> Result<(), Verdict> {
    // One look: the agent may write another rate between two.
    let limit = *limit;
    if limit.rate == 0 || police::conforms(&limit, state, clock, 1) {
        return Ok(());
    }
    Err(refusal)
}

#[inline(always)]
fn refuse(number: u32, refusal: Verdict, tables: &impl Tables) -> Verdict {
    tables.count_shield_drop(number, refusal);
    refusal
}
