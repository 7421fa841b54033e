//! `understudy-injector`: the admission webhook and its controller.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use understudy_injector::{
    ANNOTATIONS, File, MARKS, PREFIX, Places, Understudy, UnderstudyPolicy, definition, serve,
};

/// Puts the Understudy sidecar into pods that opt in
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Runs the webhook
    Serve {
        /// The settings, as the chart writes them
        #[arg(long, env = "UNDERSTUDY_INJECTOR_SETTINGS", default_value = "/etc/understudy/injector.json")]
        settings: PathBuf,
        /// Where the webhook listens, over TLS
        #[arg(long, env = "UNDERSTUDY_INJECTOR_LISTEN", default_value = "0.0.0.0:8443")]
        listen: SocketAddr,
        /// Where /healthz, /readyz and /metrics are
        #[arg(long, env = "UNDERSTUDY_INJECTOR_HEALTH", default_value = "0.0.0.0:9191")]
        health: SocketAddr,
        /// This replica's name, for the lease
        #[arg(long, env = "UNDERSTUDY_INJECTOR_NAME", default_value = "understudy-injector")]
        name: String,
    },
    /// Asks a listener whether it is ready; for `helm test`
    Probe {
        /// Its URL
        url: String,
    },
    /// Does nothing until it is told to end; keeps an image on its node
    Wait,
    /// Prints the table of labels and annotations
    Annotations,
    /// Prints the definition of a custom resource, as JSON
    Crd {
        /// Which
        #[arg(value_enum, default_value = "policy")]
        kind: Kind,
    },
}

/// A custom resource.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Policy,
    Understudy,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(error = e.as_ref() as &dyn std::error::Error, "understudy-injector ends");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Serve { settings, listen, health, name } => {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let file = File::read(&settings)?;
            let places = Places { webhook: listen, health, me: name };
            Ok(serve(file, places, ended()).await?)
        }
        Command::Probe { url } => {
            reqwest::get(&url).await?.error_for_status()?;
            Ok(())
        }
        Command::Wait => {
            ended().await;
            Ok(())
        }
        Command::Annotations => {
            print_annotations();
            Ok(())
        }
        Command::Crd { kind } => print_definition(kind),
    }
}

#[expect(clippy::print_stdout, reason = "what it is asked for")]
fn print_annotations() {
    println!("| name | what it is | value | default | meaning |\n| --- | --- | --- | --- | --- |");
    for m in MARKS {
        println!("| `{}` | {} | {} | {} | {} |", m.name, m.of, m.kind, m.default, m.text);
    }
    for a in ANNOTATIONS {
        println!("| `{PREFIX}{}` | annotation of a pod | {} | {} | {} |", a.name, a.kind, a.default, a.text);
    }
}

#[expect(clippy::print_stdout, reason = "what it is asked for")]
fn print_definition(kind: Kind) -> Result<(), Box<dyn std::error::Error>> {
    let made = match kind {
        Kind::Policy => definition::<UnderstudyPolicy>(),
        Kind::Understudy => definition::<Understudy>(),
    };
    println!("{}", made?);
    Ok(())
}

/// Ends with TERM or INT.
async fn ended() {
    let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(term) => term,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
