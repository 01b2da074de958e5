-- What a checkpoint is of: `criu`, a process's memory, or `http`, the state that its program handed out (null: an older version's).
alter table checkpoints add column checkpoint_kind text;
update replay set wanted = true;
