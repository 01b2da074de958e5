-- Whether a node can freeze its containers, so that it may be given up when it is lost; null: it was never told.
alter table nodes
    add column guarded_at timestamptz,
    add column guarded boolean,
    add column guard_detail text;
update replay set wanted = true;
