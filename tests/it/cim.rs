//! What becomes of a record at search time, computed without Splunk in Splunk's documented order: JSON extraction,
//! aliases, calculated fields, lookups, event types, tags. The result is held against what the Common Information
//! Model asks of each data model.
//!
//! `support::search_time` knows no other settings than those that props.conf uses; whatever else appears there fails
//! the tests instead of passing unseen.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::knowledge::RAW_FIELDS;
use support::conf::{read, table};
use support::search_time::{Found, SearchTime, extract};
use support::spl::{Row, parse_eval};

/// A data model: its tags, the fields it requires, and the values that it allows.
struct Model {
    name: &'static str,
    tags: &'static [&'static str],
    required: &'static [&'static str],
    allowed: &'static [(&'static str, &'static [&'static str])],
}

const CHANGE_FIELDS: &[&str] = &[
    "action",
    "change_type",
    "command",
    "dest",
    "dvc",
    "object",
    "object_attrs",
    "object_category",
    "object_id",
    "src",
    "status",
    "user",
    "vendor_product",
];
const CHANGE_ACTIONS: &[&str] = &[
    "acl_modified",
    "cleared",
    "created",
    "deleted",
    "modified",
    "read",
    "stopped",
    "updated",
];
const SUCCESS_OR_FAILURE: &[&str] = &["success", "failure"];

/// CIM's tables. An event belongs to a model when it has all its tags.
const MODELS: &[Model] = &[
    Model {
        name: "Authentication",
        tags: &["authentication"],
        required: &["action", "app", "dest", "src", "user"],
        allowed: &[("action", &["success", "failure", "pending", "error"])],
    },
    Model {
        name: "Change",
        tags: &["change"],
        required: CHANGE_FIELDS,
        allowed: &[("action", CHANGE_ACTIONS), ("status", SUCCESS_OR_FAILURE)],
    },
    Model {
        name: "Account Management",
        tags: &["change", "account"],
        required: CHANGE_FIELDS,
        allowed: &[
            ("action", &["created", "deleted", "modified"]),
            ("object_category", &["user"]),
            ("change_type", &["AAA"]),
        ],
    },
    Model {
        name: "Auditing",
        tags: &["change", "audit"],
        required: CHANGE_FIELDS,
        allowed: &[],
    },
    Model {
        name: "Alerts",
        tags: &["alert"],
        required: &[
            "app",
            "description",
            "dest",
            "id",
            "signature",
            "signature_id",
            "severity",
            "src",
            "type",
            "user",
        ],
        allowed: &[
            (
                "severity",
                &["critical", "high", "medium", "low", "informational"],
            ),
            ("type", &["alarm", "alert", "event", "task", "warning"]),
        ],
    },
    Model {
        name: "Data Access",
        tags: &["data", "access"],
        required: &[
            "action",
            "app",
            "dest",
            "object",
            "object_attrs",
            "object_category",
            "object_id",
            "object_size",
            "src",
            "user",
            "user_name",
            "vendor_account",
            "vendor_product",
        ],
        allowed: &[("action", &["read", "downloaded"])],
    },
];

/// Required fields that may be absent when none of these raw fields has a value; the data models then say
/// `unknown`. Docusign never sends a size, and a user's name and address are known only to the
/// lookup.
const ABSENT_WITHOUT: &[(&str, &[&str])] = &[
    ("src", &["ipAddress", "data.SignerIp"]),
    ("user", &[]),
    ("user_name", &[]),
    ("object_size", &[]),
];

fn models(found: &Found) -> impl Iterator<Item = &'static Model> {
    let tags = &found.tags;
    MODELS
        .iter()
        .filter(|model| model.tags.iter().all(|&tag| tags.contains(tag)))
}

