//! The command line, as clap reads it.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

mod filter;
mod session;

pub use session::{EnvArgs, EnvShell, InitArgs, ManArgs, RunArgs};

const ABOUT: &str =
    "Lets any Anthropic client, Claude Code first, talk to any OpenAI-compatible model server";

/// What the program says when nothing is asked of it.
pub(super) const BRIEF: &str = "\
Lets any Anthropic client, Claude Code first, talk to any OpenAI-compatible model server

Usage: claude-proxy [OPTIONS] <COMMAND>

  claude-proxy init              write a configuration: asks for provider, key and model
  claude-proxy run -- claude     start Claude Code with a proxy of its own
  claude-proxy serve             serve any Anthropic client, until Ctrl-C
  claude-proxy ping-upstream     try the models; check-config finds mistakes in the file
  claude-proxy convert FILE      see what a request or an answer becomes, offline

Nothing configured yet? `claude-proxy run --demo -- claude` has a model built in.
All commands and options: claude-proxy --help
";

const EXAMPLES: &str = "\
Examples:
  claude-proxy init                      write a configuration: asks for all it needs
  claude-proxy run -- claude             Claude Code with a proxy of its own
  claude-proxy run --demo -- claude      the same with a built-in demo model, nothing configured
  claude-proxy demo                      a whole exchange, shown from both sides
  claude-proxy serve                     serve the models of ./config.json
  claude-proxy check-config              every mistake in the config, with line and column
  claude-proxy convert request.json      the OpenAI request that an Anthropic request becomes

Exit codes: 0 done, 1 the thing failed, 2 the command line is wrong.";

const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    env!("CLAUDE_PROXY_BUILT_FROM"),
    "\nfeatures: tls=rustls-ring, roots=system, tokenizer=o200k\ntarget: ",
    env!("CLAUDE_PROXY_BUILT_FOR"),
);

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "claude-proxy", version, long_version = LONG_VERSION, about = ABOUT, after_long_help = EXAMPLES)]
#[command(arg_required_else_help = true, subcommand_required = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Configuration file [default: $CONFIG_PATH, else config.json]
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// What is logged: error, warn, info, debug, trace, or a filter such as
    /// info,claude_proxy::body=off
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info", value_parser = filter::filter)]
    pub log_level: String,

    /// How log lines look
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// When to use colour; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,

    /// Only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl std::convert::From<LogFormat> for crate::observe::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Also into files and pipes
    Always,
    /// Never
    Never,
}

impl GlobalArgs {
    /// Colour in the log: on, off, or as the terminal and `NO_COLOR` say.
    pub fn ansi(&self) -> Option<bool> {
        match self.color {
            Color::Auto => None,
            Color::Always => Some(true),
            Color::Never => Some(false),
        }
    }
}

/// Colour in help and in messages about the command line, which come before it is understood.
pub(super) fn help_color(args: &[OsString]) -> clap::ColorChoice {
    let given = args.iter().zip(args.iter().skip(1).map(Some).chain([None])).find_map(|(arg, next)| {
        let inline = arg.to_str().and_then(|a| a.strip_prefix("--color="));
        inline.or_else(|| if arg == "--color" { next?.to_str() } else { None })
    });
    given.and_then(|when| when.parse().ok()).unwrap_or_default()
}

/// One command each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a configuration: asks for provider, key and model, and tries them
    Init(InitArgs),
    /// Run a command, Claude Code first, with a proxy of its own
    Run(RunArgs),
    /// Serve the Anthropic API, answered by the upstreams of the configuration
    Serve(ServeArgs),
    /// Show a whole exchange with a built-in model: nothing to configure
    Demo(DemoArgs),
    /// Convert a captured request, answer, stream or error, as serve would
    Convert(ConvertArgs),
    /// Check configuration files: every mistake with line and column
    CheckConfig(CheckConfigArgs),
    /// List the models of the configuration
    Models(ModelsArgs),
    /// Send a small real request to upstreams and show how it went
    PingUpstream(PingUpstreamArgs),
    /// Print the lines of a shell that point Claude Code at `serve`
    Env(EnvArgs),
    /// Print the completion script for a shell
    Completions(CompletionsArgs),
    /// Print the man page, or write one for each command
    Man(ManArgs),
}

