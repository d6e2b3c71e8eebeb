//! Bandwidth settings: the generic cell rate algorithm on one shared word per limiter.
//!
//! The state is the *theoretical arrival time*: the moment at which everything let through so far would have left at the
//! configured rate. A packet conforms while that moment, with the packet added, is at most `burst` ahead of the clock. One
//! compare-and-swap moves it, so the rate is exact over all CPUs, where a bucket per CPU would grant it to each.

use gateway_common::abi::{LimiterConfig, Verdict};

use crate::tables::{SharedCell, Tables};

const NANOS_PER_SEC: u64 = 1_000_000_000;
/// Number of "no limiter" in policies and SAs.
const NO_LIMITER: u32 = 0;
/// The verifier wants a bound. A loser of this many races sees its packet dropped; two CPUs never lost more than two.
const ATTEMPTS: u32 = 8;

/// Charges a packet of `size` octets to the limiters of its tunnel and of its VPN gateway.
///
/// The tunnel comes first: what it refuses must not use up the bandwidth that the gateway's other tunnels share.
#[inline(always)]
pub(crate) fn police(
    gateway_limiter: u32,
    tunnel_limiter: u32,
    size: u64,
    tables: &impl Tables,
) -> Result<(), Verdict> {
    if gateway_limiter == NO_LIMITER && tunnel_limiter == NO_LIMITER {
        return Ok(());
    }
    let mut clock = Clock::new(tables);
    charge(tunnel_limiter, size, &mut clock, Verdict::TunnelBandwidth)?;
    charge(gateway_limiter, size, &mut clock, Verdict::GatewayBandwidth)
}

#[inline(always)]
fn charge(
    number: u32,
    size: u64,
    clock: &mut Clock<'_, impl Tables>,
    refusal: Verdict,
) -> Result<(), Verdict> {
    if number == NO_LIMITER {
        return Ok(());
    }
    let tables = clock.tables;
    let config = tables.limiter(number).ok_or(Verdict::Internal)?;
    if config.rate == 0 {
        return Ok(());
    }
    let state = tables.limiter_state(number).ok_or(Verdict::Internal)?;
    if conforms(&config, state, clock, size) {
        return Ok(());
    }
    tables.count_limiter_drop(number);
    Err(refusal)
}

/// The time, read as cheaply as the question allows.
///
/// The coarse clock is some milliseconds behind and costs a tenth. What conforms by it conforms by the exact one too, so only a
/// limiter near its limit asks that. A packet after a pause may be booked one tick early: one tick of credit, once.
pub(crate) struct Clock<'a, T> {
    tables: &'a T,
    now: u64,
    exact: bool,
}

impl<'a, T: Tables> Clock<'a, T> {
    #[inline(always)]
    pub(crate) fn new(tables: &'a T) -> Self {
        Self {
            tables,
            now: tables.now_coarse(),
            exact: false,
        }
    }

    #[inline(always)]
    pub(crate) const fn tables(&self) -> &'a T {
        self.tables
    }
}

/// Charges `size` units to a limiter whose rate is not 0; `false` when they are too many.
#[inline(always)]
pub(crate) fn conforms(
    config: &LimiterConfig,
    state: &impl SharedCell,
    clock: &mut Clock<'_, impl Tables>,
    size: u64,
) -> bool {
    let cost = nanoseconds(size, config.rate);
    let tolerance = nanoseconds(config.burst, config.rate);
    let mut seen = state.load();
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let next = seen.max(clock.now).saturating_add(cost);
        if next - clock.now > tolerance {
            if clock.exact {
                return false;
            }
            clock.now = clock.tables.now();
            clock.exact = true;
            continue;
        }
        match state.compare_exchange(seen, next) {
            Ok(()) => return true,
            Err(current) => seen = current,
        }
    }
    false
}

/// Time that `units` take at `rate` per second, to the nearest nanosecond: rounding down would grant a fast limiter some percent.
#[inline(always)]
fn nanoseconds(units: u64, rate: u64) -> u64 {
    let scaled = if units > u64::MAX / NANOS_PER_SEC {
        u64::MAX
    } else {
        units * NANOS_PER_SEC
    };
    // The verifier takes no panic, and the compiler does not always see that the rate is not 0.
    scaled.saturating_add(rate / 2) / rate.max(1)
}
