//! Transfers as phones ask for them, and what is told of their progress.

use super::*;

fn request(method: Method, fields: &[(&str, &str)]) -> Request {
    let mut request = Request::new(method, Uri::sip(None, "h", None));
    for (name, value) in fields {
        request.headers.push(*name, *value);
    }
    request
}

fn dialog(call_id: &str, local_tag: &str, remote_tag: &str) -> DialogId {
    DialogId {
        call_id: call_id.to_owned(),
        local_tag: local_tag.to_owned(),
        remote_tag: remote_tag.to_owned(),
    }
}

#[test]
fn refer_to_is_read_in_all_its_shapes() {
    for (value, target, method, replaces) in [
        ("<sip:8002@h>", "sip:8002@h", "INVITE", None),
        ("sip:8002@h", "sip:8002@h", "INVITE", None),
        ("\"Li\" <sip:8002@h;method=BYE;user=phone>", "sip:8002@h;user=phone", "BYE", None),
        (
            "<sip:8002@h:5061;transport=tcp?Replaces=1%40h%3Bto-tag%3D2%3Bfrom-tag%3D3>",
            "sip:8002@h:5061;transport=tcp",
            "INVITE",
            Some("1@h;to-tag=2;from-tag=3"),
        ),
        // Some phones escape nothing, others all.
        (
            "<sip:8002@h?Replaces=1@h;from-tag=3;to-tag=2;early-only&Require=replaces>",
            "sip:8002@h",
            "INVITE",
            Some("1@h;to-tag=2;from-tag=3;early-only"),
        ),
        (
            "<sip:8002@h?%52eplaces=1%3Bto-tag%3D0%3Bfrom-tag%3D3&>",
            "sip:8002@h",
            "INVITE",
            Some("1;to-tag=0;from-tag=3"),
        ),
        ("<tel:13800138000>", "tel:13800138000", "INVITE", None),
    ] {
        let read = request(Method::Refer, &[("r", value)]).headers.refer_to().unwrap();
        assert_eq!(read.target.to_string(), target, "{value}");
        assert_eq!(read.method.as_str(), method, "{value}");
        assert_eq!(read.replaces.as_ref().map(Replaces::to_string).as_deref(), replaces, "{value}");
        assert_eq!(ReferTo::parse(&read.to_string()), Ok(read), "{value}");
    }
    let read = ReferTo::parse("<sip:a@h?Subject=a%20b&X=%3D>").unwrap();
    assert_eq!(read.headers, [("Subject".into(), "a b".into()), ("X".into(), "=".into())]);
}

#[test]
fn a_refer_that_cannot_be_followed_says_why() {
    for (fields, want) in [
        (&[][..], ReferError::NotOne),
        (&[("Refer-To", "<sip:a@h>"), ("Refer-To", "<sip:b@h>")], ReferError::NotOne),
        (&[("Refer-To", "<sip:a@h>, <sip:b@h>")], ReferError::NotOne),
        (&[("Refer-To", "8002")], ReferError::Uri),
        (&[("Refer-To", "<sip:a@h;method=(>")], ReferError::Uri),
        (&[("Refer-To", "<sip:a@h?Replaces=1%3Bto-tag%3D2>")], ReferError::Replaces),
        (
            &[(
                "Refer-To",
                "<sip:a@h?Replaces=1;to-tag=2;from-tag=3&Replaces=1;to-tag=2;from-tag=3>",
            )],
            ReferError::Replaces,
        ),
    ] {
        assert_eq!(request(Method::Refer, fields).headers.refer_to(), Err(want), "{fields:?}");
    }
}

#[test]
fn the_one_who_transfers_and_the_target_mean_the_same_dialog() {
    let at_transferor = dialog("c", "mine", "theirs");
    let written = attended(Uri::sip(Some("8003"), "h", None), &at_transferor).to_string();
    assert_eq!(written, "<sip:8003@h?Replaces=c%3Bto-tag%3Dtheirs%3Bfrom-tag%3Dmine>");
    let replaces = ReferTo::parse(&written).unwrap().replaces.unwrap();
    assert!(replaces.means(&dialog("c", "theirs", "mine")));
    assert!(!replaces.means(&at_transferor));
    let old = Replaces::of_peer(&dialog("c", "mine", ""));
    assert_eq!(old.to_string(), "c;to-tag=0;from-tag=mine");
    assert!(old.means(&dialog("c", "", "mine")) && old.means(&dialog("c", "0", "mine")));
}

