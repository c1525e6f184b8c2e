//! `init`: a configuration that works, from questions or options.

mod ask;
mod draft;
mod known;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::args::{EnvShell, GlobalArgs, InitArgs};
use super::exit::UsageError;
use super::output::{BOLD, CYAN};
use super::remote::{self, Listed, Listing, Server};
use super::{Exit, Printer, environment, ping, progress, tidy};
use crate::config::{self, Config, Finding, Severity};
use crate::convert::Profile;
use crate::upstream::Limits;
use ask::Prompts;
use draft::{Draft, Key};
use known::DEMO;

/// A model of a local server may have to be loaded first.
const PATIENCE: Limits = Limits { connect: Duration::from_secs(10), answer: Duration::from_secs(90) };

/// Runs the command.
pub(super) fn run(args: &InitArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let done = init(args, global, printer);
    if let Err(e) = &done
        && let Some(dialoguer::Error::IO(e)) = e.downcast_ref()
        && e.kind() == io::ErrorKind::Interrupted
    {
        tidy::interrupted();
    }
    done
}

fn init(args: &InitArgs, global: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let path = args.output.clone().unwrap_or_else(|| config::locate(global.config.as_deref()));
    let asks = !args.yes && !args.key_stdin && io::stdin().is_terminal() && io::stderr().is_terminal();
    let prompts = asks.then(|| Prompts::new(global));
    if args.provider.as_deref() == Some(DEMO) {
        return Ok(demo(printer));
    }
    if path.as_os_str() == "-" {
        return Err(UsageError("init writes a file: -o names it".to_owned()).into());
    }
    if path.exists() && !args.force {
        bail!("{} is there already: --force replaces it, -o names another file", path.display());
    }
    let Some(mut draft) = begin(args, prompts.as_ref(), printer)? else { return Ok(demo(printer)) };
    let wanted = actix_web::rt::System::new().block_on(async {
        let listed = choose_model(&mut draft, args, prompts.as_ref(), printer).await?;
        let config = check(&draft, printer)?;
        let works = args.no_ping || try_model(&draft, &config, printer).await?;
        let wanted = works
            || match &prompts {
                Some(prompts) => prompts.confirm("Write the file all the same?", false)?,
                None => false,
            };
        if !wanted {
            printer.note(format_args!("Nothing was written; --no-ping writes without trying"));
            return anyhow::Ok(false);
        }
        learn_size(&mut draft, &config, listed.as_ref(), works, args).await?;
        if let Some(prompts) = &prompts
            && draft.context_window.is_none()
            && args.model.is_none()
        {
            draft.context_window = prompts.context_window()?;
        }
        Ok(true)
    })?;
    if !wanted {
        return Ok(Exit::Failure);
    }
    write(&path, &draft.text(beside(&path)), args.force)
        .with_context(|| format!("cannot write {}", path.display()))?;
    next_steps(&path, &draft, args, global, printer)?;
    Ok(Exit::Success)
}

/// Provider and key. None: the demo was chosen.
fn begin(args: &InitArgs, prompts: Option<&Prompts>, printer: &mut Printer) -> anyhow::Result<Option<Draft>> {
    if let Some(profile) = &args.profile
        && Profile::named(profile).is_none()
    {
        let names: Vec<&str> = Profile::all().iter().map(|p| p.name.as_str()).collect();
        return Err(UsageError(format!("no profile `{profile}`; known: auto, {}", names.join(", "))).into());
    }
    let mut draft = match (&args.provider, prompts) {
        (Some(name), _) => Draft::of(name)?,
        (None, Some(prompts)) => match prompts.provider()? {
            Some(draft) => draft,
            None => return Ok(None),
        },
        (None, None) => Draft::default(),
    };
    if args.profile.is_some() {
        draft.profile.clone_from(&args.profile);
    }
    let usual = draft.key_env.filter(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()));
    draft.key = match (&args.key_env, prompts) {
        (Some(name), _) => variable(name, args, printer)?,
        _ if args.key_stdin => Key::Text(from_stdin()?),
        (None, Some(prompts)) if draft.asks_for_key() => prompts.key(&draft)?,
        (None, _) => usual.map_or(Key::None, |name| Key::Variable(name.to_owned())),
    };
    let mut missing = Vec::new();
    if draft.base_url.is_empty() {
        missing.push("--provider");
    }
    if draft.key_env.is_some() && matches!(draft.key, Key::None) && prompts.is_none() {
        missing.push("--key-env or --key-stdin");
    }
    // With --yes the only model of a server is the one.
    if args.model.is_none() && prompts.is_none() && (!args.yes || draft.base_url.is_empty()) {
        missing.push("--model");
    }
    if !missing.is_empty() {
        let why = if args.yes { "nothing is asked with --yes" } else { "there is no terminal to ask on" };
        let names = missing.join(", ");
        return Err(
            UsageError(format!("{names} needed: {why}; `claude-proxy init --help` has examples")).into()
        );
    }
    Ok(Some(draft))
}

