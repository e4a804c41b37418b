//! Cutting runs into rows without joining their pieces first, and the two ways rows travel: array elements and COPY BINARY.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::Run;

/// Bytes of payload in a row: one row fills an 8 KiB page (24 header + 28 fixed columns + 4 length + this <= 8,160).
pub(crate) const CHUNK_BYTES: usize = 8_100;
/// A row costs about this on top of its payload.
const ROW_OVERHEAD: u64 = 60;
/// Rows above this share a page with no other of their kind.
const HALF_PAGE: usize = 4_030;

const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: &[u8] = b"\xff\xff";
/// Field count, then length and value of base, global base, part, span and chunk, then the length of data.
const COPY_ROW_BYTES: usize = 2 + 12 + 12 + 8 + 8 + 8 + 4;

/// One row of a log table; its payload is a range of [`Rows::pieces`].
#[derive(Debug, Clone)]
struct Row {
    base: i64,
    global_base: i64,
    part: i32,
    span: i32,
    chunk: i32,
    bytes: usize,
    pieces: Range<usize>,
}

/// The rows of one flush.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<Row>,
    pieces: Vec<Bytes>,
    payload_bytes: usize,
    records: i64,
}

impl Rows {
    /// `global_base` is the global offset of the first record.
    pub(crate) fn cut(runs: &[Run], global_base: i64) -> Self {
        let mut rows = Self::default();
        for run in runs {
            rows.cut_run(run, global_base + rows.records);
            rows.records += i64::from(run.span) + 1;
        }
        rows
    }

    /// Each run with the global offset of its own first record.
    pub(crate) fn cut_at(runs: &[(Run, i64)]) -> Self {
        let mut rows = Self::default();
        for (run, global_base) in runs {
            rows.cut_run(run, *global_base);
        }
        rows
    }

    fn cut_run(&mut self, run: &Run, global_base: i64) {
        let first = self.rows.len();
        let mut chunk = 0;
        let mut open: Option<Row> = None;
        for piece in &run.data {
            let mut rest = piece.clone();
            while !rest.is_empty() {
                let row = open.get_or_insert(Row {
                    base: run.base_offset,
                    global_base,
                    part: run.part,
                    span: run.span,
                    chunk,
                    bytes: 0,
                    pieces: self.pieces.len()..self.pieces.len(),
                });
                let taken = rest.split_to(rest.len().min(CHUNK_BYTES - row.bytes));
                row.bytes += taken.len();
                self.payload_bytes += taken.len();
                self.pieces.push(taken);
                row.pieces.end = self.pieces.len();
                if row.bytes == CHUNK_BYTES {
                    chunk += 1;
                    self.rows.extend(open.take());
                }
            }
        }
        self.rows.extend(open);
        debug_assert!(self.rows[first..].iter().all(|row| row.bytes > 0));
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Records of all runs.
    pub(crate) fn records(&self) -> i64 {
        self.records
    }

    /// About what the rows add to their table.
    pub(crate) fn table_bytes(&self) -> u64 {
        let size = |row: &Row| match row.bytes > HALF_PAGE {
            true => 8_192,
            false => row.bytes as u64 + ROW_OVERHEAD,
        };
        self.rows.iter().map(size).sum()
    }

    pub(crate) fn columns(&self) -> Columns<'_> {
        let each = |field: fn(&Row) -> i32| self.rows.iter().map(field).collect();
        Columns {
            base: self.rows.iter().map(|row| row.base).collect(),
            global_base: self.rows.iter().map(|row| row.global_base).collect(),
            part: each(|row| row.part),
            span: each(|row| row.span),
            chunk: each(|row| row.chunk),
            data: self
                .rows
                .iter()
                .map(|row| Data(&self.pieces[row.pieces.clone()]))
                .collect(),
        }
    }

    /// The rows as messages of about `message_bytes` in the format of COPY BINARY.
    pub(crate) fn copy_messages(
        &self,
        message_bytes: usize,
    ) -> impl Iterator<Item = CopyMessage> + '_ {
        let mut next = 0;
        std::iter::from_fn(move || {
            if next > self.rows.len() {
                return None;
            }
            let mut message = CopyMessage::default();
            let mut headers =
                BytesMut::with_capacity(COPY_ROW_BYTES * (message_bytes / CHUNK_BYTES + 2));
            if next == 0 {
                headers.put_slice(COPY_HEADER);
            }
            while next < self.rows.len() && message.remaining < message_bytes {
                let row = &self.rows[next];
                put_row_header(&mut headers, row);
                message.push(headers.split().freeze());
                for piece in &self.pieces[row.pieces.clone()] {
                    message.push(piece.clone());
                }
                next += 1;
            }
            if next == self.rows.len() {
                headers.put_slice(COPY_TRAILER);
                message.push(headers.freeze());
                next += 1;
            }
            Some(message)
        })
    }
}

