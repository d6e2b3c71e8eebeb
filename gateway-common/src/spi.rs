use core::fmt;

/// Security Parameters Index of an ESP SA, RFC 4303 section 2.1.
///
/// 0 is for local use only and 1 to 255 are reserved, so neither can be a value of this type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(u32);

impl Spi {
    /// Takes a host-order number; `None` for 0 to 255.
    pub const fn new(raw: u32) -> Option<Self> {
        if raw > 255 { Some(Self(raw)) } else { None }
    }

    /// Reads the four octets as they stand in a packet; `None` for 0 to 255.
    pub const fn from_be_bytes(octets: [u8; 4]) -> Option<Self> {
        Self::new(u32::from_be_bytes(octets))
    }

    /// The number in host order.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The four octets as they stand in a packet.
    pub const fn to_be_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spi(0x{:08x})", self.0)
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_the_reserved_numbers() {
        assert_eq!(Spi::new(0), None);
        assert_eq!(Spi::new(255), None);
        assert_eq!(Spi::new(256).map(Spi::get), Some(256));
        assert_eq!(
            Spi::from_be_bytes([0x01, 0x02, 0x03, 0x04]).map(Spi::get),
            Some(0x0102_0304)
        );
    }
}