/// What CIM would object to.
fn objections(record: &Value, found: &Found) -> Vec<String> {
    let mut raw = Row::new();
    extract(&mut raw, "", record);
    let is_filled = |field: &&str| {
        raw.get(*field)
            .is_some_and(|values| values.iter().any(|value| !value.is_empty()))
    };
    let mut objections = vec![];
    for model in models(found) {
        for field in model.required {
            let excused = ABSENT_WITHOUT.iter().find(|(absent, _)| absent == field);
            let excused = excused.is_some_and(|(_, without)| !without.iter().any(&is_filled));
            if found.get(field).is_empty() && !excused {
                objections.push(format!("{} requires {field}", model.name));
            }
        }
        for (field, values) in model.allowed {
            if !values.contains(&found.get(field)) {
                objections.push(format!(
                    "{} does not allow {field}={:?}",
                    model.name,
                    found.get(field)
                ));
            }
        }
    }
    if found.tags.contains("change") {
        // CIM: this category if and only if the event is account management.
        if (found.get("object_category") == "user") != found.tags.contains("account") {
            objections
                .push("object_category=user and the tag account do not go together".to_owned());
        }
        if found.get("status") == "failure" && found.get("result").is_empty() {
            objections.push("a failed change has no result".to_owned());
        }
    }
    // What is not known stays absent; the data models themselves put a word there.
    for field in models(found).flat_map(|model| model.required) {
        if ["N/A", "null", "-", "unknown"].contains(&found.get(field)) {
            objections.push(format!("{field} is no value"));
        }
    }
    objections
}

fn samples() -> Vec<Value> {
    let samples: Value = serde_json::from_str(&read("tests/fixtures/sample_events.json")).unwrap();
    samples.as_array().unwrap().clone()
}

#[test]
fn sample_events_come_out_with_the_right_model_and_fields() {
    let search_time = SearchTime::read();
    for sample in samples() {
        let why = sample["why"].as_str().unwrap();
        let found = search_time.find(&sample["event"]);
        let tags: BTreeSet<String> = serde_json::from_value(sample["tags"].clone()).unwrap();
        assert_eq!(found.tags, tags, "{why}");
        for (field, expected) in sample["fields"].as_object().unwrap() {
            assert_eq!(
                found.get(field),
                expected.as_str().unwrap(),
                "{why}: {field}"
            );
        }
        assert_eq!(objections(&sample["event"], &found), [""; 0], "{why}");
        for (raw, kept) in [
            ("action", "ds_action"),
            ("object", "ds_object"),
            ("source", "ds_origin"),
            ("result", "ds_result"),
        ] {
            let raw = sample["event"][raw].as_str().unwrap_or_default();
            assert_eq!(found.get(kept), raw, "{why}: {kept}");
        }
    }
    let every_model = |model: &Model| {
        let mut found = samples()
            .into_iter()
            .map(|sample| search_time.find(&sample["event"]));
        assert!(
            found.any(|found| models(&found).any(|other| other.name == model.name)),
            "no sample of {}",
            model.name
        );
    };
    MODELS.iter().for_each(every_model);
}

/// Everything that the table says, on the most ordinary record: no row may lead to something that CIM forbids.
#[test]
fn every_row_of_the_table_is_what_cim_allows() {
    let search_time = SearchTime::read();
    let mut seen = BTreeSet::new();
    for row in table("ds_actions").1 {
        // What follows depends on what the row says, and of its keys on these two alone.
        let mut said = row.clone();
        said.retain(|column, _| !["object", "action", "property"].contains(&column.as_str()));
        let object = row["object"].to_lowercase();
        if !seen.insert((said, ["user", "alert"].contains(&object.as_str()))) {
            continue;
        }
        let text = |column: &str| row[column].replace('*', "x");
        for result in ["", "Success", "Failed", "Pending"] {
            let record = serde_json::json!({
                "timestamp": "2026-01-05T08:00:00.1234567Z",
                "eventId": "6b1f0a52-0f4e-4c43-9a39-0d1c8e5f7a11",
                "accountId": "a4d80c6e-71f2-4b39-8e5d-0c9b2a1f6378", "organizationId": "",
                "userId": "3f9d1c52-8b47-4e0a-a6c3-90d2e4f7b815", "ipAddress": "203.0.113.7",
                "object": text("object"), "action": text("action"), "property": text("property"), "field": "",
                "result": result, "source": "Web", "data": {},
            });
            let found = search_time.find(&record);
            assert_eq!(objections(&record, &found), [""; 0], "{record}");
            assert!(!found.get("signature").is_empty(), "{record}");
            assert!(models(&found).count() <= 2, "{record}");
            let modelled = row["data_model"] != "none";
            // A pattern's row may be taken by another one for this text; the last row takes only what is unknown.
            assert!(
                !modelled || models(&found).count() > 0 || row["object"].contains('*'),
                "{record}"
            );
        }
    }
}

