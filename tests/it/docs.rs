//! The documentation says what the code says, its links lead somewhere, and the first page is one screen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ds_monitor::lookups::DS_LOOKUPS;
use ds_monitor::monitor::settings::DS_MONITOR;
use ds_monitor::splunk::scheme::{Argument, Field, Scheme};

const SCHEMES: [&Scheme; 2] = [&DS_MONITOR, &DS_LOOKUPS];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder whose name ends so, without what is built or fetched.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if ![".git", "target", "node_modules"].contains(&name.as_str()) {
                files(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn pages() -> Vec<PathBuf> {
    let mut found = vec![];
    files(root(), ".md", &mut found);
    found.sort();
    found
}

/// A page's lines outside of its blocks of code, without the code within a line.
fn prose(text: &str) -> Vec<String> {
    let mut in_block = false;
    let mut lines = vec![];
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            lines.push(line.split('`').step_by(2).collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

/// The blocks of code of a page.
fn blocks(text: &str) -> Vec<&str> {
    text.split("```").skip(1).step_by(2).collect()
}

#[test]
fn the_readme_is_one_screen_and_its_cells_are_short() {
    let readme = read("README.md");
    let words = readme.split_whitespace().count();
    assert!((700..=900).contains(&words), "{words} words");
    for line in readme.lines().filter(|line| line.starts_with('|')) {
        for cell in line.split('|') {
            assert!(cell.split_whitespace().count() <= 20, "{cell}");
        }
    }
    for command in ["cargo run --example demo", "cargo test"] {
        let alone = blocks(&readme).iter().any(|block| block.trim() == command);
        assert!(alone, "{command}");
    }
}

#[test]
fn the_pages_name_the_version_and_the_numbers_that_are_there() {
    let searches = read("default/savedsearches.conf");
    let detections = searches.matches("\n[Docusign Detection - ").count();
    // The page Set up is no dashboard.
    let views = fs::read_dir(root().join("default/data/ui/views")).unwrap();
    let dashboards = views.count() - 1;
    let word = |number: usize| match number {
        10 => "ten".to_owned(),
        11 => "eleven".to_owned(),
        23 => "twenty-three".to_owned(),
        24 => "twenty-four".to_owned(),
        other => other.to_string(),
    };
    let (detections, dashboards) = (word(detections), word(dashboards));
    for (path, said) in [
        ("README.md", format!("{dashboards} [dashboards]")),
        ("README.md", format!("all {dashboards} dashboards")),
        ("README.md", format!("{detections} [detections]")),
        (".package/README.md", format!("{dashboards} dashboards")),
        (".package/README.md", format!("{detections} saved searches")),
        ("docs/dashboards.md", format!("{dashboards} views")),
        ("docs/detections.md", format!("{detections} saved searches")),
    ] {
        assert!(read(path).to_lowercase().contains(&said), "{path}: {said}");
    }
    let version = env!("CARGO_PKG_VERSION");
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices("ds_monitor-0") {
            let named = format!("ds_monitor-{version}-linux-");
            assert!(text[at..].starts_with(&named), "{}", page.display());
        }
    }
}

#[test]
fn the_firewall_has_to_let_the_hosts_through_that_the_parameters_name() {
    let page = read("docs/deploy.md");
    let (_, firewall) = page.split_once("### Open the firewall").unwrap();
    let (firewall, _) = firewall.split_once("\n#").unwrap();
    let defaults = DS_MONITOR.arguments.iter().filter_map(|it| it.default);
    let hosts: Vec<&str> = defaults
        .flat_map(|default| default.split("https://").skip(1))
        .filter_map(|rest| rest.split([',', ';', ' ', '/']).next())
        .collect();
    assert!(hosts.len() >= 5, "{hosts:?}");
    for host in hosts {
        assert!(firewall.contains(&format!("`{host}`")), "{host}");
    }
}

#[test]
fn the_readme_of_the_archive_leads_to_nothing_that_is_not_there() {
    let readme = read(".package/README.md");
    assert!(readme.lines().count() <= 50);
    assert!(!readme.contains("]("));
    assert!(readme.contains("# Binary File Declaration"));
}

/// The anchors of a page, as GitHub makes them from its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut in_block = false;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        in_block ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        let Some(title) = title.strip_prefix(' ').filter(|_| line.starts_with('#')) else {
            continue;
        };
        if in_block {
            continue;
        }
        let mut anchor = String::new();
        for c in title.trim().to_lowercase().chars() {
            match c {
                ' ' => anchor.push('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => anchor.push(c),
                _ => {}
            }
        }
        let count = seen.entry(anchor.clone()).or_default();
        if *count > 0 {
            anchors.insert(format!("{anchor}-{count}"));
        } else {
            anchors.insert(anchor);
        }
        *count += 1;
    }
    anchors
}

/// The targets of a page's links and pictures.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text).join("\n");
    let targets = prose.split("](").skip(1);
    targets
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

#[test]
fn every_link_and_anchor_and_picture_is_there() {
    let docs = root().join("docs");
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap();
        for link in links(&text) {
            let at = format!("{}: {link}", page.display());
            if link.starts_with("https://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => page.clone(),
                path => folder.join(path),
            };
            assert!(target.exists(), "{at}");
            let target = target.canonicalize().unwrap();
            // The book holds only the pages of its folder.
            let is_page = path.ends_with(".md") && page.starts_with(&docs);
            assert!(!is_page || target.starts_with(&docs), "{at} leaves docs/");
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(anchor), "{at}");
            }
        }
    }
}

