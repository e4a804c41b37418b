//! One file per API, named as Kafka names it. A handler turns a decoded request into a response; a failure is data in the
//! response, so that no answer can be forgotten. No sockets, no bytes of messages, no SQL.

pub(crate) mod api_versions;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_topics;
pub(crate) mod describe_configs;
pub(crate) mod fetch;
pub(crate) mod init_producer_id;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod produce;
mod topic_rules;
