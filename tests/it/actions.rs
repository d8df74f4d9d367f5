//! The table `lookups/ds_actions.csv`, which decides what an event means: what its rows rest on, and which row each
//! spelling reaches.
//!
//! Docusign publishes the names of its events but few of their tokens, and the known ones have two orders: `UserAdded`,
//! `AddAdministrator`. So every meaning must be found in both, in the singular and the plural, with and without the
//! object's name. tests/fixtures has three files of public material: `evidence.csv` (what records and vendors' queries
//! show), `catalogue_names.csv` (names from Docusign's support pages as tokens) and `spellings.csv` (the noun and the
//! verb of every meaning, from which the spellings are made here).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::{Value, json};

use support::conf::{conf, macros, read, setting, stanza, table};
use support::search_time::SearchTime;
use support::spl::{Search, World, matches};

type Cells = BTreeMap<String, String>;

fn fixture(name: &str) -> Vec<Cells> {
    let text = read(&format!("tests/fixtures/{name}.csv"));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

const KEYS: [&str; 4] = ["action", "object", "property", "outcome"];

fn rows() -> &'static [([String; 4], Cells)] {
    static ROWS: OnceLock<Vec<([String; 4], Cells)>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let with_key = |row: Cells| (KEYS.map(|column| row[column].to_lowercase()), row);
        table("ds_actions").1.into_iter().map(with_key).collect()
    })
}

/// The first row that fits, as Splunk takes it.
fn row_of(object: &str, action: &str, property: &str) -> &'static Cells {
    let wanted = [action, object, property, "unknown"].map(str::to_lowercase);
    let fits = |key: &[String; 4]| {
        let mut pairs = key.iter().zip(&wanted);
        pairs.all(|(cell, value)| matches(cell, value))
    };
    // The last row takes everything.
    &rows().iter().find(|(key, _)| fits(key)).unwrap().1
}

/// The name of what a pair means; nothing where only a verb or the last row fits.
fn meaning_of(object: &str, action: &str, property: &str) -> Option<&'static str> {
    let row = row_of(object, action, property);
    (row["known"] == "yes").then(|| row["event_name"].as_str())
}

#[test]
fn a_row_is_verified_if_and_only_if_its_very_pair_is_in_the_evidence() {
    let mut shown: BTreeSet<[String; 3]> = BTreeSet::new();
    for row in fixture("evidence") {
        assert!(["pair", "half"].contains(&row["shows"].as_str()), "{row:?}");
        if row["shows"] == "pair" {
            shown.insert(["object", "action", "evidence"].map(|column| row[column].clone()));
        } else {
            // Half a pair makes no row verified, but what it stands for must be known.
            let sample = |column: &str, word: &str| row[column].replace('*', word);
            if row["object"] != "*" {
                let (object, action) = (sample("object", ""), sample("action", ""));
                assert!(meaning_of(&object, &action, "none").is_some(), "{row:?}");
            }
        }
    }
    let mut verified = BTreeSet::new();
    for (_, row) in rows() {
        if row["basis"] == "verified" {
            assert_eq!(row["property"], "*", "{row:?}");
            verified.insert(["object", "action", "evidence"].map(|column| row[column].clone()));
        } else {
            assert_eq!(row["evidence"], "", "{row:?}");
        }
    }
    assert_eq!(verified, shown);
}

