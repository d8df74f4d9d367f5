use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use chrono::DateTime;
use csv::ReaderBuilder;
use serde_json::{Map, Value, json};
use tempfile::{TempDir, tempdir};

use crate::{ds_lookups, ds_monitor};
use support::docusign::{
    ACCESS_TOKEN_MARK, ACCOUNT_ID, Account, Directory, Docusign, Door, INTEGRATION_KEY,
    ORGANIZATION_ID, OTHER_ACCOUNT_ID, Organization, PRIVATE_KEY, USER_ID, sample_groups,
    sample_permission_profiles, sample_user, sample_user_id,
};
use support::http::{Reply, Server};
use support::input::{DEADLINE, Input, LogLine, Outcome};
use support::splunkd::{SESSION_KEY, Splunkd};

const ACCOUNT: &str = ACCOUNT_ID;
const SECOND_ACCOUNT: &str = "b1d3a5c7-0000-4000-8000-00000000000b";
const ORGANIZATIONS_ACCOUNT: &str = OTHER_ACCOUNT_ID;
const OTHER_USER_ID: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

/// The lookups that a refresh fills.
const TABLES: [&str; 3] = ["ds_users", "ds_accounts", "ds_profiles"];

/// The time of refreshes that lie back, see [`Splunk::backdate`].
const OLD: &str = "2026-01-01T00:00:00Z";

/// How many users an account has at least whose fourth page of eSignature's users exists.
const FOUR_PAGES: usize = 301;

/// A row by the names of its columns.
type Row = BTreeMap<String, String>;

/// A Splunk instance: splunkd, the app as it is shipped, and the checkpoint directory of its lookups inputs.
struct Splunk {
    splunkd: Splunkd,
    home: TempDir,
    checkpoints: TempDir,
}

impl Splunk {
    /// With the input `prod`, which collects from that Docusign and has its key in a file.
    fn with_prod(docusign: &Docusign) -> Self {
        let splunk = Self {
            splunkd: Splunkd::start(),
            home: tempdir().unwrap(),
            checkpoints: tempdir().unwrap(),
        };
        splunk.unpack_app();
        splunk.monitor("prod", docusign).saved_in(&splunk.splunkd);
        splunk
    }

    /// What installing and upgrading the app do to its lookups.
    fn unpack_app(&self) {
        fs::create_dir_all(self.app_folder()).unwrap();
        for table in TABLES {
            fs::write(self.app_file(table), shipped(table)).unwrap();
        }
    }

    /// `[ds_monitor://name]`, which splunkd does not know before it is saved.
    fn monitor(&self, name: &str, docusign: &Docusign) -> Input {
        Input::for_docusign(name, docusign, Path::new("/no/checkpoint"))
    }

    /// `[ds_lookups://name]`.
    fn lookups(&self, name: &str, monitor_input: &str) -> Input {
        Input::ds_lookups(name)
            .param("monitor_input", monitor_input)
            .checkpoint_dir(self.checkpoints.path())
            .env("SPLUNK_HOME", self.home.path().to_str().unwrap())
            .splunkd(&self.splunkd)
    }

    /// A refresh by `[ds_lookups://daily]` from the input `prod`.
    fn refresh(&self) -> Outcome {
        self.lookups("daily", "prod").run(ds_lookups())
    }

    fn app_folder(&self) -> PathBuf {
        self.home.path().join("etc/apps/ds_monitor/lookups")
    }

    fn app_file(&self, table: &str) -> PathBuf {
        self.app_folder().join(format!("{table}.csv"))
    }

    fn master(&self, table: &str) -> PathBuf {
        self.checkpoints.path().join(format!("{table}.csv"))
    }

    /// Every file of the two folders, by its path.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let folders = [self.app_folder(), self.checkpoints.path().to_owned()];
        let entries = folders.iter().flat_map(|dir| fs::read_dir(dir).unwrap());
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    /// The rows of a table in their order, read as RFC 4180 wants it, from a file that is the master's copy.
    #[track_caller]
    fn table(&self, table: &str) -> Vec<Row> {
        let bytes = fs::read(self.app_file(table)).unwrap();
        assert!(
            bytes == fs::read(self.master(table)).unwrap(),
            "the app's {table} is no copy of the master"
        );
        let mut reader = ReaderBuilder::new().from_reader(bytes.as_slice());
        let header: Vec<String> = reader
            .headers()
            .unwrap()
            .iter()
            .map(str::to_owned)
            .collect();
        assert_eq!(header.join(","), shipped(table).trim_end());
        assert!(bytes.starts_with((header.join(",") + "\r\n").as_bytes()));
        assert!(bytes.ends_with(b"\r\n"));
        let row = |record: csv::StringRecord| {
            let values = record.iter().map(str::to_owned);
            header.iter().cloned().zip(values).collect()
        };
        reader
            .into_records()
            .map(|record| row(record.unwrap()))
            .collect()
    }

    /// The row of a user, who is one of [`sample_user`]'s.
    #[track_caller]
    fn user(&self, n: usize, account: &str) -> Row {
        let rows = self.table("ds_users").into_iter();
        let mut rows =
            rows.filter(|row| row["userId"] == sample_user_id(n) && row["accountId"] == account);
        let row = rows
            .next()
            .unwrap_or_else(|| panic!("user {n} is not in {account}"));
        assert_eq!(rows.next(), None);
        row
    }

    /// Moves every time in the masters to [`OLD`], so that the next refresh is seen to be a later one.
    fn backdate(&self) {
        for table in TABLES {
            let Ok(mut text) = fs::read_to_string(self.master(table)) else {
                continue;
            };
            for row in self.table(table) {
                for column in ["first_seen", "last_seen"] {
                    text = text.replace(&format!(",{}", row[column]), &format!(",{OLD}"));
                }
            }
            fs::write(self.master(table), &text).unwrap();
            fs::write(self.app_file(table), &text).unwrap();
        }
    }
}

/// The header alone, as the app is shipped with it.
fn shipped(table: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("lookups");
    fs::read_to_string(folder.join(format!("{table}.csv"))).unwrap()
}

fn account(id: &str, member: bool, users: impl IntoIterator<Item = Map<String, Value>>) -> Account {
    Account {
        id: id.to_owned(),
        name: format!("Account {}", &id[..2]),
        organization_id: ORGANIZATION_ID.to_owned(),
        member,
        site: 1,
        external_id: 10_000,
        users: users.into_iter().collect(),
        permission_profiles: sample_permission_profiles(),
        groups: sample_groups(),
        ..Account::default()
    }
}

fn directory(accounts: impl IntoIterator<Item = Account>) -> Directory {
    Directory {
        organizations: vec![Organization {
            id: ORGANIZATION_ID.to_owned(),
            name: "Example, \"Group\"".to_owned(),
        }],
        accounts: accounts.into_iter().collect(),
    }
}

fn samples(users: Range<usize>) -> impl Iterator<Item = Map<String, Value>> {
    users.map(sample_user)
}

/// One account with so many users.
fn one_account(users: usize) -> Directory {
    directory([account(ACCOUNT, true, samples(0..users))])
}

/// Users of an account of each kind: 0 to 9, 10 to 19 and 20 to 29. Who ends in 4 or 9 is closed.
fn three_accounts() -> Directory {
    directory([
        account(ACCOUNT, true, samples(0..10)),
        account(SECOND_ACCOUNT, true, samples(10..20)),
        account(ORGANIZATIONS_ACCOUNT, false, samples(20..30)),
    ])
}

/// A user with something in it that a careless writer or reader of CSV, or of Docusign's JSON, stumbles over.
fn awkward_user(n: usize) -> Map<String, Value> {
    let mut user = sample_user(n);
    let mut set = |key: &str, value: Value| drop(user.insert(key.to_owned(), value));
    match n % 13 {
        0 => set("userName", "Müller, \"Jo\"".into()),
        1 => set("userName", "Erste Zeile\r\nzweite\n\tEnde\r".into()),
        2 => set("jobTitle", " spaces around ".into()),
        3 => {
            set("company", Value::Null);
            for absent in ["lastLogin", "permissionProfileName", "jobTitle"] {
                user.remove(absent);
            }
        }
        4 => set("userName", "\"".into()),
        5 => set("company", "=1+1,#;|'".into()),
        6 => set("userName", "契約 🖋️ ﷽ a\u{301}".into()),
        7 => set("userStatus", "ActivationSent".into()),
        8 => set("userStatus", "Disabled".into()),
        9 => set("email", "".into()),
        10 => set("isAdmin", true.into()),
        11 => {
            set("groupList", json!([{"groupId": "1", "userName": "x"}]));
            set("userSettings", json!({"isAdmin": "maybe"}));
        }
        _ => {}
    }
    user
}

