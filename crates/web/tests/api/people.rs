//! Signing in, users, extensions, lines.

use crate::house::{JSON, PASSWORD, house};
use serde_json::json;

#[tokio::test]
async fn a_session_says_who_and_ends_when_signed_out() {
    let house = house().await;
    let body = json!({ "username": "agent8001", "password": PASSWORD }).to_string();
    let answer = house.send("POST", "/api/v1/session", &JSON, body.as_bytes()).await;
    let cookie = answer.headers["set-cookie"].clone();
    assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
    assert!(!cookie.contains("Secure"), "plain http in a LAN must work: {cookie}");
    let me = answer.json();
    assert_eq!(me["role"], "agent");
    assert_eq!(me["extension"], "8001");
    assert_eq!(me["extension_registered"], true);
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert_eq!(house.get(&cookie, "/session").await.json()["user_id"], me["user_id"]);
    assert_eq!(house.call("DELETE", &cookie, "/session", json!(null)).await.status, 204);
    assert_eq!(house.get(&cookie, "/session").await.status, 401);
    house.close().await;
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let house = house().await;
    let try_it = async |name: &str, password: &str| {
        let body = json!({ "username": name, "password": password }).to_string();
        house.send("POST", "/api/v1/session", &JSON, body.as_bytes()).await
    };
    for n in 0..8 {
        let answer = try_it("agent8001", "wrong password").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "bad_credentials"), "{n}");
    }
    let answer = try_it("agent8001", PASSWORD).await;
    assert_eq!(answer.status, 429);
    assert!(answer.headers["retry-after"].parse::<u64>().unwrap() > 0);
    assert_eq!(try_it("agent8002", PASSWORD).await.status, 200, "a colleague is not kept out");
    assert_eq!(try_it("nobody", "x").await.code(), "bad_credentials", "names are not told");
    house.close().await;
}

#[tokio::test]
async fn an_admin_makes_a_user_who_signs_in_and_is_cut_off_when_disabled() {
    let house = house().await;
    let admin = house.sign_in("admin").await;
    let draft = json!({ "username": "LiHua", "name": "李华", "role": "agent",
        "extension": "8002", "password": "long enough 1" });
    let made = house.call("POST", &admin, "/users", draft.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["username"], "lihua");
    assert_eq!(made.json()["extension"], "8002");
    assert_eq!(*house.switch.changes.lock().unwrap(), 1, "the switch reads its directory again");
    let twice = house.call("POST", &admin, "/users", draft).await;
    assert_eq!((twice.status, twice.code().as_str()), (409, "already_taken"));
    assert_eq!(twice.json()["error"]["field"], "username");

    let body = json!({ "username": "lihua", "password": "long enough 1" }).to_string();
    let answer = house.send("POST", "/api/v1/session", &JSON, body.as_bytes()).await;
    let cookie = answer.headers["set-cookie"].split(';').next().unwrap().to_owned();
    assert_eq!(house.get(&cookie, "/session").await.json()["name"], "李华");
    let path = format!("/users/{}", made.json()["user_id"].as_str().unwrap());
    let change = json!({ "username": "lihua", "name": "李华", "role": "agent", "disabled": true });
    let changed = house.call("PUT", &admin, &path, change).await;
    assert_eq!((changed.status, &changed.json()["extension"]), (200, &json!(null)));
    assert_eq!(house.get(&cookie, "/session").await.status, 401, "at once");
    let answer = house.send("POST", "/api/v1/session", &JSON, body.as_bytes()).await;
    assert_eq!(answer.code(), "bad_credentials");

    for (draft, field) in [
        (
            json!({ "username": "a b", "name": "", "role": "agent", "password": "long enough 1" }),
            "username",
        ),
        (
            json!({ "username": "x", "name": "", "role": "king", "password": "long enough 1" }),
            "role",
        ),
        (json!({ "username": "x", "name": "", "role": "agent", "password": "short" }), "password"),
        (json!({ "username": "x", "name": "", "role": "agent" }), "password"),
        (
            json!({ "username": "x", "name": "", "role": "agent", "password": "long enough 1",
            "extension": "9001" }),
            "extension",
        ),
    ] {
        let answer = house.call("POST", &admin, "/users", draft.clone()).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["field"]),
            (422, &json!(field)),
            "{draft}"
        );
    }
    let me = house.get(&admin, "/session").await.json();
    let path = format!("/users/{}", me["user_id"].as_str().unwrap());
    let change = json!({ "username": "admin", "name": "", "role": "agent" });
    assert_eq!(house.call("PUT", &admin, &path, change).await.code(), "last_admin");
    assert_eq!(house.get(&admin, "/users").await.json()["items"].as_array().unwrap().len(), 6);
    house.close().await;
}

