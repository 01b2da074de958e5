-- Every event as it was, and two projections of them. All writes are idempotent: replaying the stream changes nothing.
create table events (
    id text primary key,                 -- digest of type and content: the same event is the same row
    type text not null,
    at timestamptz not null,
    node text not null,
    namespace text not null,
    kind text not null,
    workload text not null,
    data jsonb not null
);
create index events_workload on events (namespace, workload, at desc);
create index events_at on events (at desc);

create table checkpoints (
    checkpoint_id text primary key,
    namespace text not null,
    kind text not null,
    workload text not null,
    node text not null,
    pod text,
    container text,
    state text not null,                 -- due, taken, stored, failed, pruned: the furthest that was seen
    trigger text,
    due_at timestamptz,
    due_to_kubelet_s double precision,
    kubelet_started_at timestamptz,
    kubelet_s double precision,
    transfer_s double precision,
    pull_s double precision,
    size_bytes bigint,
    sha256 text,
    freezing_time_us bigint,
    frozen_time_us bigint,
    memdump_time_us bigint,
    memwrite_time_us bigint,
    pages_scanned bigint,
    pages_skipped_parent bigint,
    pages_written bigint,
    reason text,
    message text,
    remedy text
);
create index checkpoints_workload on checkpoints (namespace, workload, checkpoint_id desc);

create table failovers (
    failover_id text primary key,
    namespace text not null,
    kind text not null,
    workload text not null,
    node text not null,
    pod text,
    container text,
    cause text,
    path text,
    state text not null,                 -- declared, started, fenced, restored, completed, abandoned
    checkpoint_id text,
    standby text,
    declared_at timestamptz,
    noticed_after_s double precision,
    ended_at timestamptz,
    total_s double precision,
    why text,
    reason text,
    message text,
    remedy text
);
create index failovers_workload on failovers (namespace, workload, declared_at desc);