/// A variable that exists, unless nothing is tried.
fn variable(name: &str, args: &InitArgs, printer: &mut Printer) -> anyhow::Result<Key> {
    let first = name.chars().next();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if first.is_none_or(|c| c.is_ascii_digit()) || !name.chars().all(fits) {
        // It may be the key itself: it is not repeated.
        let message = "--key-env takes the name of an environment variable, such as DEEPSEEK_API_KEY; --key-stdin reads a key";
        return Err(UsageError(message.to_owned()).into());
    }
    if std::env::var_os(name).is_none_or(|v| v.is_empty()) {
        if !args.no_ping {
            bail!("environment variable {name} is not set: export it, or pass --no-ping to set it later");
        }
        printer.warning(format_args!(
            "environment variable {name} is not set: export it before `serve` or `run`"
        ));
    }
    Ok(Key::Variable(name.to_owned()))
}

fn from_stdin() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("cannot read the key from standard input")?;
    let key = line.trim();
    if key.is_empty() {
        bail!("standard input holds no key: its first line is read");
    }
    Ok(key.to_owned())
}

/// The model: its name upstream and its name here; what the list says of it.
async fn choose_model(
    draft: &mut Draft,
    args: &InitArgs,
    prompts: Option<&Prompts>,
    printer: &mut Printer,
) -> anyhow::Result<Option<Listed>> {
    let known_remote = args.remote_id.clone().or_else(|| args.model.clone());
    let list =
        if args.no_ping && known_remote.is_some() { Vec::new() } else { ask_list(draft, printer).await? };
    draft.remote_id = match (known_remote, prompts) {
        (Some(name), _) => name,
        (None, Some(prompts)) => prompts.remote_id(&list)?,
        (None, None) => only(&list)?,
    };
    draft.id = match (&args.model, prompts) {
        (Some(id), _) => id.clone(),
        (None, Some(prompts)) => prompts.id(&draft.remote_id)?,
        (None, None) => draft.remote_id.clone(),
    };
    let entry = remote::find(&list, &draft.remote_id);
    if draft.profile.is_none() && is_generic(draft) {
        draft.profile = entry.and_then(|l| profile_of(&l.owner)).map(str::to_owned);
    }
    Ok(entry.cloned())
}

/// Its context window and the length of its answers, as told by the options, the list, or a server
/// that has loaded it by now.
async fn learn_size(
    draft: &mut Draft,
    config: &Config,
    listed: Option<&Listed>,
    works: bool,
    args: &InitArgs,
) -> anyhow::Result<()> {
    let Some(model) = config.models.first() else { return Ok(()) };
    let owner = listed.map(|l| l.owner.as_str()).unwrap_or_default();
    let server = Server::of(owner, &model.profile.name, &model.provider.base_url);
    let client = ping::client([&**model], PATIENCE)?;
    let server = server.filter(|_| works && !args.no_ping);
    let size = remote::size(&client, &model.provider, server, (&draft.remote_id, listed), PATIENCE).await;
    draft.context_window = args.context_window.map(u64::from).or(size.context_window);
    draft.max_output_tokens = size.limit(draft.context_window);
    Ok(())
}

/// Neither the URL nor the model's name tells what the server is.
fn is_generic(draft: &Draft) -> bool {
    let checked = config::check(&draft.text(None), &|_| Ok("unset".to_owned()));
    checked.config.and_then(|c| c.models.first().map(|m| m.profile.name == "generic")).unwrap_or_default()
}

/// Servers that people run themselves say who they are as the owner of their models.
fn profile_of(owner: &str) -> Option<&'static str> {
    Some(match owner {
        "llamacpp" => "llamacpp",
        "vllm" => "vllm",
        "sglang" => "sglang",
        "library" => "ollama",
        _ => return None,
    })
}

/// The only model of a list.
fn only(list: &[Listed]) -> Result<String, UsageError> {
    if let [only] = list {
        return Ok(only.id.clone());
    }
    let some: Vec<&str> = list.iter().take(10).map(|l| l.id.as_str()).collect();
    let names = if some.is_empty() { String::new() } else { format!(": {}", some.join(", ")) };
    Err(UsageError(format!("--model needed: the server has {} models{names}", list.len())))
}

/// The provider's own list; empty if it cannot be had.
async fn ask_list(draft: &Draft, printer: &mut Printer) -> anyhow::Result<Vec<Listed>> {
    let config =
        check(&Draft { id: "model".to_owned(), remote_id: "model".to_owned(), ..draft.clone() }, printer)?;
    let Some(model) = config.models.first() else { return Ok(Vec::new()) };
    let client = ping::client([&**model], PATIENCE)?;
    let bar = progress::steps(printer, 1);
    bar.set_message("asking for the list of models");
    let listing = remote::list(&client, &model.provider, PATIENCE).await;
    bar.finish_and_clear();
    match listing {
        Listing::Known(list) => Ok(list),
        Listing::None(why) | Listing::Failed(why) => {
            printer.note(format_args!("No list of models from {}: {why}", draft.base_url));
            Ok(Vec::new())
        }
    }
}

