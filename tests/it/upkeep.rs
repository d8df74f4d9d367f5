//! The saved searches `Docusign Monitor - …` that watch the feed and keep the lookups, computed on lines of the log and
//! on rows that were sent as events.

use std::collections::BTreeMap;

use support::conf::{collections, conf, macros, setting, stanza, table};
use support::spl::{Row, Search, World};

/// The time of all runs here.
const NOW: i64 = 1_773_828_000;
const ENDPOINT: &str = "/servicesNS/-/-/data/inputs/ds_monitor";

fn row(cells: &[(&str, &str)]) -> Row {
    let cells = cells.iter();
    cells
        .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]))
        .collect()
}

/// A line of an input's log, so many minutes ago.
fn line(minutes_ago: i64, host: &str, cells: &[(&str, &str)]) -> Row {
    let mut line = row(cells);
    let time = (NOW - 60 * minutes_ago).to_string();
    for (name, value) in [
        ("_time", time.as_str()),
        ("host", host),
        ("index", "_internal"),
        ("sourcetype", "splunkd"),
        ("_raw", "ExecProcessor ds_monitor"),
    ] {
        line.insert(name.to_owned(), vec![value.to_owned()]);
    }
    line
}

fn run_of(minutes_ago: i64, host: &str) -> Row {
    line(
        minutes_ago,
        host,
        &[
            ("action", "events_ingested"),
            ("modular_input_name", "ds_monitor://prod"),
        ],
    )
}

/// What a search finds, and what it writes.
fn found(
    name: &str,
    events: Vec<Row>,
    lookups: &[(&str, Vec<Row>)],
) -> (Vec<Row>, Vec<(String, Row)>) {
    let settings = stanza(
        &conf("savedsearches"),
        &format!("Docusign Monitor - {name}"),
    );
    let get = |key| setting(&settings, key).unwrap_or_default().to_owned();
    let mut known: BTreeMap<String, Vec<Row>> = BTreeMap::from([
        (ENDPOINT.to_owned(), vec![]),
        ("ds_seen".to_owned(), vec![]),
        ("ds_findings".to_owned(), vec![]),
        ("ds_retired_inputs".to_owned(), vec![]),
        ("ds_users".to_owned(), vec![]),
        ("ds_users_master".to_owned(), vec![]),
    ]);
    for (lookup, rows) in lookups {
        known.insert((*lookup).to_owned(), rows.clone());
    }
    let world = World {
        now: NOW,
        events,
        lookups: known,
        exact: collections(),
        earliest: get("dispatch.earliest_time"),
        latest: get("dispatch.latest_time"),
        ..World::default()
    };
    let search = Search::parse(&get("search"), &macros()).unwrap();
    let rows = search.run(&world);
    let rows = rows.unwrap_or_else(|what| panic!("{name}: {what}"));
    (rows, world.written.into_inner())
}

fn hosts(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row["host"][0].as_str()).collect()
}

#[test]
fn of_two_hosts_with_the_same_input_a_live_one_does_not_hide_a_dead_one() {
    let events = vec![run_of(5, "hf1"), run_of(30, "hf2"), run_of(90, "hf2")];
    assert_eq!(hosts(&found("Silent feed", events, &[]).0), [""; 0]);
    // hf2 wrote its last line before the window; only what is remembered knows of it.
    let remembered = row(&[
        ("_key", "input|hf2|ds_monitor://prod"),
        ("kind", "input"),
        ("userId", "hf2"),
        ("value", "ds_monitor://prod"),
        ("first_seen", "1770000000"),
        ("last_seen", &(NOW - 5400).to_string()),
    ]);
    let events = vec![run_of(5, "hf1")];
    let (rows, _) = found("Silent feed", events, &[("ds_seen", vec![remembered])]);
    assert_eq!(hosts(&rows), ["hf2"]);
    assert_eq!(rows[0]["input"], ["ds_monitor://prod"]);
}

#[test]
fn a_dead_forwarder_is_remembered_for_thirty_days() {
    let columns = table("ds_seen").0;
    let mut seen: Vec<Row> = vec![];
    let (_, written) = found("Silent feed", vec![run_of(5, "hf1")], &[]);
    for (lookup, row) in written {
        assert_eq!(lookup, "ds_seen");
        assert_eq!(row["_key"], ["input|hf1|ds_monitor://prod"]);
        let mut row = row;
        row.retain(|field, _| columns.contains(field));
        seen.push(row);
    }
    assert_eq!(seen.len(), 1);
    for (days, expected) in [(1, 1), (29, 1), (31, 0)] {
        let mut old = seen.clone();
        old[0].insert(
            "last_seen".to_owned(),
            vec![(NOW - 86400 * days).to_string()],
        );
        let (rows, _) = found("Silent feed", vec![], &[("ds_seen", old)]);
        assert_eq!(rows.len(), expected, "{days} days");
    }
}

