-- A checkpoint belongs to one instance: the pods that a workload has now, as the cluster says, `[{"name": ..., "node": ...}]`.
alter table workloads add column pods jsonb not null default '[]';
create index checkpoints_pod on checkpoints (namespace, kind, workload, container, pod, state, checkpoint_id desc)
    where state in ('stored', 'failed', 'skipped');