#[test]
fn every_page_is_in_the_book_and_in_the_list_of_pages() {
    for list in ["docs/SUMMARY.md", "docs/README.md"] {
        let linked = links(&read(list));
        for page in pages() {
            let Ok(page) = page.strip_prefix(root().join("docs")) else {
                continue;
            };
            let page = page.to_str().unwrap();
            let is_list = page == "SUMMARY.md" || page == "README.md";
            // The glossary is linked above the list.
            assert!(
                is_list || linked.iter().any(|link| link == page),
                "{list}: {page}"
            );
        }
    }
}

/// What `docs/configure.md` says about an argument.
fn described(argument: &Argument) -> String {
    let mut text = format!(
        "\n#### `{}`\n\n*{}* in the form, under *{}*.",
        argument.name, argument.title, argument.group
    );
    if argument.required {
        text.push_str(" **Required.**");
    }
    if argument.secret {
        text.push_str(" **Secret.**");
    }
    let _ = write!(text, "\n\n{}\n", argument.description);
    if let Field::Select(options) = argument.field {
        let values: Vec<_> = options
            .iter()
            .map(|(value, _)| format!("`{value}`"))
            .collect();
        let _ = write!(text, "\nValues: {}\n", values.join(", "));
    }
    if let Some(default) = argument.default {
        let _ = write!(text, "\nDefault: {default}\n");
    }
    text
}

#[test]
fn the_reference_of_the_parameters_is_the_declaration_of_the_arguments() {
    let mut reference = String::new();
    for scheme in SCHEMES {
        let _ = write!(
            reference,
            "\n### {}\n\n`[{}://<name>]`. {}\n",
            scheme.title, scheme.kind, scheme.description
        );
        for argument in scheme.arguments {
            reference.push_str(&described(argument));
        }
    }
    let page = read("docs/configure.md");
    let (_, printed) = page.split_once("a test compares. -->\n").unwrap();
    assert!(
        printed == reference,
        "docs/configure.md must end with:\n{reference}"
    );
}

