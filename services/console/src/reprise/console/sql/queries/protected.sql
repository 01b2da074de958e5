-- What the cluster says is protected, against what the ledger lists. Who was heard of just now is not judged: the listing may
-- be a moment behind. containers null: the policy names none, so whichever the ledger knows. pods: those of today.
with told as (
    select * from jsonb_to_recordset(%(protected)s) as x(namespace text, kind text, name text, containers jsonb, pods jsonb)
), judged as (
    select w.lineage, found.pods is not null as here, coalesce(found.pods, '[]') as pods
    from workloads w
    left join lateral (
        select told.pods from told where (told.namespace, told.kind, told.name) = (w.namespace, w.kind, w.workload)
            and (jsonb_typeof(told.containers) is distinct from 'array' or told.containers ? w.container)
    ) found on true
)
update workloads w set gone_at = case when judged.here then null else coalesce(w.gone_at, now()) end, pods = judged.pods
from judged
where judged.lineage = w.lineage and (judged.here = (w.gone_at is not null) or judged.pods <> w.pods)
    and (judged.here or coalesce(w.seen_at, w.due_at, '-infinity') < now() - make_interval(secs => %(settle_s)s))
