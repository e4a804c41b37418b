-- Groups of consumers, their members and the offsets they commit; who coordinates which group; offsets and lag by SQL.

create table kafka.group_shards (
    shard int4 primary key,
    owner uuid,
    node_id int4,
    epoch int4 not null default 0,
    claimed_at timestamptz
) with (fillfactor = 50);
comment on table kafka.group_shards is
    'Who coordinates which groups: a group belongs to the shard that Kafka''s hash of its id names. Writes of a broker that is not the owner at its epoch do nothing';
comment on column kafka.group_shards.shard is 'Key: the hash of the group id modulo the number of rows';
comment on column kafka.group_shards.owner is 'Broker that coordinates the groups; null if none has ever';
comment on column kafka.group_shards.node_id is 'The owner''s node.id';
comment on column kafka.group_shards.epoch is 'Raised by every change of owner: whoever writes with an older one is fenced';
comment on column kafka.group_shards.claimed_at is 'When the owner took it';
insert into kafka.group_shards (shard) select generate_series(0, 49);

create table kafka.groups (
    group_id text primary key,
    group_type text not null check (group_type in ('classic', 'consumer')),
    group_state text not null,
    epoch int4 not null,
    protocol_type text,
    protocol text,
    leader text,
    detail bytea not null,
    changed_at timestamptz not null default now()
) with (fillfactor = 70);
comment on table kafka.groups is 'One row per group, as of its last change that has to outlive the broker';
comment on column kafka.groups.group_id is 'Id of the group, group.id of its members';
comment on column kafka.groups.group_type is 'classic, or consumer (KIP-848)';
comment on column kafka.groups.group_state is 'State as shown by Kafka''s tools; Empty without members';
comment on column kafka.groups.epoch is 'Generation of a classic group, group epoch of the other type';
comment on column kafka.groups.protocol_type is 'What the members are: consumer, connect, …; null for a group that nobody has joined';
comment on column kafka.groups.protocol is 'Assignor in use';
comment on column kafka.groups.leader is 'Member that assigns, in a classic group';
comment on column kafka.groups.detail is 'What else the broker keeps, as JSON';
comment on column kafka.groups.changed_at is 'Since when the group has been in its state';

create table kafka.group_members (
    group_id text not null references kafka.groups on delete cascade,
    member_id text not null,
    group_instance_id text,
    client_id text not null,
    client_host text not null,
    epoch int4 not null,
    detail bytea not null,
    primary key (group_id, member_id)
) with (fillfactor = 70);
comment on table kafka.group_members is 'One row per member of a group';
comment on column kafka.group_members.group_id is 'Group';
comment on column kafka.group_members.member_id is 'Id of the member';
comment on column kafka.group_members.group_instance_id is 'group.instance.id of a static member';
comment on column kafka.group_members.client_id is 'client.id';
comment on column kafka.group_members.client_host is 'Address it connects from';
comment on column kafka.group_members.epoch is 'Generation it has joined, or its member epoch';
comment on column kafka.group_members.detail is 'Timeouts, subscription and assignment, as JSON';

create table kafka.group_offsets (
    group_id text not null references kafka.groups on delete cascade,
    topic int4 not null,
    partition int4 not null,
    committed_offset int8 not null,
    leader_epoch int4 not null,
    metadata bytea not null,
    commit_timestamp timestamptz not null,
    expires_at timestamptz,
    primary key (group_id, topic, partition)
) with (fillfactor = 50);
create index on kafka.group_offsets (topic);
comment on table kafka.group_offsets is 'Offsets that groups have committed; kafka.consumer_offsets is the view to read and write them';
comment on column kafka.group_offsets.group_id is 'Group';
comment on column kafka.group_offsets.topic is 'Topic, kafka.topics.id';
comment on column kafka.group_offsets.partition is 'Partition number, from 0';
comment on column kafka.group_offsets.committed_offset is 'Offset of the next record to be consumed';
comment on column kafka.group_offsets.leader_epoch is 'Leader epoch of the last consumed record; -1 if the client did not say';
comment on column kafka.group_offsets.metadata is 'Text of the client''s choice, as UTF-8';
comment on column kafka.group_offsets.commit_timestamp is 'When it was committed';
comment on column kafka.group_offsets.expires_at is 'When it is forgotten, if the client said so; else offsets.retention.minutes decides';

create function kafka.forget_offsets() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'TRUNCATE' then
        delete from kafka.group_offsets;
    else
        delete from kafka.group_offsets o using gone where o.topic = gone.id;
    end if;
    return null;
end $$;
comment on function kafka.forget_offsets() is 'Trigger: a deleted topic takes its committed offsets along';
create trigger offsets_deleted after delete on kafka.topics
    referencing old table as gone for each statement execute function kafka.forget_offsets();
create trigger offsets_emptied after truncate on kafka.topics
    for each statement execute function kafka.forget_offsets();

create view kafka.consumer_offsets as
select o.group_id, t.name as topic, o.partition, o.committed_offset, o.leader_epoch,
    case when position('\x00'::bytea in o.metadata) > 0 then encode(o.metadata, 'escape')
        else convert_from(o.metadata, 'UTF8') end as metadata,
    o.commit_timestamp, t.topic_id
