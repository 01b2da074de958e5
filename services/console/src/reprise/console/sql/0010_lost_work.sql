-- Of a move: why it runs from an older checkpoint than its last one, so that what it did since is lost. Of a restore: what of.
alter table failovers add column lost_work text;
alter table restores add column checkpoint_kind text;
update replay set wanted = true;
