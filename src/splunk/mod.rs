//! Splunk's side: the modular input protocol in Splunk's own words. Nothing here knows what the data is.
//!
//! Format: Splunk's manual "Modular inputs" (help.splunk.com, Developing views and apps for Splunk Web).

mod certificate;
pub mod checkpoint;
pub mod command_line;
pub mod conf_file;
pub mod event;
mod form;
pub mod hec;
mod help;
pub mod input_definition;
pub mod kv_store;
pub mod lease;
pub mod log;
pub mod progress;
pub mod rest;
pub mod scheme;
pub mod screen;
pub mod secure_storage;
mod service;
pub mod status;
pub mod stdout;

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use quick_xml::escape::escape;

use crate::base::clock::{Clock, SystemClock};
use crate::base::secret::redact;
use command_line::{Command, Mode};
use conf_file::Selection;
use input_definition::InputDefinition;
use log::{Failure, Fields, Level, Log, sentence};
use scheme::Scheme;
use screen::{ReaderLeft, write_answer};
use status::Status;
use stdout::{EventWriter, Format, Output};

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

    /// How an input is made ready that runs without splunkd, with a stanza from a plain file; `None` if a run makes no
    /// sense without splunkd.
    fn runs_alone(&self) -> Option<Open> {
        None
    }

    /// Commands for a person, in addition to the protocol's.
    fn commands(&self) -> &'static [Command];
}

/// Makes an input ready for its runs.
///
/// An error is the one reason why it cannot be used; it is logged here and nowhere else.
pub type Open = fn(InputDefinition, &Session) -> Result<Box<dyn Input>>;

/// An input that is ready. What its runs share (connections, a token) it keeps from one to the next.
pub trait Input: Send {
    /// Makes one run.
    ///
    /// # Errors
    /// The one problem that ends the run; it is logged here and nowhere else.
    fn run(&mut self, session: &Session) -> Result<()>;
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
    /// The standard output, once an input writes to it.
    output: OnceLock<Arc<Output>>,
    watches_signals: AtomicBool,
}

impl Session {
    fn new(log: Log) -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            log,
            stop: Arc::new(AtomicBool::new(false)),
            format: Format::Xml,
            output: OnceLock::new(),
            watches_signals: AtomicBool::new(false),
        }
    }

    /// Makes SIGTERM, by which splunkd stops an input, and SIGINT, by which a person does, set [`Session::stop`].
    /// Before this call they end the process at once.
    ///
    /// # Errors
    /// The signals cannot be watched for.
    pub fn stop_on_signals(&self) -> Result<()> {
        if self.watches_signals.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&self.stop))
                .context("could not watch for the signal to stop")?;
        }
        Ok(())
    }

    /// The events of one run on the standard output, which inputs that run side by side share.
    ///
    /// # Errors
    /// The process has no standard output.
    pub fn event_writer(&self) -> Result<EventWriter> {
        if self.output.get().is_none() {
            let out = stdout::standard_output().context("could not open the standard output")?;
            // Somebody else may have been quicker, with the same descriptor.
            let _ = self.output.set(Arc::new(Output::new(out)));
        }
        let output = self.output.get().context("there is no standard output")?;
        EventWriter::new(
            Arc::clone(output),
            self.format,
            Arc::clone(&self.stop),
            Arc::clone(&self.clock),
            self.log.clone(),
        )
        .context("could not start a thread")
    }

    /// Whether an input writes to the standard output, and nobody reads there any more.
    fn has_lost_its_reader(&self) -> bool {
        self.output.get().is_some_and(|output| output.is_closed())
    }
}

/// The whole program: reads the mode from the arguments, does it, and reports a failure once.
pub fn main(input: &dyn ModularInput) -> ExitCode {
    leave_no_core_file();
    let log = Log::to_stderr();
    report_panics(log.clone());
    let done = dispatch(input, Session::new(log.clone()));
    log.end_progress();
    match done {
        Ok(status) => status.into(),
        // Whoever has seen enough, as `head` has, needs no message.
        Err(error) if error.is::<ReaderLeft>() => ExitCode::SUCCESS,
        Err(error) => {
            report(&log, &error);
            status_of(&error).into()
        }
    }
}

