use super::*;
use crate::Database;
use crate::admin::{dealerships, set_setting, setting};

#[tokio::test]
async fn a_database_opens_again_with_what_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("again.db").display());
    for url in [file, crate::testing::postgres_url().await] {
        let db = Database::open(&url).await.unwrap();
        let id = dealership(&db).await;
        db.close().await;
        let db = Database::open(&url).await.unwrap();
        assert_eq!(dealerships(&db).await.unwrap()[0].dealership_id, id);
        db.ping().await.unwrap();
        db.analyze().await.unwrap();
        db.close().await;
        assert!(matches!(db.ping().await, Err(Error::Unavailable(_))));
    }
}

#[tokio::test]
async fn an_url_of_neither_engine_is_refused() {
    for url in ["mysql://localhost/x", "", "/var/lib/cheling.db"] {
        assert!(matches!(Database::open(url).await, Err(Error::Open(_))), "{url}");
    }
    let refused = Database::open("sqlite:///nowhere/at/all/x.db").await;
    assert!(matches!(refused, Err(Error::Unavailable(_) | Error::Statement(_))), "{refused:?}");
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing() {
    on_both(async |db| {
        let id = dealership(&db).await;
        let mut tx = db.begin().await.unwrap();
        set_setting(&mut tx, id, "x", "1", NOW).await.unwrap();
        drop(tx);
        assert_eq!(setting(&db, id, "x").await.unwrap(), None);
        let mut tx = db.begin().await.unwrap();
        set_setting(&mut tx, id, "x", "2", NOW).await.unwrap();
        set_setting(&mut tx, id, "x", "3", NOW).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(setting(&db, id, "x").await.unwrap().as_deref(), Some("3"));
    })
    .await;
}

#[tokio::test]
async fn a_broken_rule_says_which() {
    on_both(async |db| {
        let id = dealership(&db).await;
        agent(&db, id, "8001").await;
        let mut again = crate::user::by_sign_in_name(&db, "AGENT8001").await.unwrap().unwrap();
        again.user_id = mint();
        let taken = insert(&db, &again).await;
        assert!(
            matches!(&taken, Err(Error::Conflict { field }) if field == "sign_in_name"),
            "{taken:?}"
        );
        again.sign_in_name = "other".into();
        again.dealership_id = mint();
        let refused = insert(&db, &again).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
        let one = customer(&db, id, "王建国", "13812345678").await;
        let mut two = crate::customer::find(&db, id, one).await.unwrap();
        two.customer_id = mint();
        let taken = insert(&db, &two).await;
        assert!(
            matches!(&taken, Err(Error::Conflict { field }) if field == "customer_no"),
            "{taken:?}"
        );
        two.customer_no = "C9".into();
        two.kind = "robot".into();
        assert!(matches!(insert(&db, &two).await, Err(Error::Refused(_))));
    })
    .await;
}

#[tokio::test]
async fn many_rows_go_in_at_once() {
    on_both(async |db| {
        let id = dealership(&db).await;
        let owner = customer(&db, id, "王建国", "13812345678").await;
        let rows: Vec<_> = (0..2_500)
            .map(|n| crate::phone::Phone {
                is_primary: false,
                ..phone(id, owner, &format!("139{n:08}"))
            })
            .collect();
        let mut tx = db.begin().await.unwrap();
        insert_all(&mut tx, &rows).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(crate::phone::of_customer(&db, owner).await.unwrap().len(), 2_501);
    })
    .await;
}
