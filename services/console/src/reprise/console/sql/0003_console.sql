-- What the console's pages show: when each step happened, what was new, the trace; and events that can be dropped by the day.

-- A migration that adds what only the events tell sets this: the console then reads the stream again from its start.
create table replay (wanted boolean not null);
insert into replay values (true);

create table nodes (
    node text primary key,
    seen_at timestamptz,                     -- its newest own work
    changed_at timestamptz,
    change text,                             -- node.lost, node.isolated, node.returned
    detail text
);

alter table checkpoints
    add column failed_at timestamptz,
    add column held_at timestamptz,          -- since when the own node's runtime holds it
    add column pruned_at timestamptz,
    add column new_bytes bigint,             -- of the archive: what no checkpoint before it had
    add column uploaded_bytes bigint,        -- sent, after compression
    add column trace_id text,
    add column at timestamptz not null generated always as (coalesce(
        kubelet_started_at, due_at, stored_at, failed_at, held_at, staged_at, pruned_at, '1970-01-01 00:00:00+00')) stored;
drop index checkpoints_workload;
create index checkpoints_history on checkpoints (namespace, kind, workload, container, at desc, checkpoint_id desc);
create index checkpoints_at on checkpoints (at desc, checkpoint_id desc);

alter table failovers
    add column detail text,
    add column started_at timestamptz,
    add column fenced_at timestamptz,
    add column fenced_how text,
    add column restored_at timestamptz,
    add column trace_id text,
    add column at timestamptz not null generated always as (coalesce(
        declared_at, started_at, fenced_at, restored_at, ended_at, '1970-01-01 00:00:00+00')) stored;
drop index failovers_workload;
create index failovers_history on failovers (namespace, kind, workload, at desc, failover_id desc);
create index failovers_at on failovers (at desc, failover_id desc);

alter table events rename to events_before;
alter index events_pkey rename to events_before_pkey;
drop index events_workload, events_at, events_node;
create table events (
    id text not null,                        -- digest of type and content: the same event is the same row
    type text not null,
    at timestamptz not null,
    node text not null,
    namespace text not null,
    kind text not null,
    workload text not null,
    data jsonb not null,
    trace_id text,
    primary key (at, id)
) partition by range (at);
create index events_workload on events (namespace, workload, at desc, id desc);
create index events_type on events (type, at desc, id desc);
create index events_node on events (node, at desc, id desc);
create index events_failover on events ((data ->> 'failover_id')) where type like 'failover.%';

-- Each day (of UTC) is a table of its own: retention drops it whole.
create function events_partition(moment timestamptz) returns void language plpgsql as $$
declare
    first timestamp := date_trunc('day', moment at time zone 'UTC');
begin
    execute format(
        'create table if not exists %I partition of events for values from (%L) to (%L)',
        'events_' || to_char(first, 'YYYYMMDD'), first at time zone 'UTC', (first + interval '1 day') at time zone 'UTC');
end $$;

select events_partition(day) from (select distinct date_trunc('day', at, 'UTC') as day from events_before) days;
insert into events (id, type, at, node, namespace, kind, workload, data)
    select id, type, at, node, namespace, kind, workload, data from events_before;
drop table events_before;

insert into nodes (node, changed_at, change, detail)
    select distinct on (workload) workload, at, type, data ->> 'detail' from events where namespace = '-' order by workload, at desc;
