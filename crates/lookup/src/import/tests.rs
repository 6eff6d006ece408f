use super::*;
use cheling_records::customer::CustomerSearch;
use cheling_records::testing::{NOW, dealership, on_both};

const HEADER: &str = "客户姓名,性别,手机号码,车牌号,车型,排量,变速箱,交车日期,备注";

async fn bring(db: &Database, here: DealershipId, name: &str, bytes: &[u8], mode: Mode) -> Report {
    let profile = Profile::standard();
    let options = Options {
        dealership_id: here,
        user_id: None,
        file_name: name,
        profile: &profile,
        mode,
        now: NOW,
    };
    run(db, bytes, &options, &mut |_| {}).await.unwrap()
}

fn counts(report: &Report) -> [i64; 5] {
    let job = &report.job;
    [job.total_rows, job.created_rows, job.updated_rows, job.skipped_rows, job.bad_rows]
}

async fn everybody(db: &Database, here: DealershipId) -> Vec<customer::CustomerItem> {
    let all = CustomerSearch::default();
    let mut items = customer::search(db, here, &all, None, 100).await.unwrap().items;
    items.sort_by(|a, b| a.customer_no.cmp(&b.customer_no));
    items
}

#[tokio::test]
async fn a_bad_row_in_the_middle_keeps_nobody_else_out() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let file = format!(
            "\u{feff}远航汽车客户导出,,,,,,,,\n{HEADER}\n\
             王建国,男,13812345678/021-61234567,沪AD3962,远航 X5,2.0T,AT,2023/5/1,\n\
             李静,女,abc,,,,,,\n\
             张伟,男,13900000001,沪B12345,远航 A3,,,,缺排量\n\
             陈思远,男,13700000001,,,,,,\n"
        );
        let report = bring(&db, here, "客户.csv", file.as_bytes(), Mode::DryRun).await;
        assert_eq!(counts(&report), [4, 2, 0, 0, 2]);
        assert!(everybody(&db, here).await.is_empty());

        let report = bring(&db, here, "客户.csv", file.as_bytes(), Mode::Apply).await;
        assert_eq!(counts(&report), [4, 2, 0, 0, 2]);
        let told: Vec<_> = report
            .errors
            .iter()
            .map(|it| {
                (it.row_number, it.column_name.as_str(), it.cell.as_str(), it.reason.as_str())
            })
            .collect();
        assert_eq!(
            told,
            [(4, "手机号码", "abc", "phone_invalid"), (5, "排量", "", "vehicle_incomplete"),]
        );
        let job = report.job.import_job_id;
        assert_eq!(jobs::errors(&db, job, 10).await.unwrap(), report.errors);
        assert_eq!(jobs::find(&db, here, job).await.unwrap(), report.job);

        let here_now = everybody(&db, here).await;
        let names: Vec<_> = here_now.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["王建国", "陈思远"]);
        assert_eq!(here_now[0].plate, "沪A·D3962");
        assert_eq!(here_now[0].salutation, "先生");
        let numbers = phone::of_customer(&db, here_now[0].customer_id).await.unwrap();
        let keys: Vec<_> = numbers.iter().map(|it| it.number_key.as_str()).collect();
        assert_eq!(keys, ["+8613812345678", "+862161234567"]);
        // Nothing of the half-good row: neither the customer nor the plate.
        assert!(vehicle::by_vin_or_plate(&db, here, "", "沪B12345").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn the_same_file_again_changes_nothing_and_a_newer_one_updates() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let row = |note: &str| {
            format!("{HEADER}\n王建国,男,13812345678,沪AD3962,远航 X5,2.0T,AT,45047,{note}\n")
        };
        for (note, want) in [
            ("", [1, 1, 0, 0, 0]),
            ("", [1, 0, 0, 1, 0]),
            ("只在下午接电话", [1, 0, 1, 0, 0]),
            ("", [1, 0, 0, 1, 0]),
        ] {
            let report = bring(&db, here, "a.csv", row(note).as_bytes(), Mode::Apply).await;
            assert_eq!(counts(&report), want, "{note}");
        }
        let people = everybody(&db, here).await;
        assert_eq!(people.len(), 1);
        assert_eq!(people[0].note, "只在下午接电话");
        let cars = vehicle::of_customer(&db, people[0].customer_id).await.unwrap();
        assert_eq!(cars.len(), 1);
        assert_eq!(cars[0].delivered_on.as_deref(), Some("2023-05-01"));
        // Twice in one file is once, in a dry run too.
        let twice = format!("{HEADER}\n李静,女,13900000001,,,,,,\n李静,女,13900000001,,,,,,\n");
        for (mode, want) in [(Mode::DryRun, [2, 1, 1, 0, 0]), (Mode::Apply, [2, 1, 0, 1, 0])] {
            let report = bring(&db, here, "a.csv", twice.as_bytes(), mode).await;
            assert_eq!(counts(&report), want, "{mode:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn gb18030_and_other_delimiters_are_read() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let text = "姓名\t电话\t服务顾问\n王建国\t13812345678\t谁也不是\n";
        let (bytes, _, _) = encoding_rs::GB18030.encode(text);
        let report = bring(&db, here, "a.txt", &bytes, Mode::Apply).await;
        assert_eq!(counts(&report), [1, 1, 0, 0, 0]);
        assert_eq!(everybody(&db, here).await[0].name, "王建国");
    })
    .await;
}