/// `serve`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy serve
  claude-proxy serve --config prod.json --log-format json
  claude-proxy serve --host 0.0.0.0 --port 8080
  claude-proxy serve --demo
  claude-proxy serve --watch
  claude-proxy serve --capture exchanges --capture-max-mb 100
  claude-proxy serve --log-level info,claude_proxy::body=off")]
pub struct ServeArgs {
    /// Address to listen on, instead of the configuration's `host`
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,

    /// Port to listen on, instead of the configuration's `port`; 0: any free one
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Serve a built-in demo upstream as model `demo`; reads no configuration
    #[arg(long, conflicts_with = "config")]
    pub demo: bool,

    /// Read the configuration again when its file changes, as SIGHUP does; one with errors is
    /// refused, and the old one stays
    #[arg(long, conflicts_with = "demo")]
    pub watch: bool,

    /// Write each exchange into a folder of its own below DIR, for `convert`: requests, answers
    /// and their times, with keys removed
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub capture: Option<PathBuf>,

    /// Most that is kept in the --capture directory, in MiB; the oldest exchanges go first
    #[arg(long, value_name = "N", requires = "capture", default_value_t = 1024,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub capture_max_mb: u64,
}

/// `demo`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy demo")]
pub struct DemoArgs {}

/// `convert`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy convert request.json                  OpenAI request of an Anthropic request
  claude-proxy convert --profile deepseek request.json
  claude-proxy convert --model glm request.json      as serve does for model glm of the config
  claude-proxy convert --diff request.json           beside what the client sent
  claude-proxy convert response.json                 Anthropic message of an OpenAI response
  claude-proxy convert --request request.json capture.sse
  claude-proxy convert --whole -o message.json capture.sse
  curl -sN ... | claude-proxy convert -              Anthropic events while they come
  claude-proxy convert --report request.json         what was changed or lost, on stderr
  claude-proxy convert -o converted recorded         a whole directory into another
  claude-proxy convert --check --strict recorded     does it convert without loss? writes nothing
  claude-proxy convert --replay exchanges            does serve still give what it gave then?

Exit codes: 0 converted (--check: all would; --replay: all the same), 1 bad input, an answer that is
an error, a difference, 2 the command line is wrong.")]
pub struct ConvertArgs {
    /// What to convert: files, and directories with all below them; `-` or nothing: standard input
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,

    /// What the input is, instead of finding out
    #[arg(long, value_enum, value_name = "KIND")]
    pub from: Option<From>,

    /// What to make of it, where there is a choice
    #[arg(long, value_enum, value_name = "KIND")]
    pub to: Option<To>,

    /// The upstream's profile [default: that of --model, else of the captured exchange, else generic]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Use this model of the configuration: its profile, remote id and settings
    #[arg(long, value_name = "ID")]
    pub model: Option<String>,

    /// The Anthropic request that the answer belongs to: model name, thinking, stop sequences, tools
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub request: Option<PathBuf>,

    /// HTTP status that an OpenAI error came with [default: as its body says]
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(100..=599))]
    pub status: Option<u16>,

    /// Fold a stream into one message
    #[arg(long)]
    pub whole: bool,

    /// Write here instead of to standard output, each file whole or not at all; several inputs need
    /// a directory
    #[arg(short, long, value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub output: Option<PathBuf>,

    /// List on stderr what was changed or lost on the way
    #[arg(long)]
    pub report: bool,

    /// Write nothing, only say of each input whether it converts: ok, lossy or failed
    #[arg(long, conflicts_with = "output")]
    pub check: bool,

    /// With --check: losses fail too
    #[arg(long, requires = "check")]
    pub strict: bool,

    /// Show a request and what goes upstream for it, side by side where there is room
    #[arg(long, conflicts_with_all = ["check", "output", "whole", "to", "request", "status", "json"])]
    pub diff: bool,

    /// Convert exchanges that `serve --capture` wrote again, and compare with what was sent then
    #[arg(long, conflicts_with_all = ["from", "to", "profile", "model", "request", "status", "whole",
          "output", "report", "check", "diff"])]
    pub replay: bool,

    /// The outcome for each input as JSON, with -o, --check or --replay
    #[arg(long)]
    pub json: bool,
}

/// `convert --from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// A body of POST /v1/messages
    AnthropicRequest,
    /// A whole Chat Completion
    OpenaiResponse,
    /// A capture of a streamed Chat Completion
    OpenaiSse,
    /// A body of an OpenAI error
    OpenaiError,
}