#[test]
fn a_calculated_field_reads_what_a_record_can_hold() {
    for (field, eval) in SearchTime::read().evals {
        let mut names = BTreeSet::new();
        eval.reads(&mut names);
        for name in names {
            assert!(
                name == "_raw" || RAW_FIELDS.contains(&name.as_str()),
                "EVAL-{field} reads {name}"
            );
        }
    }
}

#[test]
fn names_come_from_the_lookup_and_guids_stay_without_it() {
    let target = "5f0e2c1a-8d34-4b7f-9a60-2c4d6e8f0b13";
    let actor = "3f9d1c52-8b47-4e0a-a6c3-90d2e4f7b815";
    let record = serde_json::json!({
        "userId": actor, "object": "Account", "action": "UserAdded", "accountId": "A1",
        "data": {"AffectedUserId": target.to_uppercase()},
    });
    let found = SearchTime::read().find(&record);
    for (field, guid) in [
        ("user_id", target.to_uppercase()),
        ("src_user_id", actor.to_owned()),
        ("actor_id", actor.to_owned()),
    ] {
        assert_eq!(found.get(field), guid, "{field}");
    }
    for field in ["user", "src_user", "actor", "user_name", "actor_status"] {
        assert!(!found.fields.contains_key(field), "{field}");
    }

    let search_time = SearchTime::read()
        .with_row(
            "ds_users",
            &[
                ("userId", target),
                ("user_email", "new@example.com"),
                ("user_name", "New One"),
            ],
        )
        .with_row(
            "ds_users",
            &[
                ("userId", actor),
                ("user_email", "admin@example.com"),
                ("user_name", "Admin"),
                ("user_status", "Closed"),
            ],
        );
    let found = search_time.find(&record);
    assert_eq!(found.get("user"), "new@example.com");
    assert_eq!(found.get("user_name"), "New One");
    assert_eq!(found.get("user_id"), target.to_uppercase());
    assert_eq!(found.get("src_user"), "admin@example.com");
    assert_eq!(found.get("src_user_id"), actor);
    assert_eq!(found.get("actor"), "admin@example.com");
    assert_eq!(found.get("actor_name"), "Admin");
    assert_eq!(found.get("actor_status"), "Closed");
}

#[test]
fn permission_profiles_and_groups_are_named_by_kind_number_and_account() {
    let profile = |search_time: SearchTime, cells: [&str; 4]| {
        let columns = ["kind", "id", "accountId", "name"];
        let row: Vec<_> = columns.into_iter().zip(cells).collect();
        search_time.with_row("ds_profiles", &row)
    };
    let rows = [
        ["permission_profile", "7", "A1", "Sender"],
        ["permission_profile", "7", "A2", "Administrator"],
        ["group", "7", "A1", "Everyone"],
    ];
    let search_time = rows.into_iter().fold(SearchTime::read(), profile);
    let names = |account: &str, data: serde_json::Value| {
        let record = serde_json::json!({
            "userId": "U1", "object": "Account", "action": "UserAdded", "accountId": account, "data": data,
        });
        let found = search_time.find(&record);
        ["permission_profile_name", "group_name"].map(|field| found.get(field).to_owned())
    };
    // Docusign writes such numbers as numbers and as texts.
    let data = || serde_json::json!({"PermissionProfileId": 7, "GroupId": "7"});
    assert_eq!(names("a1", data()), ["Sender", "Everyone"]);
    assert_eq!(names("A2", data()), ["Administrator", ""]);
    assert_eq!(names("A3", data()), ["", ""]);
    assert_eq!(
        names("A1", serde_json::json!({"GroupId": "7"})),
        ["", "Everyone"]
    );
    assert_eq!(names("A1", serde_json::json!({"GroupId": null})), ["", ""]);
}

