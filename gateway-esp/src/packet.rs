use std::fmt;

/// An IP packet inside a frame, with room before it (headroom) and after it (tailroom).
///
/// `start..start + len` must lie inside the frame. A packet for which that does not hold has no octets and no room, so that every
/// operation refuses it.
pub struct Packet<'f> {
    /// The whole frame.
    pub frame: &'f mut [u8],
    /// Offset of the packet's first octet in the frame.
    pub start: usize,
    /// Octets of the packet.
    pub len: usize,
}

impl<'f> Packet<'f> {
    /// Describes the packet of `len` octets at `start`.
    pub fn new(frame: &'f mut [u8], start: usize, len: usize) -> Self {
        Self { frame, start, len }
    }

    /// The octets of the packet.
    pub fn bytes(&self) -> &[u8] {
        self.end()
            .and_then(|end| self.frame.get(self.start..end))
            .unwrap_or_default()
    }

    /// The octets of the packet, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let end = self.end();
        end.and_then(|end| self.frame.get_mut(self.start..end))
            .unwrap_or_default()
    }

    /// Octets of the frame before the packet.
    pub fn headroom(&self) -> usize {
        self.end().map_or(0, |_| self.start)
    }

    /// Octets of the frame after the packet.
    pub fn tailroom(&self) -> usize {
        self.end().map_or(0, |end| self.frame.len() - end)
    }

    fn end(&self) -> Option<usize> {
        self.start
            .checked_add(self.len)
            .filter(|end| *end <= self.frame.len())
    }
}

impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frame, start, len } = self;
        write!(f, "Packet({len} octets at {start} of {})", frame.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_outside_its_frame_has_neither_octets_nor_room() {
        let mut frame = [7u8; 32];
        for (start, len) in [(0, 33), (33, 0), (usize::MAX, 2), (2, usize::MAX)] {
            let mut packet = Packet::new(&mut frame, start, len);
            assert!(
                packet.bytes().is_empty() && packet.bytes_mut().is_empty(),
                "{packet:?}"
            );
            assert_eq!((packet.headroom(), packet.tailroom()), (0, 0), "{packet:?}");
        }
    }

    #[test]
    fn room_is_what_the_packet_leaves_of_the_frame() {
        let mut frame = [7u8; 32];
        let packet = Packet::new(&mut frame, 10, 15);
        assert_eq!(
            (packet.headroom(), packet.bytes().len(), packet.tailroom()),
            (10, 15, 7)
        );
    }
}
