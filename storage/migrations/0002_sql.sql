-- What people read and change by SQL: views and functions over the log, rules for topics, and a word to the broker of every change.

-- The table makes room for the view of that name.
alter table kafka.partitions rename to topic_partitions;

alter table kafka.cluster add column max_partitions_per_topic int4 not null default 10000;
alter table kafka.lanes add column records int8 not null default 0, add column node_id int4;
alter table kafka.topics alter column partitions set default 1;
alter table kafka.segment_partitions add column bytes int8;

do $$
declare
    segment record;
begin
    for segment in select segment_id, state from kafka.segments order by segment_id loop
        execute format('alter table kafka.log_%s add column global_base int8', segment.segment_id);
        execute format('comment on column kafka.log_%s.global_base is %L', segment.segment_id,
            'Records appended through the lane before this run; null in rows older than this column');
        if segment.state = 'sealed' then
            execute format('update kafka.segment_partitions s set bytes = l.bytes
                from (select part, sum(octet_length(data)) as bytes from kafka.log_%1$s group by part) l
                where s.segment_id = %1$s and s.part = l.part', segment.segment_id);
        end if;
    end loop;
end $$;
alter table kafka.segment_partitions alter column bytes set not null;

-- Topics -------------------------------------------------------------------------------------------------------------

create function kafka.check_topic() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    most int4;
    other text;
begin
    if tg_op = 'UPDATE' then
        if (new.id, new.topic_id, new.name) is distinct from (old.id, old.topic_id, old.name) then
            raise exception 'topic "%" cannot get another name or id', old.name using errcode = 'check_violation';
        end if;
        if new.partitions < old.partitions then
            raise exception 'topic "%" has % partitions, which cannot become fewer', old.name, old.partitions
                using errcode = 'check_violation';
        end if;
        if new.partitions = old.partitions then
            return new;
        end if;
    else
        if new.name !~ '^[a-zA-Z0-9._-]{1,249}$' or new.name in ('.', '..') then
            raise exception '"%" cannot be the name of a topic', new.name using errcode = 'check_violation',
                hint = 'A name has 1 to 249 ASCII letters, digits, ''.'', ''_'' and ''-'', and is not ''.'' or ''..''.';
        end if;
        select t.name into other from kafka.topics t
            where translate(t.name, '.', '_') = translate(new.name, '.', '_') and t.name <> new.name;
        if found then
            raise exception 'topic "%" collides with "%": names must differ in more than ''.'' and ''_''', new.name, other
                using errcode = 'check_violation';
        end if;
    end if;
    select c.max_partitions_per_topic into most from kafka.cluster c;
    if new.partitions not between 1 and most then
        raise exception 'topic "%" cannot have % partitions, only 1 to %', new.name, new.partitions, most
            using errcode = 'check_violation', hint = 'The most is the broker''s setting max.partitions.per.topic.';
    end if;
    return new;
end $$;
comment on function kafka.check_topic() is 'Trigger: refuses topics that Kafka would refuse';
create index on kafka.topics (translate(name, '.', '_'));
create trigger check_topic before insert or update on kafka.topics
    for each row execute function kafka.check_topic();

create function kafka.topic_changed() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    lanes int4[];
begin
    if tg_op = 'DELETE' then
        perform pg_notify('kafka_topics', old.id || ':0');
        return null;
    end if;
    lanes := array(select l.lane_id from kafka.lanes l order by l.lane_id);
    if cardinality(lanes) = 0 then
        lanes := '{0}';
    end if;
    insert into kafka.topic_partitions (topic, partition, lane)
        select new.id, i, lanes[1 + i % cardinality(lanes)] from generate_series(0, new.partitions - 1) i
        on conflict (topic, partition) do nothing;
    perform pg_notify('kafka_topics', new.id || ':' || new.partitions);
    return null;
end $$;
comment on function kafka.topic_changed() is 'Trigger: makes the partitions of a topic and tells the broker';
create trigger topic_made after insert on kafka.topics
    for each row execute function kafka.topic_changed();
create trigger topic_grown after update of partitions on kafka.topics
    for each row when (old.partitions <> new.partitions) execute function kafka.topic_changed();
create trigger topic_deleted after delete on kafka.topics
    for each row execute function kafka.topic_changed();

create function kafka.settings_changed() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('kafka_topics', 'all');
    return null;
end $$;
comment on function kafka.settings_changed() is 'Trigger: tells the broker that it should look at all topics again';
create trigger settings_changed after insert or update or delete or truncate on kafka.topic_settings
    for each statement execute function kafka.settings_changed();
create trigger topics_emptied after truncate on kafka.topics
    for each statement execute function kafka.settings_changed();

-- Records ------------------------------------------------------------------------------------------------------------

create function kafka.decode_headers(run bytea, at int4) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    headers jsonb[] := '{}';
    header_count int4;
    name text;
    content bytea;
    escaped text;
    size int4;
    bits int4;
    byte int4;
begin
    -- Item 0 is the count, the others are names and values in turn.
    for item in 0 .. 2147483646 loop
        exit when item > 2 * header_count;
        size := 0;
        bits := 0;
        loop
            byte := get_byte(run, at);
            at := at + 1;
            size := size | ((byte & 127) << bits);
            exit when byte < 128;
            bits := bits + 7;
        end loop;
        size := (size >> 1) # -(size & 1);
        if item = 0 then
            header_count := size;
            continue;
        end if;
        content := case when size >= 0 then substr(run, at + 1, size) end;
        at := at + greatest(size, 0);
        -- Plain ASCII is its own escape; anything else is tried as UTF-8.
        escaped := encode(content, 'escape');
        if position('\' in escaped) > 0 then
            begin
                escaped := convert_from(content, 'UTF8');
            exception when others then
                escaped := null;
            end;
        end if;
        if item % 2 = 1 then
            name := coalesce(escaped, encode(content, 'escape'));
        elsif content is null or escaped is not null then
            headers := headers || jsonb_build_object('key', name, 'value', escaped);
        else
            headers := headers || jsonb_build_object('key', name, 'base64', translate(encode(content, 'base64'), E'\n', ''));
        end if;
    end loop;
    return to_jsonb(headers);
end $$;
comment on function kafka.decode_headers(bytea, int4) is
    'Headers of a record as a JSON array, in order: key and value, or key and base64 where the value is no UTF-8 text';

create function kafka.decode_batches(run bytea, from_offset int8)
returns table (
    base_offset int8, last_offset int8, leader_epoch int4, compression text, timestamp_type text, base_timestamp_ms int8,
    max_timestamp_ms int8, producer_id int8, producer_epoch int2, base_sequence int4, last_sequence int4, txn_state text,
    record_count int4, size_bytes int4, at int4
) language plpgsql immutable rows 10 as $$
declare
    run_bytes constant int4 := octet_length(run);
    header text;
    attributes int4;
    delta int4;
begin
    at := 0;
    while at < run_bytes loop
        header := encode(substr(run, at + 1, 61), 'hex');
        if length(header) < 122 or get_byte(run, at + 16) <> 2 then
            raise exception 'the log is damaged at byte % of a run', at using errcode = 'data_corrupted';
        end if;
        base_offset := ('x' || substr(header, 1, 16))::bit(64)::int8;
        size_bytes := 12 + ('x' || substr(header, 17, 8))::bit(32)::int4;
        if size_bytes < 61 or size_bytes > run_bytes - at then
            raise exception 'the log is damaged at offset %', base_offset using errcode = 'data_corrupted';
        end if;
        delta := ('x' || substr(header, 47, 8))::bit(32)::int4;
        last_offset := base_offset + delta;
        if last_offset >= from_offset then
            leader_epoch := ('x' || substr(header, 25, 8))::bit(32)::int4;
            attributes := get_byte(run, at + 22);
            compression := (array['none', 'gzip', 'snappy', 'lz4', 'zstd'])[1 + (attributes & 7)];
            timestamp_type := case when attributes & 8 <> 0 then 'LogAppendTime' else 'CreateTime' end;
            txn_state := case when attributes & 32 <> 0 then 'control' when attributes & 16 <> 0 then 'transactional' end;
            base_timestamp_ms := ('x' || substr(header, 55, 16))::bit(64)::int8;
            max_timestamp_ms := ('x' || substr(header, 71, 16))::bit(64)::int8;
            producer_id := nullif(('x' || substr(header, 87, 16))::bit(64)::int8, -1);
            producer_epoch := nullif((('x' || substr(header, 103, 4))::bit(16)::int4 # 32768) - 32768, -1)::int2;
            base_sequence := nullif(('x' || substr(header, 107, 8))::bit(32)::int4, -1);
            last_sequence := ((base_sequence::int8 + delta) & 2147483647)::int4;
            record_count := ('x' || substr(header, 115, 8))::bit(32)::int4;
            return next;
        end if;
        at := at + size_bytes;
    end loop;
end $$;
comment on function kafka.decode_batches(bytea, int8) is
    'Record batches of a run that end at or after an offset, by their headers; at is where in the run each begins';

create function kafka.decode_run(run bytea, global_base int8, from_offset int8, max_records int8 default null)
returns table (
    partition_offset int8, global_offset int8, key bytea, value bytea, headers jsonb, timestamp_ms int8, timestamp_type text,
    producer_id int8, producer_epoch int2, sequence int4, txn_state text, compression text
) language plpgsql immutable rows 1000 as $$
declare
    global_minus_local constant int8 := global_base - ('x' || encode(substr(run, 1, 8), 'hex'))::bit(64)::int8;
    is_bounded constant boolean := max_records is not null;
    most constant int8 := coalesce(max_records, 9223372036854775807);
    found int8 := 0;
    batch record;
    base_offset int8;
    base_timestamp int8;
    base_sequence int8;
    is_append_time boolean;
    pos int4;          -- the next byte
    record_at int4;
    n int4;
    byte int4;
    bits int4;
    long int8;
begin
    for batch in select * from kafka.decode_batches(run, from_offset) loop
        exit when found >= most;
        base_offset := batch.base_offset;
        base_timestamp := batch.base_timestamp_ms;
        base_sequence := batch.base_sequence;
        timestamp_type := batch.timestamp_type;
        is_append_time := timestamp_type = 'LogAppendTime';
        producer_id := batch.producer_id;
        producer_epoch := batch.producer_epoch;
        txn_state := batch.txn_state;
        compression := batch.compression;
        key := null;
        value := null;
        headers := null;

        if compression <> 'none' then
            timestamp_ms := batch.max_timestamp_ms;
            if batch.record_count <> batch.last_offset - base_offset + 1 then
                -- Compacted: which of the offsets are left is told inside only.
                partition_offset := null;
                global_offset := null;
                sequence := null;
                for i in 1 .. batch.record_count loop
                    exit when found >= most;
                    return next;
                    found := found + 1;
                end loop;
                continue;
            end if;
            for i in greatest(0, from_offset - base_offset)::int4 .. (batch.last_offset - base_offset)::int4 loop
                partition_offset := base_offset + i;
                global_offset := partition_offset + global_minus_local;
                sequence := (base_sequence + i) & 2147483647;
                return next;
                found := found + 1;
                exit when found >= most;
            end loop;
            continue;
        end if;

        pos := batch.at + 61;
        for i in 1 .. batch.record_count loop
            -- Length and attributes. The length is only needed where a record is skipped or has headers.
            record_at := pos;
            while get_byte(run, pos) > 127 loop
                pos := pos + 1;
            end loop;
            n := get_byte(run, pos + 2);
            if n < 128 then
                timestamp_ms := base_timestamp + ((n >> 1) # -(n & 1));
                pos := pos + 3;
            else
                long := n & 127;
                pos := pos + 3;
                bits := 7;
                loop
                    n := get_byte(run, pos);
                    pos := pos + 1;
                    long := long | ((n & 127)::int8 << bits);
                    exit when n < 128;
                    bits := bits + 7;
                end loop;
                timestamp_ms := base_timestamp + (((long >> 1) & 9223372036854775807) # -(long & 1));
            end if;

            -- Offset.
            n := get_byte(run, pos);
            pos := pos + 1;
            if n > 127 then
                n := (n & 127) | (get_byte(run, pos) << 7);
                pos := pos + 1;
                if n > 16383 then
                    n := n & 16383;
                    bits := 14;
                    loop
                        byte := get_byte(run, pos);
                        pos := pos + 1;
                        n := n | ((byte & 127) << bits);
                        exit when byte < 128;
                        bits := bits + 7;
                    end loop;
                end if;
            end if;
            partition_offset := base_offset + (n >> 1);
            if partition_offset < from_offset then
                pos := record_at;
                n := 0;
                bits := 0;
                loop
                    byte := get_byte(run, pos);
                    pos := pos + 1;
                    n := n | ((byte & 127) << bits);
                    exit when byte < 128;
                    bits := bits + 7;
                end loop;
                pos := pos + (n >> 1);
                continue;
            end if;
            global_offset := partition_offset + global_minus_local;
            sequence := (base_sequence + (n >> 1)) & 2147483647;

            -- Key.
            n := get_byte(run, pos);
            pos := pos + 1;
            if n > 127 then
                n := (n & 127) | (get_byte(run, pos) << 7);
                pos := pos + 1;
                if n > 16383 then
                    n := n & 16383;
                    bits := 14;
                    loop
                        byte := get_byte(run, pos);
                        pos := pos + 1;
                        n := n | ((byte & 127) << bits);
                        exit when byte < 128;
                        bits := bits + 7;
                    end loop;
                end if;
            end if;
            if n & 1 = 1 then
                key := null;
            else
                key := substr(run, pos + 1, n >> 1);
                pos := pos + (n >> 1);
            end if;

            -- Value.
            n := get_byte(run, pos);
            pos := pos + 1;
            if n > 127 then
                n := (n & 127) | (get_byte(run, pos) << 7);
                pos := pos + 1;
                if n > 16383 then
                    n := n & 16383;
                    bits := 14;
                    loop
                        byte := get_byte(run, pos);
                        pos := pos + 1;
                        n := n | ((byte & 127) << bits);
                        exit when byte < 128;
                        bits := bits + 7;
                    end loop;
                end if;
            end if;
            if n & 1 = 1 then
                value := null;
            else
                value := substr(run, pos + 1, n >> 1);
                pos := pos + (n >> 1);
            end if;

            -- Headers.
            n := get_byte(run, pos);
            pos := pos + 1;
            if n > 0 then
                headers := kafka.decode_headers(run, pos - 1);
                pos := record_at;
                n := 0;
                bits := 0;
                loop
                    byte := get_byte(run, pos);
                    pos := pos + 1;
                    n := n | ((byte & 127) << bits);
                    exit when byte < 128;
                    bits := bits + 7;
                end loop;
                pos := pos + (n >> 1);
            elsif headers is not null then
                headers := null;
            end if;
            if is_append_time then
                timestamp_ms := batch.max_timestamp_ms;
            end if;
            return next;
            if is_bounded then
                found := found + 1;
                exit when found >= most;
            end if;
        end loop;
    end loop;
end $$;
comment on function kafka.decode_run(bytea, int8, int8, int8) is
    'Records of a run from an offset on, at most max_records. Compressed ones have no key, value and headers';

create function kafka.log_pages(segment_id int4, part int4, from_offset int8)
returns table (first_base int8, last_base int8)
language plpgsql stable security definer rows 10
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
begin
    -- A segment that has been dropped since the query began held only what is not to be read any more.
    if to_regclass('kafka.log_' || segment_id) is not null then
        -- Needs nothing but the index.
        return query execute format('select min(r.base), max(r.base) from (
                select l.base, l.chunk, (row_number() over (order by l.base, l.chunk) - 1) / 64 as page
                from kafka.log_%1$s l where l.part = $1 and l.base >= coalesce(
                    (select b.base from kafka.log_%1$s b where b.part = $1 and b.base <= $2 order by b.base desc limit 1), $2)) r
            where r.chunk = 0 group by r.page order by r.page', segment_id)
            using part, from_offset;
    end if;
end $$;
comment on function kafka.log_pages(int4, int4, int8) is
    'Runs of a partition in a segment, some 64 rows of them at a time: base offsets of the first and the last run';

create function kafka.log_runs(segment_id int4, part int4, first_base int8, last_base int8)
returns table (base_offset int8, global_base int8, run bytea)
language plpgsql stable security definer rows 10
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
begin
    return query execute format('select r.base, min(r.global_base), string_agg(r.data, ''''::bytea) from (
            select l.base, l.global_base, l.data from kafka.log_%s l
            where l.part = $1 and l.base between $2 and $3 order by l.base, l.chunk) r
        group by r.base order by r.base', segment_id) using part, first_base, last_base;
end $$;
comment on function kafka.log_runs(int4, int4, int8, int8) is 'Runs of a partition in a segment, each put together from its rows';

create function kafka.txn_state(part int4, record_offset int8, producer_id int8, producer_epoch int2) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- The marker that follows the record is that of its transaction.
    if (select a.first_offset from kafka.aborted_transactions a
            where a.part = txn_state.part and a.producer_id = txn_state.producer_id and a.last_offset >= record_offset
            order by a.last_offset limit 1) <= record_offset then
        return 'aborted';
    end if;
    if exists (select from kafka.transactions t join kafka.transaction_partitions p on p.transactional_id = t.transactional_id
            where t.producer_id = txn_state.producer_id and p.part = txn_state.part and p.from_offset <= record_offset
                and t.producer_epoch = txn_state.producer_epoch) then
        return 'open';
    end if;
    -- Until the marker is there, which may have a later epoch than the records.
    if exists (select from kafka.txn_markers m
            where m.producer_id = txn_state.producer_id and m.part = txn_state.part and m.from_offset <= record_offset
                and m.producer_epoch - txn_state.producer_epoch <= 1) then
        return 'open';
    end if;
    return 'committed';
end $$;
comment on function kafka.txn_state(int4, int8, int8, int2) is 'What became of the transaction of a transactional record: open, committed or aborted';

create view kafka.runs as
select t.name as topic, p.partition, r.base_offset, r.global_base, r.run, p.log_start_offset, t.topic_id, p.id as part
from kafka.topics t
join kafka.topic_partitions p on p.topic = t.id
cross join lateral (
    select s.segment_id from kafka.segment_partitions s where s.part = p.id and s.end_offset > p.log_start_offset
    union all
    select o.segment_id from kafka.segments o where o.state = 'open' and o.lane_id = p.lane
) s
cross join lateral kafka.log_pages(s.segment_id, p.id, p.log_start_offset) g
cross join lateral kafka.log_runs(s.segment_id, p.id, g.first_base, g.last_base) r;

create view kafka.messages as
select r.topic, r.partition, m.partition_offset, m.global_offset, m.key, m.value, m.headers, m.timestamp_ms,
    timestamptz 'epoch' + m.timestamp_ms * interval '1 ms' as created_at, m.timestamp_type,
    m.producer_id, m.producer_epoch, m.sequence,
    case m.txn_state when 'transactional' then kafka.txn_state(r.part, m.partition_offset, m.producer_id, m.producer_epoch)
        else m.txn_state end as txn_state,
    m.compression, r.topic_id
from kafka.runs r
cross join lateral kafka.decode_run(r.run, r.global_base, r.log_start_offset) m;

create view kafka.batches as
select r.topic, r.partition, b.base_offset, b.last_offset, b.record_count, b.size_bytes, b.compression, b.timestamp_type,
    b.base_timestamp_ms, b.max_timestamp_ms, b.producer_id, b.producer_epoch, b.base_sequence, b.last_sequence,
    case b.txn_state when 'transactional' then kafka.txn_state(r.part, b.base_offset, b.producer_id, b.producer_epoch)
        else b.txn_state end as txn_state,
    b.leader_epoch, r.topic_id
from kafka.runs r
cross join lateral kafka.decode_batches(r.run, r.log_start_offset) b;

create view kafka.producers as
select distinct on (b.topic, b.partition, b.producer_id)
    b.topic, b.partition, b.producer_id, b.producer_epoch, b.last_sequence, b.last_offset,
    timestamptz 'epoch' + b.max_timestamp_ms * interval '1 ms' as last_timestamp, b.topic_id
from kafka.batches b
where b.producer_id is not null
order by b.topic, b.partition, b.producer_id, b.last_offset desc;

create function kafka.read(topic text, partition int4, from_offset int8 default 0, max_records int8 default 1000)
returns table (
    partition_offset int8, global_offset int8, key bytea, value bytea, headers jsonb, timestamp_ms int8, created_at timestamptz,
    timestamp_type text, producer_id int8, producer_epoch int2, sequence int4, txn_state text, compression text
) language plpgsql stable security definer rows 1000
set search_path = pg_catalog, pg_temp set jit = off
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashagg = off as $$
declare
    log record;
    segment int4;
    runs refcursor;
    stored record;
    wanted int8 := coalesce(max_records, 9223372036854775807);
    returned int8;
    start int8;
begin
    select p.id, p.lane, p.log_start_offset into log
        from kafka.topics t join kafka.topic_partitions p on p.topic = t.id
        where t.name = read.topic and p.partition = read.partition;
    if not found then
        raise exception 'there is no partition % of a topic "%"', partition, topic using errcode = 'undefined_object';
    end if;
    start := greatest(from_offset, log.log_start_offset);
    for segment in
        (select s.segment_id from kafka.segment_partitions s where s.part = log.id and s.end_offset > start order by s.end_offset)
        union all
        (select o.segment_id from kafka.segments o where o.state = 'open' and o.lane_id = log.lane order by o.segment_id)
    loop
        exit when wanted <= 0;
        -- One that has been dropped since the query began held only what is not to be read any more.
        continue when to_regclass('kafka.log_' || segment) is null;
        -- A cursor takes one run at a time, and no more of them than are needed.
        open runs no scroll for execute format('select r.base, min(r.global_base) as global_base, string_agg(r.data, ''''::bytea) as run
            from (select l.base, l.global_base, l.data from kafka.log_%1$s l
                where l.part = $1 and l.base >= coalesce(
                    (select case when f.base + f.span >= $2 then f.base end from
                        (select b.base, b.span from kafka.log_%1$s b where b.part = $1 and b.base <= $2
                            order by b.base desc limit 1) f),
                    $2)
                order by l.base, l.chunk) r
            group by r.base order by r.base', segment) using log.id, start;
        loop
            fetch runs into stored;
            exit when not found;
            return query select m.partition_offset, m.global_offset, m.key, m.value, m.headers, m.timestamp_ms,
                    timestamptz 'epoch' + m.timestamp_ms * interval '1 ms', m.timestamp_type,
                    m.producer_id, m.producer_epoch, m.sequence,
                    case m.txn_state when 'transactional' then kafka.txn_state(log.id, m.partition_offset, m.producer_id, m.producer_epoch)
                        else m.txn_state end,
                    m.compression
                from kafka.decode_run(stored.run, stored.global_base, start, wanted) m;
            get diagnostics returned = row_count;
            wanted := wanted - returned;
            exit when wanted <= 0;
        end loop;
        close runs;
    end loop;
end $$;
comment on function kafka.read(text, int4, int8, int8) is
    'Records of one partition in the order of their offsets, from an offset on, at most max_records (null: all). Reads only the rows it needs';

-- Partitions ---------------------------------------------------------------------------------------------------------

create function kafka.log_end_offset(part int4) returns int8
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    log record;
    segment int4;
    end_offset int8;
begin
    select p.lane, greatest(p.log_start_offset,
            (select max(s.end_offset) from kafka.segment_partitions s where s.part = p.id)) as sealed_end
        into log from kafka.topic_partitions p where p.id = part;
    for segment in
        select s.segment_id from kafka.segments s where s.state = 'open' and s.lane_id = log.lane order by s.segment_id desc
    loop
        execute format('select l.base + l.span + 1 from kafka.log_%s l where l.part = $1 order by l.base desc limit 1', segment)
            into end_offset using part;
        exit when end_offset is not null;
    end loop;
    return greatest(log.sealed_end, end_offset);
end $$;
comment on function kafka.log_end_offset(int4) is 'The offset that the next record of a partition gets';

create function kafka.log_bytes(part int4) returns int8
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off as $$
declare
    segment int4;
    open_bytes int8;
    bytes int8;
begin
    select coalesce(sum(s.bytes), 0) into bytes from kafka.segment_partitions s
        join kafka.topic_partitions p on p.id = s.part and s.end_offset > p.log_start_offset
        where s.part = log_bytes.part;
    for segment in
        select s.segment_id from kafka.segments s join kafka.topic_partitions p on p.lane = s.lane_id
        where s.state = 'open' and p.id = log_bytes.part
    loop
        execute format('select sum(octet_length(l.data)) from kafka.log_%s l where l.part = $1', segment)
            into open_bytes using part;
        bytes := bytes + coalesce(open_bytes, 0);
    end loop;
    return bytes;
end $$;
comment on function kafka.log_bytes(int4) is
    'Bytes of the record batches that are kept of a partition. Reads its rows in segments that are not sealed';

create view kafka.partitions as
select t.name as topic, p.partition, l.node_id as leader, p.leader_epoch, p.log_start_offset,
    kafka.log_end_offset(p.id) as log_end_offset, kafka.log_bytes(p.id) as size_bytes, p.id as part, p.lane, t.topic_id
from kafka.topics t
join kafka.topic_partitions p on p.topic = t.id
left join kafka.lanes l on l.lane_id = p.lane;

-- Nobody gets anything unasked.
revoke all on all functions in schema kafka from public;
revoke all on all tables in schema kafka from public;

comment on table kafka.topics is 'One row per topic. Rows that are inserted, given more partitions or deleted take effect for clients at once';
comment on column kafka.topics.name is 'Name: 1 to 249 ASCII letters, digits, ''.'', ''_'' and ''-''';
comment on column kafka.topics.partitions is 'Number of partitions; may be raised, not lowered';
comment on column kafka.topics.created_at is 'When the topic was made';
comment on table kafka.topic_settings is
    'Settings of a topic that differ from the defaults of the broker. Changes take effect at once; a name or value that Kafka does not have is passed over';
comment on column kafka.topic_settings.topic is 'Topic, kafka.topics.id';
comment on column kafka.topic_settings.name is 'Name of the setting, as in Kafka';
comment on column kafka.topic_settings.value is 'Its value, as in Kafka';

comment on view kafka.messages is
    'One row per record. Reads the partitions that topic and partition pick, and these whole: kafka.read() starts at an offset';
comment on column kafka.messages.topic is 'Topic';
comment on column kafka.messages.partition is 'Partition number, from 0';
comment on column kafka.messages.partition_offset is
    'Kafka''s offset within the partition. Null in compressed batches of which compaction has taken records away';
comment on column kafka.messages.global_offset is
    'Order in which records were appended, over all partitions of a lane. Null for records older than this number';
comment on column kafka.messages.key is 'Key; null without one, and where compression is not none';
comment on column kafka.messages.value is 'Value; null without one, and where compression is not none';
comment on column kafka.messages.headers is
    'Headers in order: an array of {key, value}, or {key, base64} where the value is no UTF-8 text; null without any, and where compression is not none';
comment on column kafka.messages.timestamp_ms is
    'Time of the record in milliseconds since 1970; where compression is not none, the largest of its batch';
comment on column kafka.messages.created_at is 'timestamp_ms as a time';
comment on column kafka.messages.timestamp_type is 'Who set the time: CreateTime is the producer, LogAppendTime the broker';
comment on column kafka.messages.producer_id is 'Idempotent producer; null without one';
comment on column kafka.messages.producer_epoch is 'Epoch of the producer; null without one';
comment on column kafka.messages.sequence is 'Number of the record in its producer''s sequence for the partition; null without one';
comment on column kafka.messages.txn_state is
    'Null outside of transactions; open, committed or aborted, or control for a marker that ends one. Readers of committed records see null and committed';
comment on column kafka.messages.compression is
    'Codec of its batch: none, gzip, snappy, lz4 or zstd. SQL reads keys and values of none only (compression.type=uncompressed makes all records so)';
comment on column kafka.messages.topic_id is 'Topic id of the Kafka protocol';

comment on view kafka.batches is
    'One row per record batch, by its header. Reads the partitions that topic and partition pick, and these whole';
comment on column kafka.batches.topic is 'Topic';
comment on column kafka.batches.partition is 'Partition number, from 0';
comment on column kafka.batches.base_offset is 'Offset of the first record';
comment on column kafka.batches.last_offset is 'Offset of the last record';
comment on column kafka.batches.record_count is 'Number of records';
comment on column kafka.batches.size_bytes is 'Size with its header, as it is stored';
comment on column kafka.batches.compression is 'Codec: none, gzip, snappy, lz4 or zstd';
comment on column kafka.batches.timestamp_type is 'Who set the times: CreateTime is the producer, LogAppendTime the broker';
comment on column kafka.batches.base_timestamp_ms is 'Time of the first record in milliseconds since 1970';
comment on column kafka.batches.max_timestamp_ms is 'Largest time of a record in milliseconds since 1970';
comment on column kafka.batches.producer_id is 'Idempotent producer; null without one';
comment on column kafka.batches.producer_epoch is 'Epoch of the producer; null without one';
comment on column kafka.batches.base_sequence is 'Sequence number of the first record; null without one';
comment on column kafka.batches.last_sequence is 'Sequence number of the last record; null without one';
comment on column kafka.batches.txn_state is 'Null outside of transactions; open, committed or aborted, or control for markers that end one';
comment on column kafka.batches.leader_epoch is 'Leader epoch of the broker that appended it';
comment on column kafka.batches.topic_id is 'Topic id of the Kafka protocol';

comment on view kafka.producers is
    'One row per partition and idempotent producer: what it appended last. Reads the partitions that topic and partition pick, and these whole';
comment on column kafka.producers.topic is 'Topic';
comment on column kafka.producers.partition is 'Partition number, from 0';
comment on column kafka.producers.producer_id is 'Id of the producer';
comment on column kafka.producers.producer_epoch is 'Its epoch';
comment on column kafka.producers.last_sequence is 'Sequence number of its last record';
comment on column kafka.producers.last_offset is 'Offset of its last record';
comment on column kafka.producers.last_timestamp is 'Largest time of its last batch';
comment on column kafka.producers.topic_id is 'Topic id of the Kafka protocol';

comment on view kafka.runs is
    'One row per run: the record batches of one partition in one flush. What the views of records and batches are made of';
comment on column kafka.runs.topic is 'Topic';
comment on column kafka.runs.partition is 'Partition number, from 0';
comment on column kafka.runs.base_offset is 'Offset of the first record';
comment on column kafka.runs.global_base is 'Global offset of the first record';
comment on column kafka.runs.run is 'Record batches in Kafka''s format';
comment on column kafka.runs.log_start_offset is 'First offset of the partition that may be read';
comment on column kafka.runs.topic_id is 'Topic id of the Kafka protocol';
comment on column kafka.runs.part is 'Key in the tables of the log';

comment on view kafka.partitions is 'One row per partition with its offsets';
comment on column kafka.partitions.topic is 'Topic';
comment on column kafka.partitions.partition is 'Partition number, from 0';
comment on column kafka.partitions.leader is 'Broker (node.id) that owns the lane; null if none has ever';
comment on column kafka.partitions.leader_epoch is 'Leader epoch';
comment on column kafka.partitions.log_start_offset is 'First offset that may be read';
comment on column kafka.partitions.log_end_offset is 'Offset that the next record gets';
comment on column kafka.partitions.size_bytes is 'Bytes of its record batches that are stored. To ask for it reads the newest of them';
comment on column kafka.partitions.part is 'Key in the tables of the log';
comment on column kafka.partitions.lane is 'Lane its appends go through';
comment on column kafka.partitions.topic_id is 'Topic id of the Kafka protocol';

comment on table kafka.topic_partitions is 'One row per partition; not touched by appends';
comment on column kafka.topic_partitions.topic is 'Topic, kafka.topics.id';
comment on column kafka.topic_partitions.leader_epoch is 'Leader epoch';
comment on column kafka.cluster.singleton is 'Keeps the table at one row';
comment on column kafka.cluster.created_at is 'When the schema was made';
comment on column kafka.cluster.max_partitions_per_topic is 'The most partitions a topic may get: max.partitions.per.topic of the broker that started last';
comment on column kafka.lanes.lane_id is 'Key';
comment on column kafka.lanes.records is 'Records appended through the lane so far; the next one has this as its global offset';
comment on column kafka.lanes.node_id is 'The owner''s node.id';
comment on column kafka.segments.segment_id is 'Key, never reused; later segments of a lane have higher ones';
comment on column kafka.segments.lane_id is 'Lane that fills it';
comment on column kafka.segments.state is 'open, or sealed when nothing more is written to it';
comment on column kafka.segments.created_at is 'When its table was made';
comment on column kafka.segments.sealed_at is 'When it was sealed: no record in it was appended later';
comment on column kafka.segment_partitions.segment_id is 'Segment';
comment on column kafka.segment_partitions.first_offset is 'First offset in the segment';
comment on column kafka.segment_partitions.bytes is 'Bytes of the partition''s record batches in the segment';
comment on column kafka.producer_id_blocks.singleton is 'Keeps the table at one row';
comment on column kafka.producer_id_blocks.next_producer_id is 'The first producer id that no broker has';
comment on column kafka.producer_snapshots.part is 'Partition, kafka.partitions.part';
comment on column kafka.producer_snapshots.saved_at is 'When the state was saved';
comment on column kafka.schema_history.version is 'Number of the migration';
comment on column kafka.schema_history.name is 'Its name';
comment on column kafka.schema_history.applied_at is 'When it was applied';
