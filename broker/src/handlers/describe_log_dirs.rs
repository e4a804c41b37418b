//! DescribeLogDirs (key 35), v0-v5: what partitions take in the database, which is the one log directory.
//!
//! v3: an error of the whole answer. v4: sizes of the volume (KIP-827), which PostgreSQL does not tell. v5: cordoned directories.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::catalog::Topic;
use crate::context::{Context, Request};
use crate::error::Failure;
use crate::log::Partition;

/// What is shown as the directory where the database is not the broker's own.
const DATABASE: &str = "postgresql";

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DescribeLogDirsRequest<'a>,
) -> DescribeLogDirsResponse<'a> {
    let context = request.context();
    context.catalog.refresh().await;
    let wanted = wanted(context, &body);
    let mut result = DescribeLogDirsResult {
        log_dir: directory(context).into(),
        ..DescribeLogDirsResult::default()
    };
    let is_alone = context.cluster.view().brokers.len() <= 1;
    let ids: Option<Vec<i32>> = (body.topics.is_some() || !is_alone).then(|| {
        wanted
            .values()
            .flatten()
            .map(|partition| partition.id())
            .collect()
    });
    match context.store.partition_bytes(ids.as_deref()).await {
        Ok(sizes) => result.topics = topics(wanted, &sizes.into_iter().collect()),
        Err(error) => result.error_code = Failure::from(&error).code.code(),
    }
    DescribeLogDirsResponse {
        results: vec![result],
        ..DescribeLogDirsResponse::default()
    }
}

fn directory(context: &Context) -> String {
    if context.config.database_url.is_some() {
        return DATABASE.to_owned();
    }
    let path = std::path::absolute(&context.config.data_dir);
    path.map_or_else(|_| DATABASE.to_owned(), |path| path.display().to_string())
}

/// The partitions that are asked for and led by this broker, by topic.
fn wanted(
    context: &Context,
    body: &DescribeLogDirsRequest<'_>,
) -> BTreeMap<Arc<str>, Vec<Arc<Partition>>> {
    let Some(topics) = &body.topics else {
        let all = context.catalog.all().into_iter();
        let led = |topic: &Topic| {
            let partitions = topic.partitions.iter();
            partitions.filter(|p| p.is_led()).cloned().collect()
        };
        return all
            .map(|topic| (topic.name.clone(), led(&topic)))
            .filter(|(_, led): &(_, Vec<_>)| !led.is_empty())
            .collect();
    };
    let mut wanted: BTreeMap<Arc<str>, BTreeMap<i32, Arc<Partition>>> = BTreeMap::new();
    for asked in topics {
        let Some(topic) = context.catalog.by_name(&asked.topic) else {
            continue;
        };
        let partitions = asked.partitions.iter();
        let found = partitions.filter_map(|index| Some((index, topic.partition(index)?.clone())));
        let found = found.filter(|(_, partition)| partition.is_led());
        wanted.entry(topic.name.clone()).or_default().extend(found);
    }
    let in_order = |(name, found): (Arc<str>, BTreeMap<i32, Arc<Partition>>)| {
        (name, found.into_values().collect())
    };
    wanted.into_iter().map(in_order).collect()
}

fn topics<'a>(
    wanted: BTreeMap<Arc<str>, Vec<Arc<Partition>>>,
    sizes: &HashMap<i32, i64>,
) -> Vec<DescribeLogDirsTopic<'a>> {
    let topics = wanted.into_iter().map(|(name, partitions)| {
        let partitions = partitions.iter().map(|partition| DescribeLogDirsPartition {
            partition_index: partition.index(),
            partition_size: sizes.get(&partition.id()).copied().unwrap_or(0),
            ..DescribeLogDirsPartition::default()
        });
        DescribeLogDirsTopic {
            name: name.to_string().into(),
            partitions: partitions.collect(),
            ..DescribeLogDirsTopic::default()
        }
    });
    topics.collect()
}
