-- Brokers that serve this database together: which there are, whether they live, and who leads what.

create sequence kafka.broker_epochs as int8;

create table kafka.brokers (
    node_id int4 primary key check (node_id >= 0),
    incarnation uuid not null,
    broker_epoch int8 not null default nextval('kafka.broker_epochs'),
    host text not null,
    port int4 not null,
    rack text,
    release text not null,
    is_loading boolean not null default true,
    is_stopping boolean not null default false,
    session_timeout_ms int8 not null,
    started_at timestamptz not null default clock_timestamp(),
    heartbeat timestamptz not null default clock_timestamp()
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
comment on table kafka.brokers is 'Brokers of the cluster. One that sends no heartbeat for its session timeout is taken out, and others lead its partitions';
comment on column kafka.brokers.node_id is 'The broker''s node.id, which is also the number of its lane';
comment on column kafka.brokers.incarnation is 'Another for each start; owner in kafka.lanes and kafka.group_shards';
comment on column kafka.brokers.broker_epoch is 'Raised by each start of a broker with this node.id';
comment on column kafka.brokers.host is 'Address that clients are told';
comment on column kafka.brokers.port is 'Port that clients are told';
comment on column kafka.brokers.rack is 'broker.rack';
comment on column kafka.brokers.release is 'Release of pg_kafka';
comment on column kafka.brokers.is_loading is 'It reads topics and groups before it serves: nothing is handed to it, and clients are not told of it';
comment on column kafka.brokers.is_stopping is 'It hands over what it leads and takes nothing more';
comment on column kafka.brokers.session_timeout_ms is 'Milliseconds without a heartbeat after which it counts as dead';
comment on column kafka.brokers.started_at is 'When it came into the cluster';
comment on column kafka.brokers.heartbeat is 'Its last heartbeat, by the clock of the database';
revoke all on kafka.brokers from public;

alter table kafka.topic_partitions add column wanted_lane int4;
create index on kafka.topic_partitions (lane) where wanted_lane is not null;
comment on column kafka.topic_partitions.wanted_lane is 'Lane that the owner of the present one is to hand the partition to; null if it is to stay';
comment on column kafka.topic_partitions.lane is
    'Lane its appends go through, whose owner leads the partition. Changes only in a transaction that holds the row of the old lane, after its segments are sealed';
comment on column kafka.topic_partitions.leader_epoch is 'Raised by each change of the leader';

create function kafka.brokers_to_lead() returns setof int4
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    with living as (select b.node_id, b.is_loading from kafka.brokers b
        where not b.is_stopping and b.heartbeat > clock_timestamp() - b.session_timeout_ms * interval '1 ms')
    select l.node_id from living l where not l.is_loading or not exists (select from living o where not o.is_loading)
$$;
comment on function kafka.brokers_to_lead() is 'Brokers that live and may be given partitions; those that load where there are no others';
revoke all on function kafka.brokers_to_lead() from public;

-- Partitions of new topics are dealt to the brokers that live.
create function kafka.lanes_for_new_partitions() returns int4[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(
        (select array_agg(n order by n) from kafka.brokers_to_lead() n),
        (select array_agg(l.lane_id order by l.lane_id) from kafka.lanes l),
        '{0}')
$$;
comment on function kafka.lanes_for_new_partitions() is 'Lanes of the brokers that live, or all lanes if none does';
revoke all on function kafka.lanes_for_new_partitions() from public;

create or replace function kafka.topic_changed() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    lanes int4[];
begin
    if tg_op = 'DELETE' then
        perform pg_notify('kafka_topics', old.id || ':0');
        return null;
    end if;
    lanes := kafka.lanes_for_new_partitions();
    insert into kafka.topic_partitions (topic, partition, lane)
        select new.id, i, lanes[1 + (new.id + i) % cardinality(lanes)] from generate_series(0, new.partitions - 1) i
        on conflict (topic, partition) do nothing;
    perform pg_notify('kafka_topics', new.id || ':' || new.partitions);
    return null;
end $$;