#[test]
fn a_disabled_copy_elsewhere_does_not_mute_the_live_input() {
    let copy = |host: &str, disabled: &str| {
        row(&[
            ("title", "prod"),
            ("disabled", disabled),
            ("splunk_server", host),
        ])
    };
    let lost = || {
        row(&[
            ("_key", "input|hf1|ds_monitor://prod"),
            ("kind", "input"),
            ("userId", "hf1"),
            ("value", "ds_monitor://prod"),
            ("first_seen", "1770000000"),
            ("last_seen", &(NOW - 7200).to_string()),
        ])
    };
    let silent = |copy: Row| {
        let lookups = [(ENDPOINT, vec![copy]), ("ds_seen", vec![lost()])];
        found("Silent feed", vec![], &lookups).0
    };
    assert_eq!(hosts(&silent(copy("sh1", "1"))), ["hf1"]);
    // Its own disabled stanza does, and an enabled one that never ran is told.
    assert_eq!(hosts(&silent(copy("hf1", "1"))), [""; 0]);
    let rows = silent(copy("sh1", "0"));
    assert_eq!(hosts(&rows), ["hf1", "sh1"]);
    assert_eq!(rows[1]["last_run"], ["never"]);
}

/// Nothing in a log says that an input was disabled on purpose, so an administrator says it.
#[test]
fn an_input_that_was_retired_on_its_host_is_no_longer_told() {
    let seen = |host: &str, name: &str| {
        row(&[
            ("_key", &format!("input|{host}|ds_monitor://{name}")),
            ("kind", "input"),
            ("userId", host),
            ("value", &format!("ds_monitor://{name}")),
            ("first_seen", "1770000000"),
            ("last_seen", &(NOW - 7200).to_string()),
        ])
    };
    let silent = |retired: &[(&str, &str)]| {
        let seen = vec![
            seen("hf1", "prod"),
            seen("hf1", "demo"),
            seen("hf2", "prod"),
        ];
        let retired = retired.iter().map(|(host, input)| {
            let cells = [("host", *host), ("input", *input), ("comment", "moved")];
            row(&cells)
        });
        let lookups = [("ds_seen", seen), ("ds_retired_inputs", retired.collect())];
        let rows = found("Silent feed", vec![], &lookups).0;
        let names = rows.iter();
        let names = names.map(|row| format!("{} {}", row["host"][0], &row["input"][0][13..]));
        names.collect::<Vec<_>>()
    };
    assert_eq!(silent(&[]), ["hf1 demo", "hf1 prod", "hf2 prod"]);
    // Not the same input elsewhere, and not another input of the same host.
    assert_eq!(
        silent(&[("hf1", "ds_monitor://prod")]),
        ["hf1 demo", "hf2 prod"]
    );
    assert_eq!(silent(&[("hf3", "ds_monitor://prod")]).len(), 3);
    assert_eq!(silent(&[("hf1", "prod")]).len(), 3);
}