/// What the row of a user must hold, but for the times.
fn expected_user(user: &Map<String, Value>, account: &Account) -> Row {
    let text = |key: &str| match user.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(truth)) => truth.to_string(),
        _ => String::new(),
    };
    // The Admin API knows less.
    let more = |key: &str| {
        if account.member {
            text(key)
        } else {
            String::new()
        }
    };
    let status = match (account.member, text("userStatus").as_str()) {
        (true, status) => status.to_owned(),
        (false, "Closed") => "Closed".to_owned(),
        (false, "ActivationRequired" | "ActivationSent") => "Created".to_owned(),
        (false, _) => "Active".to_owned(),
    };
    row([
        ("userId", &text("userId")),
        ("accountId", &account.id),
        ("user_name", &text("userName")),
        ("user_email", &text("email")),
        ("first_name", &text("firstName")),
        ("last_name", &text("lastName")),
        ("user_status", &status),
        ("user_type", &more("userType")),
        ("is_admin", &more("isAdmin").to_lowercase()),
        ("permission_profile", &more("permissionProfileName")),
        ("job_title", &more("jobTitle")),
        ("company", &more("company")),
        ("user_created", &text("createdDateTime")),
        ("last_login", &more("lastLogin")),
        ("monitor_input", "ds_monitor://prod"),
    ])
}

/// The rows of an account's permission profiles and groups.
fn expected_profiles(account: &Account) -> Vec<Row> {
    let profiles = account.permission_profiles.iter();
    let profiles = profiles.map(|profile| ("permission_profile", profile));
    let groups = account.groups.iter().map(|group| ("group", group));
    let rows = profiles.chain(groups).map(|(kind, (id, name))| {
        row([
            ("kind", kind),
            ("id", &id.to_string()),
            ("accountId", &account.id),
            ("name", name),
            ("monitor_input", "ds_monitor://prod"),
        ])
    });
    rows.collect()
}

fn row<const N: usize>(values: [(&str, &str); N]) -> Row {
    values
        .map(|(column, value)| (column.to_owned(), value.to_owned()))
        .into()
}

/// The same row without its times, and the times.
fn without_times(mut row: Row) -> (Row, [String; 2]) {
    let times = ["first_seen", "last_seen"].map(|column| row.remove(column).unwrap());
    (row, times)
}

/// Sorted as a set, because only what comes first is fixed.
fn sorted(rows: impl IntoIterator<Item = Row>) -> BTreeSet<Row> {
    rows.into_iter().collect()
}

fn at_level(outcome: &Outcome, level: &str) -> Vec<LogLine> {
    let lines = outcome.log_lines().into_iter();
    lines.filter(|line| line.level == level).collect()
}

/// The one line of that level.
#[track_caller]
fn only(outcome: &Outcome, level: &str) -> LogLine {
    let mut lines = at_level(outcome, level);
    assert_eq!(lines.len(), 1, "one {level} expected\n{}", outcome.report());
    lines.remove(0)
}

/// Asserts that all went well, and returns the line that says how much there was.
#[track_caller]
fn refreshed(outcome: &Outcome) -> LogLine {
    outcome.assert_exit(0);
    let lines = outcome.log_lines();
    let last = lines.last().unwrap();
    assert_eq!(
        (last.level.as_str(), last.field("action")),
        ("INFO", "lookups_refreshed"),
        "{}",
        outcome.report()
    );
    last.clone()
}

/// [`refreshed`], without a warning on the way.
#[track_caller]
fn well_refreshed(outcome: &Outcome) -> LogLine {
    let last = refreshed(outcome);
    assert!(at_level(outcome, "WARN").is_empty(), "{}", outcome.report());
    last
}

/// The sentence of the one ERROR of a run that failed.
#[track_caller]
fn failed(outcome: &Outcome) -> String {
    outcome.assert_exit(1);
    let error = only(outcome, "ERROR");
    assert_eq!(outcome.log_lines().last().unwrap().raw, error.raw);
    assert!(error.field("input").starts_with("ds_lookups://"));
    error.sentence
}

const SECRETS: [&str; 3] = [PRIVATE_KEY, SESSION_KEY, ACCESS_TOKEN_MARK];

/// The scopes of the assertions so far, each in alphabetical order.
fn scopes(docusign: &Docusign) -> Vec<String> {
    let scope = |claims: &Value| {
        let text = claims["scope"].as_str().unwrap();
        let scopes: BTreeSet<&str> = text.split(' ').collect();
        Vec::from_iter(scopes).join(" ")
    };
    docusign.assertions().iter().map(scope).collect()
}

#[test]
fn every_field_of_1234_users_in_three_accounts_comes_out_right() {
    // Some are members of two accounts; the second account is of no organization.
    let accounts = [
        account(ACCOUNT, true, (0..783).map(awkward_user)),
        Account {
            name: "Zweite \"GmbH\", Köln\nAbteilung 2".to_owned(),
            organization_id: String::new(),
            ..account(SECOND_ACCOUNT, true, (700..900).map(awkward_user))
        },
        Account {
            external_id: 9_007_199_254_740_993,
            ..account(ORGANIZATIONS_ACCOUNT, false, (900..1151).map(awkward_user))
        },
    ];
    let docusign = Docusign::new().directory(directory(accounts.clone()));
    let splunk = Splunk::with_prod(&docusign);
    let run = splunk.refresh();
    let last = well_refreshed(run.assert_no_secret(&SECRETS));
    assert_eq!(last.field("input"), "ds_lookups://daily");
    assert_eq!(
        (last.field("n_users"), last.field("n_accounts")),
        ("1234", "3")
    );
    assert!(run.stdout.is_empty());

    // 8 and 2 pages of 100, and 2 pages of 250; a last page that is full is followed by the question for more.
    assert_eq!(docusign.count(Door::Users), 8 + 2 + 2 + 1);
    assert_eq!(docusign.token_requests(), 1);
    let mut paths = BTreeMap::<String, usize>::new();
    for request in docusign.requests() {
        assert!(
            request
                .query("status")
                .is_none_or(|status| status.contains("Closed")),
            "{}",
            request.target
        );
        *paths.entry(request.path).or_default() += 1;
    }
    assert_eq!(paths[&format!("/restapi/v2.1/accounts/{ACCOUNT}/users")], 8);
    assert_eq!(
        paths[&format!("/management/v2/organizations/{ORGANIZATION_ID}/users")],
        2
    );

    let (users, times): (Vec<_>, BTreeSet<_>) = splunk
        .table("ds_users")
        .into_iter()
        .map(without_times)
        .unzip();
    assert_eq!(users.len(), 1234);
    let is_active = |row: &Row| row["user_status"] == "Active";
    assert!(users.is_sorted_by_key(|row| !is_active(row)));
    let expected = accounts.iter().flat_map(|account| {
        let users = account.users.iter();
        users.map(move |user| expected_user(user, account))
    });
    assert!(sorted(users) == sorted(expected));

    assert_eq!(times.len(), 1, "one refresh has one time: {times:?}");
    let [first_seen, last_seen] = times.first().unwrap();
    assert_eq!(first_seen, last_seen);
    assert!(DateTime::parse_from_rfc3339(first_seen).is_ok() && first_seen.ends_with('Z'));

    let (rows, _): (Vec<_>, Vec<_>) = splunk
        .table("ds_accounts")
        .into_iter()
        .map(without_times)
        .unzip();
    let input = ("monitor_input", "ds_monitor://prod");
    let url = docusign.url();
    let group = [
        ("organizationId", ORGANIZATION_ID),
        ("organization_name", "Example, \"Group\""),
    ];
    assert_eq!(
        sorted(rows),
        sorted([
            row([
                ("accountId", ACCOUNT),
                ("account_name", "Account a4"),
                ("external_account_id", "10000"),
                ("site_id", "1"),
                group[0],
                group[1],
                ("base_uri", &url),
                ("is_default", "true"),
                input,
            ]),
            row([
                ("accountId", SECOND_ACCOUNT),
                ("account_name", "Zweite \"GmbH\", Köln\nAbteilung 2"),
                ("external_account_id", ""),
                ("site_id", ""),
                ("organizationId", ""),
                ("organization_name", ""),
                ("base_uri", &url),
                ("is_default", "false"),
                input,
            ]),
            row([
                ("accountId", ORGANIZATIONS_ACCOUNT),
                ("account_name", "Account d9"),
                ("external_account_id", "9007199254740993"),
                ("site_id", "1"),
                group[0],
                group[1],
                ("base_uri", ""),
                ("is_default", ""),
                input,
            ]),
        ])
    );
    // Beside the tables there are only their locks, which stay.
    let expected = [
        "ds_accounts.csv",
        "ds_accounts.csv.lock",
        "ds_profiles.csv",
        "ds_profiles.csv.lock",
        "ds_users.csv",
        "ds_users.csv.lock",
    ];
    assert_eq!(Vec::from_iter(file_names(&splunk)), expected);
}