#[test]
fn every_name_of_docusigns_catalogues_has_a_row_of_its_own_in_both_orders() {
    let mut wrong = vec![];
    for row in fixture("catalogue_names") {
        let found = meaning_of(&row["object"], &row["action"], "none");
        if found != Some(&row["event_name"]) {
            wrong.push(format!("{}/{}: {found:?}", row["object"], row["action"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every way to write that `verb` was done to `noun`: object and action.
fn spellings(row: &Cells) -> Vec<(String, String)> {
    let (object, verb, past) = (&row["object"], &row["verb"], &row["past"]);
    let nouns = [&row["noun"], &row["plural"]].into_iter();
    let mut found = vec![];
    for noun in nouns.filter(|noun| !noun.is_empty()) {
        for action in [format!("{verb}{noun}"), format!("{noun}{past}")] {
            found.push((object.clone(), action.clone()));
            found.push((object.to_uppercase(), action.to_lowercase()));
        }
    }
    let own = &row["own_object"];
    if !own.is_empty() {
        found.push((own.clone(), verb.clone()));
        found.push((own.clone(), past.clone()));
    }
    found
}

#[test]
fn every_meaning_is_found_in_both_orders_in_singular_and_plural_and_without_the_objects_name() {
    let mut wrong = vec![];
    let mut tried = 0;
    for row in fixture("spellings") {
        for (object, action) in spellings(&row) {
            tried += 1;
            let found = meaning_of(&object, &action, "none");
            if found != Some(&row["event_name"]) {
                wrong.push(format!(
                    "{object}/{action}: {found:?}, not {}",
                    row["event_name"]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 3000, "{tried}");
}

/// Names whose tokens are more than one noun and one verb: the test below has them.
const WITHOUT_ORDER: [&str; 3] = [
    "User security key login updated",
    "User two-factor authentication changed",
    "New proxy usage",
];

#[test]
fn every_meaning_that_a_detection_names_is_reached_by_both_spellings() {
    let spelled: BTreeSet<String> = fixture("spellings")
        .into_iter()
        .map(|row| row["event_name"].clone())
        .collect();
    let names: BTreeSet<&str> = rows()
        .iter()
        .filter(|(_, row)| row["data_model"] != "Alerts")
        .map(|(_, row)| row["event_name"].as_str())
        .collect();
    let mut asked = BTreeSet::new();
    for (detection, settings) in conf("savedsearches") {
        let search = setting(&settings, "search").unwrap();
        if detection.starts_with("Docusign Detection - ") {
            let quoted = search.split('"').skip(1).step_by(2);
            asked.extend(
                quoted
                    .filter(|text| names.contains(text))
                    .map(str::to_owned),
            );
        }
    }
    assert!(asked.len() > 30, "{asked:?}");
    asked.retain(|name| !spelled.contains(name) && !WITHOUT_ORDER.contains(&name.as_str()));
    assert_eq!(asked, BTreeSet::new());
}

#[test]
fn what_has_no_noun_and_verb_of_its_own_is_found_however_it_is_written() {
    let spelled: [(&str, &str, &[&str]); 14] = [
        (
            "User login",
            "User",
            &["Login", "UserLogin", "LoginUser", "LoggedIn", "SsoLogin"],
        ),
        (
            "User locked out",
            "User",
            &["LockedOut", "UserLockedOut", "LockOutUser", "Lockout"],
        ),
        (
            "User security key login updated",
            "User",
            &[
                "UpdateSecurityKeyLogin",
                "SecurityKeyLoginUpdated",
                "UpdatedSecurityKeyLogin",
            ],
        ),
        (
            "User two-factor authentication changed",
            "User",
            &[
                "TwoFactorAuthenticationTurnedOff",
                "TurnOffTwoFactorAuthentication",
                "2FATurnedOn",
                "TurnedOn2FA",
                "DisableUserTwoStepVerification",
                "MfaDisabled",
            ],
        ),
        (
            "Monitor settings updated",
            "Organization",
            &[
                "UpdateMonitorConfig",
                "MonitorConfigUpdated",
                "MonitorSettingsUpdated",
                "DisableMonitorConfig",
            ],
        ),
        (
            "Data feed updated",
            "Organization",
            &["UpdateDataFeed", "DataFeedDeleted", "AddDataFeeds"],
        ),
        (
            "SSO login policy updated",
            "Organization",
            &[
                "UpdateSSOLoginPolicy",
                "SsoLoginPolicyUpdated",
                "LoginPoliciesUpdated",
            ],
        ),
        (
            "Password rules updated",
            "Account",
            &["UpdatePasswordRules", "PasswordRuleUpdated"],
        ),
        (
            "Document retention policy updated",
            "Account",
            &["UpdateDocumentRetentionPolicy", "RetentionPoliciesUpdated"],
        ),
        (
            "Security policy updated",
            "Account",
            &["UpdateSecurityPolicy", "SecurityPolicyUpdated"],
        ),
        (
            "Workflow deleted",
            "Maestro",
            &["Deleted", "DeleteWorkflow", "WorkflowsDeleted"],
        ),
        (
            "Agreement downloaded",
            "Navigator",
            &["Downloaded", "DownloadAgreement", "AgreementsDownloaded"],
        ),
        (
            "New proxy usage",
            "Account",
            &["NewProxyUpdated", "UpdateNewProxy", "NewProxyUsage"],
        ),
        (
            "Bulk accounts export",
            "Alert",
            &[
                "BulkAccountsExport",
                "ExportBulkAccounts",
                "BulkAccountExport",
            ],
        ),
    ];
    for (name, object, actions) in spelled {
        for action in actions {
            assert_eq!(
                meaning_of(object, action, "none"),
                Some(name),
                "{object}/{action}"
            );
        }
    }
}

/// What comes close to a meaning is not that meaning: it is unknown, or something else.
#[test]
fn a_near_miss_is_not_taken_for_the_meaning_that_it_resembles() {
    for (object, action, other) in [
        ("Organization", "AddAdministratorNote", None),
        ("Organization", "PendingAdministratorAdded", None),
        ("Organization", "IdentityProviderLogoUpdated", None),
        ("Organization", "ViewIdentityProvider", None),
        ("Organization", "ViewMonitorConfig", None),
        ("Organization", "ExportDataFeed", None),
        ("Organization", "AddressUpdated", None),
        ("Organization", "DomainNameServerUpdated", None),
        ("Account", "UserAgentUpdated", None),
        ("Account", "DeleteUserNote", None),
        ("Account", "AccountOwnerAdded", None),
        ("Account", "AccountViewed", None),
        ("User", "EmailNotificationUpdated", None),
        ("User", "LoginHintUpdated", None),
        ("User", "UpdateLogin", None),
        ("User", "TwoFactorCodeSent", None),
        ("Envelope", "Resent", None),
        ("Envelope", "EnvelopeViewed", None),
        ("Envelope", "CommentAdded", None),
        ("Template", "TemplateFolderDeleted", None),
        ("Template", "UndeleteTemplate", None),
        ("Connect", "ConnectLogDeleted", None),
        ("Brand", "BrandLogoUpdated", None),
        (
            "Organization",
            "CloseAdministratorInvitation",
            Some("Administrator invitation closed"),
        ),
        (
            "Organization",
            "AddAdministratorPermission",
            Some("Administrator changed"),
        ),
        (
            "Organization",
            "RemoveDelegatedAdministratorPermission",
            Some("Administrator changed"),
        ),
        (
            "Organization",
            "AddScimAccount",
            Some("SCIM account created"),
        ),
        (
            "Organization",
            "RemoveAccountFromAppliancePool",
            Some("Account unlinked from appliance pool"),
        ),
        (
            "Organization",
            "DeleteBulkUserImport",
            Some("Bulk user import deleted"),
        ),
        ("Organization", "UserExportDeleted", Some("Export deleted")),
        ("Group", "UserAdded", Some("User added to group")),
        (
            "AppliancePool",
            "AccountAdded",
            Some("Account linked to appliance pool"),
        ),
    ] {
        assert_eq!(
            meaning_of(object, action, "none"),
            other,
            "{object}/{action}"
        );
    }
}

fn record(object: &str, action: &str, property: Value, data: Value) -> Value {
    json!({
        "timestamp": "2026-01-05T08:00:00.1234567Z",
        "eventId": "6b1f0a52-0f4e-4c43-9a39-0d1c8e5f7a11",
        "accountId": "a4d80c6e-71f2-4b39-8e5d-0c9b2a1f6378",
        "userId": "3f9d1c52-8b47-4e0a-a6c3-90d2e4f7b815",
        "object": object, "action": action, "property": property, "data": data,
    })
}

#[test]
fn what_was_changed_decides_what_a_bare_update_means() {
    let search_time = SearchTime::read();
    for (object, what, name) in [
        (
            "User",
            "TwoFactor",
            "User two-factor authentication changed",
        ),
        (
            "User",
            "Two-Factor Authentication",
            "User two-factor authentication changed",
        ),
        ("User", "Password", "User password updated"),
        ("User", "Email", "User e-mail updated"),
        ("User", "EmailNotification", "User updated"),
        ("User", "Profile", "User profile updated"),
        ("User", "Recovery", "User recovery information updated"),
        ("User", "SecurityKey", "User security key login updated"),
        ("User", "FederatedStatus", "User federated status updated"),
        ("Account", "PasswordRules", "Password rules updated"),
        (
            "Account",
            "passwordExpirationDays",
            "Password rules updated",
        ),
        ("Account", "SecurityPolicy", "Security policy updated"),
        (
            "Account",
            "ElectronicDisclosure",
            "Electronic disclosure settings updated",
        ),
        (
            "Account",
            "DocumentRetention",
            "Document retention policy updated",
        ),
        (
            "Account",
            "WatermarkText",
            "Watermark configuration updated",
        ),
        ("Account", "AutoPlaceScope", "Autoplace scope updated"),
        ("Account", "EnableSigning", "Account updated"),
    ] {
        let key = json!({"SettingsKey": what});
        let ways = [
            record(object, "Updated", json!(what), json!({})),
            record(object, "Update", json!(what), json!({})),
            record(object, "Updated", json!(""), key.clone()),
            record(object, "Updated", Value::Null, key),
        ];
        for record in ways {
            let found = search_time.find(&record);
            assert_eq!(found.get("event_name"), name, "{record}");
            assert_eq!(found.get("ds_known"), "yes", "{record}");
        }
    }
    let bare = record("Account", "Updated", json!(""), json!({}));
    assert_eq!(search_time.find(&bare).get("event_name"), "Account updated");
}

#[test]
fn severity_is_read_in_docusigns_words_and_in_the_feeds_in_any_case() {
    let search_time = SearchTime::read();
    for (word, severity) in [
        ("Low", "low"),
        ("Moderate", "medium"),
        ("MODERATE", "medium"),
        ("Medium", "medium"),
        ("medium", "medium"),
        ("High", "high"),
        ("HIGH", "high"),
        ("Critical", "critical"),
        ("", "medium"),
    ] {
        let data = json!({"Severity": word});
        let found = search_time.find(&record("Alert", "TooManyLoginFailures", json!(""), data));
        assert_eq!(found.get("severity"), severity, "{word}");
    }
}

/// The saved search that proposes rows: each fits the table as it is, and makes its pair known.
#[test]
fn a_pair_that_the_table_does_not_know_comes_out_as_a_row_that_it_then_knows() {
    let unknown = [
        record("Gadget", "Frobnicated", json!(""), json!({})),
        record("Gadget", "Created", json!("Colour"), json!({})),
        record("Envelope", "Sent", json!(""), json!({})),
    ];
    let search_time = SearchTime::read();
    let world = World {
        now: 1_767_607_200,
        events: unknown
            .iter()
            .map(|record| search_time.event(record))
            .collect(),
        lookups: search_time.lookups(),
        earliest: "-30d@d".to_owned(),
        latest: "now".to_owned(),
        ..World::default()
    };
    let settings = stanza(
        &conf("savedsearches"),
        "Docusign Monitor - Rows for the table",
    );
    let search = Search::parse(setting(&settings, "search").unwrap(), &macros()).unwrap();
    let columns = table("ds_actions").0;
    assert_eq!(search.flow(None).unwrap().output(), Some(columns.clone()));
    let proposed = search.run(&world).unwrap();
    let mut pairs = vec![];
    for row in &proposed {
        let cell = |column: &str| row.get(column).map_or("", |values| values[0].as_str());
        assert!(
            columns.iter().all(|column| row.contains_key(column)),
            "{row:?}"
        );
        assert!(cell("evidence").contains("6b1f0a52-0f4e-4c43-9a39-0d1c8e5f7a11"));
        let taken_for = row_of(cell("object"), cell("action"), "none");
        for column in [
            "data_model",
            "cim_action",
            "status",
            "change_type",
            "object_category",
        ] {
            assert_eq!(cell(column), taken_for[column], "{column}");
        }
        assert_eq!([cell("known"), cell("basis")], ["yes", "verified"]);
        assert_eq!([cell("outcome"), cell("property")], ["*", "*"]);
        pairs.push([
            cell("object"),
            cell("action"),
            cell("event_name"),
            cell("meaning"),
        ]);
    }
    pairs.sort_unstable();
    assert_eq!(
        pairs,
        [
            [
                "Gadget",
                "Created",
                "Gadget Created",
                "Docusign says Created of Gadget."
            ],
            [
                "Gadget",
                "Frobnicated",
                "Gadget Frobnicated",
                "Docusign says Frobnicated of Gadget."
            ],
        ]
    );
}

#[test]
fn the_documentation_says_how_many_meanings_are_verified_and_how_many_inferred() {
    let known = || {
        rows()
            .iter()
            .map(|(_, row)| row)
            .filter(|row| row["known"] == "yes")
    };
    let names = |rows: &mut dyn Iterator<Item = &'static Cells>| {
        rows.map(|row| row["event_name"].as_str())
            .collect::<BTreeSet<&str>>()
    };
    let verified = names(&mut known().filter(|row| row["basis"] == "verified"));
    let all = names(&mut known());
    let said = format!(
        "Of {} meanings, {} are verified and {} inferred",
        all.len(),
        verified.len(),
        all.len() - verified.len()
    );
    let page = read("docs/data.md").replace('\n', " ");
    assert!(page.contains(&said), "{said}");
}
