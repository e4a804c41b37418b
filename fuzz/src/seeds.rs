//! Inputs to start with: every message and version in the forms of the samples and as Kafka wrote it, Kafka's own batches, and
//! noise for the targets that make something of any bytes.

use protocol::compression::Compression;
use protocol::records::{HEADER_BYTES, RecordBatch};
use protocol::view::{Kind, MESSAGES, Sample, find, sample};

use crate::choice::Choice;
use crate::embedded::WITH_VERSION;

/// Batches that Kafka's own builder wrote.
const JAVA_BATCHES: &str = include_str!("../../protocol/tests/corpus/java_record_batches.txt");

/// Messages that Kafka's own code wrote: a name, then versions and bytes.
const KAFKA_MESSAGES: &str = include_str!("../../protocol/tests/corpus/kafka_messages.txt");

/// Calls `add` with every message of some kinds, in every version, as the short samples show it and as Kafka wrote it.
fn samples(kinds: &[Kind], mut add: impl FnMut(Choice, Vec<u8>)) {
    for message in MESSAGES.iter().filter(|it| kinds.contains(&it.kind)) {
        for version in message.versions.iter() {
            for kind in Sample::SHORT {
                let choice = Choice { message, version };
                add(choice, sample(message, version, kind).0);
            }
        }
    }
    let mut message = None;
    for line in KAFKA_MESSAGES.lines().filter(|line| !line.starts_with('#')) {
        let Some((versions, hex)) = line.split_once(' ') else {
            message = find(line).filter(|it| kinds.contains(&it.kind));
            continue;
        };
        let Some(message) = message else {
            continue;
        };
        for version in versions.split(',') {
            let version = version.parse().unwrap();
            add(Choice { message, version }, unhex(hex));
        }
    }
}

fn of_kind(kind: Kind) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    samples(&[kind], |choice, bytes| {
        seeds.push([&choice.bytes()[..], &bytes].concat());
    });
    seeds
}

/// For the target of this name.
pub fn requests() -> Vec<Vec<u8>> {
    of_kind(Kind::Request)
}

/// For the target of this name.
pub fn responses() -> Vec<Vec<u8>> {
    of_kind(Kind::Response)
}

/// For the target of this name.
pub fn headers() -> Vec<Vec<u8>> {
    of_kind(Kind::Header)
}

/// For the target of this name.
pub fn data() -> Vec<Vec<u8>> {
    of_kind(Kind::Data)
}

/// For the targets that take all messages.
pub fn messages() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    samples(&crate::choice::KINDS, |choice, bytes| {
        seeds.push([&choice.any_bytes()[..], &bytes].concat());
    });
    seeds
}

/// For the targets that make values of any bytes: every message and version, then noise.
pub fn round_trips() -> Vec<Vec<u8>> {
    let mut noise = Noise::new(1);
    let mut seeds = Vec::new();
    for message in MESSAGES {
        for version in message.versions.iter() {
            let choice = Choice { message, version };
            for length in [0, 40, 400] {
                seeds.push([&choice.any_bytes()[..], &noise.bytes(length)].concat());
            }
        }
    }
    seeds
}

/// Noise of several lengths.
pub fn builder() -> Vec<Vec<u8>> {
    let mut noise = Noise::new(2);
    (0..200).map(|n| noise.bytes(n * 4)).collect()
}

/// Batches of Java as they are, and to be completed.
pub fn batches() -> Vec<Vec<u8>> {
    let both = |batch: Vec<u8>| [0, 1].map(|first| [&[first], &batch[..]].concat());
    java_batches().into_iter().flat_map(both).collect()
}

/// Streams of every codec, from Java and of our own.
pub fn compression() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |codec: Compression, level: u8, stream: &[u8]| {
        seeds.push([&[codec.id(), level], stream].concat());
    };
    for bytes in java_batches() {
        if let Ok((batch, _)) = RecordBatch::split_from(&bytes) {
            let records = batch.bytes().get(HEADER_BYTES..).unwrap_or_default();
            add(batch.compression(), 1, records);
        }
    }
    let mut noise = Noise::new(3);
    let inputs = [
        Vec::new(),
        vec![0; 3000],
        noise.bytes(500),
        b"text ".repeat(99),
    ];
    for codec in Compression::ALL {
        for input in &inputs {
            let mut stream = Vec::new();
            codec.compress(None, input, &mut stream).unwrap();
            add(codec, 3, &stream);
            add(codec, 0xff, input);
        }
    }
    for input in &inputs {
        let block = snap::raw::Encoder::new().compress_vec(input).unwrap();
        add(Compression::Snappy, 0, &block);
    }
    seeds
}

/// Embedded messages in their versions, in a later one and with bytes behind them; and markers.
pub fn embedded() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, name) in (0..).zip(WITH_VERSION) {
        let message = find(name).unwrap();
        // The first byte is not 0, which stands for control records.
        let number = if number == 0 { 2 } else { number };
        for version in message.versions.iter() {
            for kind in Sample::SHORT {
                let (body, _) = sample(message, version, kind);
                for (version, after) in [(version, &b""[..]), (version, b"more"), (999, b"")] {
                    seeds.push([&[number], &version.to_be_bytes()[..], &body, after].concat());
                }
            }
        }
    }
    seeds.push(b"\x00\x04\0\0\0\0\0\0\0\0\0\x07".to_vec());
    seeds.push(b"\x00\x04\0\0\0\x01\0\0\0\0\0\x07".to_vec());
    seeds.push(b"\x00\x04\0\x01\0\x02\0\0".to_vec());
    seeds
}

/// Noise, and noise that ends in requests.
pub fn connection() -> Vec<Vec<u8>> {
    let mut noise = Noise::new(4);
    let mut seeds: Vec<_> = (0..200).map(|n| noise.bytes(20 + n * 8)).collect();
    samples(&[Kind::Request], |choice, body| {
        let key = choice.message.api_key.unwrap();
        let mut request = (key as i16).to_be_bytes().to_vec();
        request.extend(choice.version.to_be_bytes());
        request.extend([0, 0, 0, 7, 0, 0]);
        request.extend(vec![
            0;
            usize::from(
                key.request_header_version(choice.version) > 1
            )
        ]);
        request.extend(body);
        let size = u32::try_from(request.len()).unwrap().to_be_bytes();
        seeds.push([&noise.bytes(40), &size[..], &request].concat());
    });
    seeds
}

fn java_batches() -> Vec<Vec<u8>> {
    let mut batches: Vec<Vec<u8>> = Vec::new();
    for line in JAVA_BATCHES.lines() {
        match line.split_once(' ') {
            Some(("sample", _)) => batches.push(Vec::new()),
            Some(("bytes", hex)) => batches.last_mut().unwrap().extend(unhex(hex)),
            _ => {}
        }
    }
    batches
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.chars().map(|digit| digit.to_digit(16).unwrap());
    let digits: Vec<u8> = digits.map(|digit| u8::try_from(digit).unwrap()).collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// Bytes that look random and are always the same.
#[derive(Debug)]
pub struct Noise(u64);

impl Noise {
    /// Each number has bytes of its own.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The next bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> u8 {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        self.0.to_be_bytes()[0]
    }
}
