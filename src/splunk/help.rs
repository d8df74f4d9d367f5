//! The help, for a terminal of 80 columns: examples first.

use std::fmt::Write as _;

use super::ModularInput;
use super::command_line::{Command, CommandOption, RUN, RUN_OPTIONS, Topic, options_of};
use super::conf_file;
use super::status::Status;

/// Columns of a terminal that every window has.
const WIDTH: usize = 80;

/// What `run` is good for.
const RUN_EXAMPLES: [(&str, &str); 3] = [
    (
        "as a service for every input of the file",
        "--conf inputs.conf --all --checkpoint-dir state --every 60s",
    ),
    (
        "once, for a scheduler that repeats it",
        "--conf inputs.conf --input prod --checkpoint-dir state",
    ),
    ("list the inputs of the file", "--conf inputs.conf"),
];

const RUN_SUMMARY: &str = "collect without Splunk, once or as a service";

/// The text about `topic`.
pub(super) fn text(input: &dyn ModularInput, topic: &Topic) -> String {
    let mut help = Help(String::new());
    match topic {
        Topic::All => help.all(input),
        Topic::Run => help.run(input),
        Topic::Command(command) => help.command(input, command),
    }
    help.0
}

struct Help(String);

impl Help {
    fn all(&mut self, input: &dyn ModularInput) {
        let scheme = input.scheme();
        let kind = scheme.kind;
        let alone = input.runs_alone().is_some();
        let _ = writeln!(self.0, "{kind} {}", env!("CARGO_PKG_VERSION"));
        self.paragraph(0, scheme.description);
        self.title("Examples");
        if let Some(command) = input.commands().first() {
            self.example_in_splunk(kind, command);
        }
        for (what, arguments) in RUN_EXAMPLES.iter().take(if alone { 2 } else { 0 }) {
            let call = format!("{kind} {RUN} {arguments}");
            self.example(&format!("Without Splunk, {what}"), &call);
        }
        self.title("Commands");
        if alone {
            self.row(RUN, RUN_SUMMARY);
        }
        for command in input.commands() {
            self.row(command.name, command.summary);
        }
        self.paragraph(2, "Each of them has a --help of its own.");
        self.title("For Splunk");
        self.paragraph(
            2,
            "This program is a modular input: install the app in Splunk, then Settings > Data inputs.",
        );
        self.row(
            "(no argument)",
            "make one run, with the configuration as XML on stdin",
        );
        self.row("--scheme", "describe the input");
        self.row(
            "--validate-arguments",
            "check the arguments of an input, on stdin",
        );
        self.row("--version", "print the version");
        self.row("--help", "print this text");
        self.statuses();
        if alone {
            self.environment(input);
        }
    }

    fn run(&mut self, input: &dyn ModularInput) {
        let kind = input.scheme().kind;
        let _ = writeln!(self.0, "{kind} {RUN}: {RUN_SUMMARY}");
        self.title("Examples");
        for (what, arguments) in RUN_EXAMPLES {
            self.example(&capitalised(what), &format!("{kind} {RUN} {arguments}"));
        }
        self.options(&RUN_OPTIONS);
        self.paragraph(
            0,
            "\nEvents go to the HTTP Event Collector that the stanza names, or else to stdout, one per line; the log goes to stderr.",
        );
        self.statuses();
        self.environment(input);
    }

    fn command(&mut self, input: &dyn ModularInput, command: &Command) {
        let kind = input.scheme().kind;
        let alone = input.runs_alone().is_some();
        let _ = writeln!(self.0, "{kind} {}: {}", command.name, command.summary);
        self.title("Examples");
        for (what, arguments) in command.examples {
            let _ = writeln!(self.0, "  {what}:");
            self.example_call(kind, command, arguments);
        }
        if alone {
            let folder = match command.uses_folder {
                true => " --checkpoint-dir state",
                false => "",
            };
            let arguments = command
                .examples
                .first()
                .map_or("", |(_, arguments)| *arguments);
            let call = format!(
                "{kind} {} {arguments} --conf inputs.conf --input prod{folder}",
                command.name
            );
            self.example("Without Splunk", &call.replace("  ", " "));
        }
        self.options(&options_of(command, alone));
        self.statuses();
        if alone {
            self.environment(input);
        }
    }

    fn title(&mut self, title: &str) {
        let _ = writeln!(self.0, "\n{title}:");
    }

    fn example_in_splunk(&mut self, kind: &str, command: &Command) {
        if let Some((what, arguments)) = command.examples.first() {
            let _ = writeln!(self.0, "  {what}:");
            self.example_call(kind, command, arguments);
        }
    }

    fn example_call(&mut self, kind: &str, command: &Command, arguments: &str) {
        let call = format!("{kind} {} {arguments}", command.name);
        let _ = writeln!(
            self.0,
            "    splunk cmd splunkd print-modinput-config {kind} {kind}://prod |\n      {}",
            call.trim_end()
        );
    }

    /// What it does, and the command, on as many lines as it needs.
    fn example(&mut self, what: &str, call: &str) {
        let _ = writeln!(self.0, "  {what}:");
        let lines = wrapped(call, WIDTH - "    ".len() - " \\".len());
        let _ = writeln!(self.0, "    {}", lines.join(" \\\n      "));
    }

    fn options(&mut self, options: &[&CommandOption]) {
        self.title("Options");
        for option in options {
            let value = option
                .value
                .map_or(String::new(), |value| format!(" {value}"));
            self.row(&format!("--{}{value}", option.name), option.summary);
        }
        self.row("--help", "print this text");
    }

    fn statuses(&mut self) {
        self.title("Exit codes");
        for status in Status::ALL {
            self.row(&status.code().to_string(), status.meaning());
        }
        self.paragraph(2, "Started by Splunk it is 0 or 1.");
    }

    fn environment(&mut self, input: &dyn ModularInput) {
        self.title("Secrets");
        self.paragraph(
            2,
            "Never on the command line. Each may come from the environment instead of the file:",
        );
        let scheme = input.scheme();
        for secret in scheme.secrets() {
            let _ = writeln!(self.0, "    {}", conf_file::variable(scheme, secret));
        }
    }

    /// A term and what it means, in two columns.
    fn row(&mut self, term: &str, meaning: &str) {
        const TERM: usize = 22;
        let lines = wrapped(meaning, WIDTH - TERM - 4);
        for (n, line) in lines.iter().enumerate() {
            let term = if n == 0 { term } else { "" };
            let _ = writeln!(self.0, "  {term:<TERM$}  {line}");
        }
    }

    fn paragraph(&mut self, indent: usize, text: &str) {
        let (before, text) = match text.strip_prefix('\n') {
            Some(text) => ("\n", text),
            None => ("", text),
        };
        self.0.push_str(before);
        for line in wrapped(text, WIDTH - indent) {
            let _ = writeln!(self.0, "{:indent$}{line}", "");
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next();
    first
        .map(|first| first.to_uppercase().chain(characters).collect())
        .unwrap_or_default()
}

/// The words of a text on lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
