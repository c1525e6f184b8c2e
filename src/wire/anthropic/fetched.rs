//! What a `web_fetch_tool_result` holds.

use super::block::{Block, block};
use super::complaint::Result;
use super::{BlockKind, Place};
use crate::wire::json::{JsonStr, RawJson};

/// The `content` of a `web_fetch_tool_result`.
#[derive(Debug, Default)]
pub struct Fetched<'a> {
    /// `url` of the page; empty with an error.
    pub url: JsonStr<'a>,
    /// The code of an error.
    pub error_code: Option<JsonStr<'a>>,
    /// The page: a `document`.
    pub document: Option<Block<'a>>,
}

impl<'a> Fetched<'a> {
    /// Reads it; what cannot be read is left out: it is the client's copy of a server's words.
    pub fn read(content: RawJson<'a>, place: Place) -> Self {
        let mut fetched = Self::default();
        let _ = content.cursor().object(|key, cur| -> Result<()> {
            match key.raw() {
                "url" => fetched.url = cur.opt_string()?.unwrap_or_default(),
                "error_code" => fetched.error_code = cur.opt_string()?,
                "content" if cur.peek() == Some(b'{') => {
                    let block = block(cur, place)?;
                    fetched.document = Some(block).filter(|b| matches!(b.kind, BlockKind::Document { .. }));
                }
                _ => drop(cur.raw()?),
            }
            Ok(())
        });
        fetched
    }
}