fn put_row_header(out: &mut BytesMut, row: &Row) {
    out.put_i16(6);
    for field in [row.base, row.global_base] {
        out.put_i32(8);
        out.put_i64(field);
    }
    for field in [row.part, row.span, row.chunk] {
        out.put_i32(4);
        out.put_i32(field);
    }
    // At most CHUNK_BYTES.
    out.put_i32(row.bytes as i32);
}

/// The rows as arrays for `unnest`.
#[derive(Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) base: Vec<i64>,
    pub(crate) global_base: Vec<i64>,
    pub(crate) part: Vec<i32>,
    pub(crate) span: Vec<i32>,
    pub(crate) chunk: Vec<i32>,
    pub(crate) data: Vec<Data<'a>>,
}

/// A `bytea` in pieces.
#[derive(Debug)]
pub(crate) struct Data<'a>(&'a [Bytes]);

impl ToSql for Data<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        for piece in self.0 {
            out.extend_from_slice(piece);
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::BYTEA
    }

    to_sql_checked!();
}

/// A part of the COPY stream that shares the record bytes.
#[derive(Debug, Default)]
pub(crate) struct CopyMessage {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl CopyMessage {
    fn push(&mut self, piece: Bytes) {
        self.remaining += piece.len();
        self.pieces.push_back(piece);
    }
}

impl Buf for CopyMessage {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else {
                return;
            };
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: &[usize]) -> Run {
        let mut byte = 0u8;
        let piece = |&len: &usize| {
            (0..len)
                .map(|_| {
                    byte = byte.wrapping_add(1);
                    byte
                })
                .collect::<Vec<_>>()
                .into()
        };
        Run {
            part: 7,
            base_offset: 40,
            span: 9,
            data: pieces.iter().map(piece).collect(),
        }
    }

    fn joined(run: &Run) -> Vec<u8> {
        run.data.concat()
    }

    #[test]
    fn rows_are_full_but_the_last_and_join_to_the_run() {
        for pieces in [
            &[1usize][..],
            &[8_100],
            &[8_101],
            &[3, 8_100, 0, 16_200, 1],
            &[100; 400],
        ] {
            let run = run(pieces);
            let rows = Rows::cut(std::slice::from_ref(&run), 0);
            let columns = rows.columns();
            let data: Vec<Vec<u8>> = columns.data.iter().map(|data| data.0.concat()).collect();
            assert_eq!(data.concat(), joined(&run));
            let (last, full) = data.split_last().unwrap();
            assert!(full.iter().all(|data| data.len() == CHUNK_BYTES));
            assert!(!last.is_empty() && last.len() <= CHUNK_BYTES);
            assert!(
                columns
                    .chunk
                    .iter()
                    .copied()
                    .eq(0..i32::try_from(rows.len()).unwrap())
            );
        }
    }

    #[test]
    fn copy_stream_has_one_header_every_row_and_one_trailer() {
        let runs = [run(&[20_000]), run(&[5])];
        let rows = Rows::cut(&runs, 90);
        for message_bytes in [1, 9_000, 1 << 20] {
            let mut stream: Vec<u8> = Vec::new();
            for message in rows.copy_messages(message_bytes) {
                let len = message.remaining();
                let before = stream.len();
                stream.put(message);
                assert_eq!(stream.len() - before, len);
            }
            let mut rest = stream.as_slice();
            assert_eq!(&rest[..19], COPY_HEADER);
            rest.advance(19);
            let mut payload = Vec::new();
            for _ in 0..rows.len() {
                let global_base = if payload.len() < 20_000 { 90 } else { 100 };
                assert_eq!((rest.get_i16(), rest.get_i32(), rest.get_i64()), (6, 8, 40));
                assert_eq!((rest.get_i32(), rest.get_i64()), (8, global_base));
                assert_eq!(
                    (
                        rest.get_i32(),
                        rest.get_i32(),
                        rest.get_i32(),
                        rest.get_i32()
                    ),
                    (4, 7, 4, 9)
                );
                assert_eq!(rest.get_i32(), 4);
                rest.advance(4);
                let len = usize::try_from(rest.get_i32()).unwrap();
                payload.extend_from_slice(&rest[..len]);
                rest.advance(len);
            }
            assert_eq!(payload, [joined(&runs[0]), joined(&runs[1])].concat());
            assert_eq!(rest, COPY_TRAILER);
        }
    }
}