#[test]
fn the_weekly_report_counts_whole_weeks_and_begins_with_what_is_worst() {
    const DAY: i64 = 86_400;
    let midnight = NOW - NOW % DAY;
    let finding = |at: i64, detection: &str, severity: &str, text: &str| {
        row(&[
            ("_key", &format!("{at} {detection} {text}")),
            ("time", &at.to_string()),
            ("detection", detection),
            ("severity", severity),
            ("finding", text),
        ])
    };
    let findings = vec![
        finding(
            midnight - 1,
            "Administrator added",
            "high",
            "Eve made Ada administrator",
        ),
        finding(
            midnight - 7 * DAY,
            "Administrator added",
            "medium",
            "Eve changed Ben",
        ),
        finding(
            midnight - 7 * DAY - 1,
            "Administrator added",
            "high",
            "of the week before",
        ),
        finding(
            midnight - 2 * DAY,
            "Export of users, settings or reports",
            "medium",
            "a list",
        ),
        finding(
            midnight - 9 * DAY,
            "Break-in and what followed",
            "critical",
            "of the week before",
        ),
        // Today is not over, and what is older than two weeks does not count.
        finding(midnight + 60, "Mass download", "high", "of today"),
        finding(
            midnight - 14 * DAY - 1,
            "Mass download",
            "high",
            "of long ago",
        ),
    ];
    let seen = |kind: &str, who: &str, value: &str, first: i64, last: i64| {
        row(&[
            ("_key", &format!("{kind}|{who}|{value}")),
            ("kind", kind),
            ("userId", who),
            ("value", value),
            ("first_seen", &first.to_string()),
            ("last_seen", &last.to_string()),
        ])
    };
    let input = "ds_monitor://prod";
    let closed = [("U1", 3), ("U2", 10), ("U3", 20)];
    let mut remembered = vec![
        seen("input", "hf1", input, 1, NOW - 60),
        seen("input", "hf2", input, 1, NOW - 7200),
        seen("input", "hf3", input, 1, NOW - 7200),
        seen("input", "hf4", input, 1, NOW - 60),
    ];
    remembered.extend(closed.map(|(who, days)| seen("closed", who, "", NOW - days * DAY, NOW)));
    let retired = ["hf3", "hf4"].map(|host| row(&[("host", host), ("input", input)]));
    let people = vec![row(&[("userId", "U1"), ("user_email", "dan@example.com")])];
    let event = |days_ago: i64| {
        row(&[
            ("_time", &(midnight - days_ago * DAY + 3600).to_string()),
            ("index", "docusign"),
            ("sourcetype", "ds_monitor"),
            ("_raw", "{}"),
        ])
    };
    // One of today, four of the week, two of the week before, one of the time before that.
    let events = [0, 1, 2, 2, 7, 8, 14, 15].map(event).to_vec();
    let lookups = [
        ("ds_findings", findings),
        ("ds_seen", remembered),
        ("ds_retired_inputs", retired.to_vec()),
        ("ds_users", people),
    ];
    let report = |events: Vec<Row>, lookups: &[(&str, Vec<Row>)]| {
        let rows = found("Weekly report", events, lookups).0.into_iter();
        let names = ["topic", "this_week", "week_before", "examples"];
        let lines = rows.map(|row| {
            let cells = names.map(|name| row.get(name).map_or(String::new(), |it| it.join("; ")));
            cells.join(" | ")
        });
        lines.collect::<Vec<_>>()
    };
    assert_eq!(
        report(events, &lookups),
        [
            "Retired inputs that run | 1 |  | ds_monitor://prod on hf4",
            "Silent inputs | 1 |  | ds_monitor://prod on hf2",
            "Break-in and what followed | 0 | 1 | ",
            "Administrator added | 2 | 1 | Eve changed Ben; Eve made Ada administrator",
            "Export of users, settings or reports | 1 | 0 | a list",
            "Users who were closed | 1 | 1 | dan@example.com",
            "Events | 4 | 2 | ",
        ]
    );
    assert_eq!(
        report(vec![], &[]),
        ["Users who were closed | 0 | 0 | ", "Events | 0 | 0 | "]
    );
}

#[test]
fn an_input_that_only_fails_is_silent() {
    let failing = line(
        5,
        "hf1",
        &[("input", "ds_monitor://prod"), ("log_level", "ERROR")],
    );
    let (rows, written) = found("Silent feed", vec![failing], &[]);
    assert_eq!(hosts(&rows), ["hf1"]);
    assert_eq!(written[0].1["last_seen"], ["0"]);
}

#[test]
fn a_lag_that_grows_or_stays_above_four_hours_is_told_by_host() {
    let lag = |minutes_ago: i64, host: &str, lag: &str| {
        line(
            minutes_ago,
            host,
            &[
                ("action", "events_ingested"),
                ("modular_input_name", "ds_monitor://prod"),
                ("lag_s", lag),
            ],
        )
    };
    let two = |old: &str, new: &str| vec![lag(100, "hf1", old), lag(10, "hf1", new)];
    let rows = |events: Vec<Row>| found("Growing lag", events, &[]).0.len();
    assert_eq!(rows(two("1000", "2000")), 1);
    assert_eq!(rows(two("3000", "2000")), 0);
    assert_eq!(rows(two("1000", "1700")), 0);
    // It stays as it is: of three hours nothing is said, of more than four it is.
    assert_eq!(rows(two("10800", "10800")), 0);
    assert_eq!(rows(two("14401", "14401")), 1);
    // A quick host does not hide a slow one.
    let mut both = two("1000", "2000");
    both.push(lag(20, "hf2", "10"));
    assert_eq!(rows(both), 1);
}

