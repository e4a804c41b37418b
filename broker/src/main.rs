//! The program: arguments and environment become a configuration, signals become a stop. All else is the library's.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use broker::Ready;
use broker::config::{self, Command, Config, ConfigError, LogFormat};
use broker::inspect::Inspection;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// A request takes some two dozen small pieces of memory, in which the system's allocator spends a fifth of its instructions.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a shell makes of a program that a second signal ended.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    let outcome = match config::load(std::env::args_os(), variables) {
        Ok(Command::Run(config)) => run(*config),
        Ok(Command::Print(text)) => print(&text),
        Ok(Command::Inspect(config, inspection)) => match inspect(&config, &inspection) {
            Ok(false) => return ExitCode::FAILURE,
            other => other.map(|_| ()),
        },
        Err(ConfigError::Arguments(error)) => error.exit(),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "pg_kafka: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well with what was looked at.
fn inspect(config: &Config, inspection: &Inspection) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut errors = std::io::stderr();
    let is_watched = errors.is_terminal();
    let progress: Option<&mut (dyn Write + Send)> = match is_watched {
        true => Some(&mut errors),
        false => None,
    };
    let is_well = runtime.block_on(broker::inspect::inspect(
        config, inspection, &mut out, progress,
    ));
    out.flush().context("writing to standard output")?;
    Ok(is_well?)
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}

fn run(config: Config) -> anyhow::Result<()> {
    start_logging(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.num_network_threads)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone())?;
    let listeners = broker::bind(&config.listeners).await?;
    let format = config.log_format;
    broker::run(config, listeners, shutdown, |ready| announce(ready, format)).await?;
    tracing::info!("stopped");
    Ok(())
}

/// One line on standard output; logs go to standard error.
fn announce(ready: &Ready, format: LogFormat) {
    let line = match format {
        LogFormat::Text => ready.to_string(),
        LogFormat::Json => format!("{{\"message\":{}}}", toml::Value::String(ready.to_string())),
    };
    // Nobody may be reading; the broker runs all the same.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The first SIGTERM or SIGINT stops the broker, the second one ends it at once.
fn stop_on_signals(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.is_cancelled() {
                tracing::warn!("a second signal: ending at once");
                std::process::exit(INTERRUPTED);
            }
            tracing::info!("stopping; a second signal ends at once");
            shutdown.cancel();
        }
    });
    Ok(())
}

fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level)
        .with_context(|| format!("log.level = `{}`", config.log_level))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => logs.with_target(false).init(),
        LogFormat::Json => logs.json().init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("a fault in this program: {panic}");
    }));
    Ok(())
}
