-- Settings of brokers and groups that change while brokers run, the list of names that settings can have, and a word of each change.

create table kafka.setting_names (
    scope text not null check (scope in ('topic', 'broker', 'group')),
    name text not null,
    type text not null check (type in ('boolean', 'string', 'int', 'long', 'double', 'list', 'password')),
    default_value text,
    least numeric,
    most numeric,
    also numeric,
    words text[],
    is_dynamic boolean not null default true,
    documentation text not null,
    primary key (scope, name)
);
comment on table kafka.setting_names is 'The settings there are and the values they take. Written by the broker when it starts, from its own list';
comment on column kafka.setting_names.scope is 'Whose setting it is: topic, broker or group';
comment on column kafka.setting_names.name is 'Name, as in Kafka';
comment on column kafka.setting_names.type is 'Type, as in Kafka';
comment on column kafka.setting_names.default_value is 'What holds where nobody gives a value; null for none';
comment on column kafka.setting_names.least is 'Least number; null for the least of the type';
comment on column kafka.setting_names.most is 'Largest number; null for the largest of the type';
comment on column kafka.setting_names.also is 'A number outside of least and most that is allowed as well';
comment on column kafka.setting_names.words is 'The words it takes, or for a list the words that may stand in it; null for any';
comment on column kafka.setting_names.is_dynamic is 'Whether it can be changed while brokers run';
comment on column kafka.setting_names.documentation is 'What it is for';

create table kafka.broker_settings (
    node_id int4 not null check (node_id >= -1),
    name text not null,
    value text not null,
    primary key (node_id, name)
);
comment on table kafka.broker_settings is
    'Settings of brokers given while they run, which go before those given at their start. Changes take effect at once on all brokers';
comment on column kafka.broker_settings.node_id is 'Broker (node.id); -1 is all of them, and a broker''s own value goes before it';
comment on column kafka.broker_settings.name is 'Name of the setting, as in Kafka';
comment on column kafka.broker_settings.value is 'Its value, as in Kafka';

create table kafka.group_settings (
    group_id text not null check (group_id <> ''),
    name text not null,
    value text not null,
    primary key (group_id, name)
);
comment on table kafka.group_settings is 'Settings of groups that differ from the defaults of the broker. Changes take effect at once';
comment on column kafka.group_settings.group_id is 'Group; it need not exist yet';
comment on column kafka.group_settings.name is 'Name of the setting, as in Kafka';
comment on column kafka.group_settings.value is 'Its value, as in Kafka';

create function kafka.check_setting() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    known record;
    word text := trim(new.value);
    number numeric;
begin
    select n.* into known from kafka.setting_names n where n.scope = tg_argv[0] and n.name = new.name;
    if not found then
        -- A database that no broker has served yet has no list.
        if not exists (select from kafka.setting_names) then
            return new;
        end if;
        raise exception 'there is no % setting "%"', tg_argv[0], new.name using errcode = 'check_violation',
            hint = 'kafka.setting_names has all of them.';
    end if;
    if not known.is_dynamic then
        raise exception '% cannot be changed while brokers run', new.name using errcode = 'check_violation',
            hint = 'Give it to the broker when it starts.';
    end if;
    if known.type in ('int', 'long', 'double') then
        begin
            number := case known.type when 'int' then word::int4::numeric when 'long' then word::int8::numeric
                else word::float8::numeric end;
        exception when others then
            raise exception '"%" is not a value for %: a number of type % is needed', new.value, new.name, known.type
                using errcode = 'check_violation';
        end;
        if number is distinct from known.also
            and (number < known.least or number > known.most or number = 'NaN' or number in ('Infinity', '-Infinity'))
        then
            raise exception '% is not a value for %: it is from % to %', word, new.name,
                coalesce(known.least::text, 'the least of its type'), coalesce(known.most::text, 'the largest of its type')
                using errcode = 'check_violation';
        end if;
    elsif known.type = 'boolean' and lower(word) not in ('true', 'false') then
        raise exception '"%" is not a value for %: it is true or false', new.value, new.name using errcode = 'check_violation';
    elsif known.type = 'string' and known.words is not null and word <> all (known.words)
        or known.type = 'list' and known.words is not null and exists (
            select from unnest(string_to_array(word, ',')) w where trim(w) <> '' and trim(w) <> all (known.words))
    then
        raise exception '"%" is not a value for %: it takes %', new.value, new.name, array_to_string(known.words, ', ')
            using errcode = 'check_violation';
    end if;
    return new;
end $$;
comment on function kafka.check_setting() is 'Trigger: refuses settings that are not in kafka.setting_names and values that they do not take';
create trigger check_setting before insert or update on kafka.topic_settings
    for each row execute function kafka.check_setting('topic');
create trigger check_setting before insert or update on kafka.broker_settings
    for each row execute function kafka.check_setting('broker');
create trigger check_setting before insert or update on kafka.group_settings
    for each row execute function kafka.check_setting('group');

-- A change of a topic's settings names the topic, so that no other is loaded for it.
drop trigger settings_changed on kafka.topic_settings;
create function kafka.topic_settings_changed() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op <> 'INSERT' then
        -- Not where the topic goes with them.
        perform pg_notify('kafka_topics', 'settings:' || t.id) from kafka.topics t where t.id = old.topic;
    end if;
    if tg_op <> 'DELETE' then
        perform pg_notify('kafka_topics', 'settings:' || new.topic);
    end if;
    return null;
end $$;
comment on function kafka.topic_settings_changed() is 'Trigger: tells the brokers which topic has other settings';
create trigger settings_changed after insert or update or delete on kafka.topic_settings
    for each row execute function kafka.topic_settings_changed();
create trigger settings_emptied after truncate on kafka.topic_settings
    for each statement execute function kafka.settings_changed();

create function kafka.cluster_settings_changed() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('kafka_topics', 'settings');
    return null;
end $$;
comment on function kafka.cluster_settings_changed() is 'Trigger: tells the brokers that settings of brokers or groups have changed';
create trigger settings_changed after insert or update or delete or truncate on kafka.broker_settings
    for each statement execute function kafka.cluster_settings_changed();
create trigger settings_changed after insert or update or delete or truncate on kafka.group_settings
    for each statement execute function kafka.cluster_settings_changed();

revoke all on kafka.setting_names, kafka.broker_settings, kafka.group_settings from public;
revoke all on function kafka.check_setting(), kafka.topic_settings_changed(), kafka.cluster_settings_changed() from public;

comment on table kafka.topic_settings is
    'Settings of a topic that differ from the defaults of the broker. Changes take effect at once; names and values that Kafka would refuse are refused';
