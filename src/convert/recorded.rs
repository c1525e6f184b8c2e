//! An answer kept beside its stream, in the form in which it comes back as history.

use super::ids::IdSource;
use super::reply::Usage;
use super::sink::Message;
use super::stream::Summary;

/// What an answer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The message's id, as the client was told.
    pub id: String,
    /// Its content blocks as a JSON array: what a whole answer has as `content`. A tool call that
    /// the token limit cut off is not among them.
    pub content: Vec<u8>,
}

/// What a further round of the same exchange goes on from: the same message, with what it has.
#[derive(Debug, Clone)]
pub struct Resumed {
    /// The message's id.
    pub(super) id: String,
    /// How many blocks it has.
    pub(super) blocks: u64,
    /// They themselves: the inside of a JSON array.
    pub(super) blocks_json: Vec<u8>,
    /// Where ids of our own go on.
    pub(super) ids: IdSource,
    /// What it was so far.
    pub(super) summary: Summary,
}

impl Resumed {
    /// What it took so far.
    pub fn usage(&self) -> &Usage {
        &self.summary.usage
    }

    /// The content so far, a JSON array: what the model has said, and what it was told.
    pub fn content(&self) -> Vec<u8> {
        [b"[", &self.blocks_json[..], b"]"].concat()
    }
}

/// Folds the pieces of a streamed answer into blocks.
#[derive(Debug)]
pub(super) struct Recording {
    id: String,
    message: Message,
    /// The array, without its last bracket.
    content: Vec<u8>,
}

impl Recording {
    /// Of the message `id`.
    pub(super) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), message: Message::default(), content: b"[".to_vec() }
    }

    /// Lets `write` add to it what the stream is given, too.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Message, &mut Vec<u8>)) {
        write(&mut self.message, &mut self.content);
    }

    pub(super) fn recorded(&self) -> Recorded {
        Recorded { id: self.id.clone(), content: [&self.content[..], b"]"].concat() }
    }

    /// Bytes held.
    pub(super) fn retained(&self) -> usize {
        self.id.len() + self.content.len() + self.message.retained()
    }
}

#[cfg(test)]
mod tests {
    use crate::convert::response::MAX_WHOLE;
    use crate::convert::{ModelSpec, Profile, ReplyContext, StreamTranslator, UpstreamEnd, request};
    use crate::wire::anthropic::Request;

    fn translator(record: bool) -> StreamTranslator {
        let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}]}"#;
        let profile = Profile::named("generic").unwrap();
        let context = request(&Request::parse(body).unwrap(), profile, &ModelSpec::default()).unwrap().reply;
        StreamTranslator::new(ReplyContext { record, ..context })
    }

    #[test]
    fn half_a_call_is_not_recorded() {
        let mut translator = translator(true);
        let mut out = Vec::new();
        for chunk in [
            br#"{"choices":[{"delta":{"content":"a \"b\""}}]}"#.as_slice(),
            br#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f","arguments":"{\"k\":"}}]}}]}"#,
            br#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#,
        ] {
            translator.push(b"", chunk, &mut out).unwrap();
        }
        translator.finish(UpstreamEnd::DoneMarker, &mut out).unwrap();
        let recorded = translator.recorded().unwrap();
        assert_eq!(recorded.content, br#"[{"type":"text","text":"a \"b\""}]"#);
        let told = format!("\"message\":{{\"id\":\"{}\"", recorded.id);
        assert!(String::from_utf8(out).unwrap().contains(&told));
    }

    #[test]
    fn nothing_said_is_an_empty_list() {
        let mut translator = translator(true);
        assert_eq!(translator.recorded(), None);
        translator.finish_empty(&mut Vec::new());
        assert_eq!(translator.recorded().unwrap().content, b"[]");
    }

    /// A stream may go on for ever, what is kept of it may not.
    #[test]
    fn a_recording_is_bounded() {
        let text = "x".repeat(1 << 20);
        let chunk = format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
        let pushed = |record| {
            let mut translator = translator(record);
            let pushed = (0..70).take_while(|_| {
                let mut out = Vec::new();
                translator.push(b"", chunk.as_bytes(), &mut out).is_ok()
            });
            (pushed.count(), translator.retained())
        };
        let (pushes, retained) = pushed(true);
        assert_eq!(pushes, MAX_WHOLE / text.len() - 1);
        assert!(retained < MAX_WHOLE + (2 << 20), "{retained}");
        assert_eq!(pushed(false).0, 70);
    }
}