fn dispatch(input: &dyn ModularInput, mut session: Session) -> Result<Status> {
    let stdin = std::io::stdin();
    let by_hand = stdin.is_terminal();
    let arguments = std::env::args_os().skip(1);
    let mode = Mode::of(arguments, input, by_hand, session.clock.now())?;
    let scheme = input.scheme();
    let kind = scheme.kind;
    match mode {
        Mode::Scheme => print(&scheme.xml())?,
        Mode::Help(topic) => print(&help::text(input, &topic))?,
        Mode::Version => print(&format!("{kind} {}\n", env!("CARGO_PKG_VERSION")))?,
        Mode::ValidateArguments if by_hand => {
            return Err(Failure::of_usage(
                "splunkd writes the arguments to validate on stdin. See --help".to_owned(),
            )
            .into());
        }
        Mode::ValidateArguments => {
            shed_splunks_certificates()?;
            return validate(input, &session, stdin.lock());
        }
        Mode::Command(command, given, selection) => {
            let definition = match &selection {
                None if by_hand => return Err(needs_configuration(command, input).into()),
                None => InputDefinition::read_run(kind, stdin.lock()).map_err(|error| {
                    let needed = needs_configuration(command, input).sentence;
                    Failure::of_usage(format!("{error:#}. {needed}"))
                })?,
                Some(selection) => only(selection.read(scheme, &session.log))?,
            };
            shed_splunks_certificates()?;
            return (command.carry_out)(&given, definition, &session);
        }
        Mode::Run => {
            shed_splunks_certificates()?;
            let definition = InputDefinition::read_run(kind, stdin.lock())?;
            let name = scheme.input(&definition.stanza.name);
            input.run(definition, &session).map_err(|error| Failure {
                // All that splunkd knows.
                status: Status::Failed,
                ..name_input(&name, error)
            })?;
        }
        Mode::RunAlone(selection, every) => {
            shed_splunks_certificates()?;
            session.format = Format::JsonLines;
            session.log.show_progress();
            let definitions = selection
                .read(scheme, &session.log)
                .map_err(|error| Failure::of_configuration(&error))?;
            let open = input.runs_alone().context("it needs splunkd")?;
            return service::run(open, scheme, definitions, every, session);
        }
    }
    Ok(Status::Done)
}

/// The configuration of the one input that a command is about.
fn only(definitions: Result<Vec<InputDefinition>>) -> Result<InputDefinition> {
    let mut definitions = definitions.map_err(|error| Failure::of_configuration(&error))?;
    match (definitions.pop(), definitions.is_empty()) {
        (Some(definition), true) => Ok(definition),
        _ => Err(Failure::of_usage("--input must name one input".to_owned()).into()),
    }
}

/// What a command needs that has found nothing on the standard input.
fn needs_configuration(command: &Command, input: &dyn ModularInput) -> Failure {
    let (kind, name) = (input.scheme().kind, command.name);
    let alone = match (input.runs_alone(), command.uses_folder) {
        (None, _) => String::new(),
        (Some(_), true) => format!("; without Splunk, {kind} {name} {}", Selection::USAGE),
        (Some(_), false) => format!("; without Splunk, {kind} {name} --conf FILE --input NAME"),
    };
    Failure::of_usage(format!(
        "{name} needs the configuration of an input: in Splunk, splunk cmd splunkd print-modinput-config {kind} {kind}://NAME | {kind} {name}{alone}"
    ))
}

/// External validation answers on the standard output, with the message for the form in Splunk Web.
fn validate(input: &dyn ModularInput, session: &Session, stdin: impl Read) -> Result<Status> {
    let checked = InputDefinition::read_validation(stdin)
        .and_then(|definition| input.validate(definition, session));
    let Err(error) = checked else {
        return Ok(Status::Done);
    };
    let message = sentence(&redact(&format!("{error:#}")));
    print(&format!(
        "<error><message>{}</message></error>\n",
        escape(&message)
    ))?;
    Ok(Status::Failed)
}

/// A failure of the input with this full name, with the name in front of its fields.
fn name_input(input: &str, error: anyhow::Error) -> Failure {
    let named = Fields::new().with("input", input);
    match error.downcast::<Failure>() {
        Ok(failure) => Failure {
            fields: named.and(&failure.fields),
            ..failure
        },
        Err(error) => Failure {
            status: Status::Failed,
            level: Level::Error,
            fields: named,
            sentence: format!("{error:#}"),
        },
    }
}

fn report(log: &Log, error: &anyhow::Error) {
    match error.downcast_ref::<Failure>() {
        Some(failure) => log.write(failure.level, &failure.fields, &failure.sentence),
        None => log.write(Level::Error, &Fields::new(), &format!("{error:#}")),
    }
}

fn status_of(error: &anyhow::Error) -> Status {
    let failure = error.downcast_ref::<Failure>();
    failure.map_or(Status::Failed, |failure| failure.status)
}

/// Answers that are not events: the scheme, a validation message, the help.
fn print(text: &str) -> Result<()> {
    let mut out = stdout::standard_output().context("could not open the standard output")?;
    write_answer(&mut out, text)
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