fn workbook() -> Vec<u8> {
    use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};
    let mut book = Workbook::new();
    book.add_worksheet();
    let sheet = book.add_worksheet();
    let merged = Format::new();
    sheet.merge_range(0, 1, 0, 6, "客户档案", &merged).unwrap();
    sheet.merge_range(1, 1, 2, 1, "姓名", &merged).unwrap();
    sheet.merge_range(1, 2, 2, 2, "手机", &merged).unwrap();
    sheet.merge_range(1, 3, 1, 6, "车辆", &merged).unwrap();
    for (column, header) in [(3, "车型"), (4, "排量"), (5, "变速箱"), (6, "交车日期")] {
        sheet.write(2, column, header).unwrap();
    }
    let day = Format::new().set_num_format("yyyy-mm-dd");
    let rows: [(&str, f64); 2] = [("王建国", 13_812_345_678.0), ("李静", 2_161_234_567.0)];
    for (row, (name, number)) in (3..).zip(rows) {
        sheet.write(row, 1, name).unwrap();
        sheet.write(row, 2, number).unwrap();
        sheet.write(row, 3, "远航 X5").unwrap();
        sheet.write(row, 4, "2.0T").unwrap();
        sheet.write(row, 5, "AT").unwrap();
        let date = ExcelDateTime::from_ymd(2023, 5, 1).unwrap();
        sheet.write_with_format(row, 6, &date, &day).unwrap();
    }
    sheet.write(5, 1, "张伟").unwrap();
    sheet.write(5, 2, "1.38E+10").unwrap();
    book.save_to_buffer().unwrap()
}

#[tokio::test]
async fn a_workbook_with_merged_headers_and_spoilt_numbers_is_read() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let report = bring(&db, here, "客户.XLSX", &workbook(), Mode::Apply).await;
        assert_eq!(counts(&report), [3, 2, 0, 0, 1]);
        assert_eq!(report.errors[0].row_number, 6);
        assert_eq!(report.errors[0].reason, Reason::PhoneDigitsLost.as_str());
        let people = everybody(&db, here).await;
        let keys: Vec<_> = people.iter().map(|it| it.phone_key.as_str()).collect();
        assert_eq!(keys, ["+8613812345678", "+862161234567"]);
        let cars = vehicle::of_customer(&db, people[0].customer_id).await.unwrap();
        assert_eq!(cars[0].delivered_on.as_deref(), Some("2023-05-01"));
    })
    .await;
}

#[tokio::test]
async fn what_is_no_table_of_customers_is_refused_whole() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let profile = Profile::standard();
        for (name, bytes) in [
            ("a.pdf", &b"x"[..]),
            ("a.csv", b""),
            ("a.csv", b"a,b\n1,2\n"),
            ("a.xlsx", b"not a zip"),
            ("a.xls", b"\xd0\xcf\x11\xe0broken"),
        ] {
            let options = Options {
                dealership_id: here,
                user_id: None,
                file_name: name,
                profile: &profile,
                mode: Mode::Apply,
                now: NOW,
            };
            assert!(run(&db, bytes, &options, &mut |_| {}).await.is_err(), "{name}");
        }
    })
    .await;
}
