//! A reader that cannot over-read and a writer that patches lengths afterwards.

use super::WireError;

/// A cursor over received octets. Every read says what it reads, so that an error names the field.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first octet of `data`.
    pub const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// Octets that were not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many octets were not read yet.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything was read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads `len` octets.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(WireError::Truncated {
            what,
            needed: len,
            have: self.rest.len(),
        })?;
        self.rest = tail;
        Ok(head)
    }

    /// Reads all that is left, possibly nothing.
    pub const fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    /// Reads `N` octets.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated {
            what,
            needed: N,
            have: self.rest.len(),
        })?;
        self.rest = tail;
        Ok(*head)
    }

    /// Reads one octet.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.array::<1>(what).map(|[octet]| octet)
    }

    /// Reads a 16-bit number in network byte order.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, WireError> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Reads a 32-bit number in network byte order.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Refuses octets that are left over.
    pub const fn finish(&self, what: &'static str) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::BadLength {
                what,
                got: self.rest.len(),
            })
        }
    }
}

/// Octets under construction. Lengths are reserved first and patched when their structure is complete.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

/// The place of a 16-bit length field, and where the structure that it measures begins.
#[derive(Debug)]
#[must_use = "a reserved length must be patched"]
pub struct LengthSlot {
    field: usize,
    start: usize,
}

impl Writer {
    /// Starts empty.
    pub const fn new() -> Self {
        Self { out: Vec::new() }
    }

    /// Octets written so far.
    pub const fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written yet.
    pub const fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Writes one octet.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Writes a 16-bit number in network byte order.
    pub fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// Writes a 32-bit number in network byte order.
    pub fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// Writes octets as they are.
    pub fn bytes(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
    }

    /// Reserves a 16-bit length field that measures from `start` (a value of [`Writer::len`]) to the moment of [`Writer::patch`].
    pub fn length_from(&mut self, start: usize) -> LengthSlot {
        let field = self.out.len();
        self.u16(0);
        LengthSlot { field, start }
    }

    /// Fills a reserved length field.
    ///
    /// # Errors
    /// [`WireError::BadLength`] if the structure `what` is larger than 65,535 octets.
    pub fn patch(&mut self, slot: LengthSlot, what: &'static str) -> Result<(), WireError> {
        let got = self.out.len() - slot.start;
        let length = u16::try_from(got).map_err(|_too_long| WireError::BadLength { what, got })?;
        self.out[slot.field..slot.field + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Overwrites one octet that was written before. `at` comes from [`Writer::len`].
    pub fn set_u8(&mut self, at: usize, value: u8) {
        self.out[at] = value;
    }

    /// What was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.out
    }

    /// Takes the octets out.
    pub fn into_vec(self) -> Vec<u8> {
        self.out
    }
}
