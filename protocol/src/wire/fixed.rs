//! Values whose wire form always has the same size, alone and in runs.

use uuid::Uuid;

/// A value of fixed wire size, big-endian.
pub trait Fixed: Copy + PartialEq + 'static {
    /// Bytes on the wire.
    const BYTES: usize;

    /// Reads the value from the start of `bytes` and returns what follows; `None` if they are too few.
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])>;

    /// Writes the wire form to the start of `to` and returns what follows; `None` if there is no room.
    fn put(self, to: &mut [u8]) -> Option<&mut [u8]>;

    /// Appends the wire form.
    fn append(self, to: &mut Vec<u8>);
}

macro_rules! fixed {
    ($($type:ty),*) => {$(
        impl Fixed for $type {
            const BYTES: usize = size_of::<$type>();

            #[inline(always)]
            fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
                let (chunk, rest) = bytes.split_first_chunk()?;
                Some((Self::from_be_bytes(*chunk), rest))
            }

            #[inline(always)]
            fn put(self, to: &mut [u8]) -> Option<&mut [u8]> {
                let (chunk, rest) = to.split_first_chunk_mut()?;
                *chunk = self.to_be_bytes();
                Some(rest)
            }

            #[inline(always)]
            fn append(self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
fixed!(i8, i16, u16, i32, u32, i64, f64);

impl Fixed for Uuid {
    const BYTES: usize = 16;

    #[inline(always)]
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (chunk, rest) = bytes.split_first_chunk()?;
        Some((Self::from_bytes(*chunk), rest))
    }

    #[inline(always)]
    fn put(self, to: &mut [u8]) -> Option<&mut [u8]> {
        let (chunk, rest) = to.split_first_chunk_mut()?;
        *chunk = self.into_bytes();
        Some(rest)
    }

    #[inline(always)]
    fn append(self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.as_bytes());
    }
}

/// Any byte but zero reads as `true`, as in Kafka.
impl Fixed for bool {
    const BYTES: usize = 1;

    #[inline(always)]
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (byte, rest) = bytes.split_first()?;
        Some((*byte != 0, rest))
    }

    #[inline(always)]
    fn put(self, to: &mut [u8]) -> Option<&mut [u8]> {
        let (byte, rest) = to.split_first_mut()?;
        *byte = u8::from(self);
        Some(rest)
    }

    #[inline(always)]
    fn append(self, to: &mut Vec<u8>) {
        to.push(u8::from(self));
    }
}

/// Neighbouring fixed-size fields, read or written with one bounds check: a tuple of two to twelve.
pub trait FixedRun: Sized {
    /// Bytes on the wire.
    const BYTES: usize;

    /// Reads the run from the start of `bytes`; `None` if they are too few.
    fn take(bytes: &[u8]) -> Option<Self>;

    /// Appends the wire form of every value in turn.
    fn append(self, to: &mut Vec<u8>);
}

/// More than the longest run takes: twelve values of at most 16 bytes.
const RUN_BYTES_MAX: usize = 12 * 16;

macro_rules! fixed_run {
    ($($name:ident)*) => {
        impl<$($name: Fixed),*> FixedRun for ($($name,)*) {
            const BYTES: usize = 0 $(+ $name::BYTES)*;

            #[inline(always)]
            #[expect(non_snake_case, reason = "one name serves as type and as value")]
            fn take(bytes: &[u8]) -> Option<Self> {
                $(let ($name, bytes) = $name::split(bytes)?;)*
                let _ = bytes;
                Some(($($name,)*))
            }

            #[inline(always)]
            #[expect(non_snake_case, reason = "one name serves as type and as value")]
            fn append(self, to: &mut Vec<u8>) {
                let ($($name,)*) = self;
                let mut run = [0; RUN_BYTES_MAX];
                let room = run.as_mut_slice();
                $(let Some(room) = $name.put(room) else { return };)*
                let _ = room;
                to.extend_from_slice(run.get(..Self::BYTES).unwrap_or_default());
            }
        }
    };
}
fixed_run!(A B);
fixed_run!(A B C);
fixed_run!(A B C D);
fixed_run!(A B C D E);
fixed_run!(A B C D E F);
fixed_run!(A B C D E F G);
fixed_run!(A B C D E F G H);
fixed_run!(A B C D E F G H I);
fixed_run!(A B C D E F G H I J);
fixed_run!(A B C D E F G H I J K);
fixed_run!(A B C D E F G H I J K L);
