//! The conversation so far, as the judge sees it.

use super::fence::{Fenced, compact};
use super::words;
use crate::wire::anthropic::{Block, BlockKind, Message, Role};

/// Most of one turn of the user, in bytes.
const USER: usize = 8 << 10;
/// Most of all turns of the user, in bytes.
const USERS: usize = 24 << 10;
/// Most of a tool call's input, or of its result, in bytes.
const TOOL: usize = 1000;
/// Most of what the assistant said before a turn of the user, in bytes.
const SAID: usize = 1000;
/// Most of what is not the user's, in bytes.
const OTHERS: usize = 12 << 10;
/// Most entries.
const ENTRIES: usize = 80;

/// Something that was said or done.
enum Entry {
    User(String),
    /// By the assistant, in text.
    Said(String),
    Summary(String),
    Call {
        id: String,
        name: String,
        input: String,
    },
    Result {
        id: String,
        text: String,
    },
}

impl Entry {
    /// None: of no use to a judge.
    fn of(role: Role, block: &BlockKind<'_>) -> Option<Self> {
        match (role, block) {
            (Role::User, BlockKind::Text(text)) => {
                let text = text.decode();
                let own = words::own(&text);
                if own.is_empty() {
                    return None;
                }
                let own = own.into_owned();
                Some(if words::is_summary(&own) { Self::Summary(own) } else { Self::User(own) })
            }
            (Role::User, BlockKind::ToolResult { tool_use_id, content, .. }) => {
                let mut text = String::new();
                for block in content {
                    result(block, &mut text);
                }
                Some(Self::Result { id: tool_use_id.decode().into_owned(), text })
            }
            (Role::Assistant, BlockKind::Text(text)) if !text.is_blank() => {
                Some(Self::Said(text.decode().into_owned()))
            }
            (Role::Assistant, BlockKind::ToolUse { id, name, input }) => Some(Self::Call {
                id: id.decode().into_owned(),
                name: name.decode().into_owned(),
                input: input.map_or_else(|| "{}".to_owned(), compact),
            }),
            _ => None,
        }
    }

    /// What it takes, in bytes.
    fn len(&self) -> usize {
        20 + match self {
            Self::User(text) | Self::Summary(text) => text.len().min(USER),
            Self::Said(text) => text.len().min(SAID),
            Self::Call { name, input, .. } => name.len().min(200) + input.len().min(TOOL),
            Self::Result { text, .. } => text.len().min(TOOL),
        }
    }
}

/// The text of a result.
fn result(block: &Block<'_>, text: &mut String) {
    if !text.is_empty() {
        text.push('\n');
    }
    match &block.kind {
        BlockKind::Text(words) => text.push_str(&words.decode()),
        BlockKind::Image(_) => text.push_str("[an image]"),
        _ => text.push_str("[something that is no text]"),
    }
}

/// Writes how the user began and the latest part of the conversation, oldest first.
/// `delegated`: the user is another agent.
pub(super) fn write(messages: &[Message<'_>], delegated: bool, out: &mut Fenced) {
    let user = if delegated { "TASK FROM ANOTHER AGENT" } else { "USER" };
    let (latest, all) = latest(messages);
    if !all {
        if let Some((place, first)) = first(messages)
            && latest.last().is_none_or(|(oldest, _)| place < *oldest)
        {
            out.quote(user, &first, USER);
        }
        out.line("(PART OF THE CONVERSATION IS LEFT OUT)");
    }
    let mut calls: Vec<&str> = Vec::new();
    for (_, entry) in latest.iter().rev() {
        match entry {
            Entry::User(text) => out.quote(user, text, USER),
            Entry::Said(text) => out.quote("ASSISTANT SAID", text, SAID),
            Entry::Summary(text) => out.quote("SUMMARY BY A MODEL", text, USER),
            Entry::Call { id, name, input } => {
                calls.push(id);
                let n = calls.len();
                out.quote(&format!("CALL {n} OF TOOL"), name, 200);
                out.value(&format!("INPUT {n}"), input, TOOL);
            }
            Entry::Result { id, text } => {
                let n = calls.iter().rposition(|call| call == id);
                let n = n.map_or_else(|| "OF AN EARLIER CALL".to_owned(), |n| (n + 1).to_string());
                out.quote(&format!("UNTRUSTED RESULT {n}"), text, TOOL);
            }
        }
    }
}

/// Where something stood: message and block.
type At = (usize, usize);

/// The latest entries, newest first, and whether they are all.
fn latest(messages: &[Message<'_>]) -> (Vec<(At, Entry)>, bool) {
    let (mut users, mut others) = (USERS, OTHERS);
    let mut kept = Vec::new();
    let mut all = true;
    // What the assistant said counts only where the user answers it.
    let mut answered = false;
    for (n, message) in messages.iter().enumerate().rev() {
        for (b, block) in message.content.iter().enumerate().rev() {
            let is_user = message.role == Role::User && matches!(block.kind, BlockKind::Text(_));
            let budget = if is_user { &mut users } else { &mut others };
            if *budget == 0 {
                all = false;
                continue;
            }
            let Some(entry) = Entry::of(message.role, &block.kind) else { continue };
            match entry {
                Entry::Said(_) if !std::mem::take(&mut answered) => continue,
                Entry::User(_) => answered = true,
                _ => {}
            }
            // An older one that is small is no substitute.
            if entry.len() > *budget {
                *budget = 0;
                all = false;
                continue;
            }
            *budget -= entry.len();
            kept.push(((n, b), entry));
        }
        if kept.len() >= ENTRIES || (users == 0 && others == 0) {
            return (kept, all && n == 0);
        }
    }
    (kept, all)
}

/// The user's first words.
fn first(messages: &[Message<'_>]) -> Option<(At, String)> {
    let users = messages.iter().enumerate().filter(|(_, m)| m.role == Role::User);
    users.flat_map(|(n, m)| m.content.iter().enumerate().map(move |(b, block)| ((n, b), block))).find_map(
        |(at, block)| match Entry::of(Role::User, &block.kind) {
            Some(Entry::User(text)) => Some((at, text)),
            _ => None,
        },
    )
}
