-- What somebody asked a workload to be restored from.
alter table operations add column checkpoint_id text;
