//! The secrets of cookies, and when they change.

use std::time::{Duration, Instant};

use crate::crypto::RandomSource;
use crate::v2::cookie::CookieSecrets;

/// How long a secret makes cookies. It accepts them for as long again.
const ROTATION: Duration = Duration::from_secs(120);

/// None until the first cookie is asked for.
#[derive(Debug, Default)]
pub(super) struct Cookies(Option<(CookieSecrets, Instant)>);

impl Cookies {
    /// The secrets to use at `now`.
    pub(super) fn secrets(&mut self, now: Instant, rng: &mut impl RandomSource) -> &CookieSecrets {
        let (secrets, since) = self.0.get_or_insert_with(|| (CookieSecrets::new(rng), now));
        if now >= *since + ROTATION {
            secrets.rotate(rng);
            if now >= *since + 2 * ROTATION {
                // Nobody has asked for long: the one before is too old as well.
                secrets.rotate(rng);
            }
            *since = now;
        }
        secrets
    }
}
