//! wire - protobuf's wire format: varints, tags and lengths, with the byte offset of whatever is wrong.

/// How a field's payload is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireType {
    Varint,
    Fixed64,
    Bytes,
    Fixed32,
}

impl WireType {
    /// Number in the tag.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Varint => 0,
            Self::Fixed64 => 1,
            Self::Bytes => 2,
            Self::Fixed32 => 5,
        }
    }
}

/// Damage of the wire format, at byte `at` of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireError {
    pub(crate) at: usize,
    pub(crate) kind: WireErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireErrorKind {
    /// The message ends inside a varint.
    TruncatedVarint,
    /// The message ends inside a payload of `needs` bytes, of which `has` are there.
    TruncatedPayload { needs: u64, has: usize },
    /// More than ten bytes or more than 64 bits.
    MalformedVarint,
    /// A group (3, 4) or an undefined wire type (6, 7).
    IllegalWireType(u8),
    /// Field number 0 or above 2^29 - 1.
    IllegalFieldNumber(u64),
}

/// Read position in `bytes[..end]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) pos: usize,
    pub(crate) end: usize,
}

impl<'a> Cursor<'a> {
    /// # Panics
    /// If `pos > end` or `end > bytes.len()`.
    pub(crate) fn new(bytes: &'a [u8], pos: usize, end: usize) -> Self {
        assert!(pos <= end && end <= bytes.len(), "a cursor stays within its bytes");
        Self { bytes, pos, end }
    }

    pub(crate) fn at_end(&self) -> bool {
        self.pos >= self.end
    }

    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        let at = self.pos;
        let mut value = 0u64;
        for (i, &byte) in self.bytes[self.pos..self.end].iter().enumerate() {
            // The tenth byte holds the one bit that is left.
            if i == 9 && byte > 1 {
                return Err(WireError { at, kind: WireErrorKind::MalformedVarint });
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.pos += i + 1;
                return Ok(value);
            }
        }
        Err(WireError { at, kind: WireErrorKind::TruncatedVarint })
    }

    /// Field number and wire type.
    pub(crate) fn tag(&mut self) -> Result<(u32, WireType), WireError> {
        let at = self.pos;
        let tag = self.varint()?;
        let wire_type = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Bytes,
            5 => WireType::Fixed32,
            illegal => {
                self.pos = at;
                // A value below 8 fits u8.
                return Err(WireError { at, kind: WireErrorKind::IllegalWireType((illegal & 7) as u8) });
            }
        };
        match u32::try_from(tag >> 3) {
            Ok(field) if (1..1 << 29).contains(&field) => Ok((field, wire_type)),
            _ => {
                self.pos = at;
                Err(WireError { at, kind: WireErrorKind::IllegalFieldNumber(tag >> 3) })
            }
        }
    }

    /// The next `n` bytes, as a range of the file.
    pub(crate) fn take(&mut self, n: u64) -> Result<std::ops::Range<usize>, WireError> {
        let has = self.end - self.pos;
        match usize::try_from(n) {
            Ok(n) if n <= has => {
                let start = self.pos;
                self.pos += n;
                Ok(start..self.pos)
            }
            _ => {
                let kind = WireErrorKind::TruncatedPayload { needs: n, has };
                Err(WireError { at: self.pos, kind })
            }
        }
    }

    /// The payload of a field of this wire type, without a length prefix.
    pub(crate) fn payload(&mut self, wire_type: WireType) -> Result<std::ops::Range<usize>, WireError> {
        match wire_type {
            WireType::Varint => {
                let start = self.pos;
                self.varint()?;
                Ok(start..self.pos)
            }
            WireType::Fixed64 => self.take(8),
            WireType::Fixed32 => self.take(4),
            WireType::Bytes => {
                let n = self.varint()?;
                self.take(n)
            }
        }
    }
}

/// Appends `value` as a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a tag.
pub(crate) fn put_tag(out: &mut Vec<u8>, field: u32, wire_type: WireType) {
    put_varint(out, u64::from(field) << 3 | u64::from(wire_type.number()));
}

/// Bytes of a length prefix whose value is filled in later.
const LATE_LENGTH_BYTES: usize = 5;

/// Leaves room for a length prefix and returns its place.
pub(crate) fn put_late_length(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; LATE_LENGTH_BYTES]);
    out.len() - LATE_LENGTH_BYTES
}

/// Fills in the length prefix at `place` with what has been appended since, as a varint padded to five bytes.
pub(crate) fn fill_late_length(out: &mut [u8], place: usize) {
    let mut length = out.len() - place - LATE_LENGTH_BYTES;
    for i in 0..LATE_LENGTH_BYTES {
        let more = if i + 1 < LATE_LENGTH_BYTES { 0x80 } else { 0 };
        out[place + i] = (length & 0x7f) as u8 | more;
        length >>= 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(bytes: &[u8]) -> Cursor<'_> {
        Cursor::new(bytes, 0, bytes.len())
    }

    #[test]
    fn varints_are_read_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 62, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(cursor(&out).varint(), Ok(value));
            out.pop();
            if !out.is_empty() {
                assert_eq!(cursor(&out).varint().unwrap_err().kind, WireErrorKind::TruncatedVarint);
            }
        }
        assert_eq!(cursor(&[0xff; 11]).varint().unwrap_err().kind, WireErrorKind::MalformedVarint);
    }

    #[test]
    fn a_late_length_is_a_varint() {
        for n in [0, 1, 127, 128, 70_000] {
            let mut out = vec![9, 9];
            let place = put_late_length(&mut out);
            out.resize(out.len() + n, 7);
            fill_late_length(&mut out, place);
            let mut c = Cursor::new(&out, place, out.len());
            assert_eq!(c.varint(), Ok(n as u64));
            assert_eq!(c.pos, 7);
        }
    }

    #[test]
    fn tags_refuse_groups_and_field_zero() {
        assert_eq!(cursor(&[0x0b]).tag().unwrap_err().kind, WireErrorKind::IllegalWireType(3));
        assert_eq!(cursor(&[0x00]).tag().unwrap_err().kind, WireErrorKind::IllegalFieldNumber(0));
        assert_eq!(cursor(&[0x12]).tag(), Ok((2, WireType::Bytes)));
    }
}
