//! The command line, as clap reads it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

const ABOUT: &str =
    "Lets any Anthropic client, Claude Code first, talk to any OpenAI-compatible model server";

const EXAMPLES: &str = "\
Examples:
  claude-proxy demo                      a whole exchange, nothing configured
  claude-proxy serve --demo              serve a built-in demo model; point Claude Code at it
  claude-proxy serve                     serve the models of ./config.json
  claude-proxy check-config              every mistake in the config, with line and column
  claude-proxy convert request.json      the OpenAI request that an Anthropic request becomes

Exit codes: 0 done, 1 the thing failed, 2 the command line is wrong.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "claude-proxy", version, about = ABOUT, after_long_help = EXAMPLES)]
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
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info", value_parser = filter)]
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

/// One command each.
#[derive(Debug, Subcommand)]
pub enum Command {
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
    /// Print the completion script for a shell
    Completions(CompletionsArgs),
}

/// `serve`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy serve
  claude-proxy serve --config prod.json --log-format json
  claude-proxy serve --host 0.0.0.0 --port 8080
  claude-proxy serve --demo
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
  claude-proxy convert response.json                 Anthropic message of an OpenAI response
  claude-proxy convert --request request.json capture.sse
  claude-proxy convert --whole -o message.json capture.sse
  curl -sN ... | claude-proxy convert -              Anthropic events while they come
  claude-proxy convert --report request.json         what was changed or lost, on stderr

Exit codes: 0 converted, 1 bad input or an answer that is an error, 2 the command line is wrong.")]
pub struct ConvertArgs {
    /// What to convert; `-` or nothing: standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// What the input is, instead of finding out
    #[arg(long, value_enum, value_name = "KIND")]
    pub from: Option<From>,

    /// What to make of it, where there is a choice
    #[arg(long, value_enum, value_name = "KIND")]
    pub to: Option<To>,

    /// The upstream's profile [default: that of --model, else generic]
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

    /// Write here instead of to standard output; whole or not at all
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// List on stderr what was changed or lost on the way
    #[arg(long)]
    pub report: bool,
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

/// A level or a filter. A single word that is no level would be taken for the name of a module,
/// and nothing would be logged.
fn filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    if text.chars().all(char::is_alphanumeric) && !LEVELS.iter().any(|l| l.eq_ignore_ascii_case(text)) {
        return Err(format!(
            "a level ({}) or a filter such as info,claude_proxy::body=off",
            LEVELS.join(", ")
        ));
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(e) => Err(e.to_string()),
    }
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