#[test]
fn a_refresh_of_the_users_is_taken_only_if_all_its_rows_have_arrived() {
    let sent = |hours_ago: i64, sourcetype: &str, cells: &[(&str, &str)]| {
        let mut event = line(60 * hours_ago, "hf1", cells);
        for (name, value) in [("sourcetype", sourcetype), ("index", "docusign")] {
            event.insert(name.to_owned(), vec![value.to_owned()]);
        }
        event
    };
    let user = |hours_ago: i64, refresh: &str, id: &str, name: &str| {
        sent(
            hours_ago,
            "ds_monitor:user",
            &[
                ("refresh_id", refresh),
                ("monitor_input", "prod"),
                ("userId", id),
                ("accountId", "A"),
                ("user_name", name),
                ("user_status", "Active"),
                ("last_seen", "2026-03-18T00:00:00Z"),
            ],
        )
    };
    let end = |hours_ago: i64, refresh: &str, count: &str| {
        let cells = [
            ("refresh_id", refresh),
            ("monitor_input", "prod"),
            ("n_users", count),
        ];
        sent(hours_ago, "ds_monitor:refresh", &cells)
    };
    let mut left = BTreeMap::new();
    for column in table("ds_users").0 {
        left.insert(column, vec!["-".to_owned()]);
    }
    for (column, value) in [
        ("userId", "U9"),
        ("accountId", "A"),
        ("monitor_input", "prod"),
        ("first_seen", "2025-01-01T00:00:00Z"),
        ("last_seen", "2026-01-01T00:00:00Z"),
    ] {
        left.insert(column.to_owned(), vec![value.to_owned()]);
    }
    let events = vec![
        user(20, "R1", "U1", "Ada"),
        user(20, "R1", "U2", "Ben"),
        // A row that was sent twice counts once.
        user(20, "R1", "U2", "Ben"),
        end(20, "R1", "2"),
        user(2, "R2", "U1", "Ada Berg"),
        end(2, "R2", "2"),
    ];
    // After an upgrade of the app the file is empty, and only the KV store knows who left.
    let names = |events: Vec<Row>| {
        let lookups = [("ds_users_master", vec![left.clone()])];
        let (_, written) = found("Refresh the users lookup", events, &lookups);
        let (kept, written): (Vec<_>, Vec<_>) = written
            .into_iter()
            .partition(|(lookup, _)| lookup == "ds_users_master");
        assert_eq!(kept.len(), written.len());
        assert_eq!(kept[0].1["_key"], ["U1|A"]);
        let rows = written.iter().map(|(_, row)| {
            let id = row["userId"][0].clone();
            format!("{id} {}", row["user_name"][0])
        });
        rows.collect::<Vec<String>>()
    };
    assert_eq!(names(events.clone()), ["U1 Ada", "U2 Ben", "U9 -"]);
    let mut complete = events;
    complete.push(user(2, "R2", "U3", "Cleo"));
    assert_eq!(names(complete), ["U1 Ada Berg", "U3 Cleo", "U9 -"]);
}

