//! Splunk's side: the modular input protocol in Splunk's own words. Nothing here knows what the data is.
//!
//! Format: Splunk's manual "Modular inputs" (help.splunk.com, Developing views and apps for Splunk Web).

mod certificate;
pub mod checkpoint;
pub mod conf_file;
pub mod event;
mod form;
pub mod hec;
pub mod input_definition;
pub mod log;
pub mod rest;
pub mod scheme;
pub mod secure_storage;
pub mod stdout;

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, anyhow, bail};
use quick_xml::escape::escape;

use crate::base::clock::{Clock, SystemClock};
use crate::base::secret::redact;
use conf_file::Options;
use input_definition::InputDefinition;
use log::{Failure, Fields, Level, Log, sentence};
use scheme::Scheme;
use stdout::{EventWriter, Format};

/// A kind of input. [`main`] speaks the protocol and calls these.
pub trait ModularInput {
    /// What splunkd learns about the kind.
    fn scheme(&self) -> &'static Scheme;

    /// Checks the arguments of an input before Splunk saves them.
    ///
    /// # Errors
    /// The message that Splunk Web shows to the administrator.
    fn validate(&self, definition: InputDefinition, session: &Session) -> Result<()>;

    /// Makes one run of one input.
    ///
    /// # Errors
    /// The one problem that ends the run; it is logged here and nowhere else.
    fn run(&self, definition: InputDefinition, session: &Session) -> Result<()>;

    /// Whether a run makes sense without splunkd, with a stanza from a plain file.
    fn runs_alone(&self) -> bool {
        false
    }

    /// Commands for a person, in addition to the protocol's; they need the configuration of a run.
    fn commands(&self) -> &'static [Command] {
        &[]
    }

    /// Carries out one of [`ModularInput::commands`]; true if all is well.
    ///
    /// # Errors
    /// Why it could not be carried out.
    fn command(
        &self,
        name: &str,
        _arguments: &[String],
        _definition: InputDefinition,
        _session: &Session,
    ) -> Result<bool> {
        bail!("the command {name} does not exist")
    }
}

/// A command for a person.
pub struct Command {
    /// The first argument.
    pub name: &'static str,
    /// What may follow it.
    pub arguments: &'static str,
    /// What it does, for the help.
    pub summary: &'static str,
}

/// What a run has from its process: the clock, the log and the way out.
pub struct Session {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The standard error.
    pub log: Log,
    /// Set when the process is asked to stop.
    pub stop: Arc<AtomicBool>,
    /// The form of events on the standard output.
    pub format: Format,
}

impl Session {
    /// Makes SIGTERM, by which splunkd stops an input, and SIGINT, by which a person does, set [`Session::stop`].
    /// Without this call they end the process at once.
    ///
    /// # Errors
    /// The signals cannot be watched for.
    pub fn stop_on_signals(&self) -> Result<()> {
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&self.stop))
                .context("could not watch for the signal to stop")?;
        }
        Ok(())
    }

    /// The events on the standard output. Asked for once, by the run.
    ///
    /// # Errors
    /// The process has no standard output.
    pub fn event_writer(&self) -> Result<EventWriter> {
        let out = stdout::standard_output().context("could not open the standard output")?;
        EventWriter::new(
            out,
            self.format,
            Arc::clone(&self.stop),
            Arc::clone(&self.clock),
            self.log.clone(),
        )
        .context("could not start a thread")
    }
}

