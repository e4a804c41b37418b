//! `pg_kafka status`: who serves the log, what it consists of, and how the database is.

use std::io::Write;

use storage::{GroupLag, SegmentState, Store};

use super::{InspectError, human_bytes};

/// How many groups are shown.
const GROUPS_SHOWN: usize = 20;

pub(super) async fn print(store: &Store, out: &mut (dyn Write + Send)) -> Result<(), InspectError> {
    let health = store.health().await?;
    let lanes = store.lane_states().await?;
    let segments = store.segment_states().await?;
    writeln!(out, "cluster             {}", store.cluster_id())?;
    writeln!(out, "topics              {}", health.topics)?;
    writeln!(out, "partitions          {}", health.partitions)?;
    writeln!(out)?;
    writeln!(out, "PostgreSQL          {}", health.server_version)?;
    let size = human_bytes(health.database_bytes);
    writeln!(out, "database size       {size}")?;
    let (used, most) = (health.connections, health.connections_max);
    writeln!(out, "sessions            {used} of {most}")?;
    match &health.oldest_transaction {
        None => writeln!(out, "oldest transaction  none")?,
        Some(oldest) => writeln!(
            out,
            "oldest transaction  {:.1} s, {} ({}), server process {}",
            oldest.age_seconds, oldest.application, oldest.state, oldest.pid
        )?,
    }
    writeln!(out)?;
    for broker in &store.brokers().await? {
        let state = match broker {
            _ if !broker.is_alive => "silent",
            _ if broker.is_stopping => "stopping",
            _ if broker.is_loading => "loading",
            _ => "alive",
        };
        writeln!(
            out,
            "broker {:<12} {}:{}, {state}, heartbeat {:.1} s ago",
            broker.node_id, broker.host, broker.port, broker.silent_seconds
        )?;
    }
    for lane in &lanes {
        let broker = lane.node_id.map_or("none".to_owned(), |id| id.to_string());
        writeln!(
            out,
            "lane {}              broker {broker}, epoch {}, {} flushes, {} records",
            lane.lane_id, lane.epoch, lane.flush_seq, lane.records
        )?;
    }
    print_groups(&store.group_lags().await?, out)?;
    print_segments(&segments, out)
}

/// Those that are furthest behind.
fn print_groups(groups: &[GroupLag], out: &mut (dyn Write + Send)) -> Result<(), InspectError> {
    writeln!(out, "\ngroups              {}", groups.len())?;
    for group in groups.iter().take(GROUPS_SHOWN) {
        writeln!(
            out,
            "  {}: {}, {} records behind in {} partitions",
            group.group_id, group.state, group.lag, group.partitions
        )?;
    }
    Ok(())
}

fn print_segments(
    segments: &[SegmentState],
    out: &mut (dyn Write + Send),
) -> Result<(), InspectError> {
    let all: i64 = segments
        .iter()
        .filter_map(|segment| segment.table_bytes)
        .sum();
    let (count, size) = (segments.len(), human_bytes(all));
    writeln!(out, "\nsegments            {count}, {size}")?;
    for segment in segments {
        let state = match (segment.is_sealed, segment.is_frozen) {
            (false, _) => "open",
            (true, false) => "sealed",
            (true, true) => "sealed, frozen",
        };
        let bytes = segment.table_bytes.map(human_bytes);
        writeln!(
            out,
            "  {:>10}        lane {}, {state}, {:.0} s old, {}",
            segment.segment_id,
            segment.lane_id,
            segment.age_seconds,
            bytes.unwrap_or_else(|| "its table is missing".to_owned()),
        )?;
    }
    Ok(())
}
