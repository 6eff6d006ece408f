-- Stretches of a recording in which digits sent as tones were silenced: JSON as in `pauses`.
alter table recording add column digits text not null default '[]';