/// `convert --to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// A body of POST /v1/chat/completions
    OpenaiRequest,
    /// One Anthropic message
    AnthropicMessage,
    /// Anthropic's event stream
    AnthropicSse,
    /// Anthropic's error JSON
    AnthropicError,
}

/// `check-config`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy check-config
  claude-proxy check-config --strict staging.json prod.json
  claude-proxy check-config --format github config.json
  claude-proxy check-config --schema > config.schema.json

Exit codes: 0 no errors, 1 errors (with --strict: or warnings), 2 the command line is wrong.
docs/cli.md lists every code with an example.")]
pub struct CheckConfigArgs {
    /// Files to check; `-` is standard input [default: as --config]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// Warnings fail too
    #[arg(long)]
    pub strict: bool,

    /// How findings look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = FindingFormat::Text)]
    pub format: FindingFormat,

    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,

    /// Print the JSON Schema of the configuration, for editors, and check nothing
    #[arg(long, conflicts_with_all = ["files", "strict", "format", "json"])]
    pub schema: bool,
}

/// `check-config --format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FindingFormat {
    /// As full on a terminal, else as short
    Text,
    /// With the line of the file, a caret and what to do
    Full,
    /// A line for each finding
    Short,
    /// One JSON object
    Json,
    /// Annotations of a GitHub Actions job
    Github,
    /// A SARIF 2.1.0 log, for code scanning
    Sarif,
}

/// `models`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy models
  claude-proxy models --json
  claude-proxy models --remote            does each provider have the model, by that name?

Exit codes: 0 done, 1 with --remote: a model is missing, or a list could not be had, 2 the command
line is wrong.")]
pub struct ModelsArgs {
    /// Ask each provider for its own list and mark what is missing there
    #[arg(long)]
    pub remote: bool,

    /// With --remote: longest wait for a list, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub timeout: Duration,

    /// The list as JSON
    #[arg(long)]
    pub json: bool,
}

/// `ping-upstream`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy ping-upstream glm             times, and what the upstream can do
  claude-proxy ping-upstream                 the same for every model of the configuration
  claude-proxy ping-upstream --quick glm     times alone: two requests
  claude-proxy ping-upstream --quick --count 10 glm
  claude-proxy ping-upstream --suggest glm   what to change in the configuration
  claude-proxy ping-upstream --timeout 10 --json glm deepseek
  claude-proxy ping-upstream --search rust   does the service of `web_search` answer?

Costs some 15 small requests for each model; with --quick 2 for each --count.

Exit codes: 0 all answered, 1 one did not, 2 the command line is wrong.")]
pub struct PingUpstreamArgs {
    /// Model ids of the configuration [default: all]
    #[arg(value_name = "MODEL")]
    pub models: Vec<String>,

    /// Every model of the configuration
    #[arg(long, conflicts_with = "models")]
    pub all: bool,

    /// Measure that many times; shows median, least and most
    #[arg(short = 'n', long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub count: u32,

    /// Only measure: do not find out what the upstream can do
    #[arg(long)]
    pub quick: bool,

    /// Print only what to set in the configuration: entries of `providers`, to be merged
    #[arg(long, conflicts_with_all = ["quick", "json"])]
    pub suggest: bool,

    /// Search for this with the service of `web_search`, and ask no model
    #[arg(long, value_name = "QUERY", conflicts_with_all = ["models", "all", "count", "quick", "suggest"])]
    pub search: Option<String>,

    /// Longest wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,

    /// Results as JSON
    #[arg(long)]
    pub json: bool,
}

/// `completions`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy completions bash > ~/.local/share/bash-completion/completions/claude-proxy
  claude-proxy completions zsh > ~/.zfunc/_claude-proxy
  claude-proxy completions fish > ~/.config/fish/completions/claude-proxy.fish
  claude-proxy completions powershell | Out-String | Invoke-Expression
  claude-proxy completions elvish > ~/.config/elvish/lib/claude-proxy.elv")]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// A number of seconds above zero, with or without a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| *s > 0.0 && *s <= 86_400.0);
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds above 0, at most 86400".to_owned())
}

/// `host` of `--host`, without the brackets of an IPv6 address.
pub fn bare_host(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.filter(|h| h.parse::<IpAddr>().is_ok()).unwrap_or(host)
}