#[test]
fn the_identity_list_joins_the_guid_and_the_address_of_a_person() {
    let user = |cells: &[(&str, &str)]| {
        let mut row = row(cells);
        for column in table("ds_users").0 {
            row.entry(column).or_insert_with(|| vec!["-".to_owned()]);
        }
        row
    };
    let rows = vec![
        user(&[
            ("userId", "U1"),
            ("accountId", "A"),
            ("user_email", "Ada@example.com"),
            ("user_status", "Active"),
            ("is_admin", "false"),
            ("user_created", "2025-02-03T04:05:06Z"),
        ]),
        user(&[
            ("userId", "U1"),
            ("accountId", "B"),
            ("user_email", "ada@example.com"),
            ("user_status", "Closed"),
            ("is_admin", "true"),
            ("user_created", "2025-03-03T04:05:06Z"),
        ]),
        user(&[
            ("userId", "U2"),
            ("accountId", "A"),
            ("user_email", "dan@example.com"),
            ("user_status", "Closed"),
            ("is_admin", "false"),
            ("user_created", "2025-03-03T04:05:06Z"),
            ("last_seen", "2026-03-17T01:00:00Z"),
        ]),
    ];
    // The day on which dan was first seen closed; nobody else was.
    let closed = row(&[
        ("_key", "closed|U2"),
        ("kind", "closed"),
        ("userId", "U2"),
        ("first_seen", "1773705600"),
    ]);
    let lookups = [("ds_users", rows), ("ds_seen", vec![closed])];
    let (_, written) = found("Identity list", vec![], &lookups);
    let (seen, written): (Vec<_>, Vec<_>) = written
        .into_iter()
        .partition(|(lookup, _)| lookup == "ds_seen");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].1["first_seen"], ["1773705600"]);
    let cells = |at: usize, names: &[&str]| -> Vec<String> {
        let row = &written[at].1;
        let cells = names
            .iter()
            .map(|name| row.get(*name).map_or(String::new(), |cell| cell.join("+")));
        cells.collect()
    };
    let names = [
        "identity",
        "priority",
        "category",
        "watchlist",
        "startDate",
        "endDate",
    ];
    assert_eq!(written.len(), 2);
    assert_eq!(
        cells(0, &names),
        [
            "U1|ada@example.com",
            "high",
            "docusign|docusign_admin",
            "false",
            "02/03/2025 00:00",
            ""
        ]
    );
    assert_eq!(
        cells(1, &names),
        [
            "U2|dan@example.com",
            "medium",
            "docusign|docusign_closed",
            "true",
            "03/03/2025 00:00",
            "03/17/2026 00:00"
        ]
    );
}

#[test]
fn a_member_of_a_cluster_that_leaves_the_work_to_another_one_is_not_silent() {
    let skip = |member: &[(&str, &str)]| {
        let mut line = line(
            5,
            "sh2",
            &[("action", "skip"), ("input", "ds_monitor://prod")],
        );
        line.extend(row(member));
        line
    };
    let at_work = vec![run_of(5, "sh1"), skip(&[("member", "5C1E0A7B")])];
    assert_eq!(hosts(&found("Silent feed", at_work, &[]).0), [""; 0]);
    // Without a member it is a lock of this very host, on which a run hangs.
    let hanging = vec![run_of(5, "sh1"), skip(&[])];
    assert_eq!(hosts(&found("Silent feed", hanging, &[]).0), ["sh2"]);
}

/// What a search cannot read comes to it as nothing, and Splunk would then write nothing in its place.
#[test]
fn a_search_that_reads_nothing_leaves_every_lookup_as_it_is() {
    let searches = conf("savedsearches").into_iter().chain(conf("macros"));
    for (name, settings) in searches {
        let search = setting(&settings, "search").or(setting(&settings, "definition"));
        let search = search.unwrap_or_default();
        for write in search.split('|').filter(|it| it.contains("outputlookup")) {
            let keeps = ["append=true", "override_if_empty=false"];
            assert!(keeps.iter().any(|it| write.contains(it)), "{name}: {write}");
        }
    }
}

#[test]
fn what_is_old_is_forgotten_and_everything_else_stays_whole() {
    let days_ago = |days: i64| (NOW - 86_400 * days).to_string();
    for (search, table, time, days, kinds) in [
        ("Forget old findings", "ds_findings", "time", 400, &[""][..]),
        (
            "Forget what was seen",
            "ds_seen",
            "last_seen",
            180,
            &["country", "input"],
        ),
        (
            "Forget what was seen",
            "ds_seen",
            "last_seen",
            400,
            &["user", "maker"],
        ),
    ] {
        let columns = stanza(&conf("transforms"), table);
        let columns = setting(&columns, "fields_list").unwrap().to_owned();
        let entry = |kind: &str, age: i64| -> Row {
            let value = |column: &str| match column {
                "kind" => kind.to_owned(),
                column if column == time => days_ago(age),
                column => format!("{column} {kind} {age}"),
            };
            let columns = columns.split(',').map(str::trim);
            columns.map(|it| (it.to_owned(), vec![value(it)])).collect()
        };
        let of_age = |age: i64| kinds.iter().map(move |kind| (*kind, age));
        let young: Vec<Row> = of_age(days - 1)
            .map(|(kind, age)| entry(kind, age))
            .collect();
        let old: Vec<Row> = of_age(days + 1)
            .map(|(kind, age)| entry(kind, age))
            .collect();
        let (_, written) = found(search, vec![], &[(table, [young.clone(), old].concat())]);
        assert!(written.iter().all(|(to, _)| to == table), "{written:?}");
        let written: Vec<Row> = written.into_iter().map(|(_, row)| row).collect();
        assert_eq!(written, young, "{search}");
    }
}