/// What the process is asked to do.
enum Mode {
    Scheme,
    ValidateArguments,
    Run(Source),
    Command(&'static Command, Vec<String>, Source),
    Help,
    Version,
}

/// Where the configuration of an input comes from.
enum Source {
    /// splunkd writes it on the standard input.
    Splunkd,
    /// A file, and there is no splunkd.
    Conf(Options),
}

/// The longest name of an option that a message repeats.
const MAX_OPTION_CHARS: usize = 32;

/// The command that makes one run without splunkd.
const RUN: &str = "run";

impl Mode {
    fn of(mut arguments: Vec<String>, input: &dyn ModularInput, by_hand: bool) -> Result<Self> {
        if arguments.is_empty() {
            return Ok(if by_hand {
                Self::Help
            } else {
                Self::Run(Source::Splunkd)
            });
        }
        let name = arguments.remove(0);
        let mode = match name.as_str() {
            "--scheme" => Self::Scheme,
            "--validate-arguments" => Self::ValidateArguments,
            "--help" | "-h" | "help" => Self::Help,
            "--version" | "-V" => Self::Version,
            RUN if input.runs_alone() => match Options::take(&mut arguments)? {
                Some(options) => Self::Run(Source::Conf(options)),
                None => bail!("the command {RUN} requires {}", Options::USAGE),
            },
            other => {
                let mut commands = input.commands().iter();
                let Some(command) = commands.find(|command| command.name == other) else {
                    bail!("{} is unknown; see --help", name_argument(other));
                };
                let options = match input.runs_alone() {
                    true => Options::take(&mut arguments)?,
                    false => None,
                };
                let source = options.map_or(Source::Splunkd, Source::Conf);
                return Ok(Self::Command(command, arguments, source));
            }
        };
        match arguments.first() {
            Some(extra) => bail!(
                "unexpected argument for {name}: {}; see --help",
                name_argument(extra)
            ),
            None => Ok(mode),
        }
    }
}

/// An argument as a message names it. Only the name of an option is shown: anything else may be a secret that somebody
/// put there, and a key in PEM starts with dashes, too.
fn name_argument(argument: &str) -> String {
    let option = argument.split('=').next().unwrap_or_default();
    let name = option.trim_start_matches('-');
    let dashes = option.len() - name.len();
    let is_name = name.len() <= MAX_OPTION_CHARS
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_name && matches!(dashes, 1 | 2) {
        format!("the option {option}")
    } else {
        "an argument".to_owned()
    }
}

/// The whole program: reads the mode from the arguments, does it, and reports a failure once.
pub fn main(input: &dyn ModularInput) -> ExitCode {
    leave_no_core_file();
    let log = Log::to_stderr();
    report_panics(log.clone());
    let session = Session {
        clock: Arc::new(SystemClock::new()),
        log,
        stop: Arc::new(AtomicBool::new(false)),
        format: Format::Xml,
    };
    let log = session.log.clone();
    match dispatch(input, session) {
        Ok(code) => code,
        Err(error) => {
            report(&log, &error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(input: &dyn ModularInput, mut session: Session) -> Result<ExitCode> {
    let stdin = std::io::stdin();
    let arguments = std::env::args_os().skip(1).map(|argument| {
        let text = argument.into_string();
        text.map_err(|_| anyhow!("an argument is not UTF-8 text, and paths must be here"))
    });
    let arguments = arguments.collect::<Result<_>>()?;
    let mode = Mode::of(arguments, input, stdin.is_terminal())?;
    let scheme = input.scheme();
    match mode {
        Mode::Scheme => print(&scheme.xml()),
        Mode::Help => print(&help(input)),
        Mode::Version => print(&format!("{} {}\n", scheme.kind, env!("CARGO_PKG_VERSION"))),
        Mode::ValidateArguments => {
            shed_splunks_certificates()?;
            validate(input, &session, stdin.lock())
        }
        Mode::Command(Command { name, .. }, arguments, source) => {
            shed_splunks_certificates()?;
            let definition = match source {
                Source::Conf(options) => options.read(scheme, &session.log)?,
                Source::Splunkd => InputDefinition::read_run(scheme.kind, stdin.lock())
                    .with_context(|| format!("{name} needs the input's configuration on stdin: splunk cmd splunkd print-modinput-config {kind} {kind}://NAME | {kind} {name}", kind = scheme.kind))?,
            };
            let well = input.command(name, &arguments, definition, &session)?;
            Ok(if well {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Mode::Run(source) => {
            shed_splunks_certificates()?;
            let definition = match source {
                Source::Splunkd => InputDefinition::read_run(scheme.kind, stdin.lock())?,
                Source::Conf(options) => {
                    session.format = Format::JsonLines;
                    options.read(scheme, &session.log)?
                }
            };
            let name = scheme.input(&definition.stanza.name);
            input
                .run(definition, &session)
                .map_err(|error| name_input(&name, error))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// External validation answers on the standard output, with the message for the form in Splunk Web.
fn validate(input: &dyn ModularInput, session: &Session, stdin: impl Read) -> Result<ExitCode> {
    let checked = InputDefinition::read_validation(stdin)
        .and_then(|definition| input.validate(definition, session));
    let Err(error) = checked else {
        return Ok(ExitCode::SUCCESS);
    };
    let message = sentence(&redact(&format!("{error:#}")));
    print(&format!(
        "<error><message>{}</message></error>\n",
        escape(&message)
    ))?;
    Ok(ExitCode::FAILURE)
}

/// Puts the input's name in front of the fields of a failure.
fn name_input(input: &str, error: anyhow::Error) -> anyhow::Error {
    let named = Fields::new().with("input", input);
    match error.downcast::<Failure>() {
        Ok(failure) => Failure {
            fields: named.and(&failure.fields),
            ..failure
        }
        .into(),
        Err(error) => Failure {
            level: Level::Error,
            fields: named,
            sentence: format!("{error:#}"),
        }
        .into(),
    }
}

fn report(log: &Log, error: &anyhow::Error) {
    match error.downcast_ref::<Failure>() {
        Some(failure) => log.write(failure.level, &failure.fields, &failure.sentence),
        None => log.write(Level::Error, &Fields::new(), &format!("{error:#}")),
    }
}

/// Answers that are not events: the scheme, a validation message, the help.
fn print(text: &str) -> Result<ExitCode> {
    stdout::standard_output()
        .and_then(|mut out| out.write_all(text.as_bytes()))
        .context("could not write to the standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn help(input: &dyn ModularInput) -> String {
    let scheme = input.scheme();
    let kind = scheme.kind;
    let mut help = format!(
        "{kind} {}: {}\n\n\
         This program is a Splunk modular input. Splunk starts it, writes its configuration as XML on the\n\
         standard input and reads events as XML from the standard output. Started by hand without an argument it\n\
         only shows this text.\n\n\
         To use it   install the app in Splunk, then Settings > Data inputs > {}\n",
        env!("CARGO_PKG_VERSION"),
        scheme.description,
        scheme.title,
    );
    if let Some(command) = input.commands().first() {
        help.push_str(&format!(
            "To test it  splunk cmd splunkd print-modinput-config {kind} {kind}://NAME | {kind} {}\n",
            command.name
        ));
    }
    if input.runs_alone() {
        help.push_str(&format!(
            "Without it  {kind} {RUN} {}\n            \
             makes one run with a stanza of an inputs.conf and prints each event on a line\n",
            Options::USAGE
        ));
    }
    help.push('\n');
    let mut line = |arguments: &str, summary: &str| {
        let call = format!("{kind} {arguments}");
        help.push_str(&format!("  {call:<44} {summary}\n"));
    };
    line("", "make one run, for Splunk alone");
    if input.runs_alone() {
        line(&format!("{RUN} OPTIONS"), "make one run without Splunk");
    }
    for command in input.commands() {
        line(
            &format!("{} {}", command.name, command.arguments),
            command.summary,
        );
    }
    line("--scheme", "describe the input to Splunk");
    line("--validate-arguments", "check the arguments of an input");
    line("--version", "print the version");
    line("--help", "show this text");
    help.push_str(
        "\nAll but --scheme, --version and --help read the input's configuration on the standard input",
    );
    if input.runs_alone() {
        help.push_str(&format!(",\nor take the options {}", Options::USAGE));
        let variables: Vec<_> = scheme
            .secrets()
            .map(|secret| conf_file::variable(scheme, secret))
            .collect();
        help.push_str(&format!(
            ".\nWith them, secrets may come from the environment: {}",
            variables.join(", ")
        ));
    }
    help.push_str(".\n");
    help
}

/// The folder that Splunk is installed in; splunkd sets it for its inputs.
#[must_use]
pub fn home() -> Option<PathBuf> {
    std::env::var_os("SPLUNK_HOME").map(PathBuf::from)
}

/// A core file would hold the private key. The limit is enough for a file; a program that the kernel pipes cores to
/// ignores it.
fn leave_no_core_file() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{
            DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit,
        };
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        // Either may be forbidden, which is no reason not to collect.
        let _ = setrlimit(Resource::Core, none);
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// splunkd can pass on its own `SSL_CERT_FILE`, which is for Splunk and not for the internet. The TLS library would
/// trust it instead of the system's, so the process starts again without it.
#[cfg(unix)]
fn shed_splunks_certificates() -> Result<()> {
    use std::os::unix::process::CommandExt;

    let Some(home) = home() else {
        return Ok(());
    };
    let mut again = std::process::Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1));
    let mut inherited = false;
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if std::env::var_os(name).is_some_and(|path| std::path::Path::new(&path).starts_with(&home))
        {
            again.env_remove(name);
            inherited = true;
        }
    }
    if inherited {
        return Err(again.exec()).context("could not start again without Splunk's SSL_CERT_FILE");
    }
    Ok(())
}

/// Elsewhere the system's trust roots do not come from a file.
#[cfg(not(unix))]
fn shed_splunks_certificates() -> Result<()> {
    Ok(())
}

/// A panic in any thread becomes one FATAL line and the end of the process. The line names the place
/// only: the message of a panic can contain data.
fn report_panics(log: Log) {
    std::panic::set_hook(Box::new(move |panic| {
        let fields = Fields::new()
            .with("action", "panic")
            .with_some("location", panic.location());
        log.write(
            Level::Fatal,
            &fields,
            "This is a defect of the program: please report it with this line. The next run continues from the saved position.",
        );
        #[expect(
            clippy::disallowed_methods,
            reason = "a thread that panicked must not leave the others running"
        )]
        std::process::exit(1);
    }));
}
