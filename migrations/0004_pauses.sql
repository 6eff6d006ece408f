-- Stretches of a recording that somebody paused: JSON, [{"from_ms": …, "until_ms": …}], in order.
alter table recording add column pauses text not null default '[]';
