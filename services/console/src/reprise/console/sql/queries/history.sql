-- A container's checkpoints in equal spans of time: the charts of its page.
select
    floor(extract(epoch from at - %(since)s) / %(step_s)s)::int as bin,
    count(*) filter (where stored_at is not null) as good,
    count(*) filter (where state = 'failed') as failed,
    max(size_bytes) as size_bytes,
    max(new_bytes) as new_bytes,
    max(coalesce(pause_s, frozen_time_us / 1e6)) as pause_s,
    min(message) filter (where state = 'failed') as message
from checkpoints
where namespace = %(namespace)s and kind = %(kind)s and workload = %(workload)s and container = %(container)s
    and at >= %(since)s and at < %(until)s
group by 1
order by 1