/// The configuration that the draft is, its warnings told.
fn check(draft: &Draft, printer: &mut Printer) -> anyhow::Result<Config> {
    let text = draft.text(None);
    // A variable that is not set yet was told already.
    let env = |name: &str| std::env::var(name).or_else(|_| Ok(format!("unset-{name}")));
    let checked = config::check(&text, &env);
    let errors: Vec<String> =
        checked.findings.iter().filter(|f| f.severity == Severity::Error).map(Finding::sentence).collect();
    match checked.config {
        Some(config) => Ok(config),
        None => Err(UsageError(errors.join("; ")).into()),
    }
    .inspect(|_| {
        let warnings = checked.findings.iter().filter(|f| f.severity == Severity::Warning);
        if draft.is_whole() {
            warnings.for_each(|f| printer.warning(format_args!("{}", f.sentence())));
        }
    })
}

/// A small real request. False: it failed, and why was told.
async fn try_model(draft: &Draft, config: &Config, printer: &mut Printer) -> anyhow::Result<bool> {
    let Some(model) = config.models.first() else { return Ok(false) };
    let client = ping::client([&**model], PATIENCE)?;
    let bar = progress::steps(printer, 1);
    bar.set_message(format!("asking {}", draft.remote_id));
    let once = ping::whole(&client, model, PATIENCE).await;
    bar.finish_and_clear();
    let Some(failure) = once.failure else {
        let seconds = once.times.map_or(0.0, |t| t.total.as_secs_f64());
        printer.note(format_args!("{BOLD}{}{BOLD:#} answers ({seconds:.1} s)", draft.remote_id));
        return Ok(true);
    };
    let status = once.status.map(|s| format!("HTTP {s}: ")).unwrap_or_default();
    printer.error(format_args!("{} does not answer: {status}{}", draft.remote_id, failure.message));
    if let Some(hint) = failure.hint {
        printer.say(format_args!("{CYAN}hint:{CYAN:#} {}", hint.text));
    }
    Ok(false)
}

/// The schema beside the file, if it is there: editors complete the keys with it.
fn beside(path: &Path) -> Option<&'static str> {
    let schema = path.parent().unwrap_or(Path::new("")).join("config.schema.json");
    schema.is_file().then_some("config.schema.json")
}

/// Whole or not at all, for its owner only, and never over another file unless `replace`.
fn write(path: &Path, text: &str, replace: bool) -> io::Result<()> {
    // Behind a symbolic link the file is replaced, not the link.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A directory that is not there is told by its own name, not by that of a temporary file.
    std::fs::metadata(dir)?;
    tidy::start();
    let mut file = tempfile::Builder::new().prefix(".config-").suffix(".tmp").tempfile_in(dir)?;
    let _watched = tidy::watch(file.path());
    file.write_all(text.as_bytes())?;
    if replace { file.persist(&path).map(drop) } else { file.persist_noclobber(&path).map(drop) }
        .map_err(|e| e.error)
}

fn next_steps(
    path: &Path,
    draft: &Draft,
    args: &InitArgs,
    global: &GlobalArgs,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    printer.note(format_args!("Wrote {}: model `{}` of {}", path.display(), draft.id, draft.base_url));
    if draft.context_window.is_none() {
        printer.note(format_args!(
            "Its context window is not known: Claude Code takes it for 1,000,000 tokens and compacts too late; `context_window` in the file or --context-window tells it"
        ));
    }
    if let Some(note) = draft.context_window.and_then(environment::narrow) {
        printer.note(format_args!("{note}"));
    }
    let given = args.output.as_ref().or(global.config.as_ref());
    let option = given
        .map(|p| format!(" --config {}", EnvShell::detect().quoted(&p.to_string_lossy())))
        .unwrap_or_default();
    let out = printer.text();
    writeln!(out, "Start Claude Code with it:")?;
    writeln!(out, "  {CYAN}claude-proxy{option} run -- claude{CYAN:#}")?;
    writeln!(out, "Or keep the proxy running, and point any client at it:")?;
    writeln!(out, "  {CYAN}claude-proxy{option} serve{CYAN:#}")?;
    writeln!(out, "  {CYAN}claude-proxy{option} env{CYAN:#}")?;
    Ok(())
}

/// The demo needs no file.
fn demo(printer: &mut Printer) -> Exit {
    printer.note(format_args!("The demo model is built in and needs no configuration: nothing was written"));
    let out = printer.text();
    let lines = "Start Claude Code with it:\n  claude-proxy run --demo -- claude\n";
    if out.write_all(lines.as_bytes()).is_err() { Exit::Failure } else { Exit::Success }
}
