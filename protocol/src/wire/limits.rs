//! Every limit of the codec, named once.

/// The longest string, in bytes, in both of its wire forms.
pub const STRING_BYTES_MAX: usize = 32_767;

/// Memory a reader may spend on decoded values whatever its input, in bytes.
pub const MEMORY_BASE_BYTES: usize = 64 * 1024;

/// Memory a reader may spend for each byte of input, beyond [`MEMORY_BASE_BYTES`].
pub const MEMORY_PER_INPUT_BYTE: usize = 64;

/// Memory a reader may spend in all, in bytes, unless it was given a budget of its own.
pub const MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Shared record bytes from this size on are handed over as they are, and copied below it.
pub const SPLICE_BYTES_MIN: usize = 4 * 1024;

/// The budget for an input of that many bytes.
pub const fn memory_budget(input_bytes: usize) -> usize {
    let budget = input_bytes
        .saturating_mul(MEMORY_PER_INPUT_BYTE)
        .saturating_add(MEMORY_BASE_BYTES);
    if budget < MEMORY_BYTES_MAX {
        budget
    } else {
        MEMORY_BYTES_MAX
    }
}
