//! An invented week at Docusign, which ends with a break-in: people with hours of work, quiet nights and weekends, an
//! archive that fetches agreements at night, and somebody who tries one password on everybody.
//!
//! What the break-in consists of is what the detections look for; a test holds that they find it, and nothing else.

use chrono::{DateTime, Datelike, SecondsFormat, TimeDelta, TimeZone, Utc, Weekday};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::docusign::{
    ACCOUNT_ID, Account, Directory, ORGANIZATION_ID, OTHER_ACCOUNT_ID, Organization, guid,
    sample_groups, sample_permission_profiles, sample_user, sample_user_id,
};
use super::search_time::SearchTime;

/// How much of the past there is.
const DAYS: i64 = 7;
/// How long ago the first password was tried.
pub const BEGAN: TimeDelta = TimeDelta::minutes(55);
/// From where; the addresses of documentation belong to nobody.
const BREAK_IN_ADDRESS: &str = "198.51.100.23";
/// The client that comes with it, and the one that is known.
const NEW_CLIENT: &str = "b61f7d0e-93c4-4f28-8a15-2d7e60c9f3ab";
const ARCHIVE_CLIENT: &str = "1d9e4c72-5b08-4a63-9f7d-c3a2e8b16054";
/// Agreements that the archive fetches in a night; a mass download is 50 in an hour.
const ARCHIVED: usize = 12;
/// Agreements that leave in the break-in.
pub const DOWNLOADED: usize = 60;

/// Where somebody works; the fields are Docusign's, which writes places in small letters.
#[derive(Clone, Copy, Serialize)]
struct Place {
    latitude: f64,
    longitude: f64,
    country: &'static str,
    state: &'static str,
    city: &'static str,
}

const COLOGNE: Place = place(50.93, 6.95, ["germany", "nordrhein-westfalen", "köln"]);
const LYON: Place = place(45.76, 4.84, ["france", "auvergne-rhône-alpes", "lyon"]);
const OSLO: Place = place(59.91, 10.75, ["norway", "oslo", "oslo"]);
const DUBLIN: Place = place(53.34, -6.26, ["ireland", "leinster", "dublin"]);
const RECIFE: Place = place(-8.05, -34.88, ["brazil", "pernambuco", "recife"]);

