-- Who works here, with which phones, reachable by which numbers.
--
-- One text for both engines. `records` rewrites the types: SQLite keeps uuid and bytes as blob,
-- bigint and boolean as integer, double as real, in strict tables; PostgreSQL has them all.
-- Keys are UUIDv7, times are microseconds since 1970-01-01 UTC (`_us`), dates are 'YYYY-MM-DD'.

create table dealership (
    dealership_id uuid primary key,
    name          text not null check (name <> ''),
    area_code     text not null check (area_code like '0%'), -- '021': put before local numbers
    created_at_us bigint not null
);

create table app_user (
    user_id       uuid primary key,
    dealership_id uuid not null references dealership (dealership_id),
    sign_in_name  text not null check (sign_in_name <> ''), -- lower case
    display_name  text not null,
    role          text not null check (role in ('admin', 'supervisor', 'agent', 'qa')),
    team          text not null,                  -- '售后', '销售' or empty
    password_hash text not null,                  -- argon2 in PHC string form; empty: cannot sign in
    disabled      boolean not null,
    created_at_us bigint not null,
    updated_at_us bigint not null,
    unique (sign_in_name)
);
create index app_user_dealership on app_user (dealership_id, display_name);

-- A signed-in browser. The cookie's token is never stored, only its hash.
create table session (
    session_id    uuid primary key,
    token_hash    text not null,
    user_id       uuid not null references app_user (user_id),
    created_at_us bigint not null,
    expires_at_us bigint not null check (expires_at_us > created_at_us),
    ip            text not null,
    unique (token_hash)
);
create index session_expiry on session (expires_at_us);
create index session_of_user on session (user_id);

-- A SIP account. Its password is kept as digests only (RFC 7616 HA1, RFC 8760).
create table extension (
    extension_id  uuid primary key,
    dealership_id uuid not null references dealership (dealership_id),
    number        text not null check (number <> ''),
    display_name  text not null,
    ha1_md5       text not null,
    ha1_sha256    text not null,
    disabled      boolean not null,
    created_at_us bigint not null,
    unique (number)                               -- one registrar: numbers are unique across dealerships
);

-- Who sat at which phone, and when. `until_us` is null for the present one.
create table extension_assignment (
    assignment_id uuid primary key,
    extension_id  uuid not null references extension (extension_id),
    user_id       uuid not null references app_user (user_id),
    since_us      bigint not null,
    until_us      bigint check (until_us is null or until_us >= since_us)
);
create unique index extension_assignment_present on extension_assignment (extension_id)
    where until_us is null;
create index extension_assignment_user on extension_assignment (user_id, since_us);

-- Phones that ring together.
create table ring_group (
    group_id      uuid primary key,
    dealership_id uuid not null references dealership (dealership_id),
    name          text not null check (name <> ''),
    ring_seconds  bigint not null check (ring_seconds between 5 and 600)
);

create table ring_group_member (
    group_id     uuid not null references ring_group (group_id),
    extension_id uuid not null references extension (extension_id),
    position     bigint not null,
    primary key (group_id, extension_id)
);

-- A number that customers call.
create table line (
    line_id       uuid primary key,
    dealership_id uuid not null references dealership (dealership_id),
    did           text not null check (did <> ''), -- the digits as the trunk sends them
    name          text not null check (name <> ''),
    group_id      uuid not null references ring_group (group_id),
    unique (did)
);

-- What may be changed in the console: one JSON value per name.
create table setting (
    dealership_id uuid not null references dealership (dealership_id),
    name          text not null,
    value         text not null,
    updated_at_us bigint not null,
    primary key (dealership_id, name)
);

-- Who did what to what: sign-in, listen, download, export, unmask, change. Never updated or deleted.
create table audit_log (
    audit_id      uuid primary key,
    dealership_id uuid not null references dealership (dealership_id),
    user_id       uuid references app_user (user_id), -- null: the system, or a failed sign-in
    action        text not null check (action <> ''), -- 'recording.listen', 'session.create'
    object_kind   text not null,
    object_id     text not null,
    ip            text not null,
    reason        text not null,
    detail        text not null,
    at_us         bigint not null
);
create index audit_log_time on audit_log (dealership_id, at_us, audit_id);
create index audit_log_object on audit_log (object_kind, object_id);

-- A request to dial carries a key of the browser's making: the same key never dials twice.
create table idempotency (
    user_id       uuid not null references app_user (user_id),
    idempotency_key text not null check (idempotency_key <> ''),
    call_id       uuid not null,
    created_at_us bigint not null,
    primary key (user_id, idempotency_key)
);
create index idempotency_age on idempotency (created_at_us);
