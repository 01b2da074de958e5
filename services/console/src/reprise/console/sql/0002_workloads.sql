-- What `reprise status` shows: what is protected, how old its recovery point is, and who stands by for it.
alter table checkpoints
    add column interval_s double precision,
    add column stored_at timestamptz,
    add column staged_on text,               -- the standby node; the own node's staging is pull_s
    add column staged_at timestamptz,
    add column staged_warm boolean,          -- its runtime holds the image; false: only the chunks lie there
    add column staged_bytes bigint;          -- what had to be fetched

create table workloads (
    lineage text primary key,                -- <namespace>/<kind>.<name>/<container>, as in the object store
    namespace text not null,
    kind text not null,
    workload text not null,
    container text not null,
    node text,                               -- where it runs, as the newest event says
    pod text,
    seen_at timestamptz,
    interval_s double precision,
    due_at timestamptz,
    refused_at timestamptz,
    refused_node text,
    refused_reason text,
    refused_message text,
    refused_remedy text
);
create index workloads_namespace on workloads (namespace, workload);

-- What was recorded before this migration. The events have what the tables did not keep.
update checkpoints c set interval_s = (e.data ->> 'interval_s')::double precision
    from events e where e.type = 'checkpoint.due' and e.data ->> 'checkpoint_id' = c.checkpoint_id;
update checkpoints c set stored_at = e.at
    from events e where e.type = 'checkpoint.stored' and e.data ->> 'checkpoint_id' = c.checkpoint_id;
insert into workloads (lineage, namespace, kind, workload, container, node, pod, seen_at, interval_s, due_at)
    select distinct on (namespace, kind, workload, container)
        namespace || '/' || lower(kind) || '.' || workload || '/' || container,
        namespace, kind, workload, container, node, pod, coalesce(stored_at, kubelet_started_at, due_at), interval_s, due_at
    from checkpoints where container is not null
    order by namespace, kind, workload, container, checkpoint_id desc;

create index checkpoints_stored on checkpoints (namespace, kind, workload, container, checkpoint_id desc) where state = 'stored';
create index checkpoints_staged on checkpoints (namespace, kind, workload, container, staged_at desc) where staged_at is not null;
create index checkpoints_tried on checkpoints (namespace, kind, workload, container, checkpoint_id desc)
    where state in ('stored', 'failed');
create index failovers_newest on failovers (namespace, kind, workload, container, declared_at desc nulls last);
create index events_node on events (workload, at desc) where namespace = '-';
