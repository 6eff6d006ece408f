-- Follow-up work, the calls made for it, and their recordings.

-- A task (回访任务), or the contact record made for an inbound call.
create table follow_up (
    follow_up_id    uuid primary key,
    dealership_id   uuid not null references dealership (dealership_id),
    type            text not null check (type in ('delivery_3dc', 'first_maintenance_7dc',
        'service_3dc', 'sales_csat', 'service_csat', 'quarterly_contact', 'maintenance_reminder',
        'insurance_renewal', 'complaint_handling', 'test_drive', 'inbound_contact', 'other')),
    customer_id     uuid references customer (customer_id), -- null: an unknown caller
    vehicle_id      uuid references vehicle (vehicle_id),
    origin_call_id  uuid,                         -- the inbound call that this record was made for
    previous_id     uuid references follow_up (follow_up_id), -- the task whose wrap-up made this one
    due_on          text not null check (due_on like '____-__-__'),
    owner_user_id   uuid references app_user (user_id),
    state           text not null check (state in
        ('open', 'in_progress', 'done', 'unreachable', 'refused', 'cancelled')),
    subject         text not null,
    attempts        bigint not null check (attempts >= 0),
    result          text,                         -- the last outcome
    note            text not null,
    call_made       boolean not null,             -- a call of ours was answered for it
    created_at_us   bigint not null,
    updated_at_us   bigint not null,
    closed_at_us    bigint,
    closed_by       uuid references app_user (user_id)
);
-- One contact record per call, however often its events are replayed.
create unique index follow_up_origin on follow_up (origin_call_id) where origin_call_id is not null;
-- One next task per finished one, however often the wrap-up is saved.
create unique index follow_up_previous on follow_up (previous_id) where previous_id is not null;
create index follow_up_due on follow_up (dealership_id, due_on, follow_up_id);
create index follow_up_owner on follow_up (owner_user_id, state, due_on, follow_up_id);
create index follow_up_customer on follow_up (customer_id, state, due_on);

-- One conversation. Ids that come from the switch are kept as it named them, without reference:
-- a call is never lost because a line was renamed.
create table call (
    call_id         uuid primary key,
    dealership_id   uuid not null references dealership (dealership_id),
    direction       text not null check (direction in ('inbound', 'outbound', 'internal')),
    caller_number   text not null,                -- as the wire named it
    caller_name     text not null,
    presentation    text not null check (presentation in ('allowed', 'withheld', 'unavailable')),
    called_number   text not null,
    customer_number text not null,                -- the side that is not ours, as it came; may be empty
    customer_key    text not null,                -- its normalised key; empty if withheld or internal
    trunk           text not null,
    line_id         uuid,
    extension       text not null,                -- ours that talked, or dialled; else empty
    user_id         uuid,                         -- who used it at that time
    offered_at_us   bigint not null,
    ringing_at_us   bigint,
    answered_at_us  bigint,
    ended_at_us     bigint,
    cause           text check (cause is null or cause in ('hung_up', 'cancelled', 'busy',
        'declined', 'no_answer', 'not_found', 'failed', 'shutdown')),
    hangup_by       text check (hangup_by is null or hangup_by in ('customer', 'agent')),
    sip_status      bigint,
    customer_id     uuid references customer (customer_id),
    match_method    text not null check (match_method in
        ('none', 'number', 'chosen', 'task', 'adopted', 'manual')),
    follow_up_id    uuid,
    attach_method   text check (attach_method is null or attach_method in
        ('click_to_dial', 'inferred', 'inbound_contact', 'manual'))
);
create index call_time on call (dealership_id, offered_at_us, call_id);
create index call_user on call (user_id, offered_at_us, call_id);
create index call_customer on call (customer_id, offered_at_us);
create index call_customer_key on call (dealership_id, customer_key, offered_at_us);
create index call_follow_up on call (follow_up_id);
create index call_going_on on call (offered_at_us) where ended_at_us is null;

-- One phone of ours that rang or dialled.
create table call_leg (
    leg_id         uuid primary key,
    call_id        uuid not null references call (call_id),
    extension      text not null,
    user_id        uuid,                          -- who used it at that time
    ringing_at_us  bigint,
    answered_at_us bigint,
    ended_at_us    bigint,
    withdrawn      text check (withdrawn is null or withdrawn in ('answered_elsewhere',
        'caller_hung_up', 'busy', 'declined', 'no_answer', 'failed')),
    sip_status     bigint
);
create index call_leg_call on call_leg (call_id, leg_id);

create table follow_up_attempt (
    attempt_id   uuid primary key,
    follow_up_id uuid not null references follow_up (follow_up_id),
    call_id      uuid,                            -- null: noted without a call of ours
    user_id      uuid references app_user (user_id),
    outcome      text not null check (outcome in ('completed', 'partial', 'call_back', 'no_answer',
        'busy', 'switched_off', 'empty_number', 'wrong_number', 'refused', 'third_party')),
    at_us        bigint not null,
    unique (follow_up_id, call_id)
);

-- What the agent noted after a call.
create table wrap_up (
    call_id       uuid primary key references call (call_id),
    user_id       uuid not null references app_user (user_id),
    outcome       text not null check (outcome in ('completed', 'partial', 'call_back', 'no_answer',
        'busy', 'switched_off', 'empty_number', 'wrong_number', 'refused', 'third_party')),
    note          text not null,
    next_on       text check (next_on is null or next_on like '____-__-__'),
    follow_up_id  uuid references follow_up (follow_up_id), -- the task or contact record it is about
    saved_at_us   bigint not null
);

-- One finished audio file. Inserted after the file is synced and renamed: a row has its file.
-- It may land before the call's own row does, so it does not refer to it.
create table recording (
    recording_id       uuid primary key,
    call_id            uuid not null,
    dealership_id      uuid not null references dealership (dealership_id),
    path               text not null,             -- below the recordings root; empty: no file
    container          text not null check (container in ('wav', 'ogg_opus')),
    started_at_us      bigint not null,           -- first sample
    duration_us        bigint not null check (duration_us >= 0),
    sample_rate_hz     bigint not null,
    bytes              bigint not null check (bytes >= 0),
    sha256             text not null,
    verdict            text not null check (verdict in ('ok', 'one_way', 'silent', 'short',
        'truncated', 'encrypted', 'undecodable', 'paused', 'not_recorded')),
    verdict_detail     text not null,
    encoding_customer  text not null,
    encoding_agent     text not null,
    quality            text not null,             -- JSON: LaneQuality of [customer, agent]
    speech             text not null,             -- JSON: SpeechMeasures
    follow_up_id       uuid,
    attach_method      text check (attach_method is null or attach_method in
        ('click_to_dial', 'inferred', 'inbound_contact', 'manual'))
);
create unique index recording_path on recording (path) where path <> '';
create index recording_call on recording (call_id);
create index recording_time on recording (dealership_id, started_at_us, recording_id);
create index recording_follow_up on recording (follow_up_id);
