//! Whether the reader of searches is right itself: what it refuses, what it follows, and what it computes, each from
//! an example whose outcome Splunk's manual tells.

use std::collections::BTreeSet;

use support::spl::{Knowledge, Macro, Macros, Row, Search, World, parse_eval};

fn macros() -> Macros {
    let with = |arguments: &[&str], definition: &str| Macro {
        arguments: arguments.iter().map(|&name| name.to_owned()).collect(),
        definition: definition.to_owned(),
    };
    Macros::from([
        (
            "events".to_owned(),
            with(&[], "index=* sourcetype=docs | dedup id keepempty=true"),
        ),
        ("limit".to_owned(), with(&[], "3")),
        (
            "least(2)".to_owned(),
            with(&["field", "number"], "where $field$>=$number$"),
        ),
        ("loop".to_owned(), with(&[], "`loop`")),
    ])
}

fn knowledge() -> Knowledge {
    let fields = [
        "_time",
        "_raw",
        "index",
        "sourcetype",
        "eventtype",
        "id",
        "user",
        "src",
        "data.Severity",
        "n",
        "ids{}",
    ];
    Knowledge {
        sourcetypes: [("docs".to_owned(), fields.map(str::to_owned).into())].into(),
        lookups: [(
            "people".to_owned(),
            ["guid", "name"].map(str::to_owned).into(),
        )]
        .into(),
        event_types: [("docs_alert".to_owned(), "docs".to_owned())].into(),
        ..Knowledge::default()
    }
}

fn refusal(search: &str) -> String {
    let read = Search::parse(search, &macros()).and_then(|search| search.flow(Some(&knowledge())));
    read.err().unwrap_or_default()
}

