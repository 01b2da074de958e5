-- What people asked for, and which workloads are not protected any more.
create table operations (
    operation_id text primary key,
    operation text not null,
    by_user text not null,
    namespace text not null,                 -- of a node: -
    kind text not null,
    workload text not null,
    node text not null,
    to_node text,
    state text not null,                     -- requested, refused
    requested_at timestamptz,
    refused_at timestamptz,
    reason text,
    message text,
    remedy text,
    at timestamptz not null generated always as (coalesce(requested_at, refused_at, '1970-01-01 00:00:00+00')) stored
);
create index operations_at on operations (at desc, operation_id desc);
create index operations_workload on operations (namespace, kind, workload, at desc, operation_id desc);

alter table workloads add column gone_at timestamptz;
create index workloads_gone on workloads (gone_at desc) where gone_at is not null;
