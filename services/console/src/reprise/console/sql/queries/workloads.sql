-- One row per container that is protected, or was. Each lateral join is one step in an index, however long the history is.
select
    w.namespace, w.kind, w.workload, w.container, coalesce(behind.node, w.node) as node, coalesce(behind.pod, w.pod) as pod,
    w.interval_s, w.gone_at,
    newest.checkpoint_id, newest.size_bytes, newest.new_bytes, newest.pause_s, newest.frozen_time_us,
    newest.checkpoint_kind, newest.at as checkpoint_at,
    extract(epoch from now() - greatest(newest.at, unchanged.due_at))::float8 as recovery_point_age_s,
    extract(epoch from now() - newest.stored_at)::float8 as stored_age_s,
    previous.checkpoint_id as previous_id,
    staged.checkpoint_id as staged_id, staged.staged_on, staged.staged_at, staged.staged_warm,
    w.refused_at, w.refused_node, w.refused_reason, w.refused_message, w.refused_remedy,
    busy.message as busy_message,
    tried.state as tried_state, tried.reason as tried_reason, tried.message as tried_message, tried.remedy as tried_remedy,
    failover.failover_id, failover.cause as failover_cause, failover.state as failover_state,
    failover.total_s as failover_total_s, coalesce(failover.declared_at, failover.ended_at) as failover_at,
    failover.ended_at as failover_ended_at,
    failover.reason as failover_reason, failover.message as failover_message, failover.remedy as failover_remedy,
    case when nodes.changed_at > coalesce(nodes.seen_at, '-infinity') then nodes.change end as node_event,
    case when not nodes.guarded then nodes.guard_detail end as unguarded
from workloads w
left join lateral (
    -- A checkpoint belongs to one pod. Of several pods the row tells of the one whose recovery point is the oldest, or of one
    -- whose checkpoints all failed. One of which none was tried yet does not count: it has begun just now, or was moved here.
    select p.name as pod, p.node from jsonb_to_recordset(w.pods) as p(name text, node text)
    cross join lateral (
        select
            (select max(checkpoint_id) from checkpoints c
                where (c.namespace, c.kind, c.workload, c.container) = (w.namespace, w.kind, w.workload, w.container)
                    and c.pod = p.name and c.state = 'stored') as stored_id,
            (select max(checkpoint_id) from checkpoints c
                where (c.namespace, c.kind, c.workload, c.container) = (w.namespace, w.kind, w.workload, w.container)
                    and c.pod = p.name and c.state = 'skipped' and c.reason = 'Unchanged') as unchanged_id,
            exists (select from checkpoints c
                where (c.namespace, c.kind, c.workload, c.container) = (w.namespace, w.kind, w.workload, w.container)
                    and c.pod = p.name and c.state = 'failed') as failed
    ) each
    where jsonb_array_length(w.pods) > 1 and (each.stored_id is not null or each.failed)
    order by (each.stored_id is not null), greatest(each.stored_id, each.unchanged_id), p.name limit 1
) behind on true
left join lateral (
    -- A recovery point is as old as the moment at which the process was frozen.
    select checkpoint_id, size_bytes, new_bytes, coalesce(pause_s, frozen_time_us / 1e6) as pause_s, frozen_time_us, checkpoint_kind,
        coalesce(kubelet_started_at, due_at, stored_at) as at, stored_at
    from checkpoints c
    where (c.namespace, c.kind, c.workload, c.container) = (w.namespace, w.kind, w.workload, w.container) and c.state = 'stored'
        and (behind.pod is null or c.pod = behind.pod)
    order by checkpoint_id desc limit 1
) newest on true
left join lateral (
    -- Its program said so: the newest one is its state still.
    select due_at from checkpoints c
    where (c.namespace, c.kind, c.workload, c.container) = (w.namespace, w.kind, w.workload, w.container)
        and (behind.pod is null or c.pod = behind.pod)
        and c.state = 'skipped' and c.reason = 'Unchanged' and c.checkpoint_id > newest.checkpoint_id
    order by checkpoint_id desc limit 1
) unchanged on true
left join lateral (
    select checkpoint_id from checkpoints c
    where (c.namespace, c.kind, c.workload, c.container) = (w.namespace, w.kind, w.workload, w.container) and c.state = 'stored'
        and (behind.pod is null or c.pod = behind.pod)
        and c.checkpoint_id < newest.checkpoint_id
    order by checkpoint_id desc limit 1
) previous on true
left join lateral (
    select checkpoint_id, staged_on, staged_at, staged_warm from checkpoints c
    where (c.namespace, c.kind, c.workload, c.container) = (w.namespace, w.kind, w.workload, w.container)
        and (behind.pod is null or c.pod = behind.pod)
        and c.staged_at is not null
    order by staged_at desc limit 1
) staged on true
left join lateral (
    -- Why there is none that is newer, if its node had no time for it.
    select message from checkpoints c
    where (c.namespace, c.kind, c.workload, c.container) = (w.namespace, w.kind, w.workload, w.container)
        and (behind.pod is null or c.pod = behind.pod)
        and c.state = 'skipped' and c.reason = 'NodeBusy' and c.checkpoint_id > coalesce(newest.checkpoint_id, '')
    order by checkpoint_id desc limit 1
) busy on true
left join lateral (
    select state, reason, message, remedy from checkpoints c
    where (c.namespace, c.kind, c.workload, c.container) = (w.namespace, w.kind, w.workload, w.container)
        and (behind.pod is null or c.pod = behind.pod)
        and c.state in ('stored', 'failed')
    order by checkpoint_id desc limit 1
) tried on true
left join lateral (
    -- Older versions restarted a healthy container once, to arm it: no failover that its owner asks about.
    select failover_id, cause, state, total_s, declared_at, ended_at, reason, message, remedy from failovers f
    where (f.namespace, f.kind, f.workload, f.container) = (w.namespace, w.kind, w.workload, w.container)
        and f.cause is distinct from 'arm'
    order by declared_at desc nulls last limit 1
) failover on true
left join nodes on nodes.node = coalesce(behind.node, w.node)
where (%(namespace)s::text is null or w.namespace = %(namespace)s)
    and (%(workload)s::text is null or (w.kind = %(kind)s and w.workload = %(workload)s))
    and (%(gone)s::boolean is null or (w.gone_at is not null) = %(gone)s)
order by w.namespace, w.workload, w.container
limit %(limit)s