/// Searches that Splunk refuses, or that would find nothing without a word; and what is said of them.
const BROKEN: &[(&str, &str)] = &[
    ("", "the search is empty"),
    ("`events` | ", "a command is missing"),
    ("`nothing`", "the macro nothing is not known"),
    ("`events", "a backtick is not closed"),
    ("`loop`", "a macro contains itself"),
    ("`events` | `least(n)`", "the macro least(1) is not known"),
    ("`events` | statz count", "statz: the command is not known"),
    ("`events` | map search=x", "map: the command is not known"),
    (
        "`events` | join user [search sourcetype=docs]",
        "join: the command is not known",
    ),
    (
        "`events` | iplocation src",
        "iplocation: the command is not known",
    ),
    (
        "`events` eventtype=docs_alert",
        "dedup: the option eventtype is not known",
    ),
    (
        "| stats count",
        "stats: a search cannot begin with this command",
    ),
    ("index=main user=x", "does not say of which sourcetype"),
    ("sourcetype=doc", "the sourcetype doc is not known"),
    (
        "sourcetype=docs eventtype=docs_alarm",
        "the event type docs_alarm is not known",
    ),
    (
        "sourcetype=docs usr=x",
        "search: it reads usr, which no event of docs has",
    ),
    ("sourcetype=docs user==x", "`==` is no operator of search"),
    ("sourcetype=docs (user=x", "a parenthesis is not closed"),
    ("sourcetype=docs user=x)", "a `)` too many"),
    ("sourcetype=docs user=\"x", "a quotation mark is not closed"),
    ("sourcetype=docs user=x or user=y", "`or` is written OR"),
    ("sourcetype=docs user IN ()", "a value is missing"),
    ("sourcetype=docs NOT", "a condition is missing"),
    ("`events` | where user=", "where: a value is missing"),
    (
        "`events` | where user",
        "where: a value stands where a condition is expected",
    ),
    (
        "`events` | where user=\"x\" and src=\"y\"",
        "`and` is written AND",
    ),
    (
        "`events` | where user=bob",
        "where: it reads bob, which no event of docs has",
    ),
    (
        "`events` | where (user=\"x\"",
        "a parenthesis is not closed",
    ),
    ("`events` | where n>1>0", "two comparisons in a row"),
    (
        "`events` | where data.Severity=\"high\"",
        "it reads Severity, which",
    ),
    ("`events` | eval x", "`=` is missing before the end"),
    ("`events` | eval x=if(n>1, 2)", "if cannot have 2 arguments"),
    (
        "`events` | eval x=if(n, 1, 2)",
        "a value stands where a condition is expected",
    ),
    (
        "`events` | eval x=case(n>1, 1, 2)",
        "case cannot have 3 arguments",
    ),
    (
        "`events` | eval x=lowercase(user)",
        "the function lowercase is not known",
    ),
    (
        "`events` | eval x=n>1",
        "x: a condition stands where a value is expected",
    ),
    (
        "`events` | eval x=strftime(_time, \"%Q\")",
        "the time format %Q",
    ),
    (
        "`events` | eval x=relative_time(now(), \"-1x\")",
        "the time -1x is not understood",
    ),
    ("`events` | eval x=user.1+n", "`.` beside + or -"),
    ("`events` | eval 'x=1", "`'` is missing"),
    ("`events` | stats", "stats: a function is missing"),
    ("`events` | stats sum AS n", "sum has no field"),
    ("`events` | stats dc()", "dc() has no field"),
    (
        "`events` | stats total(n)",
        "the function total is not known",
    ),
    ("`events` | stats count by user", "`by` is written BY"),
    ("`events` | stats count as x", "`as` is written AS"),
    (
        "`events` | stats count BY user AS x",
        "AS stands where a field is expected",
    ),
    (
        "`events` | stats AS x count",
        "AS without a function before it",
    ),
    (
        "`events` | stats count BY",
        "a field is missing before the end",
    ),
    ("`events` | stats count(eval(n>1))", "needs a name: AS"),
    (
        "`events` | stats sum(eval(n>1)) AS x",
        "a condition stands where a value is expected",
    ),
    (
        "`events` | stats count dc(id) AS count",
        "count is made twice",
    ),
    (
        "`events` | stats count BY user | where usr=\"x\"",
        "where: it reads usr, which stats has not left",
    ),
    (
        "`events` | stats count BY user | table user src",
        "table: it reads src, which stats has not left",
    ),
    (
        "`events` | table user | stats latest(user) AS user",
        "it reads _time, which table has not left",
    ),
    (
        "`events` | rename user AS who | table user",
        "table: it reads user, which",
    ),
    (
        "`events` | fields - user | table user",
        "table: it reads user, which",
    ),
    ("`events` | rename user who", "AS is missing after user"),
    ("`events` | table u*", "the wildcard u*"),
    (
        "`events` | sort - n, user",
        "a sign with a blank after it may hold for all fields",
    ),
    ("`events` | sort", "sort: a field is missing"),
    ("`events` | head five", "a number is missing"),
    ("`events` | dedup", "dedup: a field is missing"),
    ("`events` | fillnull value=0", "name the fields to fill"),
    (
        "`events` | lookup persons guid AS user OUTPUT name",
        "the lookup persons is not known",
    ),
    (
        "`events` | lookup people id AS user OUTPUT name",
        "people has no column id",
    ),
    (
        "`events` | lookup people guid AS user OUTPUT mail",
        "people has no column mail",
    ),
    (
        "`events` | inputlookup people",
        "without append=true it must be the first",
    ),
    (
        "| inputlookup people where nam=x",
        "it reads nam, which the lookup people has not",
    ),
    (
        "| inputlookup people | table guid | outputlookup people",
        "people would lose its column name",
    ),
    (
        "`events` | append [search sourcetype=docs",
        "a bracket is not closed",
    ),
    (
        "`events` | append [| inputlookup people | table mail]",
        "append: [table: it reads mail",
    ),
    ("`events` | convert ctime(time)", "convert: it reads time"),
    (
        "`events` | timechart span=1q count",
        "the span 1q is not understood",
    ),
    (
        "`events` | streamstats windw=2 count",
        "the option windw is not known",
    ),
    (
        "`events` | stats count | timechart sum(count) AS n",
        "it reads _time, which stats has not left",
    ),
];

