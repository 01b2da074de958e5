-- What CRIU says of each restore.
create table restores (
    container_id text primary key,
    namespace text not null,
    kind text not null,
    workload text not null,
    container text not null,
    node text not null,
    pod text not null,
    at timestamptz not null,                 -- when it had ended
    restore_time_us bigint,
    forking_time_us bigint,
    pages_restored bigint,
    pages_compared bigint,
    pages_skipped_cow bigint
);
create index restores_at on restores (at desc, container_id desc);
create index restores_workload on restores (namespace, kind, workload, container, at desc, container_id desc);