/// The string literals of a source file, without its comments and unit tests.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let mut literals = vec![];
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (found, after) = rest[at..].split_at(1);
        let mut end = 0;
        match found {
            "/" if after.starts_with('/') => end = after.find('\n').unwrap_or(after.len()),
            // The character of a quote, which begins no string.
            "'" if after.starts_with("\"'") => end = 2,
            "'" if after.starts_with("\\'") => end = 3,
            "\"" => {
                let mut escaped = false;
                end = after
                    .find(|c| {
                        let ends = c == '"' && !escaped;
                        escaped = c == '\\' && !escaped;
                        ends
                    })
                    .unwrap();
                let text = after[..end].replace("\\\n", "\n");
                let text = text.replace("\\\"", "\"").replace("\\\\", "\\");
                // The reason of an exception from a lint is nobody's message.
                if !rest[..at].ends_with("reason = ") {
                    literals.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
                }
                end += 1;
            }
            _ => {}
        }
        rest = &after[end..];
    }
    literals
}

/// Verbs by which a message says what to do.
const REMEDIES: &[&str] = &[
    "Allow", "Ask", "Change", "Check", "Chmod", "Choose", "Clear", "Correct", "Create", "Decrypt",
    "Delete", "Did", "Disable", "Enable", "Enter", "Export", "Find", "Generate", "Give", "Grant",
    "Install", "Let", "Log", "Look", "Make", "Move", "Open", "Paste", "Put", "Raise", "Remove",
    "Replace", "Restart", "See", "Send", "Set", "Start", "Stop", "Upload", "Use", "Wait",
];

/// Whether a text says what to do: a verb at the beginning of a sentence, or after a colon and the like, or *must*.
fn is_remedy(text: &str) -> bool {
    let requirements = ["be", "begin", "have", "lead", "name", "not"];
    let mut requirements = requirements.iter().map(|verb| format!("must {verb} "));
    let requires = requirements.any(|requirement| text.contains(&requirement));
    let clauses = text.split(". ").flat_map(|sentence| {
        let mut parts = sentence.split(": ").flat_map(|part| part.split("; "));
        let first = parts.next().unwrap_or_default().to_owned();
        // A small letter begins a clause, but no message.
        let others = parts.map(|part| {
            let mut letters = part.chars();
            letters.next().map_or(String::new(), |letter| {
                letter.to_uppercase().to_string() + letters.as_str()
            })
        });
        std::iter::once(first).chain(others).collect::<Vec<_>>()
    });
    let says = clauses.filter_map(|clause| clause.split(' ').next().map(str::to_owned));
    let mut says = says.map(|word| word.trim_end_matches(['.', ',', '?']).to_owned());
    requires || says.any(|word| REMEDIES.contains(&word.as_str()))
}

/// The longest part of a message that is the same every time.
fn fixed_part(message: &str) -> String {
    let mut parts = message.split('{');
    let first = parts.next().unwrap_or_default();
    let others = parts.map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    let parts = std::iter::once(first).chain(others);
    let longest = parts.max_by_key(|part| part.len()).unwrap_or_default();
    longest
        .trim_matches([' ', '.', ',', ':', '(', ')', '"'])
        .to_owned()
}

#[test]
fn every_message_that_says_what_to_do_is_in_troubleshooting() {
    let page = read("docs/troubleshooting.md");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    // Help and labels are not messages.
    let mut labels: BTreeSet<&str> = BTreeSet::new();
    for argument in SCHEMES.iter().flat_map(|scheme| scheme.arguments) {
        labels.extend([argument.title, argument.description]);
    }
    let mut sources = vec![];
    files(&root().join("src"), ".rs", &mut sources);
    let mut messages = 0;
    let mut missing = String::new();
    for source in sources {
        if source.ends_with("help.rs") {
            continue;
        }
        for text in literals(&fs::read_to_string(&source).unwrap()) {
            let is_xml = text.starts_with(['<', '\\']) || text.contains("\\n");
            let is_short = text.split(' ').count() < 4;
            if is_xml || is_short || labels.contains(text.as_str()) || !is_remedy(&text) {
                continue;
            }
            messages += 1;
            if !page.contains(&fixed_part(&text)) {
                let _ = writeln!(missing, "{}: {text}", source.display());
            }
        }
    }
    assert!(messages > 50, "{messages}");
    assert!(
        missing.is_empty(),
        "docs/troubleshooting.md must have these messages, with … for what differs:\n{missing}"
    );
}