from kafka.group_offsets o
join kafka.topics t on t.id = o.topic;

create function kafka.write_consumer_offset() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    topic_key int4;
    state text;
    touched text;
begin
    foreach touched in array case tg_op when 'INSERT' then array[new.group_id] when 'DELETE' then array[old.group_id]
            else array[old.group_id, new.group_id] end loop
        -- Waits for a member that is joining, and makes the next one wait.
        select g.group_state into state from kafka.groups g where g.group_id = touched for share;
        if state <> 'Empty' then
            raise exception 'group "%" has members, which commit its offsets themselves', touched
                using errcode = 'object_in_use', hint = 'Stop its consumers first.';
        end if;
    end loop;
    if tg_op <> 'INSERT' then
        delete from kafka.group_offsets o using kafka.topics t
            where o.topic = t.id and t.name = old.topic and o.group_id = old.group_id and o.partition = old.partition;
        if tg_op = 'DELETE' then
            return old;
        end if;
    end if;
    if coalesce(new.group_id, '') = '' then
        raise exception 'a group id is needed' using errcode = 'check_violation';
    end if;
    if new.committed_offset is null or new.committed_offset < 0 then
        raise exception 'an offset cannot be %', coalesce(new.committed_offset::text, 'null') using errcode = 'check_violation';
    end if;
    if octet_length(new.metadata) > 4096 then
        raise exception 'metadata has more than 4096 bytes' using errcode = 'check_violation';
    end if;
    select t.id into topic_key from kafka.topics t join kafka.topic_partitions p on p.topic = t.id
        where t.name = new.topic and p.partition = new.partition;
    if not found then
        raise exception 'there is no partition % of topic "%"', new.partition, new.topic using errcode = 'foreign_key_violation';
    end if;
    insert into kafka.groups (group_id, group_type, group_state, epoch, detail)
        values (new.group_id, 'classic', 'Empty', 0, '{}') on conflict do nothing;
    insert into kafka.group_offsets as o (group_id, topic, partition, committed_offset, leader_epoch, metadata, commit_timestamp)
        values (new.group_id, topic_key, new.partition, new.committed_offset, coalesce(new.leader_epoch, -1),
            convert_to(coalesce(new.metadata, ''), 'UTF8'), coalesce(new.commit_timestamp, now()))
        on conflict (group_id, topic, partition) do update set committed_offset = excluded.committed_offset,
            leader_epoch = excluded.leader_epoch, metadata = excluded.metadata, commit_timestamp = excluded.commit_timestamp,
            expires_at = null;
    return new;
end $$;
comment on function kafka.write_consumer_offset() is 'Trigger: offsets written by SQL, for groups without members';
create trigger written instead of insert or update or delete on kafka.consumer_offsets
    for each row execute function kafka.write_consumer_offset();

comment on view kafka.consumer_offsets is
    'One row per group and partition with a committed offset. Rows can be inserted (an older one is replaced), updated and deleted while the group has no members';
comment on column kafka.consumer_offsets.group_id is 'Group';
comment on column kafka.consumer_offsets.topic is 'Topic';
comment on column kafka.consumer_offsets.partition is 'Partition number, from 0';
comment on column kafka.consumer_offsets.committed_offset is 'Offset of the next record to be consumed';
comment on column kafka.consumer_offsets.leader_epoch is 'Leader epoch of the last consumed record; -1 if it is not known';
comment on column kafka.consumer_offsets.metadata is 'Text of the client''s choice; escaped where it holds a zero byte';
comment on column kafka.consumer_offsets.commit_timestamp is 'When it was committed';
comment on column kafka.consumer_offsets.topic_id is 'Topic id of the Kafka protocol';

create view kafka.consumer_lag as
select l.group_id, l.topic, l.partition, l.committed_offset, l.log_end_offset,
    greatest(l.log_end_offset - l.committed_offset, 0) as lag, l.group_state, l.commit_timestamp
from (
    select o.group_id, t.name as topic, o.partition, o.committed_offset, kafka.log_end_offset(p.id) as log_end_offset,
        g.group_state, o.commit_timestamp
    from kafka.group_offsets o
    join kafka.groups g on g.group_id = o.group_id
    join kafka.topics t on t.id = o.topic
    join kafka.topic_partitions p on p.topic = o.topic and p.partition = o.partition
    offset 0 -- the end of each log is looked up once
) l;
comment on view kafka.consumer_lag is 'How far each group is behind the end of each partition it has committed an offset of';
comment on column kafka.consumer_lag.group_id is 'Group';
comment on column kafka.consumer_lag.topic is 'Topic';
comment on column kafka.consumer_lag.partition is 'Partition number, from 0';
comment on column kafka.consumer_lag.committed_offset is 'Offset of the next record to be consumed';
comment on column kafka.consumer_lag.log_end_offset is 'Offset that the next record gets';
comment on column kafka.consumer_lag.lag is 'Records not consumed yet, counted by their offsets';
comment on column kafka.consumer_lag.group_state is 'State of the group';
comment on column kafka.consumer_lag.commit_timestamp is 'When the offset was committed';

-- Nobody gets anything unasked.
revoke all on all functions in schema kafka from public;
revoke all on all tables in schema kafka from public;
