-- How far the logs of compacted topics are cleaned.

create table kafka.cleaned (
    part int4 primary key references kafka.topic_partitions on delete cascade,
    end_offset int8 not null check (end_offset >= 0),
    cleaned_at timestamptz not null default now()
);
comment on table kafka.cleaned is 'How far the partitions of compacted topics have been cleaned';
comment on column kafka.cleaned.part is 'Partition, kafka.partitions.part';
comment on column kafka.cleaned.end_offset is 'Before this offset no two records have the same key, but for those of transactions';
comment on column kafka.cleaned.cleaned_at is 'When it was cleaned last';
revoke all on kafka.cleaned from public;
