//! Options of the commands that set up a session of Claude Code: `init`, `run`, `env`; and `man`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

/// `init`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy init                                  asks for everything
  claude-proxy init --provider ollama --model qwen3-coder:30b
  claude-proxy init --provider deepseek --key-env DEEPSEEK_API_KEY --model deepseek-chat
  claude-proxy init --provider https://llm.example.com/v1 --key-stdin --model glm < key.txt
  claude-proxy init --provider zai --model glm --remote-id glm-5 --no-ping -o zai.json

Without a terminal, or with --yes, nothing is asked: --provider and --model are needed, and
--key-env or --key-stdin where the provider wants a key. A key is no option: the list of
processes would show it.

Exit codes: 0 written, 1 the upstream said no or the file is there already, 2 the command line is
wrong or an option is missing.")]
pub struct InitArgs {
    /// A provider's name, or the URL of an OpenAI-compatible server
    #[arg(long, value_name = "NAME|URL")]
    pub provider: Option<String>,

    /// How the upstream deviates from OpenAI's API [default: as the provider or the URL says]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// The name that clients will use
    #[arg(long, value_name = "ID")]
    pub model: Option<String>,

    /// The model's name at the provider [default: that of --model]
    #[arg(long, value_name = "NAME")]
    pub remote_id: Option<String>,

    /// The model's context window, in tokens [default: as the provider's list says]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub context_window: Option<u32>,

    /// The environment variable that holds the key: the file names it, and never holds the key
    #[arg(long, value_name = "VARIABLE", conflicts_with = "key_stdin")]
    pub key_env: Option<String>,

    /// Read the key from standard input and write it into the file
    #[arg(long)]
    pub key_stdin: bool,

    /// The file to write [default: as --config]
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "config")]
    pub output: Option<PathBuf>,

    /// Ask nothing; what was not said gets its default
    #[arg(short, long)]
    pub yes: bool,

    /// Do not try the model
    #[arg(long)]
    pub no_ping: bool,

    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// `run`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy run -- claude
  claude-proxy run --demo -- claude
  claude-proxy run --model glm -- claude -p 'What does this project do?'
  claude-proxy run --log-file proxy.log --log-level debug -- claude --continue

The command gets ANTHROPIC_BASE_URL, ANTHROPIC_AUTH_TOKEN (a key made for this run),
ANTHROPIC_MODEL, ANTHROPIC_DEFAULT_OPUS_MODEL, _SONNET_MODEL and _HAIKU_MODEL; where the model's
context_window is configured CLAUDE_CODE_MAX_CONTEXT_TOKENS, CLAUDE_CODE_DISABLE_1M_CONTEXT and
CLAUDE_CODE_AUTO_COMPACT_WINDOW; where answers have to be short CLAUDE_CODE_MAX_OUTPUT_TOKENS.
ANTHROPIC_API_KEY and what would lead Claude Code elsewhere are taken away.

Exit codes: that of the command, 128+N if signal N ended it, 127 if there is no such command,
126 if it cannot be run; before it starts: 1 the configuration has errors, 2 the command line is
wrong.")]
pub struct RunArgs {
    /// The model that the session begins with [default: default_model, else the first]
    #[arg(long, value_name = "ID")]
    pub model: Option<String>,

    /// Use a built-in demo upstream as model `demo`; reads no configuration
    #[arg(long, conflicts_with = "config")]
    pub demo: bool,

    /// Where the proxy's log goes [default: a new file in the user's state directory]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub log_file: Option<PathBuf>,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// `env`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  eval \"$(claude-proxy env)\"                         bash, zsh and other POSIX shells
  claude-proxy env | source                          fish
  claude-proxy env | Out-String | Invoke-Expression  PowerShell
  claude-proxy env --model glm --port 9000
  claude-proxy env --shell fish --show-key

An `ak` that is one variable in the configuration, such as \"${CLAUDE_PROXY_KEY}\", is printed as
that variable. Any other is printed only where no terminal shows it, or with --show-key.

Exit codes: 0 printed, 1 the configuration has errors, 2 the command line is wrong.")]
pub struct EnvArgs {
    /// The model that sessions begin with [default: default_model, else the first]
    #[arg(long, value_name = "ID")]
    pub model: Option<String>,

    /// The shell that reads the lines [default: as $SHELL says]
    #[arg(long, value_name = "SHELL", value_enum)]
    pub shell: Option<EnvShell>,

    /// Where `serve` listens, instead of the configuration's `host`
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,

    /// Where `serve` listens, instead of the configuration's `port`
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Print the key on a terminal too
    #[arg(long)]
    pub show_key: bool,
}

/// `env --shell`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EnvShell {
    /// Also zsh, sh, dash, ksh
    #[value(aliases = ["zsh", "sh", "dash", "ksh"])]
    Bash,
    /// fish
    Fish,
    /// PowerShell
    #[value(alias = "pwsh")]
    Powershell,
}

/// `man`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  claude-proxy man | man -l -
  claude-proxy man ~/.local/share/man/man1

Exit codes: 0 written, 1 a file cannot be written, 2 the command line is wrong.")]
pub struct ManArgs {
    /// Write a page for each command here [default: print the page of the whole program]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}
