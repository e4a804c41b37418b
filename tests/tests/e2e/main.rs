//! End-to-end tests: real clients against the real broker. One program, so that most tests share one broker.
#![allow(clippy::unwrap_used, reason = "a test may fail by it")]

mod administrators;
mod answered;
mod brokers;
mod cluster;
mod compaction;
mod database_faults;
mod durability;
mod fetch;
mod groups;
mod idempotence;
mod java;
mod kafka_admin_tools;
mod kafka_tools;
mod kcat;
mod librdkafka;
mod load;
mod log_lines;
mod malformed;
mod many_partitions;
mod operations;
mod poolers;
mod retention;
mod settings;
mod settings_in_force;
mod sql;
mod transactions;
mod versions;
