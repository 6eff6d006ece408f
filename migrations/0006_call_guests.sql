-- A third party of a call: somebody in a conference, or a supervisor who listens, whispers or
-- barges in. The same number may come and go more than once in a call.
create table call_guest (
    call_id       uuid not null references call (call_id),
    guest         bigint not null check (guest between 1 and 7), -- its voice in the right lane
    joined_at_us  bigint not null,
    role          text not null check (role in ('conference', 'listen', 'whisper', 'barge')),
    number        text not null,                  -- as it was called
    extension     text not null,                  -- empty: outside
    user_id       uuid references app_user (user_id), -- who sat there then
    left_at_us    bigint,                         -- null: is still there
    primary key (call_id, guest, joined_at_us)
);