#[test]
fn what_is_replaced_follows_rfc_3891() {
    use Replaceable::{Confirmed, EarlyByThem, EarlyByUs, Ended};
    let ours = dialog("c", "t", "f");
    let other = dialog("d", "t", "f");
    for (value, dialogs, want) in [
        ("c;to-tag=t;from-tag=f", &[(&ours, Confirmed, 1), (&other, Confirmed, 2)][..], Ok(1)),
        ("c;to-tag=t;from-tag=f", &[(&ours, EarlyByUs, 1)], Ok(1)),
        ("c;to-tag=t;from-tag=f;early-only", &[(&ours, EarlyByUs, 1)], Ok(1)),
        ("c;to-tag=t;from-tag=f;early-only", &[(&ours, Confirmed, 1)], Err(486)),
        ("c;to-tag=t;from-tag=f", &[(&ours, EarlyByThem, 1)], Err(481)),
        ("c;to-tag=t;from-tag=f", &[(&ours, Ended, 1)], Err(603)),
        ("c;to-tag=t;from-tag=f", &[(&ours, Confirmed, 1), (&ours, Confirmed, 2)], Err(481)),
        ("c;to-tag=f;from-tag=t", &[(&ours, Confirmed, 1)], Err(481)),
        ("c;to-tag=t;from-tag=f", &[], Err(481)),
    ] {
        let replaces = Replaces::parse(value).unwrap();
        let found = replaces.find(dialogs.iter().copied()).map_err(ReplacesError::status);
        assert_eq!(found, want, "{value} {dialogs:?}");
    }
}

#[test]
fn a_replaces_that_cannot_be_followed_is_malformed() {
    let good = "c;to-tag=t;from-tag=f";
    let invite = |fields: &[(&str, &str)]| request(Method::Invite, fields).replaces();
    assert_eq!(invite(&[]), Ok(None));
    assert!(matches!(invite(&[("Replaces", good)]), Ok(Some(_))));
    for fields in [
        &[("Replaces", good), ("Replaces", good)][..],
        &[("Replaces", good), ("Join", good)],
        &[("Replaces", "c;to-tag=t")],
        &[("Replaces", "c;to-tag=t;from-tag=f;to-tag=u")],
        &[("Replaces", ";to-tag=t;from-tag=f")],
        &[("Replaces", "c;to-tag;from-tag=f")],
        &[("Replaces", "")],
    ] {
        assert_eq!(invite(fields), Err(ReplacesError::Malformed), "{fields:?}");
    }
    let info = request(Method::Info, &[("Replaces", good)]).replaces();
    assert_eq!(info, Err(ReplacesError::Malformed));
}

#[test]
fn progress_is_told_and_understood() {
    let mut invite = request(
        Method::Refer,
        &[
            ("From", "<sip:a@h>;tag=a"),
            ("To", "<sip:b@h>;tag=b"),
            ("Call-ID", "c"),
            ("CSeq", "9 REFER"),
        ],
    );
    invite.headers.push(Name::Contact, "<sip:a@10.0.0.1>");
    let mut dialog = Dialog::uas(&invite, "b").unwrap();
    let event = event_of(Some(9));
    for (progress, state, body) in [
        (Progress::of_status(100), "active;expires=60", "SIP/2.0 100 Trying\r\n"),
        (Progress::of_status(180), "active;expires=60", "SIP/2.0 180 Ringing\r\n"),
        (Progress::of_status(200), "terminated;reason=noresource", "SIP/2.0 200 OK\r\n"),
        (Progress::of_status(603), "terminated;reason=noresource", "SIP/2.0 603 Decline\r\n"),
    ] {
        let notify = progress.notify(&mut dialog, &event, 60);
        assert_eq!(notify.method, Method::Notify);
        assert_eq!(notify.headers.get(Name::Event).unwrap(), "refer;id=9");
        assert_eq!(notify.headers.get(Name::SubscriptionState).unwrap(), state);
        assert_eq!(&notify.body[..], body.as_bytes());
        let read = Progress::of_notify(&notify).unwrap();
        assert_eq!((read.status, read.is_last), (progress.status, progress.is_last));
    }
}

#[test]
fn sipfrags_of_other_makers_are_read() {
    for (event, state, body, want) in [
        ("refer", "active", "SIP/2.0 100 Trying", Some((100, false))),
        ("refer;id=1", "active;expires=1", "\r\nsip/2.0  486\n", Some((486, false))),
        ("refer", "terminated", "SIP/2.0 200 OK\r\nTo: <sip:a@h>\r\n\r\n", Some((200, true))),
        ("refer", "terminated;reason=timeout", "", Some((503, true))),
        ("refer", "active", "", None),
        ("refer", "active", "SIP/2.0 999 x", None),
        ("refer", "active", "INVITE sip:a@h SIP/2.0", None),
        ("dialog", "terminated", "SIP/2.0 200 OK", None),
    ] {
        let mut notify =
            request(Method::Notify, &[("Event", event), ("Subscription-State", state)]);
        notify.set_body("Message/SipFrag", body);
        let read = Progress::of_notify(&notify).map(|read| (read.status, read.is_last));
        assert_eq!(read, want, "{event} {state} {body}");
    }
}

#[test]
fn refer_sub_false_wants_no_notify() {
    for (value, want) in [("false", true), ("False;x", true), ("true", false)] {
        let refer = request(Method::Refer, &[("Refer-Sub", value)]);
        assert_eq!(is_without_subscription(&refer), want, "{value}");
    }
    assert!(!is_without_subscription(&request(Method::Refer, &[])));
    let refer = request(Method::Refer, &[("b", "<sip:a@h>;cid=\"2@h\"")]);
    assert_eq!(refer.headers.referred_by().unwrap().uri.user(), Some("a"));
}