#[test]
fn what_the_actor_may_do_is_that_of_the_event_s_account_or_else_of_another() {
    let member = |search_time: SearchTime, cells: [&str; 4]| {
        let columns = ["userId", "accountId", "is_admin", "permission_profile"];
        let row: Vec<_> = columns.into_iter().zip(cells).collect();
        search_time.with_row("ds_users", &row)
    };
    let rows = [
        ["U1", "A1", "false", "Sender"],
        ["U1", "A2", "true", "Administrator"],
    ];
    let search_time = rows.into_iter().fold(SearchTime::read(), member);
    for (user, account, is_admin, profile) in [
        ("u1", "A1", "false", "Sender"),
        ("U1", "a2", "true", "Administrator"),
        ("U1", "A3", "false", "Sender"),
        ("U1", "", "false", "Sender"),
        ("U2", "A1", "", ""),
    ] {
        let record = serde_json::json!({
            "userId": user, "object": "Envelope", "action": "Sent", "accountId": account,
        });
        let found = search_time.find(&record);
        assert_eq!(
            [
                found.get("actor_is_admin"),
                found.get("actor_permission_profile")
            ],
            [is_admin, profile],
            "{user} in {account}"
        );
    }
}

#[test]
fn fields_that_decide_are_there_behind_a_long_data() {
    let record = serde_json::json!({
        "data": {"EventIds": vec!["6b1f0a52-0f4e-4c43-9a39-0d1c8e5f7a11"; 2600], "Severity": "High"},
        "eventId": "E1", "object": "Alert", "action": "ImpossibleTravel", "property": null,
        "result": null, "source": "API", "timestamp": "2026-01-05T08:00:00Z", "userId": "U1",
        "accountId": "A1", "integratorKey": "K1", "ipAddress": "203.0.113.7", "country": "Germany",
        "userAgent": "curl",
    });
    assert!(record.to_string().len() > 100_000);
    let found = SearchTime::read().find(&record);
    for (field, value) in [
        ("eventId", "E1"),
        ("id", "E1"),
        ("ds_object", "Alert"),
        ("ds_action", "ImpossibleTravel"),
        ("ds_property", "none"),
        ("ds_origin", "API"),
        ("userId", "U1"),
        ("user_id", "U1"),
        ("actor_id", "U1"),
        ("severity", "high"),
        ("data_model", "Alerts"),
        ("timestamp", "2026-01-05T08:00:00Z"),
        ("accountId", "A1"),
        ("vendor_account", "A1"),
        ("integratorKey", "K1"),
        ("src", "203.0.113.7"),
        ("src_country", "germany"),
        ("user_agent", "curl"),
    ] {
        assert_eq!(found.get(field), value, "{field}");
    }
}

#[test]
fn null_is_no_value() {
    let record = serde_json::json!({
        "object": "User", "action": "Updated", "userId": "null", "affectedUserId": null, "source": null,
        "property": "null", "ipAddress": "null", "country": "null", "accountId": "null", "result": "null",
    });
    let found = SearchTime::read().find(&record);
    for (field, _) in SearchTime::read().evals {
        // Those three are the record's own words.
        if !["userId", "eventId", "timestamp"].contains(&field.as_str()) {
            assert_ne!(found.get(&field), "null", "{field}");
        }
    }
}

#[test]
fn a_function_that_the_tests_do_not_know_is_refused() {
    let refusal = parse_eval(r#"if(lower(object)="x", md5(object), "")"#).unwrap_err();
    assert_eq!(refusal, "the function md5 is not known");
}
