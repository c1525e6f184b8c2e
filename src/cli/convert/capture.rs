//! The folders that `serve --capture` writes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::config::Api;
use crate::convert::native::History;
use crate::convert::{ModelSpec, WebTools};
use crate::observe::capture::meta::{
    CLIENT_REQUEST, CLIENT_RESPONSE, FORMAT, META, Meta, UPSTREAM_REQUEST, UPSTREAM_RESPONSE, UPSTREAM_TIMES,
};

/// A captured exchange.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    pub(super) meta: Meta,
}

/// What a file is in a captured exchange, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    ClientRequest,
    UpstreamResponse,
    /// Nothing to convert; the text says why.
    Result(&'static str),
}

impl Role {
    pub(super) fn of(name: &OsStr) -> Option<Self> {
        let name = name.to_str()?;
        let stem =
            |of: &str| name.strip_prefix(of).is_some_and(|end| matches!(end, "" | ".sse" | ".json" | ".txt"));
        Some(match name {
            CLIENT_REQUEST => Self::ClientRequest,
            UPSTREAM_REQUEST => Self::Result(
                "the OpenAI request of a captured exchange: client-request.json is what it was made of",
            ),
            META => Self::Result("the description of a captured exchange; --replay with its folder reads it"),
            UPSTREAM_TIMES => Self::Result("the times of a captured exchange: nothing to convert"),
            _ if stem(UPSTREAM_RESPONSE) => Self::UpstreamResponse,
            _ if stem(CLIENT_RESPONSE) => Self::Result(
                "what the client of a captured exchange got: upstream-response is what it was made of",
            ),
            _ => return None,
        })
    }
}

/// Whether a directory is a captured exchange, whole or cut off.
pub(super) fn is_folder(dir: &Path) -> bool {
    let has = |name: &str| dir.join(name).is_file();
    has(CLIENT_REQUEST) && (has(META) || has(UPSTREAM_REQUEST))
}

/// Whether `convert` takes this file of a captured exchange; the others are what comes out.
pub(super) fn converts(name: &OsStr) -> bool {
    matches!(Role::of(name), Some(Role::ClientRequest | Role::UpstreamResponse))
}

/// What a file is in the exchange that it lies in, if it lies in one; and that exchange, unless
/// its description was never written.
pub(super) fn around(path: &Path) -> anyhow::Result<Option<(Option<Folder>, Role)>> {
    let Some(role) = path.file_name().and_then(Role::of) else { return Ok(None) };
    let dir = path.parent().unwrap_or(Path::new(""));
    if !is_folder(dir) {
        return Ok(None);
    }
    let whole = dir.join(META).is_file();
    Ok(Some((whole.then(|| Folder::read(dir)).transpose()?, role)))
}

impl Folder {
    /// # Errors
    /// `meta.json` is missing, no JSON of this form, or of a newer version.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(META);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let meta: Meta = serde_json::from_slice(&text)
            .with_context(|| format!("{}: not the description of a captured exchange", path.display()))?;
        if meta.format != FORMAT {
            bail!(
                "{}: written by claude-proxy {} in form {}; this version reads form {FORMAT}",
                path.display(),
                meta.version,
                meta.format
            );
        }
        Ok(Self { dir: dir.to_path_buf(), meta })
    }

    /// The settings of the model, as they were.
    pub(super) fn spec(&self) -> ModelSpec {
        let spec = self.meta.spec.clone();
        ModelSpec {
            remote_id: spec.remote_id,
            max_output_tokens: spec.max_output_tokens,
            context_window: spec.context_window,
            vision: spec.vision,
            tools: spec.tools,
            reasoning: spec.reasoning,
            extra_body: spec.extra_body,
            drop_params: spec.drop_params,
            web: WebTools { search: spec.web_search, fetch: spec.web_fetch, ..WebTools::default() },
        }
    }

    /// Requests passed through: what became of their history.
    pub(super) fn history(&self) -> Option<History> {
        let history = if self.meta.history_kept { History::Kept } else { History::Cleaned };
        (self.meta.api == Api::Anthropic.as_str()).then_some(history)
    }

    /// HTTP status of the upstream's answer.
    pub(super) fn status(&self) -> Option<u16> {
        self.meta.upstream.as_ref().map(|u| u.status)
    }

    /// The file of that name and any of the endings that bodies have.
    pub(super) fn body(&self, name: &str) -> Option<PathBuf> {
        [".sse", ".json", ".txt", ""]
            .iter()
            .map(|end| self.dir.join(format!("{name}{end}")))
            .find(|p| p.is_file())
    }
}
