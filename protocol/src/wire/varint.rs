//! Unsigned varints: the lengths, counts and tags of flexible versions.
//!
//! The signed varints inside records belong to the records, not here.

/// The longest unsigned varint, in bytes.
pub(super) const UVARINT_BYTES_MAX: usize = 5;

/// Writes `value` to the start of `buffer` and returns how many bytes it took.
#[inline]
pub(super) fn put_uvarint(mut value: u32, buffer: &mut [u8; UVARINT_BYTES_MAX]) -> usize {
    let mut written = 0;
    for byte in buffer {
        written += 1;
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            *byte = low & 0x7f;
            break;
        }
        *byte = low | 0x80;
    }
    written
}

/// Reads an unsigned varint: its value and how many bytes it took, or why there is none.
#[inline]
pub(super) fn take_uvarint(bytes: &[u8]) -> Result<(u32, usize), UvarintFault> {
    let mut value = 0_u32;
    for (index, &byte) in bytes.iter().take(UVARINT_BYTES_MAX).enumerate() {
        if index == UVARINT_BYTES_MAX - 1 && byte > 0x0f {
            return Err(UvarintFault::TooLong);
        }
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((value, index + 1));
        }
    }
    Err(UvarintFault::Truncated)
}

/// Why bytes are not an unsigned varint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UvarintFault {
    Truncated,
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_goes_there_and_back() {
        for (value, bytes) in [
            (0, 1),
            (0x7f, 1),
            (0x80, 2),
            (0x3fff, 2),
            (0x4000, 3),
            (0x1f_ffff, 3),
            (0x20_0000, 4),
            (0xfff_ffff, 4),
            (0x1000_0000, 5),
            (u32::MAX, 5),
        ] {
            let mut buffer = [0; UVARINT_BYTES_MAX];
            assert_eq!(put_uvarint(value, &mut buffer), bytes);
            assert_eq!(take_uvarint(&buffer[..bytes]), Ok((value, bytes)));
            assert_eq!(
                take_uvarint(&buffer[..bytes - 1]),
                Err(UvarintFault::Truncated)
            );
        }
    }

    #[test]
    fn the_fifth_byte_holds_four_bits() {
        assert_eq!(
            take_uvarint(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
            Ok((u32::MAX, 5))
        );
        for fifth in [0x10, 0x7f, 0x80, 0xff] {
            assert_eq!(
                take_uvarint(&[0xff, 0xff, 0xff, 0xff, fifth, 0]),
                Err(UvarintFault::TooLong)
            );
        }
    }

    #[test]
    fn padding_within_five_bytes_is_accepted() {
        assert_eq!(take_uvarint(&[0x81, 0x80, 0x00]), Ok((1, 3)));
    }
}