/// The names of the files in the two folders.
fn file_names(splunk: &Splunk) -> BTreeSet<String> {
    let paths = splunk.files().into_keys();
    paths
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn who_left_stays_with_the_old_time_behind_those_who_are_there_and_may_come_back() {
    let docusign = Docusign::new().directory(three_accounts());
    let splunk = Splunk::with_prod(&docusign);
    let other = Docusign::new().directory(directory([account(
        "ffffffff-0000-4000-8000-00000000000f",
        true,
        samples(50..55),
    )]));
    splunk.monitor("other", &other).saved_in(&splunk.splunkd);
    let others = splunk.lookups("others", "other");
    well_refreshed(&others.run(ds_lookups()));
    well_refreshed(&splunk.refresh());
    assert_eq!(splunk.table("ds_users").len(), 30 + 5);
    assert_eq!(splunk.table("ds_accounts").len(), 3 + 1);
    splunk.backdate();

    // User 1 and the organization's account are gone, and user 30 has come.
    docusign.directory(directory([
        account(
            ACCOUNT,
            true,
            samples(0..1).chain(samples(2..10)).chain(samples(30..31)),
        ),
        account(SECOND_ACCOUNT, true, samples(10..20)),
    ]));
    well_refreshed(&splunk.refresh());
    let users = splunk.table("ds_users");
    assert_eq!(users.len(), 30 + 5 + 1);
    let mut places = [vec![], vec![]];
    for (place, user) in users.iter().enumerate() {
        let is_gone =
            user["userId"] == sample_user_id(1) || user["accountId"] == ORGANIZATIONS_ACCOUNT;
        let is_others = user["monitor_input"] == "ds_monitor://other";
        assert_eq!(user["last_seen"] == OLD, is_gone || is_others, "{user:?}");
        assert_eq!(
            user["first_seen"] == OLD,
            user["userId"] != sample_user_id(30),
            "{user:?}"
        );
        let is_active = user["user_status"] == "Active" && !is_gone;
        places[usize::from(!is_active)].push(place);
    }
    // The first match on userId must be somebody who is there: active users of both inputs first.
    let [first, rest] = places;
    assert!(first.last() < rest.first(), "{first:?} {rest:?}");
    let accounts = splunk.table("ds_accounts");
    assert_eq!(accounts.len(), 3 + 1);
    for account in &accounts {
        let is_there = [ACCOUNT, SECOND_ACCOUNT].contains(&account["accountId"].as_str());
        assert_eq!(account["last_seen"] != OLD, is_there, "{account:?}");
        assert_eq!(account["first_seen"], OLD);
    }

    docusign.directory(three_accounts());
    well_refreshed(&splunk.refresh());
    let users = splunk.table("ds_users");
    assert!(users.is_sorted_by_key(
        |user| user["user_status"] != "Active" || user["userId"] == sample_user_id(30)
    ));
    let back = splunk.user(1, ACCOUNT);
    assert_eq!(
        (back["first_seen"].as_str(), back["last_seen"] == OLD),
        (OLD, false)
    );
    assert_eq!(splunk.table("ds_accounts").len(), 3 + 1);
}

#[test]
fn a_refresh_that_fails_on_the_fourth_page_of_users_leaves_every_file_as_it_was() {
    let docusign = Docusign::new().directory(one_account(FOUR_PAGES));
    let splunk = Splunk::with_prod(&docusign);
    let fail_on_fourth = || {
        let before = docusign.count(Door::Users);
        for nth in 4..10 {
            let busy = Reply::text(503, "text/html", "<html>busy</html>").header("Retry-After", 0);
            docusign.fault_on_users(before + nth, busy);
        }
    };
    for attempt in ["the first refresh of all", "a later one"] {
        fail_on_fourth();
        let (before, users) = (splunk.files(), docusign.count(Door::Users));
        let run = splunk.refresh();
        let sentence = failed(&run);
        assert!(sentence.contains("503"), "{attempt}: {sentence}");
        assert_eq!(docusign.count(Door::Users), users + 3 + 6);
        assert!(
            splunk.files() == before,
            "{attempt} changed {:?}",
            splunk.files().keys()
        );
        well_refreshed(&splunk.refresh());
        docusign.directory(one_account(FOUR_PAGES + 1));
    }
    assert_eq!(splunk.table("ds_users").len(), FOUR_PAGES + 1);
}

#[test]
fn an_account_that_cannot_be_read_keeps_its_rows_and_their_rank_with_a_warning() {
    let docusign = Docusign::new().directory(three_accounts());
    let splunk = Splunk::with_prod(&docusign);
    well_refreshed(&splunk.refresh());
    splunk.backdate();
    for status in [401, 403, 404] {
        for unread in [SECOND_ACCOUNT, ORGANIZATIONS_ACCOUNT] {
            docusign.account_status(unread, status);
            let run = splunk.refresh();
            assert_eq!(refreshed(&run).field("n_users"), "20");
            let warnings = at_level(&run, "WARN");
            let of = |warning: &LogLine| warning.field("action").ends_with("_users");
            assert_eq!(
                warnings.iter().map(of).collect::<Vec<_>>(),
                [true, false],
                "one for the users and one for the profiles: {}",
                run.report()
            );
            for warning in warnings {
                assert_eq!(warning.field("status"), status.to_string());
                assert!(warning.sentence.contains(unread), "{}", warning.raw);
            }
            let users = splunk.table("ds_users");
            assert_eq!(users.len(), 30);
            assert!(users.is_sorted_by_key(|user| user["user_status"] != "Active"));
            for user in &users {
                assert_eq!(
                    user["last_seen"] == OLD,
                    user["accountId"] == unread,
                    "{user:?}"
                );
            }
            let accounts = splunk.table("ds_accounts");
            assert!(accounts.iter().all(|account| account["last_seen"] != OLD));

            docusign.account_status(unread, 200);
            well_refreshed(&splunk.refresh());
            splunk.backdate();
        }
    }
}

/// Splunk after a refresh that lies back, and Docusign, where everything but some scopes is consented to now.
fn after_consent_was_taken(lost: &[&str]) -> (Docusign, Splunk) {
    let docusign = Docusign::new().directory(three_accounts());
    let splunk = Splunk::with_prod(&docusign);
    well_refreshed(&splunk.refresh());
    splunk.backdate();
    (consent_but(docusign, lost), splunk)
}

/// Docusign, where the service user has consented to all scopes but some.
fn consent_but(docusign: Docusign, lost: &[&str]) -> Docusign {
    let mut scopes = vec![
        "impersonation",
        "signature",
        "organization_read",
        "user_read",
        "permission_read",
        "group_read",
    ];
    scopes.retain(|scope| !lost.contains(scope));
    docusign.consented_scopes(&scopes)
}

/// Whether the sentence has the address of the page on which the user consents to `scope`, whole.
fn asks_for_consent(sentence: &str, docusign: &Docusign, scope: &str) -> bool {
    let page = format!("{}/oauth/auth?response_type=code&scope=", docusign.url());
    let Some((_, address)) = sentence.split_once(&page) else {
        return false;
    };
    let address = address.split(' ').next().unwrap();
    let (scopes, rest) = address.split_once('&').unwrap();
    let mut scopes = scopes.split("%20");
    scopes.clone().any(|one| one == "impersonation")
        && scopes.any(|one| one == scope)
        && rest == format!("client_id={INTEGRATION_KEY}&redirect_uri=https://localhost/ds_monitor")
}

#[test]
fn without_consent_for_users_their_table_stays_and_the_warning_has_the_consent_url() {
    let (docusign, splunk) = after_consent_was_taken(&["signature"]);
    let before = fs::read(splunk.master("ds_users")).unwrap();
    let run = splunk.refresh();
    refreshed(&run);
    let warnings = at_level(&run, "WARN");
    assert!(!warnings.is_empty());
    for warning in warnings {
        assert_eq!(warning.field("code"), "consent_required");
        assert!(
            asks_for_consent(&warning.sentence, &docusign, "signature"),
            "{}",
            warning.raw
        );
    }
    assert!(fs::read(splunk.master("ds_users")).unwrap() == before);
    assert_eq!(splunk.table("ds_users").len(), 30);
    let accounts = splunk.table("ds_accounts");
    assert!(accounts.iter().all(|account| account["last_seen"] != OLD));

    let _docusign = consent_but(docusign, &[]);
    well_refreshed(&splunk.refresh());
    let users = splunk.table("ds_users");
    assert!(users.iter().all(|user| user["last_seen"] != OLD));
}

#[test]
fn the_last_line_counts_only_what_was_refreshed() {
    let counts = |kinds: &str, lost: &[&str]| {
        let (_docusign, splunk) = after_consent_was_taken(lost);
        let input = splunk.lookups("daily", "prod").param("kinds", kinds);
        let last = refreshed(&input.run(ds_lookups()));
        let counts = ["n_users", "n_accounts", "n_profiles"];
        (
            counts.map(|count| last.field(count).to_owned()),
            last.sentence,
        )
    };
    let all = "users,accounts,profiles";
    for (kinds, lost, expected, named) in [
        (all, "", ["30", "3", "15"], "users, accounts, profiles"),
        ("users", "", ["30", "", ""], "users"),
        ("accounts", "", ["", "3", ""], "accounts"),
        ("profiles", "", ["", "", "15"], "profiles"),
        (all, "signature", ["", "3", "15"], "accounts, profiles"),
        (all, "organization_read", ["20", "", ""], "users"),
        (all, "group_read", ["30", "3", ""], "users, accounts"),
    ] {
        let (counts, sentence) = counts(kinds, &[lost]);
        assert_eq!(counts, expected, "{kinds} without {lost}");
        assert_eq!(
            sentence,
            format!("The refresh of {named} is complete."),
            "{kinds} without {lost}"
        );
    }
}

#[test]
fn a_missing_consent_is_asked_for_once_and_not_for_every_account() {
    for (lost, member, level) in [
        ("signature", true, "WARN"),
        ("user_read", false, "WARN"),
        ("permission_read", true, "INFO"),
        ("group_read", false, "INFO"),
    ] {
        let id = |n: usize| format!("{n:08x}-0000-4000-8000-000000000000");
        let accounts = (0..20).map(|n| account(&id(n), member, samples(n..n + 1)));
        let docusign = Docusign::new().directory(directory(accounts));
        let docusign = consent_but(docusign, &[lost]);
        let splunk = Splunk::with_prod(&docusign);
        let run = splunk.refresh();
        refreshed(&run);
        let asks = |line: &LogLine| asks_for_consent(&line.sentence, &docusign, lost);
        let lines = run.log_lines();
        let asking: Vec<_> = lines.iter().filter(|line| asks(line)).collect();
        assert_eq!(asking.len(), 1, "{lost}: {}", run.report());
        assert_eq!(asking[0].level, level, "{lost}");
        assert_eq!(at_level(&run, "WARN").len(), usize::from(level == "WARN"));
        // All scopes together, and then each part alone.
        assert!(
            docusign.token_requests() <= 1 + 5,
            "{:?}",
            scopes(&docusign)
        );
    }
}

#[test]
fn without_consent_for_organizations_their_accounts_and_users_stay_as_they_are() {
    let (docusign, splunk) = after_consent_was_taken(&["organization_read"]);
    let before = fs::read(splunk.master("ds_accounts")).unwrap();
    let run = splunk.refresh();
    assert_eq!(refreshed(&run).field("n_users"), "20");
    let warning = only(&run, "WARN");
    assert!(
        asks_for_consent(&warning.sentence, &docusign, "organization_read"),
        "{}",
        warning.raw
    );
    assert!(fs::read(splunk.master("ds_accounts")).unwrap() == before);
    for user in splunk.table("ds_users") {
        let is_unread = user["accountId"] == ORGANIZATIONS_ACCOUNT;
        assert_eq!(user["last_seen"] == OLD, is_unread, "{user:?}");
    }
}

#[test]
fn users_of_accounts_that_only_the_organization_knows_keep_their_rank_while_it_cannot_be_read() {
    let (_docusign, splunk) = after_consent_was_taken(&["organization_read"]);
    refreshed(&splunk.refresh());
    let users = splunk.table("ds_users");
    assert_eq!(users.len(), 30);
    assert!(
        users.is_sorted_by_key(|user| user["user_status"] != "Active"),
        "nobody looked for them, so nobody knows that they left: {:?}",
        users
            .iter()
            .map(|user| (
                &user["accountId"][..2],
                &user["user_status"],
                user["last_seen"] == OLD
            ))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_refresh_that_may_read_nothing_of_what_it_is_for_fails_and_changes_nothing() {
    for (kinds, lost) in [
        ("users,accounts", &["signature", "organization_read"][..]),
        ("users", &["signature"]),
        ("accounts", &["organization_read"]),
    ] {
        let (docusign, splunk) = after_consent_was_taken(lost);
        let before = splunk.files();
        let input = splunk.lookups("daily", "prod").param("kinds", kinds);
        let run = input.run(ds_lookups());
        failed(&run);
        for scope in lost {
            let warnings = at_level(&run, "WARN");
            let mut warnings = warnings.iter();
            assert!(
                warnings.any(|warning| asks_for_consent(&warning.sentence, &docusign, scope)),
                "{}",
                run.report()
            );
        }
        assert!(splunk.files() == before);
    }
}

#[test]
fn a_token_that_ends_on_the_way_is_renewed_and_no_account_is_left_out() {
    let docusign = Docusign::new().directory(three_accounts());
    let splunk = Splunk::with_prod(&docusign);
    for nth in [1, 2, 3] {
        let body = json!({"errorCode": "AUTHORIZATION_INVALID_TOKEN", "message": "It is expired."});
        docusign.fault_on_users(docusign.count(Door::Users) + nth, Reply::json(401, body));
        let tokens = docusign.token_requests();
        assert_eq!(well_refreshed(&splunk.refresh()).field("n_users"), "30");
        assert_eq!(docusign.token_requests(), tokens + 2);
    }
}

#[test]
fn accounts_that_answer_401_do_not_cost_a_new_token_each() {
    const ACCOUNTS: usize = 12;
    let id = |n: usize| format!("{n:08x}-0000-4000-8000-000000000000");
    let accounts = (0..ACCOUNTS).map(|n| account(&id(n), true, samples(n..n + 1)));
    let docusign = Docusign::new().directory(directory(accounts));
    for n in 0..ACCOUNTS - 1 {
        docusign.account_status(&id(n), 401);
    }
    let splunk = Splunk::with_prod(&docusign);
    let run = splunk.refresh();
    assert_eq!(refreshed(&run).field("n_users"), "1");
    // One for its users, and one for its profiles.
    assert_eq!(at_level(&run, "WARN").len(), 2 * (ACCOUNTS - 1));
    assert_eq!(docusign.token_requests(), 2);
}

#[test]
fn a_refresh_that_is_stopped_leaves_every_file_as_it_was() {
    let docusign = Docusign::new().directory(one_account(150));
    let splunk = Splunk::with_prod(&docusign);
    well_refreshed(&splunk.refresh());
    let before = splunk.files();
    let requests = docusign.requests().len();
    docusign.fault_on_users(docusign.count(Door::Users) + 2, Reply::stall());
    let mut run = splunk.lookups("daily", "prod").spawn(ds_lookups());
    // A token, userinfo, organizations and two pages of users.
    docusign.wait_for_requests(requests + 5, DEADLINE);
    run.terminate();
    run.wait(DEADLINE);
    assert!(splunk.files() == before);
}

#[test]
fn what_a_table_cannot_be_written_for_is_named_and_nothing_half_done_is_left() {
    let docusign = Docusign::new().directory(three_accounts());
    let splunk = Splunk::with_prod(&docusign);
    let master = splunk.master("ds_users");
    let damaged = header("ds_users") + "not,enough\r\n";
    fs::write(&master, damaged).unwrap();
    let before = splunk.files();
    let sentence = failed(&splunk.refresh());
    let path = master.to_str().unwrap();
    assert!(
        sentence.contains(path) && sentence.contains("damaged"),
        "{sentence}"
    );
    fs::remove_file(splunk.master("ds_users").with_extension("csv.lock")).unwrap();
    assert!(splunk.files() == before);

    fs::remove_file(&master).unwrap();
    let copy = splunk.app_file("ds_users");
    fs::remove_file(&copy).unwrap();
    fs::create_dir(&copy).unwrap();
    let sentence = failed(&splunk.refresh());
    assert!(sentence.contains(copy.to_str().unwrap()), "{sentence}");
    fs::remove_dir(&copy).unwrap();
    let names = file_names(&splunk);
    assert!(
        !names.iter().any(|name| name.ends_with(".tmp")),
        "{names:?}"
    );
    well_refreshed(&splunk.refresh());
    assert_eq!(splunk.table("ds_users").len(), 30);
}

#[test]
fn a_consent_that_nothing_needs_is_not_missed() {
    let docusign = consent_but(Docusign::new().directory(one_account(3)), &["user_read"]);
    let splunk = Splunk::with_prod(&docusign);
    assert_eq!(well_refreshed(&splunk.refresh()).field("n_users"), "3");
}

/// How often splunkd was asked to change something.
fn edits(splunkd: &Splunkd) -> usize {
    let requests = splunkd.requests();
    requests
        .iter()
        .filter(|request| request.method != "GET")
        .count()
}

#[test]
fn the_key_comes_from_wherever_the_monitor_input_has_it_and_is_never_moved() {
    let docusign = Docusign::new();
    let splunk = Splunk::with_prod(&docusign);
    let splunkd = &splunk.splunkd;
    let by_file = splunk.monitor("by file", &docusign);
    let pasted = splunk.monitor("a/b: ü", &docusign).pasted_key(PRIVATE_KEY);
    let one_line = PRIVATE_KEY.replace('\n', " ");
    let damaged = splunk.monitor("one line", &docusign).pasted_key(&one_line);
    for (name, input) in [
        ("by file", &by_file),
        ("a/b: ü", &pasted),
        ("one line", &damaged),
    ] {
        input.clone().param("disabled", "1").saved_in(splunkd);
        let saved = splunkd.input("ds_monitor", name);
        for monitor_input in [name.to_owned(), format!("ds_monitor://{name}")] {
            let run = splunk.lookups("daily", &monitor_input).run(ds_lookups());
            well_refreshed(run.assert_no_secret(&SECRETS));
        }
        assert_eq!(edits(splunkd), 0);
        assert_eq!(splunkd.input("ds_monitor", name), saved);
    }
    assert!(splunkd.secrets().is_empty());
    let users = splunk.table("ds_users");
    assert_eq!(users[0]["monitor_input"], "ds_monitor://one line");

    // The collector moves the key to secure storage, and from then on it is there.
    let collector = pasted.checkpoint_dir(splunk.checkpoints.path());
    let collected = collector.saved_in(splunkd).run(ds_monitor());
    collected.assert_exit(0).assert_no_secret(&SECRETS);
    assert_eq!(
        splunkd.input("ds_monitor", "a/b: ü").unwrap()["private_key"],
        "******"
    );
    let before = edits(splunkd);
    let stored = splunk.lookups("daily", "a/b: ü").run(ds_lookups());
    well_refreshed(stored.assert_no_secret(&SECRETS));
    assert_eq!(edits(splunkd), before);

    for (realm, user, _) in splunkd.secrets() {
        splunkd.set_secret(&realm, &user, None);
    }
    let (files, requests) = (splunk.files(), docusign.requests().len());
    let sentence = failed(&splunk.lookups("daily", "a/b: ü").run(ds_lookups()));
    assert!(
        sentence.contains("paste the key again for the input a/b: ü"),
        "{sentence}"
    );
    assert!(splunk.files() == files);
    assert_eq!(docusign.requests().len(), requests);
}

#[test]
fn another_service_user_can_ask_for_the_directory() {
    let docusign = Docusign::new().service_users(&[USER_ID, OTHER_USER_ID]);
    let splunk = Splunk::with_prod(&docusign);
    let input = splunk.lookups("daily", "prod");
    for (user_id, sub) in [("", USER_ID), (OTHER_USER_ID, OTHER_USER_ID)] {
        let input = input.clone().param("user_id", user_id);
        well_refreshed(&input.run(ds_lookups()));
        assert_eq!(docusign.assertions().last().unwrap()["sub"], sub);
    }
}

/// The message in `<error><message>`, for a validation that must fail.
#[track_caller]
fn refusal(input: &Input) -> String {
    let outcome = input.validate(ds_lookups());
    outcome.assert_exit(1).assert_no_secret(&SECRETS);
    let stdout = String::from_utf8(outcome.stdout.clone()).unwrap();
    let message = stdout
        .strip_prefix("<error><message>")
        .and_then(|rest| rest.strip_suffix("</message></error>\n"));
    message
        .unwrap_or_else(|| panic!("no message: {}", outcome.report()))
        .to_owned()
}

#[test]
fn arguments_that_are_right_pass_without_a_word_and_without_a_request_to_docusign() {
    let docusign = Docusign::new();
    let splunk = Splunk::with_prod(&docusign);
    let input = splunk.lookups("daily", "prod");
    for (param, value) in [
        ("monitor_input", "ds_monitor://prod"),
        ("user_id", OTHER_USER_ID),
        ("user_id", ""),
        ("kinds", "accounts"),
        ("kinds", " users , accounts "),
        ("output", "csv"),
        ("output", "index"),
        ("index", "main"),
    ] {
        let outcome = input.clone().param(param, value).validate(ds_lookups());
        outcome.assert_exit(0);
        assert!(
            outcome.stdout.is_empty() && outcome.stderr.is_empty(),
            "{}",
            outcome.report()
        );
    }
    assert!(docusign.requests().is_empty());
    assert_eq!(edits(&splunk.splunkd), 0);
}

#[test]
fn a_bad_value_is_refused_with_the_name_of_its_parameter() {
    let docusign = Docusign::new();
    let splunk = Splunk::with_prod(&docusign);
    splunk.monitor("test", &docusign).saved_in(&splunk.splunkd);
    let input = splunk.lookups("daily", "prod");
    for (param, value, expected) in [
        ("monitor_input", "", "missing"),
        ("monitor_input", "porduction", "there are: prod, test"),
        (
            "monitor_input",
            "ds_lookups://prod",
            "there are: prod, test",
        ),
        ("user_id", "ann@example.com", "GUID"),
        ("kinds", "groups", "users, accounts"),
        ("kinds", "users;accounts", "users, accounts"),
        ("kinds", "users,", "users, accounts"),
        ("output", "kvstore", "csv or index"),
    ] {
        let input = input.clone().param(param, value);
        let message = refusal(&input);
        assert!(
            message.contains(param) && message.contains(expected),
            "{param}={value}: {message}"
        );
        let sentence = failed(&input.run(ds_lookups()));
        assert!(
            sentence.contains(param) && sentence.contains(expected),
            "{param}={value}: {sentence}"
        );
    }
    let bare = Splunkd::start();
    let message = refusal(&input.splunkd(&bare));
    assert!(message.contains("none yet"), "{message}");
    assert!(docusign.requests().is_empty());
}

#[test]
fn lookup_files_are_refused_where_no_search_would_see_them() {
    let docusign = Docusign::new();
    let splunk = Splunk::with_prod(&docusign);
    let csv = splunk.lookups("daily", "prod");
    let before = splunk.files();
    for role in [
        "heavyweight_forwarder",
        "universal_forwarder",
        "lightweight_forwarder",
        "shc_member",
        "shc_captain",
        "cluster_peer",
    ] {
        splunk.splunkd.server_roles(&["search_head", role]);
        for message in [refusal(&csv), failed(&csv.run(ds_lookups()))] {
            assert!(
                message.contains(role) && message.contains("index"),
                "{message}"
            );
        }
        let index = csv.clone().param("output", "index");
        index.validate(ds_lookups()).assert_exit(0);
    }
    assert!(docusign.requests().is_empty());
    assert!(splunk.files() == before);
    for roles in [
        &["indexer", "search_head", "license_manager", "kv_store"][..],
        &["cluster_search_head"][..],
    ] {
        splunk.splunkd.server_roles(roles);
        csv.validate(ds_lookups()).assert_exit(0);
    }
}

#[test]
fn without_splunk_home_the_app_has_no_place_for_files() {
    let docusign = Docusign::new();
    let splunk = Splunk::with_prod(&docusign);
    let input = Input::ds_lookups("daily")
        .param("monitor_input", "prod")
        .splunkd(&splunk.splunkd);
    let sentence = failed(&input.run(ds_lookups()));
    assert!(
        sentence.contains("SPLUNK_HOME") && sentence.contains("index"),
        "{sentence}"
    );
}

#[test]
fn each_kind_alone_changes_its_own_table_and_asks_for_its_own_scopes() {
    for (kinds, expected) in [
        (
            "users",
            "impersonation organization_read signature user_read",
        ),
        ("accounts", "impersonation organization_read"),
        (
            "profiles",
            "group_read impersonation organization_read permission_read",
        ),
    ] {
        let docusign = Docusign::new().directory(three_accounts());
        let splunk = Splunk::with_prod(&docusign);
        let input = splunk.lookups("daily", "prod").param("kinds", kinds);
        well_refreshed(&input.run(ds_lookups()));
        assert_eq!(scopes(&docusign), [expected]);
        for table in TABLES {
            if table == format!("ds_{kinds}") {
                assert!(!splunk.table(table).is_empty());
                continue;
            }
            assert_eq!(
                fs::read_to_string(splunk.app_file(table)).unwrap(),
                shipped(table)
            );
            assert!(!splunk.master(table).exists());
        }
        for (door, its_kind) in [(Door::Users, "users"), (Door::Profiles, "profiles")] {
            assert_eq!(docusign.count(door) > 0, kinds == its_kind, "{kinds}");
        }
    }
}

/// Sourcetype and fields of every event.
fn json_events(outcome: &Outcome) -> Vec<(String, Row)> {
    let event = |event: support::input::Event| {
        assert_eq!(
            (&event.host, &event.index, &event.source),
            (&None, &None, &None)
        );
        assert!(event.done && event.unbroken.as_deref() == Some("1"));
        let fields: BTreeMap<String, Value> = serde_json::from_str(&event.data).unwrap();
        let mut row: Row = fields
            .into_iter()
            .map(|(key, value)| match value {
                Value::String(text) => (key, text),
                number => (key, number.to_string()),
            })
            .collect();
        let time = event.time.unwrap();
        let seconds = time.split('.').next().unwrap().parse().unwrap();
        let last_seen = DateTime::from_timestamp(seconds, 0).unwrap();
        assert_eq!(
            row.remove("last_seen").unwrap(),
            last_seen.format("%Y-%m-%dT%H:%M:%SZ").to_string()
        );
        (event.sourcetype.unwrap(), row)
    };
    outcome.events().into_iter().map(event).collect()
}

#[test]
fn as_events_every_row_comes_with_its_refresh_and_the_last_one_counts_them() {
    let accounts = [
        account(ACCOUNT, true, (0..140).map(awkward_user)),
        account(ORGANIZATIONS_ACCOUNT, false, (140..300).map(awkward_user)),
    ];
    let docusign = Docusign::new().directory(directory(accounts.clone()));
    let splunk = Splunk::with_prod(&docusign);
    let before = splunk.files();
    let mut refresh_ids = BTreeSet::new();
    for (kinds, n_users, n_accounts, n_profiles) in [
        ("users,accounts,profiles", Some(300), Some(2), Some(10)),
        ("users", Some(300), None, None),
        ("accounts", None, Some(2), None),
        ("profiles", None, None, Some(10)),
    ] {
        let run = splunk
            .lookups("daily", "prod")
            .param("output", "index")
            .param("kinds", kinds)
            // Nothing is written, so that it works without it too.
            .env("SPLUNK_HOME", "/no/splunk")
            .run(ds_lookups());
        let last = well_refreshed(run.whole().assert_no_secret(&SECRETS));
        if let Some(n_users) = n_users {
            assert_eq!(last.field("n_users"), n_users.to_string());
        }
        let mut events = json_events(&run);
        let (sourcetype, closing) = events.pop().unwrap();
        assert_eq!(sourcetype, "ds_monitor:refresh");
        let refresh_id = closing["refresh_id"].clone();
        assert_eq!(closing["monitor_input"], "ds_monitor://prod");
        for (key, expected) in [
            ("n_users", n_users),
            ("n_accounts", n_accounts),
            ("n_profiles", n_profiles),
        ] {
            let expected: Option<usize> = expected;
            assert_eq!(closing.get(key).cloned(), expected.map(|n| n.to_string()));
        }

        let rows = |wanted: &str| -> Vec<Row> {
            let rows = events.iter().filter(|(sourcetype, _)| sourcetype == wanted);
            rows.map(|(_, row)| {
                let mut row = row.clone();
                assert_eq!(row.remove("refresh_id").as_ref(), Some(&refresh_id));
                row
            })
            .collect()
        };
        let (users, accounts_rows) = (rows("ds_monitor:user"), rows("ds_monitor:account"));
        assert_eq!(users.len(), n_users.unwrap_or_default());
        assert_eq!(accounts_rows.len(), n_accounts.unwrap_or_default());
        let profiles = rows("ds_monitor:profile");
        assert_eq!(profiles.len(), n_profiles.unwrap_or_default());
        assert_eq!(
            users.len() + accounts_rows.len() + profiles.len(),
            events.len()
        );
        if n_profiles.is_some() {
            assert!(sorted(profiles) == sorted(accounts.iter().flat_map(expected_profiles)));
        }
        if n_users.is_some() {
            let expected = accounts.iter().flat_map(|account| {
                let users = account.users.iter();
                users.map(move |user| expected_user(user, account))
            });
            assert!(sorted(users) == sorted(expected));
        }
        for (row, is_default) in accounts_rows.iter().zip(["true", ""]) {
            let columns: Vec<_> = row.keys().map(String::as_str).collect();
            let header = shipped("ds_accounts");
            let expected: BTreeSet<_> = header
                .trim_end()
                .split(',')
                .filter(|column| !column.ends_with("_seen"))
                .collect();
            assert_eq!(columns, Vec::from_iter(expected));
            assert_eq!(row["is_default"], is_default);
        }
        assert!(refresh_ids.insert(refresh_id));
    }
    assert!(splunk.files() == before);
}

#[test]
fn as_events_a_refresh_that_fails_is_not_closed() {
    let docusign = Docusign::new().directory(directory([
        account(ACCOUNT, true, samples(0..FOUR_PAGES)),
        account(SECOND_ACCOUNT, true, samples(0..10)),
    ]));
    let splunk = Splunk::with_prod(&docusign);
    let input = splunk.lookups("daily", "prod").param("output", "index");
    docusign.fault_on_users(4, Reply::json(400, json!({"errorCode": "INVALID_REQUEST"})));
    let run = input.run(ds_lookups());
    assert!(failed(&run).contains("INVALID_REQUEST"));
    let events = run.events();
    let is_closing = |sourcetype: Option<&str>| sourcetype == Some("ds_monitor:refresh");
    assert!(
        !events
            .iter()
            .any(|event| is_closing(event.sourcetype.as_deref()))
    );

    // An account that cannot be read is no failure, but users that nobody may read are not counted as none.
    docusign.account_status(SECOND_ACCOUNT, 403);
    let run = input.run(ds_lookups());
    refreshed(&run);
    let (_, closing) = json_events(&run).pop().unwrap();
    assert_eq!(closing["n_users"], FOUR_PAGES.to_string());
    let _docusign = consent_but(docusign, &["signature", "user_read"]);
    let run = input.run(ds_lookups());
    refreshed(&run);
    let (_, closing) = json_events(&run).pop().unwrap();
    assert_eq!(
        (closing.get("n_users"), closing["n_accounts"].as_str()),
        (None, "2")
    );
}

#[test]
fn permission_profiles_and_groups_of_every_account_of_the_organization_are_named() {
    // The same numbers in two accounts, the largest that Docusign can have, and groups of three pages.
    let groups = (0..230).map(|n| (i64::MAX - n, format!("Group \"{n}\", Köln")));
    let accounts = [
        Account {
            groups: groups.collect(),
            ..account(ACCOUNT, true, samples(0..3))
        },
        account(ORGANIZATIONS_ACCOUNT, false, samples(3..5)),
        Account {
            permission_profiles: vec![],
            groups: vec![],
            ..account(SECOND_ACCOUNT, true, samples(0..1))
        },
    ];
    let docusign = Docusign::new().directory(directory(accounts.clone()));
    let splunk = Splunk::with_prod(&docusign);
    let last = well_refreshed(&splunk.refresh());
    assert_eq!(last.field("n_profiles"), (3 + 230 + 5).to_string());
    let rows = splunk.table("ds_profiles").into_iter();
    let rows = rows.map(|row| without_times(row).0);
    assert!(sorted(rows) == sorted(accounts.iter().flat_map(expected_profiles)));

    // One that is renamed has its new name, and one that is deleted stays for old events.
    splunk.backdate();
    let mut later = accounts;
    later[0].permission_profiles = vec![(7_000_000, "Renamed".to_owned())];
    let docusign = docusign.directory(directory(later));
    well_refreshed(&splunk.refresh());
    let named = |id: &str| {
        let rows = splunk.table("ds_profiles").into_iter();
        let mut rows = rows.filter(|row| row["id"] == id && row["accountId"] == ACCOUNT);
        let row = rows.next().unwrap();
        assert_eq!(rows.next(), None);
        (row["name"].clone(), row["last_seen"] == OLD)
    };
    assert_eq!(named("7000000"), ("Renamed".to_owned(), false));
    assert_eq!(named("7000001"), ("DocuSign Sender".to_owned(), true));

    // A refusal costs the account's names one line, and no other account's.
    docusign.account_status(ACCOUNT, 403);
    let run = splunk.refresh();
    refreshed(&run);
    let warnings = at_level(&run, "WARN");
    let warnings: Vec<_> = warnings
        .iter()
        .filter(|warning| warning.field("action") == "list_profiles")
        .collect();
    assert_eq!(warnings.len(), 1, "{}", run.report());
    assert!(
        warnings[0].sentence.contains(&format!(
            "The permission profiles and groups of account {ACCOUNT} keep their rows"
        )),
        "{}",
        warnings[0].raw
    );
    assert_eq!(splunk.table("ds_profiles").len(), 3 + 230 + 5);
}

#[test]
fn without_consent_for_profiles_alone_nothing_is_changed_and_the_refresh_fails() {
    let (docusign, splunk) = after_consent_was_taken(&["permission_read"]);
    let before = splunk.files();
    let input = splunk.lookups("daily", "prod").param("kinds", "profiles");
    let run = input.run(ds_lookups());
    failed(&run);
    assert!(asks_for_consent(
        &only(&run, "WARN").sentence,
        &docusign,
        "permission_read"
    ));
    assert!(splunk.files() == before);
}

#[test]
fn a_user_whom_two_pages_hold_counts_once() {
    // Between two pages somebody was added in front, so that the last row of the one begins the other.
    let users = samples(0..100).chain(samples(99..110));
    let docusign = Docusign::new().directory(directory([account(ACCOUNT, true, users)]));
    let splunk = Splunk::with_prod(&docusign);
    let last = well_refreshed(&splunk.refresh());
    assert_eq!(splunk.table("ds_users").len(), 110);
    assert_eq!(last.field("n_users"), "110");

    let index = splunk.lookups("daily", "prod").param("output", "index");
    let run = index.run(ds_lookups());
    well_refreshed(&run);
    let mut events = json_events(&run);
    let (_, closing) = events.pop().unwrap();
    let distinct: BTreeSet<_> = events
        .iter()
        .filter_map(|(_, row)| row.get("userId"))
        .collect();
    // The scheduled search takes a refresh only if as many users have arrived as this says.
    assert_eq!(closing["n_users"], distinct.len().to_string());
}

#[test]
fn a_base_uri_that_is_not_docusigns_gets_no_request() {
    for base_uri in [
        "https://example.com",
        "http://na3.docusign.net",
        "https://na3.docusign.net.example.com",
        "https://na3.docusign.net@192.0.2.1",
        "http://192.0.2.1",
        "na3.docusign.net",
        "",
    ] {
        let docusign = Docusign::new().directory(directory([Account {
            base_uri: Some(base_uri.to_owned()),
            ..account(ACCOUNT, true, samples(0..3))
        }]));
        let splunk = Splunk::with_prod(&docusign);
        let refresh = splunk.refresh();
        refresh.assert_exit(0);
        let sentence = only(&refresh, "WARN").sentence;
        for part in ["base_uri", ACCOUNT, base_uri] {
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
        assert_eq!(
            docusign.count(Door::Users) + docusign.count(Door::Elsewhere),
            0
        );
    }
}

/// The reply with a changed body.
fn edited(reply: &Reply, edit: impl FnOnce(&mut Value)) -> Reply {
    let mut body = serde_json::from_slice(reply.body()).unwrap();
    edit(&mut body);
    Reply::json(200, body)
}

#[test]
fn no_address_that_an_answer_names_is_followed() {
    let elsewhere = Server::start(|_| Reply::json(200, json!({"users": []})));
    let docusign = Docusign::new().directory(directory([
        account(ACCOUNT, true, samples(0..250)),
        account(ORGANIZATIONS_ACCOUNT, false, samples(300..800)),
    ]));
    let splunk = Splunk::with_prod(&docusign);
    for nth in 1..=5 {
        let url = elsewhere.url();
        let relative = url.trim_start_matches("http:").to_owned();
        docusign.spoil_at(Door::Users, nth, move |reply| {
            edited(&reply, |body| match body.get("paging") {
                Some(_) => body["paging"]["next"] = format!("{url}/users?start=250").into(),
                None if nth == 1 => body["nextUri"] = format!("{url}/users").into(),
                None => body["nextUri"] = format!("{relative}/users").into(),
            })
        });
    }
    well_refreshed(&splunk.refresh());
    // The last page of the second account is full, and so there may be another.
    assert_eq!(docusign.count(Door::Users), 3 + 3);
    assert_eq!(splunk.table("ds_users").len(), 250 + 500);

    let redirect = Reply::text(302, "text/plain", "").header("Location", elsewhere.url());
    docusign.fault_on_users(7, redirect);
    assert!(failed(&splunk.refresh()).contains("302"));
    assert!(elsewhere.requests().is_empty());
}

/// A total that is wrong, or none, ended the list after one page without a word: 150 users were missing.
#[test]
fn users_are_asked_for_until_a_page_is_empty_whatever_the_total_says() {
    for total in ["0", "7", "100", ""] {
        let docusign = Docusign::new().directory(one_account(250));
        for nth in 1..=4 {
            docusign.spoil_at(Door::Users, nth, move |reply| {
                edited(&reply, |body| body["totalSetSize"] = total.into())
            });
        }
        let splunk = Splunk::with_prod(&docusign);
        well_refreshed(&splunk.refresh());
        assert_eq!(splunk.table("ds_users").len(), 250, "{total}");
    }
}

/// Those who are missing from such a list would count as gone.
#[test]
fn a_list_that_ends_before_its_total_is_a_warning_and_nobody_in_it_is_gone() {
    let docusign = Docusign::new().directory(one_account(250));
    docusign.spoil_at(Door::Users, 2, |reply| {
        edited(&reply, |body| body["users"] = json!([]))
    });
    let splunk = Splunk::with_prod(&docusign);
    let refresh = splunk.refresh();
    refreshed(&refresh);
    let warning = only(&refresh, "WARN").sentence;
    for part in [ACCOUNT, "100 of 250", "keep their rows"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}

/// A server that ignores where a page begins, and names a total that is never reached, was asked for ever.
#[test]
fn a_list_that_never_ends_is_an_error() {
    let docusign = Docusign::new().directory(one_account(100));
    for nth in 1..=50 {
        let page = json!({"users": [{"userId": "same"}], "totalSetSize": nth * 1000});
        docusign.fault_on_users(nth, Reply::json(200, page));
    }
    let splunk = Splunk::with_prod(&docusign);
    let before = splunk.files();
    assert!(failed(&splunk.refresh()).contains("does not end"));
    assert_eq!(docusign.count(Door::Users), 1 + 10);
    assert!(splunk.files() == before);
}

#[test]
fn an_answer_of_the_directory_that_is_too_long_is_refused_at_once() {
    const MOST: usize = 32 * 1024 * 1024;
    let docusign = Docusign::new().directory(one_account(100));
    docusign.fault_on_users(1, Reply::json(200, "{}".to_owned() + &" ".repeat(MOST - 1)));
    let splunk = Splunk::with_prod(&docusign);
    let before = splunk.files();
    let error = failed(&splunk.refresh());
    assert!(
        error.contains(&format!("longer than {MOST} bytes")),
        "{error}"
    );
    assert_eq!(docusign.count(Door::Users), 1);
    assert!(splunk.files() == before);
}

/// Rows of [`OLD`] of an input that is none of the tests'.
fn rows(account: &str, users: Range<usize>) -> String {
    users.fold(String::new(), |mut text, n| {
        let user = sample_user_id(n);
        let _ = write!(
            text,
            "{user},{account},Name {n},,,,Active,,,,,,,,ds_monitor://another,{OLD},{OLD}\r\n"
        );
        text
    })
}

/// The first line of a table.
fn header(table: &str) -> String {
    shipped(table).trim_end().to_owned() + "\r\n"
}

#[test]
fn two_refreshes_of_one_table_at_once_both_get_their_rows_in() {
    const OTHERS: usize = 5_000;
    // Both get their last page at the same moment, and the old rows make merging take longer than the rest.
    let barrier = Arc::new(Barrier::new(2));
    let docusigns = [(ACCOUNT, 0), (ORGANIZATIONS_ACCOUNT, 1000)].map(|(id, first)| {
        let account = account(id, true, samples(first..first + 150));
        let docusign = Docusign::new().directory(directory([account]));
        let barrier = barrier.clone();
        docusign.spoil_at(Door::Users, 2, move |reply| {
            barrier.wait();
            reply
        })
    });
    let splunk = Splunk::with_prod(&docusigns[0]);
    splunk
        .monitor("other", &docusigns[1])
        .saved_in(&splunk.splunkd);
    let others = header("ds_users") + &rows(SECOND_ACCOUNT, 0..OTHERS);
    fs::write(splunk.master("ds_users"), others).unwrap();

    let runs = ["prod", "other"].map(|input| splunk.lookups(input, input).spawn(ds_lookups()));
    for run in runs {
        well_refreshed(&run.finish());
    }
    let mut inputs = BTreeMap::<String, usize>::new();
    for row in splunk.table("ds_users") {
        *inputs.entry(row["monitor_input"].clone()).or_default() += 1;
    }
    let expected = [("another", OTHERS), ("other", 150), ("prod", 150)];
    let expected = expected.map(|(name, count)| (format!("ds_monitor://{name}"), count));
    assert_eq!(inputs, expected.into());
    assert_eq!(splunk.table("ds_accounts").len(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_thousand_users_fit_into_64_mib_and_are_heard_of_on_the_way() {
    const ACCOUNTS: usize = 50;
    const USERS: usize = 2_000;
    // The accounts have the same members, so that the pages of one are those of all.
    let pages = (0..USERS).step_by(100).map(|start| {
        let users: Vec<_> = samples(start..start + 100).collect();
        let body = json!({"users": users, "totalSetSize": USERS.to_string()});
        Arc::<[u8]>::from(body.to_string().into_bytes())
    });
    let end = json!({"users": [], "totalSetSize": USERS.to_string()});
    let end = Arc::<[u8]>::from(end.to_string().into_bytes());
    let pages: Vec<_> = pages.chain([end]).collect();
    let esignature = Server::start(move |request| {
        let start: usize = request.query("start_position").unwrap().parse().unwrap();
        Reply::shared(200, "application/json", pages[start / 100].clone())
    });
    let accounts = (0..ACCOUNTS).map(|n| Account {
        base_uri: Some(esignature.url()),
        ..account(&format!("{n:08x}-0000-4000-8000-000000000000"), true, [])
    });
    let accounts: Vec<_> = accounts.collect();
    let docusign = Docusign::new().directory(directory(accounts.clone()));
    let splunk = Splunk::with_prod(&docusign);
    // All of them have been there before, which takes more than a first refresh does.
    let known = accounts.iter().map(|account| rows(&account.id, 0..USERS));
    let known: String = known.collect();
    fs::write(splunk.master("ds_users"), header("ds_users") + &known).unwrap();

    let mut run = splunk.lookups("daily", "prod").spawn(ds_lookups());
    let peak = run.peak_kib();
    let run = run.finish();
    run.assert_exit(0);

    assert!((1..64 * 1024).contains(&peak), "{peak} KiB");
    let lines = run.log_lines();
    let (last, progress) = lines.split_last().unwrap();
    assert_eq!(last.field("n_users"), (ACCOUNTS * USERS).to_string());
    for (n, line) in progress.iter().enumerate() {
        assert_eq!(line.field("action"), "users_read", "{}", line.raw);
        assert_eq!(line.field("n_users"), ((n + 1) * 5_000).to_string());
    }
    assert_eq!(progress.len(), ACCOUNTS * USERS / 5_000);
    assert_eq!(esignature.requests().len(), ACCOUNTS * (USERS / 100 + 1));
    assert_eq!(docusign.token_requests(), 1);
    let table = fs::read_to_string(splunk.app_file("ds_users")).unwrap();
    assert_eq!(table.lines().count(), 1 + ACCOUNTS * USERS);
    assert_eq!(
        table.matches(OLD).count(),
        ACCOUNTS * USERS,
        "once a row, as first_seen"
    );
}

#[test]
fn an_upgrade_of_the_app_is_mended_by_the_next_refresh() {
    let docusign = Docusign::new().directory(three_accounts());
    let splunk = Splunk::with_prod(&docusign);
    well_refreshed(&splunk.refresh());
    splunk.backdate();
    docusign.directory(one_account(5));
    splunk.unpack_app();
    well_refreshed(&splunk.refresh());
    assert_eq!(splunk.table("ds_users").len(), 30);
    assert_eq!(splunk.table("ds_accounts").len(), 3);
    for user in splunk.table("ds_users") {
        let is_there = (0..5).any(|n| user["userId"] == sample_user_id(n));
        assert_eq!(user["last_seen"] == OLD, !is_there, "{user:?}");
        assert_eq!(user["first_seen"], OLD);
    }
}

#[test]
fn check_walks_through_all_that_a_refresh_needs() {
    let docusign = Docusign::new();
    let splunk = Splunk::with_prod(&docusign);
    let check = |input: &Input| {
        let run = input.start(ds_lookups(), &["check"], input.input_xml());
        let run = run.finish();
        run.assert_no_secret(&[PRIVATE_KEY, ACCESS_TOKEN_MARK]);
        let text = String::from_utf8(run.stdout.clone()).unwrap();
        (run.status.code(), text)
    };
    let step = |text: &str, name: &str| {
        let mut lines = text.lines();
        let step = lines.find_map(|line| line.strip_prefix(name));
        step.unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .to_owned()
    };
    let input = splunk.lookups("daily", "prod");
    let (code, text) = check(&input);
    assert_eq!(code, Some(0), "{text}");
    for name in [
        "Configuration",
        "Monitor input",
        "Token",
        "Consent",
        "Users",
        "Organizations",
        "Profiles",
    ] {
        assert!(step(&text, name).starts_with("OK"), "{text}");
    }
    assert!(text.ends_with("\nReady.\n"), "{text}");

    let (code, text) = check(&splunk.lookups("daily", "prud"));
    assert_eq!(code, Some(78), "{text}");
    assert!(step(&text, "Monitor input").contains("prod"), "{text}");
    let (code, text) = check(&input.clone().param("output", "paper"));
    assert_eq!(code, Some(78), "{text}");
    assert!(step(&text, "Configuration").starts_with("TO DO"), "{text}");

    // Without the names of profiles a refresh is worth its while, so it is ready.
    let docusign = consent_but(docusign, &["group_read"]);
    let (code, text) = check(&input);
    assert_eq!(code, Some(0), "{text}");
    assert!(step(&text, "Consent").starts_with("OK"), "{text}");
    assert!(step(&text, "Profiles").starts_with("NOTE"), "{text}");
    assert!(step(&text, "Profiles").contains("/oauth/auth?"), "{text}");

    docusign.consented_scopes(&["impersonation"]);
    let (code, text) = check(&input);
    assert_eq!(code, Some(78), "{text}");
    assert!(step(&text, "Consent").contains("/oauth/auth?"), "{text}");
    assert!(text.ends_with("\n1 thing to do.\n"), "{text}");

    let nobody = Docusign::new().directory(Directory::default());
    let splunk = Splunk::with_prod(&nobody);
    let (code, text) = check(&splunk.lookups("daily", "prod"));
    assert_eq!(code, Some(78), "{text}");
    for name in ["Users", "Organizations"] {
        assert!(step(&text, name).starts_with("TO DO"), "{text}");
    }
    assert!(text.ends_with("\n2 things to do.\n"), "{text}");
}
