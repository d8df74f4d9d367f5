use std::collections::BTreeMap;
use std::fmt::Write as _;

use ds_monitor::docusign::directory_api::Part;
use ds_monitor::docusign::jwt_grant::SCOPE_IMPERSONATION;
use ds_monitor::docusign::rsa_key::{KeyProblem, PrivateKey};
use ds_monitor::docusign::{Environment, Generation};
use ds_monitor::lookups::DS_LOOKUPS;
use ds_monitor::monitor::settings::{CONSENT_REDIRECT, DS_MONITOR};
use ds_monitor::splunk::checkpoint::file_stem;
use ds_monitor::splunk::input_definition::MASK;
use ds_monitor::splunk::scheme::{Argument, DataType, Field, Scheme};
use serde_json::{Value, json};
use support::conf::read;

use crate::knowledge::check_search;
use crate::views::SET_UP;

/// What the page can find wrong with a key; the kind of another one is for it to fill in.
const KEY_PROBLEMS: [KeyProblem; 12] = [
    KeyProblem::Encrypted,
    KeyProblem::Public,
    KeyProblem::OtherKind("{kind}"),
    KeyProblem::TooShort,
    KeyProblem::TooLong,
    KeyProblem::Utf16,
    KeyProblem::Der,
    KeyProblem::Pkcs12,
    KeyProblem::Jwk,
    KeyProblem::Putty,
    KeyProblem::NotText,
    KeyProblem::Damaged,
];

/// The name of a problem in the files that the page shares with the program.
fn name(problem: KeyProblem) -> &'static str {
    match problem {
        KeyProblem::Encrypted => "encrypted",
        KeyProblem::Public => "public",
        KeyProblem::OtherKind(_) => "other_kind",
        KeyProblem::TooShort => "too_short",
        KeyProblem::TooLong => "too_long",
        KeyProblem::Utf16 => "utf16",
        KeyProblem::Der => "der",
        KeyProblem::Pkcs12 => "pkcs12",
        KeyProblem::Jwk => "jwk",
        KeyProblem::Putty => "putty",
        KeyProblem::NotText => "not_text",
        KeyProblem::Damaged => "damaged",
    }
}

/// What the page Set up takes from the program: the arguments with all their texts, and Docusign's addresses.
fn declaration() -> String {
    let environment = |environment: Environment| {
        json!({
            "name": environment.name(),
            "auth_url": environment.auth_url(),
            "monitor_url": environment.monitor_url(Generation::Dataset),
            "organization_monitor_url": environment.monitor_url(Generation::Organization),
            "admin_url": environment.admin_url(),
        })
    };
    let mut scopes: Vec<&str> = vec![];
    for scope in Part::ALL.iter().flat_map(|part| part.scope().split(' ')) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    let declaration = json!({
        "mask": MASK,
        "consent": {
            "redirect_uri": CONSENT_REDIRECT,
            "events": SCOPE_IMPERSONATION,
            "lookups": scopes.join(" "),
        },
        "key_problems": KEY_PROBLEMS.map(|problem| (name(problem), problem.to_string())).into_iter().collect::<BTreeMap<_, _>>(),
        "environments": [environment(Environment::Production), environment(Environment::Demo)],
        "schemes": {DS_MONITOR.kind: scheme(&DS_MONITOR), DS_LOOKUPS.kind: scheme(&DS_LOOKUPS)},
    });
    serde_json::to_string_pretty(&declaration).unwrap() + "\n"
}

fn scheme(scheme: &Scheme) -> Value {
    let arguments: Vec<Value> = scheme.arguments.iter().map(argument).collect();
    json!({
        "kind": scheme.kind,
        "title": scheme.title,
        "description": scheme.description,
        "arguments": arguments,
    })
}

fn argument(argument: &Argument) -> Value {
    let (field, options) = match argument.field {
        Field::Text => ("text", vec![]),
        Field::TextArea => ("textarea", vec![]),
        Field::Password => ("password", vec![]),
        Field::SelectFrom(_) => ("select_from", vec![]),
        Field::Select(options) => {
            let option = |(value, label): &(_, _)| json!({"value": value, "label": label});
            ("select", options.iter().map(option).collect())
        }
    };
    let data_type = match argument.data_type {
        DataType::String => "string",
        DataType::Number => "number",
    };
    json!({
        "name": argument.name,
        "title": argument.title,
        "description": argument.description,
        "type": data_type,
        "required": argument.required,
        "secret": argument.secret,
        "default": argument.default,
        "group": argument.group,
        "field": field,
        "options": options,
    })
}

#[test]
fn the_page_has_the_declaration_of_the_arguments() {
    let declaration = declaration();
    assert!(
        read("web/src/declaration.json") == declaration,
        "web/src/declaration.json must read:\n{declaration}"
    );
}

/// The page says at once what is wrong with a key; its tests read the same table.
#[test]
fn the_program_takes_and_refuses_the_keys_that_the_page_does() {
    let cases: Value =
        serde_json::from_str(&read("tests/fixtures/test_only_key_cases.json")).unwrap();
    let cases = cases.as_array().unwrap();
    let mut wrong = String::new();
    for case in cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let found = match PrivateKey::parse(text("text")) {
            Ok(_) => "rsa",
            Err(problem) => name(problem),
        };
        if found != text("kind") {
            let _ = writeln!(wrong, "{}: {found}", case["name"]);
        }
    }
    assert!(wrong.is_empty() && !cases.is_empty(), "{wrong}");
}

/// The page stores secrets where the program looks for them; its tests read the same table.
#[test]
fn the_program_names_the_entries_in_secure_storage_as_the_page_does() {
    let stems: Value = serde_json::from_str(&read("tests/fixtures/file_stems.json")).unwrap();
    let stems = stems.as_array().unwrap();
    for case in stems {
        assert_eq!(file_stem(case["input"].as_str().unwrap()), case["stem"]);
    }
    assert!(!stems.is_empty());
}

/// The page's own searches: Splunk can read them, and the fields that they name exist.
#[test]
fn the_searches_of_the_page_are_sound() {
    let searches: BTreeMap<String, String> =
        serde_json::from_str(&read("web/src/spl.json")).unwrap();
    for (name, search) in searches {
        let search = search.replace("$index$", "index=docusign");
        let search = search.replace("$source$", "ds_monitor://prod");
        let search = search.trim_start_matches("search ");
        let checked = check_search(search);
        assert!(checked.is_ok(), "{name}: {checked:?}");
    }
}

/// Splunk loads the script that the view names from `appserver/static`, where `package.sh` puts what the build makes.
#[test]
fn the_view_shows_the_page_that_is_built_and_is_the_first_in_the_menu() {
    let view = read(&format!("default/data/ui/views/{SET_UP}.xml"));
    assert!(view.contains("<dashboard version=\"1.1\" script=\"set_up.js\""));
    assert!(view.contains("<div id=\"ds-monitor-set-up\"></div>"));
    assert!(read("web/src/main.tsx").contains("whenThere('ds-monitor-set-up',"));
    assert!(read("web/build.mjs").contains("{ set_up: 'src/main.tsx' }"));
    let menu = read("default/data/ui/nav/default.xml");
    let first = menu.split("<view name=\"").nth(1).unwrap();
    assert!(first.starts_with(SET_UP), "{first}");
}
