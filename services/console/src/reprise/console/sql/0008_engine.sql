-- What the engine tells: real pauses, how containers ended, and when what was restored frozen was released.
alter table checkpoints add column pause_s double precision;  -- in which the process could not run; CRIU's own: frozen_time_us
alter table failovers add column released_at timestamptz;
alter table restores
    add column checkpoint_id text,
    add column took_s double precision,      -- the engine's whole call
    add column frozen boolean;               -- it waits for its failover to become final

create table exits (
    container_id text primary key,
    namespace text not null,
    kind text not null,
    workload text not null,
    container text not null,
    node text not null,
    pod text not null,
    at timestamptz not null,                 -- when it ended
    exit_code integer not null,
    reason text not null,
    log_tail text not null,
    final boolean not null                   -- it is not started again
);
create index exits_at on exits (at desc, container_id desc);
create index exits_workload on exits (namespace, kind, workload, container, at desc, container_id desc);
update replay set wanted = true;
