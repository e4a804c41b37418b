//! The commands that look at a database without being a broker: `status`, `check` and `dump`. They read only.
//!
//! What they print is in a file each; where their arguments come from is `config`'s.

mod check;
mod dump;
mod status;

use std::io::{self, Write};

use storage::embedded::running_url;
use storage::{DatabaseConfig, Store};

use crate::config::Config;

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspection {
    /// Brokers, lanes, segments, sizes and the health of the database.
    Status,
    /// Whether what is stored is whole: checksums, offsets, and segments against the catalogue.
    Check,
    /// Records of one partition.
    Dump(Dump),
}

/// Which records are to be printed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Where to begin; the first record there is, if it lies before that.
    pub from_offset: i64,
    /// How many records at most.
    pub records_max: u64,
    /// One JSON object a line instead of text.
    pub is_json: bool,
}

/// Why an inspection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The database.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// Where it prints to.
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
    /// There is no such partition.
    #[error("there is no partition {1} of a topic `{0}`")]
    NoPartition(String, i32),
    /// What is stored cannot be read.
    #[error("the stored log is damaged at offset {offset}: {reason}")]
    Damaged {
        /// Where.
        offset: i64,
        /// What is wrong there.
        reason: String,
    },
}

/// Prints what was asked for to `out`, and how far it is to `progress`, if somebody looks. Whether all is well.
pub async fn inspect(
    config: &Config,
    inspection: &Inspection,
    out: &mut (dyn Write + Send),
    progress: Option<&mut (dyn Write + Send)>,
) -> Result<bool, InspectError> {
    let store = open(config).await?;
    match inspection {
        Inspection::Status => status::print(&store, out).await.map(|()| true),
        Inspection::Check => check::print(&store, out, progress).await,
        Inspection::Dump(dump) => dump::print(&store, dump, out).await.map(|()| true),
    }
}

async fn open(config: &Config) -> Result<Store, storage::Error> {
    let url = match &config.database_url {
        Some(url) => url.expose().to_owned(),
        None => running_url(&config.data_dir)?,
    };
    Store::open_read_only(&DatabaseConfig {
        pool_size: 2,
        ..DatabaseConfig::new(url)
    })
    .await
}

/// A number of bytes for people.
fn human_bytes(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (bytes, 0);
    let mut rest = 0;
    while size >= 1024 && unit + 1 < UNITS.len() {
        rest = size % 1024;
        size /= 1024;
        unit += 1;
    }
    let unit_name = UNITS.get(unit).copied().unwrap_or_default();
    match unit {
        0 => format!("{size} {unit_name}"),
        _ => format!("{size}.{} {unit_name}", rest * 10 / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::human_bytes;

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (512 << 20, "512.0 MiB"),
            (i64::MAX, "8388607.9 TiB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
