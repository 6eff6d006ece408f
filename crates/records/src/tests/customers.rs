use super::*;
use crate::customer::{
    CustomerSearch, by_name_and_phone, by_no, count, find, match_of, matches, next_no, pinyin,
    plate_key, search, segments_of, set_segments, update,
};
use crate::import::{self, ImportJob, JobState, RowError};
use crate::vehicle::{self, Tie, Vehicle};
use crate::{Database, phone as phones};
use cheling_model::follow_up::{FollowUpType, Lifecycle};
use cheling_model::{CustomerId, DealershipId, Direction, VehicleId};

fn vehicle(dealership_id: DealershipId, plate: &str, vin: &str) -> Vehicle {
    Vehicle {
        vehicle_id: mint(),
        dealership_id,
        plate: plate.into(),
        plate_key: plate_key(plate),
        vin: vin.into(),
        brand: "远航".into(),
        model: "远航 E5".into(),
        displacement: "2.0T".into(),
        transmission: "AT".into(),
        colour: "白".into(),
        delivered_on: Some("2023-05-01".into()),
        mileage_km: Some(42_000),
        last_visit_on: Some("2026-08-06".into()),
        next_service_on: None,
        inspection_due_on: None,
        insurance_due_on: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

async fn with_vehicle(
    db: &Database,
    id: DealershipId,
    owner: CustomerId,
    plate: &str,
    vin: &str,
) -> VehicleId {
    let row = vehicle(id, plate, vin);
    insert(db, &row).await.unwrap();
    let tie = Tie {
        customer_id: owner,
        vehicle_id: row.vehicle_id,
        role: "owner".into(),
        since: NOW,
        until: None,
    };
    vehicle::tie(db, &tie).await.unwrap();
    vehicle::tie(db, &tie).await.unwrap();
    row.vehicle_id
}

#[test]
fn names_have_pinyin_and_initials() {
    for (name, full, initials) in [
        ("王建国", "wangjianguo", "wjg"),
        ("上海ABC物流", "shanghaiabcwuliu", "shawl"),
        ("Li Na", "lina", "ln"),
        ("", "", ""),
    ] {
        assert_eq!(pinyin(name), (full.to_owned(), initials.to_owned()), "{name}");
    }
    assert_eq!(plate_key("沪a·d3962"), "沪AD3962");
}

#[tokio::test]
async fn search_finds_by_whatever_is_typed() {
    on_both(async |db| {
        let (here, elsewhere) = (dealership(&db).await, dealership(&db).await);
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let li = customer(&db, here, "李静", "13987654321").await;
        customer(&db, elsewhere, "王建国", "13812345678").await;
        with_vehicle(&db, here, wang, "沪A·D3962", "LFV2A21K6A3000001").await;
        let at = |text: &str| CustomerSearch { text: text.into(), ..CustomerSearch::default() };
        for (text, found) in [
            ("王", vec![wang]),
            ("wjg", vec![wang]),
            ("WangJian", vec![wang]),
            ("5678", vec![wang]),
            ("138 1234", vec![wang]),
            ("013812345678", vec![wang]),
            ("d396", vec![wang]),
            ("沪A·D", vec![wang]),
            ("3000001", vec![wang]),
            ("C0000002", vec![li]),
            ("lj", vec![li]),
            ("%", vec![]),
            ("_", vec![]),
            ("nobody", vec![]),
        ] {
            let page = search(&db, here, &at(text), None, 20).await.unwrap();
            let ids: Vec<_> = page.items.iter().map(|it| it.customer_id).collect();
            assert_eq!(ids, found, "{text}");
        }
        let all = search(&db, here, &at(""), None, 20).await.unwrap();
        assert_eq!(all.items.len(), 2);
        let wang_item = all.items.iter().find(|it| it.customer_id == wang).unwrap();
        assert_eq!(wang_item.plate, "沪A·D3962");
        assert_eq!((wang_item.phone.as_str(), wang_item.last_contact_at), ("13812345678", None));
        let prospects = CustomerSearch {
            lifecycle: Some(Lifecycle::Prospect),
            segment: Some("vip".into()),
            owner_user_id: Some(mint()),
            ..CustomerSearch::default()
        };
        assert!(search(&db, here, &prospects, None, 20).await.unwrap().items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_page_of_customers_goes_on_where_it_ended() {
    on_both(async |db| {
        let here = dealership(&db).await;
        for n in 0..5 {
            customer(&db, here, "王建国", &format!("1381234567{n}")).await;
        }
        let everybody = CustomerSearch::default();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = search(&db, here, &everybody, after.as_deref(), 2).await.unwrap();
            seen.extend(page.items.into_iter().map(|it| it.customer_no));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        seen.sort();
        assert_eq!(seen, ["C0000001", "C0000002", "C0000003", "C0000004", "C0000005"]);
        assert_eq!(next_no(&db, here).await.unwrap(), "C0000006");
        assert_eq!(count(&db, here).await.unwrap(), 5);
    })
    .await;
}

#[tokio::test]
async fn a_number_brings_all_who_have_it_with_what_ranks_them() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let agent = agent(&db, here, "8001").await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let wife = customer(&db, here, "李静", "13812345678").await;
        with_vehicle(&db, here, wang, "沪A·D3962", "").await;
        let mut complaint = task(here, wife, agent);
        complaint.follow_up_type = FollowUpType::ComplaintHandling;
        insert(&db, &complaint).await.unwrap();
        let mut past = call(here, Direction::Inbound, "13812345678");
        past.customer_id = Some(wang);
        past.answered_at = Some(after(-100));
        insert(&db, &past).await.unwrap();
        let found = matches(&db, here, "+8613812345678", None).await.unwrap();
        assert_eq!(found.len(), 2);
        let of = |id| found.iter().find(|it| it.customer_id == id).unwrap();
        assert!(of(wife).open_complaint && !of(wang).open_complaint);
        assert_eq!((of(wife).open_items, of(wife).due_on.as_deref()), (1, Some(TODAY)));
        assert!(of(wang).owns_vehicle && !of(wife).owns_vehicle);
        assert_eq!(of(wang).last_contact_at, Some(NOW));
        assert_eq!((of(wang).plate.as_str(), of(wang).phone_label.as_str()), ("沪A·D3962", "本人"));
        let during = matches(&db, here, "+8613812345678", Some(past.call_id)).await.unwrap();
        assert!(during.iter().all(|it| it.last_contact_at.is_none()));
        assert_eq!(match_of(&db, here, wang, None).await.unwrap(), *of(wang));
        assert!(matches!(match_of(&db, mint(), wang, None).await, Err(Error::NotFound)));
        assert!(matches(&db, mint(), "+8613812345678", None).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_new_number_adopts_the_calls_that_nobody_had() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let li = customer(&db, here, "李静", "13900000001").await;
        let orphan = call(here, Direction::Inbound, "13700000000");
        let mut taken = call(here, Direction::Inbound, "13700000000");
        taken.customer_id = Some(li);
        insert_all(&db, &[orphan.clone(), taken.clone()]).await.unwrap();
        let mut second = phone(here, wang, "13700000000");
        assert_eq!(phones::add(&db, &second).await.unwrap(), 1);
        second.label = "公司".into();
        assert_eq!(phones::add(&db, &second).await.unwrap(), 0);
        let numbers = phones::of_customer(&db, wang).await.unwrap();
        assert_eq!(numbers.len(), 2);
        assert_eq!((numbers[0].label.as_str(), numbers[0].is_primary), ("公司", true));
        assert!(!numbers[1].is_primary);
        let adopted = crate::call::find(&db, here, orphan.call_id).await.unwrap();
        assert_eq!(adopted.customer_id, Some(wang));
        assert_eq!(adopted.match_method, crate::call::MatchMethod::Adopted);
        let kept = crate::call::find(&db, here, taken.call_id).await.unwrap();
        assert_eq!(kept.customer_id, Some(li));
        phones::remove(&db, here, wang, "+8613700000000").await.unwrap();
        let gone = phones::remove(&db, here, wang, "+8613700000000").await;
        assert!(matches!(gone, Err(Error::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn customers_and_vehicles_are_found_and_changed() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let id = customer(&db, here, "王建国", "13812345678").await;
        let mut row = find(&db, here, id).await.unwrap();
        assert_eq!(by_no(&db, here, &row.customer_no).await.unwrap().as_ref(), Some(&row));
        let keys = ["+8613900000000".to_owned(), "+8613812345678".to_owned()];
        let same = by_name_and_phone(&db, here, "王建国", &keys).await.unwrap();
        assert_eq!(same.map(|it| it.customer_id), Some(id));
        assert_eq!(by_name_and_phone(&db, here, "李静", &keys).await.unwrap(), None);
        assert_eq!(by_name_and_phone(&db, here, "王建国", &[]).await.unwrap(), None);
        row.note = "只在下午接电话".into();
        row.lifecycle = Lifecycle::Prospect;
        update(&db, &row).await.unwrap();
        assert_eq!(find(&db, here, id).await.unwrap(), row);

        let vehicle_id = with_vehicle(&db, here, id, "沪A·D3962", "LFV2A21K6A3000001").await;
        let mut read = vehicle::find(&db, here, vehicle_id).await.unwrap();
        read.mileage_km = None;
        read.plate = "沪AD12345".into();
        read.plate_key = plate_key(&read.plate);
        vehicle::update(&db, &read).await.unwrap();
        assert_eq!(vehicle::of_customer(&db, id).await.unwrap(), [read.clone()]);
        for (vin, plate) in [("LFV2A21K6A3000001", ""), ("", "沪AD12345"), ("X", "沪AD12345")] {
            let found = vehicle::by_vin_or_plate(&db, here, vin, plate).await.unwrap();
            assert_eq!(found.as_ref(), Some(&read), "{vin} {plate}");
        }
        assert_eq!(vehicle::by_vin_or_plate(&db, here, "", "").await.unwrap(), None);
        let twin = insert(&db, &vehicle(here, "", "LFV2A21K6A3000001")).await;
        assert!(matches!(&twin, Err(Error::Conflict { field }) if field == "vin"), "{twin:?}");
    })
    .await;
}

#[tokio::test]
async fn segments_come_and_go() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let id = customer(&db, here, "王建国", "13812345678").await;
        let codes = |codes: &[&str]| codes.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        set_segments(&db, id, &codes(&["vip", "at_risk"]), "manual", NOW).await.unwrap();
        set_segments(&db, id, &codes(&["complainant", "vip"]), "manual", after(1)).await.unwrap();
        let present: Vec<_> =
            segments_of(&db, &[id]).await.unwrap().into_iter().map(|it| it.code).collect();
        assert_eq!(present, ["complainant", "vip"]);
        assert!(segments_of(&db, &[]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_import_is_kept_with_what_it_refused() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let mut job = ImportJob {
            import_job_id: mint(),
            dealership_id: here,
            user_id: None,
            file_name: "客户.xlsx".into(),
            profile: "standard".into(),
            dry_run: false,
            state: JobState::Running,
            total_rows: 0,
            created_rows: 0,
            updated_rows: 0,
            skipped_rows: 0,
            bad_rows: 0,
            started_at: NOW,
            finished_at: None,
        };
        insert(&db, &job).await.unwrap();
        let bad = RowError {
            import_job_id: job.import_job_id,
            position: 0,
            row_number: 3,
            column_name: "手机".into(),
            cell: "abc".into(),
            reason: "不是号码".into(),
        };
        insert(&db, &bad).await.unwrap();
        job.state = JobState::Done;
        job.bad_rows = 1;
        job.finished_at = Some(after(1));
        import::update(&db, &job).await.unwrap();
        assert_eq!(import::find(&db, here, job.import_job_id).await.unwrap(), job);
        assert_eq!(import::list(&db, here, 10).await.unwrap(), [job.clone()]);
        assert_eq!(import::errors(&db, job.import_job_id, 10).await.unwrap(), [bad]);
    })
    .await;
}