#[tokio::test]
async fn an_extensions_password_is_shown_once_and_kept_as_digests() {
    let house = house().await;
    let admin = house.sign_in("admin").await;
    let draft = json!({ "number": "8010", "display_name": "前台" });
    let made = house.call("POST", &admin, "/extensions", draft.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let password = made.json()["password"].as_str().unwrap().to_owned();
    assert_eq!(made.json()["registrar"], "10.0.0.5:5060");
    let row = cheling_records::switchboard::phone(&house.db, "8010").await.unwrap().unwrap();
    let want =
        cheling_sip::digest::ha1(cheling_sip::digest::Algorithm::Md5, "8010", "cheling", &password);
    assert_eq!(row.ha1_md5, want);
    let list = house.get(&admin, "/extensions").await.json();
    let find = |number: &str| {
        let rows = list["items"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["number"] == number).unwrap()
    };
    assert!(find("8010").get("password").is_none());
    assert_eq!(find("8001")["registered"], true);
    assert_eq!(find("8001")["user_agent"], "Yealink SIP-T31P");
    assert_eq!(find("8010")["registered"], false);
    assert!(list.to_string().find("9001").is_none(), "another dealership's");

    assert_eq!(house.call("POST", &admin, "/extensions", draft.clone()).await.status, 409);
    let taken = json!({ "number": "9001" });
    assert_eq!(house.call("POST", &admin, "/extensions", taken).await.status, 409);
    let again = house.call("POST", &admin, "/extensions/8010/password", json!(null)).await;
    assert_ne!(again.json()["password"].as_str().unwrap(), password);
    let gone = house.call("DELETE", &admin, "/extensions/8010", json!(null)).await;
    assert_eq!(gone.status, 204);
    assert_eq!(house.call("DELETE", &admin, "/extensions/8010", json!(null)).await.status, 404);
    assert_eq!(house.call("DELETE", &admin, "/extensions/9001", json!(null)).await.status, 404);
    assert_eq!(house.call("POST", &admin, "/extensions", draft).await.status, 201, "comes back");
    for number in ["8", "123456789", "80a1", ""] {
        let answer = house.call("POST", &admin, "/extensions", json!({ "number": number })).await;
        assert_eq!(answer.status, 422, "{number}");
    }
    house.close().await;
}

#[tokio::test]
async fn lines_and_groups_are_replaced_whole() {
    let house = house().await;
    let admin = house.sign_in("admin").await;
    let wanted = json!({
        "lines": [{ "line_id": null, "did": "58998000", "name": "售后热线", "group": "售后一组" }],
        "groups": [{ "group_id": null, "name": "售后一组", "members": ["8002", "8001"],
            "ring_seconds": 25 }],
    });
    let made = house.call("PUT", &admin, "/lines", wanted).await;
    assert_eq!(made.status, 200, "{made:?}");
    let mut lines = made.json();
    assert_eq!(lines["groups"][0]["members"], json!(["8002", "8001"]), "in their order");
    let line_id = lines["lines"][0]["line_id"].clone();
    lines["lines"][0]["name"] = json!("服务热线");
    let changed = house.call("PUT", &admin, "/lines", lines.clone()).await.json();
    assert_eq!(changed["lines"][0]["line_id"], line_id, "keeps its id");
    // A word, whose it is and the value: the console says it in the user's language.
    let unknown = json!("0199d7a4-0000-7000-8000-000000000001");
    for (pointer, value, said) in [
        ("/groups/0/members", json!(["9001"]), ["no_extension", "售后一组", "9001"]),
        ("/groups/0/ring_seconds", json!(2), ["ring_seconds", "售后一组", "2"]),
        ("/groups/0/strategy", json!("all"), ["strategy", "售后一组", "all"]),
        ("/groups/0/nobody", json!({ "kind": "group", "to": "x" }), ["no_group", "售后一组", "x"]),
        (
            "/groups/0/no_answer",
            json!({ "kind": "group", "to": "售后一组" }),
            ["group_to_itself", "售后一组", "售后一组"],
        ),
        (
            "/groups/0/all_busy",
            json!({ "kind": "outside", "to": "120" }),
            ["no_number", "售后一组", "120"],
        ),
        ("/groups/0/name", json!(""), ["", "", ""]),
        ("/lines/0/group", json!("none"), ["no_group", "58998000", "none"]),
        ("/lines/0/schedule", json!("none"), ["no_schedule", "服务热线", "none"]),
        ("/lines/0/did", json!("abc"), ["bad_did", "", "abc"]),
        ("/lines/0/line_id", unknown, ["", "", ""]),
        ("/blocked_prefixes", json!(["x"]), ["bad_prefix", "", "x"]),
    ] {
        let mut bad = changed.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let answer = house.call("PUT", &admin, "/lines", bad).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"), "{pointer}");
        let error = answer.json()["error"].clone();
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        let told = ["reason", "about", "value"].map(text);
        assert_eq!(told, said, "{pointer} {error}");
    }
    assert_eq!(house.get(&admin, "/lines").await.json(), changed, "nothing half done");
    let boss = house.sign_in("boss").await;
    assert_eq!(house.get(&boss, "/lines").await.status, 403);
    house.close().await;
}

#[tokio::test]
async fn groups_overflow_lines_close_and_prefixes_are_blocked() {
    let house = house().await;
    let admin = house.sign_in("admin").await;
    let day = json!([{ "from": "08:30", "to": "17:30" }]);
    let wanted = json!({
        "lines": [{ "line_id": null, "did": "58998000", "name": "售后热线", "group": "售后一组",
            "schedule": "营业时间", "closed": { "kind": "outside", "to": "139 0000 1111" } }],
        "groups": [
            { "group_id": null, "name": "售后一组", "members": ["8002", "8001"], "ring_seconds": 25,
              "strategy": "longest_idle", "member_seconds": 12, "skip_busy": true,
              "no_answer": { "kind": "group", "to": "夜班" },
              "all_busy": { "kind": "busy" },
              "nobody": { "kind": "extension", "to": "8001" } },
            { "group_id": null, "name": "夜班", "members": ["8001"], "ring_seconds": 25 },
        ],
        "schedules": [{ "schedule_id": null, "name": "营业时间",
            "week": [day, day, day, day, day, [], []],
            "days": [{ "day": "2027-02-17", "name": "春节", "spans": [] }] }],
        "blocked_prefixes": ["168", "00882"],
    });
    let made = house.call("PUT", &admin, "/lines", wanted).await;
    assert_eq!(made.status, 200, "{made:?}");
    let made = made.json();
    assert_eq!(made["lines"][0]["closed"], json!({ "kind": "outside", "to": "13900001111" }));
    let group = &made["groups"][0];
    assert_eq!(group["strategy"], "longest_idle");
    assert_eq!(group["no_answer"], json!({ "kind": "group", "to": "夜班" }));
    assert_eq!(made["groups"][1]["all_busy"], json!({ "kind": "busy", "to": "" }), "as ever");
    assert_eq!(made["schedules"][0]["week"][0], day);
    assert_eq!(made["blocked_prefixes"], json!(["168", "00882"]));
    // Told again as it was told, all keep their ids.
    let again = house.call("PUT", &admin, "/lines", made.clone()).await;
    assert_eq!(again.json(), made);
    for (pointer, value, field, words) in [
        ("/groups/0/strategy", json!("random"), "groups", "longest_idle"),
        ("/groups/0/member_seconds", json!(4), "groups", "member_seconds"),
        ("/groups/0/no_answer/to", json!("售后一组"), "groups", "itself"),
        ("/groups/0/no_answer/to", json!("早班"), "groups", "早班"),
        ("/groups/0/nobody/to", json!("9001"), "groups", "9001"),
        ("/groups/0/nobody/kind", json!("voicemail"), "groups", "voicemail"),
        ("/lines/0/closed/to", json!("110"), "lines", "110"),
        ("/lines/0/closed/to", json!("nobody"), "lines", "nobody"),
        ("/lines/0/schedule", json!("夏令时"), "lines", "夏令时"),
        ("/schedules/0/week/0/0/to", json!("08:00"), "schedules", "end after"),
        ("/schedules/0/week/0/0/to", json!("25:00"), "schedules", "24:00"),
        ("/schedules/0/week", json!([]), "schedules", "seven days"),
        ("/schedules/0/days/0/day", json!("2027-02-30"), "schedules", "2027-02-30"),
        ("/blocked_prefixes/0", json!("16x"), "blocked_prefixes", "16x"),
    ] {
        let mut bad = made.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let answer = house.call("PUT", &admin, "/lines", bad).await;
        assert_eq!(answer.status, 422, "{pointer} {answer:?}");
        let error = answer.json()["error"].clone();
        assert_eq!(error["field"], field, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    assert_eq!(house.get(&admin, "/lines").await.json(), made, "nothing half done");
    house.close().await;
}

#[tokio::test]
async fn how_far_a_phone_may_dial_is_kept_until_it_is_changed() {
    let house = house().await;
    let admin = house.sign_in("admin").await;
    let send = async |verb: &str, path: &str, body: serde_json::Value| {
        house.call(verb, &admin, path, body).await
    };
    let made = send("POST", "/extensions", json!({ "number": "8010" })).await.json();
    assert_eq!(made["reach"], "national");
    let wish = json!({ "number": "8010", "reach": "internal" });
    assert_eq!(send("PUT", "/extensions/8010", wish).await.json()["reach"], "internal");
    let renamed = json!({ "number": "8010", "display_name": "门卫" });
    assert_eq!(send("PUT", "/extensions/8010", renamed).await.json()["reach"], "internal");
    for wish in [json!({ "number": "8011", "reach": "moon" }), json!({ "number": "110" })] {
        assert_eq!(send("POST", "/extensions", wish.clone()).await.status, 422, "{wish}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_spreadsheet_is_tried_and_then_applied() {
    let house = house().await;
    let boss = house.sign_in("boss").await;
    let csv = "客户姓名,手机号码,车牌号\n王建国,13812345678,\n李静,abc,\n张伟,13900000001,\n";
    let form = format!(
        "--line\r\nContent-Disposition: form-data; name=\"file\"; filename=\"客户.csv\"\r\n\
         Content-Type: text/csv\r\n\r\n{csv}\r\n--line--\r\n"
    );
    let send = async |cookie: &str, path: &str| {
        let mime = "multipart/form-data; boundary=line";
        let headers = [("Cookie", cookie), ("Content-Type", mime)];
        house.send("POST", &format!("/api/v1{path}"), &headers, form.as_bytes()).await
    };
    for (path, applied, created) in
        [("/imports", false, 2), ("/imports?apply=true", true, 2), ("/imports?apply=true", true, 0)]
    {
        let answer = send(&boss, path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let report = answer.json();
        assert_eq!((&report["applied"], &report["created"]), (&json!(applied), &json!(created)));
        assert_eq!((&report["rows"], &report["bad_row_count"]), (&json!(3), &json!(1)));
        let bad = &report["bad_rows"][0];
        assert_eq!((&bad["row"], &bad["cell"]), (&json!(3), &json!("abc")));
        assert_eq!(bad["reason_code"], "phone_invalid");
        assert_eq!(bad["reason"], "不是有效的电话号码");
    }
    let rows = house.get(&boss, "/customers").await.json();
    assert_eq!(rows["items"].as_array().unwrap().len(), 2);
    let agent = house.sign_in("a1").await;
    assert_eq!(send(&agent, "/imports").await.status, 403);
    assert_eq!(send(&boss, "/imports?profile=none").await.status, 422);
    let plain = house.call("POST", &boss, "/imports", json!({})).await;
    assert_eq!(plain.status, 415, "{plain:?}");
    house.close().await;
}