#[test]
fn a_broken_search_is_refused_in_words_that_name_what_is_wrong() {
    let wrong: Vec<String> = BROKEN
        .iter()
        .filter(|(search, words)| !refusal(search).contains(words) || words.is_empty())
        .map(|(search, words)| {
            format!(
                "{search}\n  said:     {}\n  expected: {words}",
                refusal(search)
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_splunk_accepts_is_accepted() {
    for search in [
        "`events` | search user=\"a*\" AND (n>1 OR NOT src=10.*) ids{}=*",
        "search sourcetype=docs user IN (\"a b\", c-d, e*) \"a phrase\" word",
        "`events` | `least(n, 3)` | head `limit`",
        "`events` | eval a=if(isnull(user), \"none\", lower(user).\"@\".'data.Severity'), b=-n*(2+3)%4",
        "`events` | where user IN (\"a\", \"b\") OR user LIKE \"c%\" OR like(user, \"d%\")",
        "`events` | stats count dc(user) AS users count(eval(n>1)) AS big values(ids{}) AS ids p95(n) AS high BY src",
        "`events` | streamstats time_window=1h current=false dc(src) AS n BY user",
        "`events` | streamstats window=1 current=f global=f last(src) AS before BY user",
        "`events` | timechart span=1h limit=5 useother=false count BY user",
        "`events` | chart count OVER user BY src",
        "`events` | bin _time span=10m | stats sum(n) AS n BY _time user | sort 0 -n +user",
        "`events` | fillnull value=\"none\" user src | dedup 2 user, src keepempty=true",
        "`events` | rename data.Severity AS severity, ids{} AS ids | mvexpand ids | table _time severity ids",
        "sourcetype=docs [| inputlookup people where name=\"a*\" | fields guid | rename guid AS id]",
        "sourcetype=docs [| makeresults | eval earliest=1, latest=now() | table earliest latest] user=a",
        "sourcetype=docs [| inputlookup people | rename guid AS search | table search]",
        "| inputlookup people | append [| makeresults | eval name=\"x\"] | stats count BY name",
        "`events` | stats count BY user | appendpipe [stats sum(count) AS count | eval user=\"all\"]",
        "`events` | rex field=user \"@(?<domain>.+)$\" | stats count BY domain",
    ] {
        assert_eq!(refusal(search), "", "{search}");
    }
}

#[test]
fn the_fields_that_leave_a_search_are_known_in_their_order() {
    let output = |search: &str| Search::parse(search, &macros()).unwrap().output();
    let fields = |names: &[&str]| {
        Some(
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(output("`events` | eval x=1"), None);
    assert_eq!(
        output("`events` | stats count dc(id) BY user | eval x=1"),
        fields(&["user", "count", "dc(id)", "x"])
    );
    assert_eq!(
        output("`events` | table b a | rename b AS c"),
        fields(&["c", "a"])
    );
    assert_eq!(
        output("`events` | stats count BY a b | fields - a"),
        fields(&["b", "count"])
    );
    assert_eq!(
        output("`events` | timechart count BY user"),
        fields(&["_time", "*"])
    );
    assert_eq!(
        output("`events` | timechart count dc(id) AS ids"),
        fields(&["_time", "count", "ids"])
    );

    let search = "`events` | eval a=lower(user) | where a=\"x\" AND src!=\"y\" | stats count BY a | sort -count";
    let reads = Search::parse(search, &macros()).unwrap().reads().unwrap();
    let expected: BTreeSet<String> = ["sourcetype", "index", "id", "user", "src"]
        .map(str::to_owned)
        .into();
    assert_eq!(reads, expected);
}

fn row(cells: &[(&str, &str)]) -> Row {
    let cells = cells.iter().map(|(name, value)| {
        let values = value.split('|').map(str::to_owned).collect();
        ((*name).to_owned(), values)
    });
    cells.collect()
}

/// Rows as `field=value` with blanks between, a multivalue field with `|` between its values.
fn found(world: &World, search: &str) -> Vec<String> {
    let rows = Search::parse(search, &macros()).unwrap().run(world);
    let rows = rows.unwrap_or_else(|what| panic!("{search}: {what}"));
    let text = |row: &Row| {
        let cells: Vec<String> = row
            .iter()
            .map(|(field, values)| format!("{field}={}", values.join("|")))
            .collect();
        cells.join(" ")
    };
    rows.iter().map(text).collect()
}

fn computed(expression: &str) -> String {
    let search = format!("| makeresults | eval x={expression} | fields x | fields - _time");
    found(
        &World {
            now: 1_767_600_000,
            ..World::default()
        },
        &search,
    )
    .concat()
}

#[test]
fn expressions_come_to_what_the_manual_says() {
    for (expression, value) in [
        ("1+2*3", "7"),
        ("(1+2)*3-1", "8"),
        ("7%4", "3"),
        ("1/0", ""),
        ("\"a\".\"b\".1", "ab1"),
        ("null().\"b\"", ""),
        ("5+null()", ""),
        ("if(null()=null(), 1, 2)", "2"),
        ("if(\"10\">\"9\", 1, 2)", "1"),
        ("if(\"b\">\"a\" AND NOT 1=2, 1, 2)", "1"),
        ("if(1=2 OR 2=2 AND 1=2, 1, 2)", "2"),
        ("case(1=2, \"a\", 1=1, \"b\")", "b"),
        ("case(1=2, \"a\")", ""),
        ("coalesce(null(), \"\", \"a\")", "-"),
        ("upper(\"aB\").len(\"abc\")", "AB3"),
        ("substr(\"string\", 1, 3).substr(\"string\", -3)", "string"),
        ("mvcount(split(\"a,b,c\", \",\"))", "3"),
        ("mvindex(split(\"a,b,c\", \",\"), -1)", "c"),
        (
            "mvjoin(mvindex(split(\"a,b,c\", \",\"), 0, 1), \"+\")",
            "a+b",
        ),
        ("mvfind(split(\"a,b,c\", \",\"), \"^c\")", "2"),
        (
            "mvjoin(mvdedup(mvappend(\"a\", null(), \"b\", \"a\")), \"\")",
            "ab",
        ),
        ("round(3.14159, 2)", "3.14"),
        ("round(2.5)", "3"),
        ("round(2, 1)", "2.0"),
        ("floor(-1.5).ceiling(1.2)", "-22"),
        ("pow(2, 10)", "1024"),
        ("sqrt(-1)", ""),
        ("round(2*6371*asin(sqrt(pow(sin(pi()/4), 2))), 0)", "10008"),
        ("max(1, 3, 2).min(4, 2)", "32"),
        ("tonumber(\"0.50\")", "0.5"),
        ("tonumber(\"x\")", ""),
        ("replace(\"a1b22\", \"[0-9]+\", \"#\")", "a#b#"),
        (
            "if(match(\"user@example.com\", \"@example\\.com$\"), 1, 2)",
            "1",
        ),
        (
            "if(like(\"user@example.com\", \"%@example._om\"), 1, 2)",
            "1",
        ),
        ("if(cidrmatch(\"10.0.0.0/25\", \"10.0.0.129\"), 1, 2)", "2"),
        ("if(\"b\" IN (\"a\", \"b\"), 1, 2)", "1"),
        (
            "strftime(1767600000, \"%Y-%m-%d %H:%M\")",
            "2026-01-05 08:00",
        ),
        ("now()-relative_time(now(), \"-1d@d\")", "115200"),
        ("relative_time(1767600000, \"@w0\")", "1767484800"),
        ("relative_time(1767600000, \"-1mon@mon+2h\")", "1764554400"),
    ] {
        let expected = match value {
            "" => String::new(),
            "-" => "x=".to_owned(),
            value => format!("x={value}"),
        };
        assert_eq!(computed(expression), expected, "{expression}");
    }
    for (expression, words) in [
        ("if(NOT null()=1, 1, 2)", "NOT of something absent"),
        ("if(\"a\">1, 1, 2)", "a text and a number"),
        ("\"a\"+1", "is no number"),
        ("if(split(\"a,b\", \",\")=\"a\", 1, 2)", "several values"),
        ("if(match(\"a\", \"(a|b)\"), 1, 2)", "the tests do not know"),
    ] {
        let search =
            Search::parse(&format!("| makeresults | eval x={expression}"), &macros()).unwrap();
        let refusal = search.run(&World::default()).unwrap_err();
        assert!(refusal.contains(words), "{expression}: {refusal}");
    }
    assert!(parse_eval("a b").unwrap_err().contains("not understood"));
}

/// Six events, given in another order than that of time.
fn world() -> World {
    let event = |time: &str, cells: &[(&str, &str)]| {
        let mut event = row(cells);
        event.extend(row(&[
            ("_time", time),
            ("index", "main"),
            ("sourcetype", "docs"),
        ]));
        event
    };
    World {
        now: 10_000,
        events: vec![
            event(
                "9000",
                &[("id", "1"), ("user", "ann"), ("n", "10"), ("src", "a")],
            ),
            event(
                "9100",
                &[
                    ("id", "2"),
                    ("user", "Bob"),
                    ("n", "9"),
                    ("src", "a"),
                    ("_raw", "Log-in failed, sent"),
                ],
            ),
            event(
                "9300",
                &[("id", "3"), ("user", "ann"), ("src", "b"), ("ids", "x|y")],
            ),
            event(
                "9300",
                &[("id", "3"), ("user", "ann"), ("src", "b"), ("ids", "x|y")],
            ),
            event(
                "9800",
                &[
                    ("id", "4"),
                    ("user", "ann"),
                    ("n", "2"),
                    ("src", "a"),
                    ("_raw", "absent"),
                ],
            ),
            event("100", &[("id", "5"), ("n", "7"), ("src", "")]),
        ],
        lookups: [(
            "people".to_owned(),
            vec![
                row(&[("guid", "ANN"), ("name", "Ann One")]),
                row(&[("guid", "ann"), ("name", "Ann Two")]),
                row(&[("guid", "cy")]),
            ],
        )]
        .into(),
        earliest: "-2h".to_owned(),
        latest: "now".to_owned(),
        ..World::default()
    }
}

#[test]
fn searches_find_what_the_manual_says() {
    let cases: &[(&str, &[&str])] = &[
        // Time bounds, duplicates, order: the newest first.
        (
            "`events` | fields id | fields - _*",
            &["id=4", "id=3", "id=2", "id=1"],
        ),
        ("sourcetype=docs | stats count", &["count=5"]),
        // The search command: without case, wildcards, numbers as numbers, OR before AND, NOT also where absent.
        ("`events` | search user=BOB | stats count", &["count=1"]),
        ("`events` | search user=*N* | stats count", &["count=3"]),
        ("`events` | search n>2 | stats values(n) AS n", &["n=10|9"]),
        ("`events` | search n!=9 | stats count", &["count=2"]),
        ("`events` | search NOT n=9 | stats count", &["count=3"]),
        ("`events` | search ids=y | stats count", &["count=1"]),
        (
            "`events` | search user=bob OR user=ann src=a | stats count",
            &["count=3"],
        ),
        (
            "`events` | search user IN (bob, zoe) | stats count",
            &["count=1"],
        ),
        ("sourcetype=docs n=* NOT n=10 sent | table id", &["id=2"]),
        // Where compares with case; what is absent fulfils nothing.
        ("`events` | where user=\"bob\" | stats count", &["count=0"]),
        ("`events` | where n!=9 | stats count", &["count=2"]),
        ("`events` | where isnull(n) | table id", &["id=3"]),
        // stats: groups in order, none for what is absent; its functions.
        (
            "`events` | stats count BY user",
            &["count=1 user=Bob", "count=3 user=ann"],
        ),
        (
            "`events` | stats count BY n",
            &["count=1 n=2", "count=1 n=9", "count=1 n=10"],
        ),
        (
            "`events` | stats sum(n) AS s avg(n) AS a min(n) AS i max(n) AS x range(n) AS r",
            &["a=7 i=2 r=8 s=21 x=10"],
        ),
        (
            "`events` | stats count(n) AS n dc(user) AS u count(eval(src=\"a\")) AS a",
            &["a=3 n=3 u=2"],
        ),
        (
            "`events` | stats earliest(src) AS e latest(id) AS l first(id) AS f last(id) AS z",
            &["e=a f=4 l=4 z=1"],
        ),
        (
            "`events` | stats earliest_time(n) AS e latest_time(n) AS l",
            &["e=9000 l=9800"],
        ),
        (
            "`events` | stats list(src) AS l values(src) AS v",
            &["l=a|b|a|a v=a|b"],
        ),
        (
            "`events` | stats dc(id) AS n BY ids",
            &["ids=x n=1", "ids=y n=1"],
        ),
        ("`events` | search user=zoe | stats count BY user", &[]),
        (
            "`events` | search user=zoe | stats count sum(n) AS s",
            &["count=0"],
        ),
        // eventstats and streamstats keep the rows.
        (
            "`events` | eventstats count AS c BY user | table id c",
            &["c=3 id=4", "c=3 id=3", "c=1 id=2", "c=3 id=1"],
        ),
        (
            "`events` | streamstats count AS c | table c id",
            &["c=1 id=4", "c=2 id=3", "c=3 id=2", "c=4 id=1"],
        ),
        (
            "`events` | sort 0 _time | streamstats current=f last(src) AS p BY user | table id p",
            &["id=1", "id=2", "id=3 p=a", "id=4 p=b"],
        ),
        (
            "`events` | sort 0 _time | streamstats window=2 sum(eval(1)) AS c BY user | table c id",
            &["c=1 id=1", "c=1 id=2", "c=1 id=3", "c=2 id=4"],
        ),
        (
            "`events` | sort 0 _time | streamstats window=2 global=f count AS c BY user | table c id",
            &["c=1 id=1", "c=1 id=2", "c=2 id=3", "c=2 id=4"],
        ),
        (
            "`events` | sort 0 _time | streamstats time_window=6m count AS c dc(user) AS u | table c id u",
            &[
                "c=1 id=1 u=1",
                "c=2 id=2 u=2",
                "c=3 id=3 u=2",
                "c=1 id=4 u=1",
            ],
        ),
        // bin, sort, dedup, head.
        (
            "`events` | bin _time span=10m | stats count BY _time",
            &["_time=9000 count=3", "_time=9600 count=1"],
        ),
        (
            "`events` | where isnotnull(n) | sort 0 -n | table n",
            &["n=10", "n=9", "n=2"],
        ),
        (
            "`events` | sort user -id | table id",
            &["id=2", "id=4", "id=3", "id=1"],
        ),
        ("`events` | dedup user | table id", &["id=4", "id=2"]),
        ("`events` | dedup n | table id", &["id=4", "id=2", "id=1"]),
        (
            "`events` | dedup n keepempty=true | head 2 | table id",
            &["id=4", "id=3"],
        ),
        // fillnull, mvexpand, rename, convert.
        (
            "`events` | fillnull value=0 n | stats values(n) AS n",
            &["n=0|10|2|9"],
        ),
        (
            "`events` | mvexpand ids | where isnotnull(ids) | table ids id",
            &["id=3 ids=x", "id=3 ids=y"],
        ),
        (
            "`events` | head 1 | rename n AS m, src AS n | table m n",
            &["m=2 n=a"],
        ),
        (
            "`events` | head 1 | convert ctime(_time) AS t | table t",
            &["t=01/01/1970 02:43:20"],
        ),
        // The range of time that the search runs over.
        (
            "`events` | head 1 | addinfo | table info_min_time info_max_time",
            &["info_max_time=10000 info_min_time=2800"],
        ),
        // Lookups compare without case, and the first row counts. An empty cell is no value.
        (
            "`events` | head 1 | lookup people guid AS user OUTPUT name | table name",
            &["name=Ann One"],
        ),
        // OUTPUT clears where no row fits, OUTPUTNEW does not, and without a value to look for nothing happens.
        (
            "`events` | search id=2 | eval name=\"keep\" | lookup people guid AS user OUTPUT name | table id name",
            &["id=2"],
        ),
        (
            "`events` | search id=2 | eval name=\"keep\" | lookup people guid AS user OUTPUTNEW name | table id name",
            &["id=2 name=keep"],
        ),
        (
            "`events` | search id=2 | fields - user | eval name=\"keep\" | lookup people guid AS user OUTPUT name | table id name",
            &["id=2 name=keep"],
        ),
        (
            "| inputlookup people | where isnull(name) | table guid",
            &["guid=cy"],
        ),
        (
            "| inputlookup people where name=\"*two\" | table guid",
            &["guid=ann"],
        ),
        (
            "`events` | stats count | inputlookup append=true people | table count guid",
            &["count=4", "guid=ANN", "guid=ann", "guid=cy"],
        ),
        (
            "`events` | stats count | append [| makeresults | eval a=1 | table a]",
            &["count=4", "a=1"],
        ),
        (
            "`events` | stats count BY src | appendpipe [stats sum(count) AS count | eval src=\"all\"]",
            &["count=3 src=a", "count=1 src=b", "count=4 src=all"],
        ),
        (
            "sourcetype=docs [| inputlookup people | search name=\"*two\" | rename guid AS user | fields user] | stats count",
            &["count=4"],
        ),
    ];
    for (search, rows) in cases {
        assert_eq!(found(&world(), search), *rows, "{search}");
    }
}

#[test]
fn what_the_manual_leaves_open_is_not_guessed() {
    for (search, words) in [
        ("`events` | sort n", "some rows have no n"),
        (
            "`events` | stats min(user) AS u max(id) AS i sum(user) AS s",
            "what is no number",
        ),
        ("`events` | stats count(ids) AS n", "several values"),
        ("sourcetype=docs | stats latest(id) AS x", "no _time"),
        (
            "`events` | streamstats time_window=100s count AS n",
            "just as far away",
        ),
        (
            "`events` | sort 0 id | sort 0 src | streamstats time_window=1h count AS n",
            "not in the order of time",
        ),
        (
            "`events` | timechart count",
            "cannot run chart and timechart",
        ),
        ("`events` | stats median(n) AS n", "cannot compute median"),
    ] {
        let search = Search::parse(search, &macros()).unwrap();
        let mut world = world();
        if words == "no _time" {
            world.events[0].remove("_time");
        }
        let refusal = search.run(&world).unwrap_err();
        assert!(refusal.contains(words), "{refusal}");
    }
}
