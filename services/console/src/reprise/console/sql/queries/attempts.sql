-- A container's newest checkpoints before a moment, good or not.
select * from checkpoints
where namespace = %(namespace)s and kind = %(kind)s and workload = %(workload)s and container = %(container)s and at < %(before)s
order by at desc, checkpoint_id desc
limit %(limit)s
