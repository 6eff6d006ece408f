-- Who rings when, when a line is open, how far a phone may dial, and where a call has been.

-- How far a phone may dial: internal, local, national, international; each reaches what those
-- before it reach. Phones that were there before may dial what they could.
alter table extension add column
    reach text not null default 'international'
    check (reach in ('internal', 'local', 'national', 'international'));

-- When somebody is there: a week and special days, as JSON. Lines share them.
create table schedule (
    schedule_id   uuid primary key,
    dealership_id uuid not null references dealership (dealership_id),
    name          text not null check (name <> ''),
    hours         text not null check (hours like '{%')
);
create index schedule_dealership on schedule (dealership_id, name);

-- Null: always open.
alter table line add column
    schedule_id uuid references schedule (schedule_id);
-- Where calls go while it is closed: {"kind":"group","to":"…"}, and so on, as JSON.
alter table line add column
    closed text not null default '{"kind":"unavailable"}' check (closed like '{%');

alter table ring_group add column
    strategy text not null default 'ring_all'
    check (strategy in ('ring_all', 'in_order', 'longest_idle'));
-- How long one phone rings before the next.
alter table ring_group add column
    member_seconds bigint not null default 20 check (member_seconds between 5 and 600);
-- Whether phones in a call are left alone.
alter table ring_group add column
    skip_busy boolean not null default false;
-- Where calls go that nobody took, as `line.closed`.
alter table ring_group add column
    no_answer text not null default '{"kind":"unavailable"}' check (no_answer like '{%');
alter table ring_group add column
    all_busy text not null default '{"kind":"busy"}' check (all_busy like '{%');
alter table ring_group add column
    nobody text not null default '{"kind":"unavailable"}' check (nobody like '{%');

-- Each place that a call to a line was sent to, in order.
create table call_route (
    call_id  uuid not null references call (call_id),
    at_us    bigint not null,
    kind     text not null check (kind in ('group', 'extension', 'outside', 'refused')),
    name     text not null,                       -- the group's, the extension, the number; may be empty
    why      text not null check (why in
        ('called', 'closed', 'no_answer', 'all_busy', 'nobody', 'loop')),
    position bigint not null,
    primary key (call_id, position)
);
