//! The operator's price book.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::Error;

/// Longest purchase period in months.
pub const LONGEST_PERIOD: u32 = 36;
/// Hours that a month is charged for.
const HOURS_PER_MONTH: u64 = 30 * 24;

/// Bandwidth settings that a gateway can have without a range of its own, in Mbit/s: the product's, and larger ones.
pub const BANDWIDTHS: [u32; 9] = [5, 10, 20, 50, 100, 200, 500, 1000, 3000];

/// Prices by region. The file is TOML:
///
/// ```toml
/// currency = "USD"
/// [per_hour_micros]          # price of an hour, bandwidth included, in millionths of the currency
/// default = 78000
/// hk = 88000
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceBook {
    /// ISO 4217.
    pub currency: String,
    /// Price of an hour by region; `default` where a region has none.
    pub per_hour_micros: BTreeMap<String, u64>,
}

impl Default for PriceBook {
    /// The product's prices in US dollars.
    fn default() -> Self {
        const REGIONS: [(&str, u64); 23] = [
            ("default", 78_000),
            ("hk", 88_000),
            ("ap-hongkong", 88_000),
            ("kr", 88_000),
            ("ap-seoul", 88_000),
            ("de", 88_000),
            ("eu-frankfurt", 88_000),
            ("usw", 88_000),
            ("na-siliconvalley", 88_000),
            ("use", 88_000),
            ("na-ashburn", 88_000),
            ("in", 88_000),
            ("ap-mumbai", 88_000),
            ("jp", 88_000),
            ("ap-tokyo", 88_000),
            ("ru", 88_000),
            ("eu-moscow", 88_000),
            ("sg", 120_000),
            ("ap-singapore", 120_000),
            ("ca", 120_000),
            ("na-toronto", 120_000),
            ("th", 120_000),
            ("ap-bangkok", 120_000),
        ];
        Self {
            currency: "USD".to_owned(),
            per_hour_micros: REGIONS.map(|(region, price)| (region.to_owned(), price)).into(),
        }
    }
}

/// Why a price book cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceBookError {
    /// It is not TOML of the expected shape.
    #[error("the price book is not valid")]
    Syntax(#[from] toml::de::Error),
    /// Regions without a price of their own need one.
    #[error("per_hour_micros.default is required")]
    NoDefault,
}

impl PriceBook {
    /// Reads the operator's file.
    ///
    /// # Errors
    /// [`PriceBookError`].
    pub fn parse(text: &str) -> Result<Self, PriceBookError> {
        let book: Self = toml::from_str(text)?;
        if !book.per_hour_micros.contains_key("default") {
            return Err(PriceBookError::NoDefault);
        }
        Ok(book)
    }

    /// Price of an hour in a region, in millionths of the currency. The bandwidth is included.
    pub fn per_hour_micros(&self, region: &str) -> u64 {
        let price = self.per_hour_micros.get(region);
        price
            .or_else(|| self.per_hour_micros.get("default"))
            .copied()
            .unwrap_or(0)
    }

    /// Price of a period, in hundredths of the currency, rounded up.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the period or the bandwidth.
    pub fn period_cents(&self, region: &str, bandwidth: u32, months: u32) -> Result<u64, Error> {
        check_bandwidth(bandwidth)?;
        check_period(months)?;
        let micros = self.per_hour_micros(region) * HOURS_PER_MONTH * u64::from(months);
        Ok(micros.div_ceil(10_000))
    }
}

/// Checks a bandwidth setting in Mbit/s.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_bandwidth(mbps: u32) -> Result<(), Error> {
    if BANDWIDTHS.contains(&mbps) {
        return Ok(());
    }
    let rule = "is 5, 10, 20, 50, 100, 200, 500, 1000 or 3000 Mbit/s";
    Err(Error::invalid("bandwidth", mbps, rule))
}

/// Checks a purchase period in months.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_period(months: u32) -> Result<(), Error> {
    if (1..=LONGEST_PERIOD).contains(&months) {
        return Ok(());
    }
    Err(Error::invalid("period", months, "is 1 to 36 months"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_book_has_the_products_prices() {
        let book = PriceBook::default();
        for (region, micros) in [
            ("gz", 78_000),
            ("hk", 88_000),
            ("ap-tokyo", 88_000),
            ("sg", 120_000),
        ] {
            assert_eq!(book.per_hour_micros(region), micros, "{region}");
        }
        // 0.078 USD * 720 h = 56.16 USD
        assert_eq!(book.period_cents("gz", 5, 1).unwrap(), 5616);
        assert!(book.period_cents("gz", 7, 1).is_err());
        assert!(book.period_cents("gz", 5, 0).is_err() && book.period_cents("gz", 5, 37).is_err());
    }

    #[test]
    fn an_operators_book_needs_a_default() {
        let book =
            PriceBook::parse("currency = \"EUR\"\n[per_hour_micros]\ndefault = 1\nhk = 10000\n").unwrap();
        assert_eq!(
            (book.per_hour_micros("hk"), book.per_hour_micros("xx")),
            (10_000, 1)
        );
        assert!(matches!(
            PriceBook::parse("currency = \"EUR\"\n[per_hour_micros]\n"),
            Err(PriceBookError::NoDefault)
        ));
        assert!(PriceBook::parse("price = 1").is_err());
    }
}
