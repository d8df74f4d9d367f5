use std::fs;
use std::path::{Path, PathBuf};

use ds_monitor::lookups::{ACCOUNTS, DS_LOOKUPS, USERS};
use ds_monitor::monitor::settings::DS_MONITOR;
use ds_monitor::splunk::scheme::Scheme;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

const SCHEMES: [&Scheme; 2] = [&DS_MONITOR, &DS_LOOKUPS];

#[test]
fn the_spec_file_is_the_declaration_of_the_arguments() {
    let spec = SCHEMES.map(Scheme::spec).join("\n");
    assert!(
        read("README/inputs.conf.spec") == spec,
        "README/inputs.conf.spec must read:\n{spec}"
    );
}

#[test]
fn the_forms_in_splunk_web_are_the_declaration_of_the_arguments() {
    for scheme in SCHEMES {
        let path = format!("default/data/ui/manager/{}.xml", scheme.kind);
        let form = scheme.manager_xml();
        assert!(read(&path) == form, "{path} must read:\n{form}");
        for argument in scheme.arguments {
            assert!(form.contains(&format!("<element name=\"{}\"", argument.name)));
        }
        for splunks_own in ["name", "interval", "index", "host"] {
            assert!(form.contains(&format!("<element name=\"{splunks_own}\"")));
        }
    }
}

#[test]
fn every_default_in_the_conf_file_is_that_of_an_argument_or_of_splunk() {
    let conf = read("default/inputs.conf");
    let splunks_own = ["disabled", "interval", "sourcetype", "start_by_shell"];
    let mut scheme = None;
    for line in conf.lines() {
        if let Some(kind) = line.strip_prefix('[') {
            let kind = kind.trim_end_matches(']');
            scheme = SCHEMES.into_iter().find(|scheme| scheme.kind == kind);
            assert!(scheme.is_some(), "{line}");
        }
        let Some((key, value)) = line.split_once(" = ") else {
            continue;
        };
        if splunks_own.contains(&key) {
            continue;
        }
        let mut arguments = scheme.unwrap().arguments.iter();
        let argument = arguments
            .find(|argument| argument.name == key)
            .unwrap_or_else(|| panic!("{key} is no argument"));
        assert_eq!(argument.default, Some(value), "{key}");
    }
}

#[test]
fn the_shipped_lookups_are_the_header_of_their_tables() {
    for table in [&USERS, &ACCOUNTS] {
        let header = table.header().collect::<Vec<_>>().join(",");
        assert_eq!(read(&format!("lookups/{}.csv", table.name)), header + "\n");
        let stanza = format!("[{0}]\nfilename = {0}.csv\n", table.name);
        assert!(
            read("default/transforms.conf").contains(&stanza),
            "{stanza}"
        );
    }
}

/// The import table of `src/lib.rs`: what each part may use of the crate.
#[test]
fn the_modules_keep_to_their_import_table() {
    let base = ["clock", "durable", "http", "retry", "secret"];
    let table = [
        ("clock.rs", vec![]),
        ("durable.rs", vec![]),
        ("http.rs", vec!["retry", "secret"]),
        ("retry.rs", vec![]),
        ("secret.rs", vec![]),
        ("splunk", [&base[..], &["splunk"]].concat()),
        ("docusign", [&base[..], &["docusign"]].concat()),
        ("params.rs", [&base[..], &["splunk", "docusign"]].concat()),
        ("failures.rs", [&base[..], &["splunk", "docusign"]].concat()),
        (
            "lookups",
            [
                &base[..],
                &["splunk", "docusign", "params", "failures", "monitor"],
            ]
            .concat(),
        ),
        (
            "monitor",
            [
                &base[..],
                &["splunk", "docusign", "params", "failures", "monitor"],
            ]
            .concat(),
        ),
    ];
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    for path in files {
        let name = path.strip_prefix(root().join("src")).unwrap();
        if name.starts_with("bin") || name == Path::new("lib.rs") {
            continue;
        }
        let (_, allowed) = table
            .iter()
            .find(|(part, _)| name.starts_with(part))
            .unwrap_or_else(|| panic!("{} is not in the import table", name.display()));
        let text = fs::read_to_string(&path).unwrap();
        for used in text.split("crate::").skip(1) {
            let module: String = used
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            assert!(
                allowed.contains(&module.as_str()),
                "{} uses {module}",
                name.display()
            );
        }
    }
}

#[test]
fn every_file_opens_with_what_it_promises() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

#[test]
fn the_version_stands_in_one_place() {
    for path in ["default/app.conf", "app.manifest"] {
        assert!(read(path).contains("@VERSION@"), "{path}");
        assert!(!read(path).contains(env!("CARGO_PKG_VERSION")), "{path}");
    }
}
