-- Transactions: their state, what they wrote to, offsets that wait for their end, and where aborted records lie.

create table kafka.transactions (
    transactional_id text primary key,
    producer_id int8 not null,
    producer_epoch int2 not null,
    last_producer_id int8 not null default -1,
    last_producer_epoch int2 not null default -1,
    state text not null check (state in ('Empty', 'Ongoing', 'PrepareCommit', 'PrepareAbort', 'CompleteCommit', 'CompleteAbort')),
    timeout_ms int4 not null,
    started_at timestamptz,
    updated_at timestamptz not null,
    transaction_version int2 not null
) with (fillfactor = 50);
create index on kafka.transactions (producer_id);
comment on table kafka.transactions is
    'One row per transactional id. A transaction is decided in the database''s transaction that stores its markers, or says where they are due';
comment on column kafka.transactions.transactional_id is 'transactional.id of the producer';
comment on column kafka.transactions.producer_id is 'Id of the producer';
comment on column kafka.transactions.producer_epoch is 'Its epoch: one with an older epoch is fenced';
comment on column kafka.transactions.last_producer_id is 'The id it had before its epochs were used up; -1 if it had none';
comment on column kafka.transactions.last_producer_epoch is 'The epoch before this one, for a producer that did not get the answer (KIP-360); -1 if it is not known';
comment on column kafka.transactions.state is 'Kafka''s name of the state; CompleteCommit and CompleteAbort are how the last transaction ended';
comment on column kafka.transactions.timeout_ms is 'An open transaction is aborted after this time';
comment on column kafka.transactions.started_at is 'When the last transaction began; null before the first';
comment on column kafka.transactions.updated_at is 'Last change; ids that are not used are forgotten after transactional.id.expiration.ms';
comment on column kafka.transactions.transaction_version is 'transaction.version that the producer uses: 2 raises the epoch with each transaction (KIP-890)';

create table kafka.transaction_partitions (
    transactional_id text not null,
    part int4 not null,
    from_offset int8 not null default 0,
    primary key (transactional_id, part)
) with (fillfactor = 50);
comment on table kafka.transaction_partitions is 'Partitions that open transactions write to: those that get a marker at the end';
comment on column kafka.transaction_partitions.transactional_id is 'Transaction, kafka.transactions.transactional_id';
comment on column kafka.transaction_partitions.part is 'Partition, kafka.partitions.part';
comment on column kafka.transaction_partitions.from_offset is
    'Records of the producer''s earlier transactions lie before it. 0 with transaction_version 2, where the epoch tells them apart';

create table kafka.txn_markers (
    transactional_id text not null,
    part int4 not null,
    producer_id int8 not null,
    producer_epoch int2 not null,
    is_commit boolean not null,
    is_epoch_bumped boolean not null,
    coordinator_epoch int4 not null,
    from_offset int8 not null,
    primary key (transactional_id, part)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
comment on table kafka.txn_markers is
    'Ends of transactions that are decided and not yet in the log of these partitions; each row goes in the transaction that stores its marker';
comment on column kafka.txn_markers.transactional_id is 'Transaction, kafka.transactions.transactional_id';
comment on column kafka.txn_markers.part is 'Partition, kafka.partitions.part';
comment on column kafka.txn_markers.producer_id is 'Producer, as the marker has it';
comment on column kafka.txn_markers.producer_epoch is 'Its epoch, as the marker has it';
comment on column kafka.txn_markers.is_commit is 'Whether the transaction is committed';
comment on column kafka.txn_markers.is_epoch_bumped is 'Whether the epoch is one that no record has (KIP-890)';
comment on column kafka.txn_markers.coordinator_epoch is 'Epoch of the coordinator that decided, as the marker has it';
comment on column kafka.txn_markers.from_offset is 'As in kafka.transaction_partitions';

create table kafka.transaction_groups (
    transactional_id text not null,
    group_id text not null,
    primary key (transactional_id, group_id)
) with (fillfactor = 50);
comment on table kafka.transaction_groups is 'Groups that open transactions commit offsets of';
comment on column kafka.transaction_groups.transactional_id is 'Transaction, kafka.transactions.transactional_id';
comment on column kafka.transaction_groups.group_id is 'Group';

create table kafka.txn_pending_offsets (
    transactional_id text not null,
    group_id text not null,
    topic int4 not null,
    partition int4 not null,
    committed_offset int8 not null,
    leader_epoch int4 not null,
    metadata bytea not null,
    primary key (transactional_id, group_id, topic, partition)
) with (fillfactor = 50);
create index on kafka.txn_pending_offsets (group_id);
comment on table kafka.txn_pending_offsets is 'Offsets that open transactions will commit: they become those of the group if the transaction is committed';
comment on column kafka.txn_pending_offsets.transactional_id is 'Transaction, kafka.transactions.transactional_id';
comment on column kafka.txn_pending_offsets.group_id is 'Group';
comment on column kafka.txn_pending_offsets.topic is 'Topic, kafka.topics.id';
comment on column kafka.txn_pending_offsets.partition is 'Partition number, from 0';
comment on column kafka.txn_pending_offsets.committed_offset is 'Offset of the next record to be consumed';
comment on column kafka.txn_pending_offsets.leader_epoch is 'Leader epoch of the last consumed record; -1 if the client did not say';
comment on column kafka.txn_pending_offsets.metadata is 'Text of the client''s choice, as UTF-8';

create table kafka.aborted_transactions (
    part int4 not null,
    last_offset int8 not null,
    first_offset int8 not null,
    producer_id int8 not null,
    primary key (part, last_offset)
);
create index on kafka.aborted_transactions (part, producer_id, last_offset);
comment on table kafka.aborted_transactions is
    'Where aborted records lie: those of the producer from the first offset to the last, which is the marker''s, are not for readers of committed records';
comment on column kafka.aborted_transactions.part is 'Partition, kafka.partitions.part';
comment on column kafka.aborted_transactions.last_offset is 'Offset of the marker that ended the transaction';
comment on column kafka.aborted_transactions.first_offset is 'Offset of the first record of the transaction';
comment on column kafka.aborted_transactions.producer_id is 'Producer of the transaction';

-- Nobody gets anything unasked.
revoke all on all tables in schema kafka from public;
