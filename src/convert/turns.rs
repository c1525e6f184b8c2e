//! Messages become turns: empty ones go, neighbours of one role merge, and system messages
//! find a place where an upstream accepts them.

use super::loss::Losses;
use super::media::type_of;
use super::profile::MidSystem;
use super::text::{Composer, Text};
use crate::wire::anthropic::{Block, BlockKind, Message, Role};

/// One turn of the conversation.
#[derive(Debug)]
pub(super) enum Turn<'r, 'a> {
    /// The client's side.
    User(Vec<Item<'r, 'a>>),
    /// The model's side.
    Assistant(Vec<&'r Block<'a>>),
    /// A system message that stays where it is.
    System(Text<'a>),
}

/// A part of a user turn.
#[derive(Debug)]
pub(super) enum Item<'r, 'a> {
    /// A block of the client's.
    Block(&'r Block<'a>),
    /// A system message as a reminder.
    Reminder(Text<'a>),
}

/// Sorts messages into turns.
pub(super) fn turns<'r, 'a>(
    messages: &'r [Message<'a>],
    mid: MidSystem,
    losses: &mut Losses,
) -> Vec<Turn<'r, 'a>> {
    let last_user = messages.iter().rposition(|m| m.role == Role::User && blocks(m).next().is_some());
    let mut sorter = Sorter { turns: Vec::with_capacity(messages.len()), waiting: Vec::new(), mid };
    for (n, message) in messages.iter().enumerate() {
        match message.role {
            Role::System => {
                if blocks(message).next().is_none() && message.effort.is_none() {
                    losses.add(|| format!("messages[{n}]"), "dropped:empty_message");
                } else if !(message.clears && last_user.is_some_and(|last| last > n)) {
                    sorter.system(message, n, losses);
                }
            }
            _ if blocks(message).next().is_none() => {
                losses.add(|| format!("messages[{n}]"), "dropped:empty_message");
            }
            Role::User => sorter.user(blocks(message).map(Item::Block)),
            Role::Assistant => {
                sorter.place_waiting();
                match sorter.turns.last_mut() {
                    Some(Turn::Assistant(turn)) => turn.extend(blocks(message)),
                    _ => sorter.turns.push(Turn::Assistant(blocks(message).collect())),
                }
            }
        }
    }
    sorter.place_waiting();
    sorter.turns
}

/// The blocks of a message without empty texts, which no upstream wants.
fn blocks<'r, 'a>(message: &'r Message<'a>) -> impl Iterator<Item = &'r Block<'a>> {
    message.content.iter().filter(|b| !matches!(b.kind, BlockKind::Text(text) if text.is_empty()))
}

struct Sorter<'r, 'a> {
    turns: Vec<Turn<'r, 'a>>,
    /// System messages that came between tool calls and their results: nothing may stand there.
    waiting: Vec<Text<'a>>,
    mid: MidSystem,
}

impl<'r, 'a> Sorter<'r, 'a> {
    fn user(&mut self, items: impl Iterator<Item = Item<'r, 'a>>) {
        match self.turns.last_mut() {
            Some(Turn::User(turn)) => turn.extend(items),
            _ => self.turns.push(Turn::User(items.collect())),
        }
    }

    fn system(&mut self, message: &'r Message<'a>, n: usize, losses: &mut Losses) {
        let mut texts = Vec::new();
        for block in blocks(message) {
            match &block.kind {
                BlockKind::Text(text) => texts.push(Text::Json(*text)),
                // Changes of the tool list: see tools.rs.
                BlockKind::ToolChange(_) => {}
                other => {
                    losses.add(|| format!("messages[{n}]"), &format!("dropped_block:{}", type_of(other)));
                }
            }
        }
        let text = match texts.len() {
            0 => return,
            1 => texts.remove(0),
            _ => {
                let mut joined = Vec::new();
                super::text::write_joined(&texts, &mut joined);
                Text::Composed(joined)
            }
        };
        if self.awaits_results() {
            self.waiting.push(text);
        } else {
            self.place_waiting();
            self.place(text);
        }
    }

    /// Tool calls stand last without all of their results.
    fn awaits_results(&self) -> bool {
        let (calls, results): (&[&Block<'_>], &[Item<'_, '_>]) = match self.turns.as_slice() {
            [.., Turn::Assistant(calls)] => (calls, &[]),
            [.., Turn::Assistant(calls), Turn::User(results)] => (calls, results),
            _ => return false,
        };
        calls.iter().any(|call| {
            let BlockKind::ToolUse { id, .. } = &call.kind else { return false };
            !results.iter().any(|item| {
                matches!(item, Item::Block(Block { kind: BlockKind::ToolResult { tool_use_id, .. }, .. }) if tool_use_id.raw() == id.raw())
            })
        })
    }

    fn place_waiting(&mut self) {
        for text in std::mem::take(&mut self.waiting) {
            self.place(text);
        }
    }

    fn place(&mut self, text: Text<'a>) {
        match self.mid {
            MidSystem::Inline => self.turns.push(Turn::System(text)),
            MidSystem::User => {
                let reminder =
                    Composer::new().lit("<system-reminder>\n").text(&text).lit("\n</system-reminder>").done();
                self.user(std::iter::once(Item::Reminder(reminder)));
            }
        }
    }
}
