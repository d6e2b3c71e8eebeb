//! Traffic of tunnels over time.

use std::sync::PoisonError;

use super::Management;
use crate::error::{Error, Kind};
use crate::store::{Point, Resolution, StoreError, Traffic};
use crate::time::Timestamp;

impl Management {
    /// Adds the counters that the agent has for its tunnels at `now` to the rollups. To be called every ten seconds.
    ///
    /// # Errors
    /// [`StoreError`]; the traffic is then counted at the next call.
    pub fn record(&self, now: Timestamp, counters: &[(String, Traffic)]) -> Result<(), StoreError> {
        let mut before = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.write(|rows| {
            for (tunnel, counter) in counters {
                let since = counter.since(before.get(tunnel).copied().unwrap_or_default());
                if since != Traffic::default() {
                    rows.add_traffic(tunnel, now, since)?;
                }
            }
            if now.0 % 300 < 10 {
                rows.expire_traffic(now)?;
            }
            Ok::<_, StoreError>(())
        })?;
        *before = counters.iter().cloned().collect();
        Ok(())
    }

    /// Rollups of a tunnel.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Store`].
    pub fn tunnel_traffic(
        &self,
        id: &str,
        resolution: Resolution,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Point>, Error> {
        self.store.read(|rows| {
            let tunnel = rows
                .tunnel(id)?
                .ok_or_else(|| Error::not_found(Kind::Tunnel, id))?;
            Ok(rows.traffic(&tunnel.id, resolution, from, to)?)
        })
    }
}
