-- Customers, their numbers and vehicles, and the files they came from.

create table customer (
    customer_id     uuid primary key,
    dealership_id   uuid not null references dealership (dealership_id),
    customer_no     text not null check (customer_no <> ''), -- 'C0021837'
    kind            text not null check (kind in ('person', 'org')),
    name            text not null check (name <> ''),
    pinyin          text not null,                -- 'wangjianguo', for search
    pinyin_initials text not null,                -- 'wjg'
    salutation      text not null,                -- '先生', '女士' or empty
    lifecycle       text not null check (lifecycle in ('existing', 'prospect')),
    lead_grade      text not null,                -- 'H', 'HOT_A', 'A', 'B' … or empty
    source          text not null,                -- 'bought_here', 'walk_in' … or empty
    owner_user_id   uuid references app_user (user_id),
    address         text not null,
    note            text not null,
    created_at_us   bigint not null,
    updated_at_us   bigint not null,
    deleted_at_us   bigint,
    unique (dealership_id, customer_no)
);
create index customer_newest on customer (dealership_id, created_at_us, customer_id);
create index customer_name on customer (dealership_id, name);

-- 'vip', 'caution_list', 'complainant', 'at_risk' …
create table customer_segment (
    segment_id  uuid primary key,
    customer_id uuid not null references customer (customer_id),
    code        text not null check (code <> ''),
    origin      text not null check (origin in ('rule', 'manual', 'import')),
    reason      text not null,
    since_us    bigint not null,
    until_us    bigint
);
create unique index customer_segment_present on customer_segment (customer_id, code)
    where until_us is null;

-- One number of a customer. A family or a firm shares one: the key is not unique.
create table customer_phone (
    phone_id      uuid primary key,
    dealership_id uuid not null references dealership (dealership_id),
    customer_id   uuid not null references customer (customer_id),
    number        text not null,                  -- as written
    number_key    text not null check (number_key <> ''), -- '+8613812345678'
    number_kind   text not null
        check (number_kind in ('mobile', 'landline', 'service', 'short', 'foreign', 'internal')),
    label         text not null,                  -- '本人', '配偶', '送修人', '司机', '公司' or empty
    is_primary    boolean not null,
    status        text not null check (status in ('ok', 'wrong', 'empty', 'stopped', 'refused')),
    created_at_us bigint not null,
    unique (customer_id, number_key)
);
create index customer_phone_key on customer_phone (dealership_id, number_key, customer_id);

create table vehicle (
    vehicle_id        uuid primary key,
    dealership_id     uuid not null references dealership (dealership_id),
    plate             text not null,              -- '沪A·D3962' or empty
    plate_key         text not null,              -- '沪AD3962': without the dot, upper case
    vin               text not null,              -- 17 characters or empty
    brand             text not null,
    model             text not null,              -- series and model in words
    displacement      text not null,              -- '2.0T' or empty
    transmission      text not null,              -- 'AT' or empty
    colour            text not null,
    delivered_on      text,
    mileage_km        bigint check (mileage_km is null or mileage_km >= 0),
    last_visit_on     text,
    next_service_on   text,
    inspection_due_on text,
    insurance_due_on  text,
    created_at_us     bigint not null,
    updated_at_us     bigint not null
);
create unique index vehicle_vin on vehicle (dealership_id, vin) where vin <> '';
create index vehicle_plate on vehicle (dealership_id, plate_key);

create table customer_vehicle (
    customer_id uuid not null references customer (customer_id),
    vehicle_id  uuid not null references vehicle (vehicle_id),
    role        text not null check (role in ('owner', 'driver', 'contact')),
    since_us    bigint not null,
    until_us    bigint,
    primary key (customer_id, vehicle_id, role)
);
create index customer_vehicle_vehicle on customer_vehicle (vehicle_id, customer_id);

create table import_job (
    import_job_id  uuid primary key,
    dealership_id  uuid not null references dealership (dealership_id),
    user_id        uuid references app_user (user_id), -- null: from the command line
    file_name      text not null,
    profile        text not null,
    dry_run        boolean not null,
    state          text not null check (state in ('running', 'done', 'failed')),
    total_rows     bigint not null,
    created_rows   bigint not null,
    updated_rows   bigint not null,
    skipped_rows   bigint not null,
    bad_rows       bigint not null,
    started_at_us  bigint not null,
    finished_at_us bigint
);
create index import_job_time on import_job (dealership_id, started_at_us);

-- Why a row was refused.
create table import_row_error (
    import_job_id uuid not null references import_job (import_job_id),
    position      bigint not null,                -- counts the errors of one job from 0
    row_number    bigint not null,                -- as the spreadsheet counts, from 1
    column_name   text not null,
    cell          text not null,
    reason        text not null,
    primary key (import_job_id, position)
);
