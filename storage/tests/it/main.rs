//! Storage against a real PostgreSQL: one private server for all tests, a fresh database for each.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod embedded;
mod fixture;
mod groups;
mod lanes;
mod log;
mod markers;
mod outages;
mod producers;
mod proxy;
mod schema;
mod segments;
mod settings;
mod sql;
mod sql_topics;
mod topics;
mod transactions;
