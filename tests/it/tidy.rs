use std::fs;
use std::path::{Path, PathBuf};

use ds_monitor::lookups::{ACCOUNTS, DS_LOOKUPS, USERS};
use ds_monitor::monitor::settings::DS_MONITOR;
use ds_monitor::splunk::scheme::Scheme;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
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

/// The table of `src/lib.rs`: each module, and what it may use of the crate.
fn import_table() -> Vec<(String, Vec<String>)> {
    let text = read("src/lib.rs");
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`"));
    rows.map(|row| {
        let (module, rest) = row.split_once("`]").unwrap();
        let uses = rest.split('|').nth(1).unwrap();
        let uses = uses.split_whitespace().map(|name| name.trim_matches('`'));
        (module.to_owned(), uses.map(str::to_owned).collect())
    })
    .collect()
}

/// The files of `src/` but for the programs, each with the module it belongs to.
fn modules() -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let module = |path: &Path| {
        let inside = path.strip_prefix(root().join("src")).unwrap();
        let first = inside.iter().next().unwrap().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    };
    files
        .into_iter()
        .map(|path| (module(&path), path))
        .filter(|(module, _)| module != "bin" && module != "lib")
        .collect()
}

#[test]
fn the_modules_keep_to_the_table_of_imports() {
    let table = import_table();
    let declared: Vec<_> = table.iter().map(|(module, _)| module.clone()).collect();
    for (n, (module, uses)) in table.iter().enumerate() {
        for used in uses {
            let below = table.iter().position(|(other, _)| other == used);
            let is_below = below.is_some_and(|below| below > n);
            assert!(is_below, "{module} may not use {used}, which is above it");
        }
    }
    for (module, path) in modules() {
        let (_, allowed) = table
            .iter()
            .find(|(declared, _)| *declared == module)
            .unwrap_or_else(|| panic!("{} is not in the table", path.display()));
        let text = fs::read_to_string(&path).unwrap();
        for used in text.split("crate::").skip(1) {
            let used: String = used
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            assert!(
                used == module || allowed.contains(&used) || !declared.contains(&used),
                "{} uses {used}",
                path.display()
            );
        }
    }
}

/// The comments and the string literals of a source file, without its unit tests.
fn words_of(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let mut words = vec![];
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (found, after) = rest[at..].split_at(1);
        let end = match found {
            "/" if after.starts_with('/') => after.find('\n').unwrap_or(after.len()),
            "\"" => {
                let mut escaped = false;
                let end = after.find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                end.unwrap() + 1
            }
            // The character of a quote, which begins no string.
            "'" if after.starts_with("\"'") => 2,
            _ => 0,
        };
        if end > 2 {
            words.push(without_placeholders(&after[..end]));
        }
        rest = &after[end..];
    }
    words
}

/// A format string without the names of variables.
fn without_placeholders(text: &str) -> String {
    let mut parts = text.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('}').map_or(part, |(_, after)| after)
    })
}

#[test]
fn the_lower_layers_speak_neither_of_our_parameters_nor_of_the_other_side() {
    // A name without an underscore, such as limit, is also a word.
    let arguments = SCHEMES.iter().flat_map(|scheme| scheme.arguments);
    let names = arguments.map(|argument| argument.name);
    let mut ours: Vec<_> = names.filter(|name| name.contains('_')).collect();
    // Docusign's own names for these are the same.
    ours.retain(|name| !["user_id", "organization_id"].contains(name));
    assert!(ours.contains(&"proxy_url") && ours.contains(&"monitor_input"));
    ours.extend(["ds_monitor", "ds_lookups", "command reset"]);
    for (module, path) in modules() {
        let others: &[&str] = match module.as_str() {
            "base" => &["Splunk", "splunkd", "Docusign"],
            "splunk" => &["Docusign", "Monitor input"],
            "docusign" => &["Splunk", "splunkd"],
            _ => continue,
        };
        for words in words_of(&fs::read_to_string(&path).unwrap()) {
            for name in ours.iter().chain(others) {
                assert!(
                    !words.contains(name),
                    "{} names {name}: {words}",
                    path.display()
                );
            }
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