const fn place(latitude: f64, longitude: f64, [country, state, city]: [&'static str; 3]) -> Place {
    Place {
        latitude,
        longitude,
        country,
        state,
        city,
    }
}

/// Somebody who has a user at Docusign.
struct Person {
    first: &'static str,
    last: &'static str,
    place: Place,
    /// The hour in UTC at which the day begins.
    begins: u32,
    title: &'static str,
}

const fn person([first, last, title]: [&'static str; 3], place: Place, begins: u32) -> Person {
    Person {
        first,
        last,
        place,
        begins,
        title,
    }
}

const PEOPLE: [Person; 13] = [
    person(["Anna", "Brandt", ADMINISTRATOR], COLOGNE, 7),
    person(["Jonas", "Okafor", "Contract Manager"], COLOGNE, 7),
    person(["Elif", "Yıldız", "Sales"], COLOGNE, 8),
    person(["Tomasz", "Nowak", "Purchasing"], COLOGNE, 6),
    person(["Siân", "Howell", "Legal Counsel"], DUBLIN, 9),
    person(["Ingrid", "Solberg", "Human Resources"], OSLO, 6),
    person(["Marek", "Dvořák", "Sales"], COLOGNE, 8),
    person(["Hannah", "Weiss", "Trainee"], COLOGNE, 8),
    person(["Claire", "Fournier", ADMINISTRATOR], LYON, 7),
    person(["Luc", "Moreau", "Sales"], LYON, 8),
    person(["Inès", "Garnier", "Legal Counsel"], LYON, 8),
    person(["Paul", "Lefèvre", "Purchasing"], LYON, 7),
    person(["Contract", "Archive", "Program"], COLOGNE, 1),
];
const ADMINISTRATOR: &str = "Administrator";
/// Those from here on are in the second account, of which the service user is no member; the last one is a program.
const FIRST_IN_LYON: usize = 8;
const ARCHIVE: usize = PEOPLE.len() - 1;
/// Whose password is guessed, and whom the intruder makes an administrator.
const VICTIM: usize = 0;
const ACCOMPLICE: usize = 7;

impl Person {
    fn email(&self) -> String {
        let (first, last) = (plain(self.first), plain(self.last));
        format!("{first}.{last}@example.com")
    }

    fn name(&self) -> String {
        format!("{} {}", self.first, self.last)
    }
}

/// Small letters of the alphabet, as addresses have them.
fn plain(name: &str) -> String {
    let plain = |letter| match letter {
        'â' => 'a',
        'è' | 'é' => 'e',
        'ı' => 'i',
        'ř' => 'r',
        'á' => 'a',
        other => other,
    };
    name.to_lowercase().chars().map(plain).collect()
}

fn account_of(n: usize) -> &'static str {
    if (FIRST_IN_LYON..ARCHIVE).contains(&n) {
        OTHER_ACCOUNT_ID
    } else {
        ACCOUNT_ID
    }
}

/// The people as Docusign's directory APIs show them.
pub fn directory() -> Directory {
    let account = |id: &str, name: &str, external_id| Account {
        id: id.to_owned(),
        name: name.to_owned(),
        organization_id: ORGANIZATION_ID.to_owned(),
        member: id == ACCOUNT_ID,
        site: 1,
        external_id,
        users: (0..PEOPLE.len())
            .filter(|&n| account_of(n) == id)
            .map(user)
            .collect(),
        permission_profiles: sample_permission_profiles(),
        groups: sample_groups(),
        ..Account::default()
    };
    Directory {
        organizations: vec![Organization {
            id: ORGANIZATION_ID.to_owned(),
            name: "Hollerbach Group".to_owned(),
        }],
        accounts: vec![
            account(ACCOUNT_ID, "Hollerbach GmbH, Köln", 10_001),
            account(OTHER_ACCOUNT_ID, "Hollerbach SARL, Lyon", 10_002),
        ],
    }
}

fn user(n: usize) -> Map<String, Value> {
    let person = &PEOPLE[n];
    let is_admin = person.title == ADMINISTRATOR;
    let mut user = sample_user(n);
    for (field, value) in [
        ("userName", person.name().as_str()),
        ("firstName", person.first),
        ("lastName", person.last),
        ("email", &person.email()),
        ("jobTitle", person.title),
        ("company", "Hollerbach"),
        ("userStatus", "Active"),
        ("isAdmin", if is_admin { "True" } else { "False" }),
        (
            "permissionProfileName",
            if is_admin {
                "Account Administrator"
            } else {
                "DocuSign Sender"
            },
        ),
    ] {
        user.insert(field.to_owned(), value.into());
    }
    user
}

/// What becomes of these events at search time, with the names that `ds_lookups` finds in [`directory`].
pub fn search_time() -> SearchTime {
    let directory = directory();
    let mut search_time = SearchTime::read();
    for account in &directory.accounts {
        let organization = &directory.organizations[0];
        search_time = search_time.with_row(
            "ds_accounts",
            &[
                ("accountId", account.id.as_str()),
                ("account_name", &account.name),
                ("organizationId", &organization.id),
                ("organization_name", &organization.name),
            ],
        );
        for user in &account.users {
            let text = |field: &str| user[field].as_str().unwrap_or_default();
            search_time = search_time.with_row(
                "ds_users",
                &[
                    ("userId", text("userId")),
                    ("user_name", text("userName")),
                    ("user_email", text("email")),
                    ("user_status", text("userStatus")),
                ],
            );
        }
    }
    search_time
}

/// Something that somebody does.
#[derive(Clone)]
struct Deed {
    time: DateTime<Utc>,
    person: usize,
    object: &'static str,
    action: &'static str,
    result: &'static str,
    affected: Option<usize>,
    data: Value,
    /// The integration key, where a program does it.
    client: &'static str,
    /// Where the person is not where they work: the break-in.
    is_break_in: bool,
}

/// The record of a deed, in Docusign's order of keys.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    timestamp: String,
    event_id: String,
    site: &'a str,
    account_id: &'a str,
    organization_id: &'a str,
    user_id: String,
    integrator_key: &'a str,
    user_agent: &'a str,
    ip_address: String,
    ip_address_location: Place,
    object: &'a str,
    action: &'a str,
    property: &'a str,
    field: &'a str,
    result: &'a str,
    source: &'a str,
    data: &'a Value,
    referenced_user_id: &'a str,
    affected_user_id: String,
    is_user_member_of_domain: bool,
    proxy_status: &'a str,
    proxy_type: &'a str,
    proxy_level: &'a str,
    #[serde(flatten)]
    place: Place,
    browser: &'a str,
    os: &'a str,
    device: &'a str,
}

