//! What the options say of the upstream and of the request that an answer belongs to.

use std::path::Path;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::capture::Folder;
use crate::cli::args::{ConvertArgs, GlobalArgs};
use crate::cli::exit::UsageError;
use crate::config::{self, Api, suggest};
use crate::convert::native::History;
use crate::convert::web::Served;
use crate::convert::{self, Holds, Losses, ModelSpec, Profile, ReplyContext, ThinkingMode};
use crate::observe::capture::meta::{CLIENT_REQUEST, META};
use crate::wire::anthropic::{ApiError, Outline, Request};
use crate::wire::json::{Cursor, without_bom};

/// What a conversion has to know besides its input.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) profile: &'static Profile,
    /// `--profile` or `--model` said so.
    told: bool,
    /// Of `--model`, or of the captured exchange.
    spec: Option<ModelSpec>,
    /// Who the upstream is, for error messages.
    pub(super) provider: String,
    /// Of `--request`, or of the captured exchange.
    reply: Option<ReplyContext>,
    /// Source of ids; none: the input itself.
    seed: Option<u64>,
    /// Name of `--model`.
    model: Option<String>,
    /// Requests pass through to this upstream: what becomes of their history.
    native: Option<History>,
}

impl Setup {
    /// Reads what the options name.
    pub(super) fn new(args: &ConvertArgs, global: &GlobalArgs) -> anyhow::Result<Self> {
        let named = args.profile.as_deref().map(profile).transpose()?;
        let mut setup = Self {
            profile: match named.or_else(|| Profile::named("generic")) {
                Some(profile) => profile,
                None => bail!("the generic profile is missing from this build"),
            },
            told: named.is_some(),
            spec: None,
            provider: "upstream".to_owned(),
            reply: None,
            seed: None,
            model: args.model.clone(),
            native: None,
        };
        if let Some(name) = &args.model {
            let config = config::load(&config::locate(global.config.as_deref()))?.config;
            let Some(model) = config.route(name) else {
                let ids: Vec<&str> = config.models.iter().map(|m| m.id.as_str()).collect();
                let hint = suggest::did_you_mean(name, ids.iter().copied());
                bail!("the configuration has no model `{name}`{hint} (known: {})", ids.join(", "));
            };
            setup.profile = named.unwrap_or(model.profile);
            setup.told = true;
            setup.provider.clone_from(&model.provider.name);
            setup.spec = Some(model.spec.clone());
            // With --profile it is asked what a conversion would make of it.
            let passes = model.provider.api == Api::Anthropic && named.is_none();
            setup.native = passes.then(|| model.history());
        }
        if let Some(path) = &args.request {
            setup.reply = Some(setup.read_request(path)?);
        }
        Ok(setup)
    }

    /// For a file of a captured exchange: what the options leave open is as it was then. The
    /// request is only read where `answer` needs it.
    pub(super) fn of_exchange(&self, folder: &Folder, answer: bool) -> anyhow::Result<Self> {
        let mut setup = self.clone();
        let meta = &folder.meta;
        setup.seed = Some(meta.seed);
        if !self.told && !meta.profile.is_empty() {
            let Some(profile) = Profile::named(&meta.profile) else {
                bail!(
                    "{}: this version has no profile `{}`; --profile names another",
                    folder.dir.join(META).display(),
                    meta.profile
                );
            };
            setup.profile = profile;
        }
        if self.spec.is_none() && meta.model_id.is_some() {
            setup.spec = Some(folder.spec());
            setup.provider.clone_from(&meta.provider);
            setup.native = if self.told { None } else { folder.history() };
        }
        if answer && self.reply.is_none() && setup.native.is_none() {
            setup.reply = Some(setup.read_request(&folder.dir.join(CLIENT_REQUEST))?);
        }
        Ok(setup)
    }

    fn read_request(&self, path: &Path) -> anyhow::Result<ReplyContext> {
        let body = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let body = without_bom(&body);
        let convert = || {
            let request = Request::parse(body)?;
            convert::request(&request, self.profile, &self.spec_for(&request))
        };
        match convert() {
            Ok(converted) => Ok(converted.reply),
            Err(e) => bail!("{}: {}", path.display(), e.message),
        }
    }

    /// Requests pass through: nothing is converted.
    pub(super) fn passes(&self) -> bool {
        self.native.is_some()
    }

    /// What goes upstream for a request.
    pub(super) fn upstream(&self, request: &str) -> Result<(Vec<u8>, Losses), ApiError> {
        if let Some(history) = self.native {
            let outline = Outline::read(request.as_bytes())?;
            let remote_id = self.spec.as_ref().map_or(&*outline.model, |spec| &spec.remote_id);
            let passed = convert::native::request(&outline, remote_id, history);
            return Ok((passed.body, passed.losses));
        }
        let request = Request::parse(request.as_bytes())?;
        let converted = convert::request(&request, self.profile, &self.spec_for(&request))?;
        Ok((converted.body, converted.losses))
    }

    /// How the upstream is told of.
    pub(super) fn how(&self) -> String {
        if self.passes() { "api anthropic".to_owned() } else { format!("profile {}", self.profile.name) }
    }

    /// Settings of the model: those of `--model`, else none, under the request's own name.
    fn spec_for(&self, request: &Request<'_>) -> ModelSpec {
        let plain = || ModelSpec { remote_id: request.model.clone().into_owned(), ..ModelSpec::default() };
        self.spec.clone().unwrap_or_else(plain)
    }

    /// What the conversion of an answer has to know. `first` is its first JSON document: it tells
    /// the model's name if no request does, and seeds the ids, so that the same input always
    /// gives the same output.
    pub(super) fn reply(&self, first: &[u8]) -> ReplyContext {
        let seed = self.seed.unwrap_or_else(|| {
            let digest = Sha256::digest(first);
            digest.iter().take(8).fold(0u64, |n, byte| (n << 8) | u64::from(*byte))
        });
        if let Some(reply) = &self.reply {
            return ReplyContext { seed, provider: self.provider.clone(), ..reply.clone() };
        }
        ReplyContext {
            model: self.model.clone().or_else(|| model_of(first)).unwrap_or_else(|| "unknown".to_owned()),
            profile: self.profile,
            provider: self.provider.clone(),
            thinking: ThinkingMode::Show,
            stop_sequences: Vec::new(),
            tool_names: Vec::new(),
            history_ids: Vec::new(),
            safeguards: false,
            served: Served::default(),
            sources: Vec::new(),
            holds: Holds::default(),
            resumed: None,
            input_estimate: 1,
            max_tokens: 0,
            context_window: self.spec.as_ref().and_then(|s| s.context_window),
            seed,
            record: false,
            preview_chars: 0,
        }
    }
}

/// The profile of that name.
fn profile(name: &str) -> Result<&'static Profile, UsageError> {
    Profile::named(name).ok_or_else(|| {
        let names: Vec<&str> = Profile::all().iter().map(|p| p.name.as_str()).collect();
        let hint = suggest::did_you_mean(name, names.iter().copied());
        UsageError(format!("unknown profile `{name}`{hint} (known: {})", names.join(", ")))
    })
}

/// `model` of a JSON document.
fn model_of(json: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(json).ok()?;
    let mut model = None;
    // A document that breaks off later has told its name all the same.
    let _ = Cursor::lenient(text).object(|key, value| {
        if key.is("model") && value.peek() == Some(b'"') {
            model = Some(value.string()?.decode().into_owned());
        } else {
            value.raw()?;
        }
        Ok::<(), crate::wire::json::JsonError>(())
    });
    model.filter(|m| !m.is_empty())
}