impl Deed {
    fn new(time: DateTime<Utc>, person: usize, [object, action]: [&'static str; 2]) -> Self {
        Self {
            time,
            person,
            object,
            action,
            result: "",
            affected: None,
            data: json!({}),
            client: "",
            is_break_in: false,
        }
    }

    fn login(time: DateTime<Utc>, person: usize, result: &'static str) -> Self {
        let data = json!({"AuthenticationMethod": "Password"});
        Self {
            result,
            data,
            ..Self::new(time, person, ["User", "Login"])
        }
    }

    /// Something with the envelope or template of that number.
    fn with(time: DateTime<Utc>, person: usize, what: [&'static str; 2], n: usize) -> Self {
        let [object, _] = what;
        let name = AGREEMENTS[n % AGREEMENTS.len()];
        let id = guid(0xe7e1, n);
        let data = json!({format!("{object}Id"): id, format!("{object}Name"): name});
        Self {
            data,
            ..Self::new(time, person, what)
        }
    }

    /// Docusign's own text of it, as event number `n`.
    fn record(&self, n: usize) -> String {
        let person = &PEOPLE[self.person];
        let (place, address) = match self.is_break_in {
            true => (RECIFE, BREAK_IN_ADDRESS.to_owned()),
            false => (person.place, format!("203.0.113.{}", 10 + self.person)),
        };
        let is_program = !self.client.is_empty();
        let (agent, browser, os) = match is_program {
            true => ("okhttp/4.12.0", "", ""),
            false => (BROWSER, "Chrome 143", "Windows 10"),
        };
        let record = Record {
            timestamp: self.time.to_rfc3339_opts(SecondsFormat::Millis, true),
            event_id: guid(0x3eef, n),
            site: "EU1",
            account_id: account_of(self.person),
            organization_id: "",
            user_id: sample_user_id(self.person),
            integrator_key: self.client,
            user_agent: agent,
            ip_address: address,
            ip_address_location: place,
            object: self.object,
            action: self.action,
            property: "",
            field: "",
            result: self.result,
            source: if is_program { "API" } else { "Web" },
            data: &self.data,
            referenced_user_id: "",
            affected_user_id: self.affected.map(sample_user_id).unwrap_or_default(),
            is_user_member_of_domain: true,
            proxy_status: "",
            proxy_type: "",
            proxy_level: "",
            place,
            browser,
            os,
            device: "Other",
        };
        serde_json::to_string(&record).unwrap()
    }
}

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                       Chrome/143.0.0.0 Safari/537.36";

const AGREEMENTS: [&str; 7] = [
    "Rahmenvertrag Müller & Söhne",
    "Q3 \"final\" offer",
    "Non-disclosure agreement",
    "Contrat de prestation Garnier",
    "Employment contract",
    "Lease, third floor",
    "Purchase order 4711",
];

/// The week before `now`, in the order of its events.
pub fn records(now: DateTime<Utc>) -> Vec<String> {
    let mut deeds = vec![];
    for ago in (0..=DAYS).rev() {
        let day = (now - TimeDelta::days(ago)).date_naive();
        let midnight = Utc.from_utc_datetime(&day.and_hms_opt(0, 0, 0).unwrap());
        let is_weekend = matches!(day.weekday(), Weekday::Sat | Weekday::Sun);
        deeds.extend(night_of_the_archive(midnight));
        for person in 0..ARCHIVE {
            // Somebody is on call.
            let is_there = !is_weekend || person == day.num_days_from_ce() as usize % ARCHIVE;
            if is_there {
                deeds.extend(day_of(person, midnight, is_weekend));
            }
        }
    }
    let (week, break_in) = (now - TimeDelta::days(DAYS)..now, break_in(now));
    // Nobody else does anything meanwhile, so that it stays together where it is shown.
    let meanwhile = break_in[0].time..=break_in[break_in.len() - 1].time;
    deeds.retain(|deed| week.contains(&deed.time) && !meanwhile.contains(&deed.time));
    deeds.extend(break_in);
    deeds.sort_by_key(|deed| deed.time);
    let deeds = deeds.iter().enumerate();
    deeds.map(|(n, deed)| deed.record(n)).collect()
}

/// Event number `n`, which happens just now.
pub fn record(n: usize, now: DateTime<Utc>) -> String {
    let person = chance(n as u64) as usize % ARCHIVE;
    let what = WORK[chance(n as u64 + 7) as usize % WORK.len()];
    Deed::with(now, person, what, n).record(n)
}

/// What people do, as often as it stands here.
const WORK: [[&str; 2]; 7] = [
    ["Envelope", "Created"],
    ["Envelope", "Sent"],
    ["Envelope", "Sent"],
    ["Envelope", "Signed"],
    ["Envelope", "Completed"],
    ["Envelope", "Downloaded"],
    ["Template", "Updated"],
];

fn day_of(person: usize, midnight: DateTime<Utc>, is_weekend: bool) -> Vec<Deed> {
    let seed = midnight.timestamp() as u64 + person as u64;
    let minutes = |most: u64, n: u64| TimeDelta::seconds((chance(seed + n) % (60 * most)) as i64);
    let begins = midnight + TimeDelta::hours(PEOPLE[person].begins.into()) + minutes(40, 1);
    let mut deeds = vec![];
    // Now and then somebody mistypes.
    if chance(seed).is_multiple_of(5) {
        let before = begins - TimeDelta::seconds(20);
        deeds.push(Deed::login(before, person, "Failed"));
    }
    deeds.push(Deed::login(begins, person, "Success"));
    let ends = begins + TimeDelta::hours(if is_weekend { 1 } else { 8 });
    let mut time = begins + minutes(30, 2);
    for n in 3.. {
        if time > ends {
            break;
        }
        let number = chance(seed + 100 + n) as usize;
        // A template is another person's work now and then, not every hour.
        let what = match WORK[number % WORK.len()] {
            ["Template", _] if n > 3 => ["Envelope", "Sent"],
            what => what,
        };
        deeds.push(Deed::with(time, person, what, number % 10_000));
        time += TimeDelta::minutes(20) + minutes(60, n);
    }
    deeds
}

/// The program that fetches at two in the morning what was completed.
fn night_of_the_archive(midnight: DateTime<Utc>) -> Vec<Deed> {
    let begins = midnight + TimeDelta::hours(2);
    let fetches = (0..ARCHIVED).map(|n| {
        let time = begins + TimeDelta::seconds(40 * n as i64);
        let number = chance(midnight.timestamp() as u64 + n as u64) as usize % 10_000;
        Deed {
            client: ARCHIVE_CLIENT,
            ..Deed::with(time, ARCHIVE, ["Envelope", "Downloaded"], number)
        }
    });
    fetches.collect()
}

/// One password is tried on everybody, fits an administrator, and opens the rest.
fn break_in(now: DateTime<Utc>) -> Vec<Deed> {
    let at = |seconds: i64| now - BEGAN + TimeDelta::seconds(seconds);
    let tried = (0..ARCHIVE).filter(|&person| person != VICTIM);
    let mut deeds: Vec<_> = tried
        .zip(0..)
        .map(|(person, n)| Deed::login(at(15 * n), person, "Failed"))
        .collect();
    deeds.push(Deed::login(at(200), VICTIM, "Success"));
    deeds.push(Deed {
        affected: Some(ACCOMPLICE),
        data: json!({"AffectedUserId": sample_user_id(ACCOMPLICE)}),
        ..Deed::new(at(500), VICTIM, ["Account", "AddAdministrator"])
    });
    deeds.push(Deed::new(
        at(700),
        VICTIM,
        ["Organization", "OrganizationUserExported"],
    ));
    deeds.push(Deed::login(at(900), ACCOMPLICE, "Success"));
    for n in 0..DOWNLOADED {
        let time = at(1_000 + 4 * n as i64);
        deeds.push(Deed {
            client: NEW_CLIENT,
            ..Deed::with(time, ACCOMPLICE, ["Envelope", "Downloaded"], 20_000 + n)
        });
    }
    deeds.push(Deed::new(at(1_500), VICTIM, ["Connect", "Created"]));
    for deed in &mut deeds {
        deed.is_break_in = true;
    }
    deeds
}

/// A number that looks as if it came by chance, and is always the same for the same `n`: `splitmix64`.
fn chance(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (n ^ (n >> 31)) >> 1
}
