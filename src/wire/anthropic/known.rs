//! Tool lists that were read before.
//!
//! A client sends the same list with each request of its session; it is a third of what there
//! is to read in one, and has most of its tokens.

use super::tool::{InputSchema, Tool};
use crate::wire::json::Place;

/// Most lists that are kept.
const MOST: usize = 4;
/// Shorter lists are read as quickly, and longer ones are not worth their memory. Bytes.
const WORTH: std::ops::RangeInclusive<usize> = 2 << 10..=128 << 10;

/// The tool lists of some earlier requests. A list of the same bytes is not read again.
#[derive(Debug, Default)]
pub struct KnownTools(Vec<List>);

#[derive(Debug)]
struct List {
    /// From `[` to `]`.
    text: Box<str>,
    tools: Box<[Shape]>,
}

/// A [`Tool`], by where its parts stand in the list.
#[derive(Debug)]
struct Shape {
    kind: Option<Place>,
    name: Place,
    description: Option<Place>,
    input_schema: Option<SchemaShape>,
    strict: bool,
    defer_loading: bool,
    input_examples: bool,
}

/// An [`InputSchema`], likewise.
#[derive(Debug)]
struct SchemaShape {
    whole: Place,
    fields: Box<[(Place, Place)]>,
}

impl KnownTools {
    /// The list that `text` begins with, and how many bytes it has, if it is a known one.
    pub(super) fn read<'a>(&mut self, text: &'a str) -> Option<(Vec<Tool<'a>>, usize)> {
        let at = self.0.iter().position(|list| text.starts_with(&*list.text))?;
        // The list that was not asked for the longest is the first to go.
        self.0.get_mut(at..)?.rotate_left(1);
        let list = self.0.last()?;
        let text = text.get(..list.text.len())?;
        let tools = list.tools.iter().map(|shape| shape.tool(text)).collect();
        Some((tools, text.len()))
    }

    /// Keeps a list that was read from `text`, which has nothing else.
    pub(super) fn learn(&mut self, text: &str, tools: &[Tool<'_>]) {
        if !WORTH.contains(&text.len()) {
            return;
        }
        let Some(shapes) = tools.iter().map(|tool| Shape::of(tool, text)).collect() else { return };
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push(List { text: text.into(), tools: shapes });
    }
}

impl Shape {
    fn of(tool: &Tool<'_>, list: &str) -> Option<Self> {
        // A part that has no place: then the whole list is not kept.
        let optional = |part: Option<_>| part.map_or(Some(None), |part| Place::of(part, list).map(Some));
        let input_schema = match &tool.input_schema {
            None => None,
            Some(schema) => {
                let fields = schema.fields.iter();
                let fields =
                    fields.map(|(key, value)| Some((Place::of(*key, list)?, Place::of(*value, list)?)));
                let fields = fields.collect::<Option<_>>()?;
                Some(SchemaShape { whole: Place::of(schema.whole, list)?, fields })
            }
        };
        Some(Self {
            kind: optional(tool.kind)?,
            // Tools of some types have none.
            name: if tool.name.is_empty() { Place::default() } else { Place::of(tool.name, list)? },
            description: optional(tool.description)?,
            input_schema,
            strict: tool.strict,
            defer_loading: tool.defer_loading,
            input_examples: tool.input_examples,
        })
    }

    fn tool<'a>(&self, list: &'a str) -> Tool<'a> {
        Tool {
            kind: self.kind.map(|kind| kind.in_text(list)),
            name: self.name.in_text(list),
            description: self.description.map(|text| text.in_text(list)),
            input_schema: self.input_schema.as_ref().map(|schema| InputSchema {
                whole: schema.whole.in_text(list),
                fields: schema
                    .fields
                    .iter()
                    .map(|(key, value)| (key.in_text(list), value.in_text(list)))
                    .collect(),
            }),
            strict: self.strict,
            defer_loading: self.defer_loading,
            input_examples: self.input_examples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::anthropic::Request;
    use proptest::prelude::*;

    fn body(tools: &str) -> String {
        format!(
            r#"{{"tools": {tools},"model":"m","max_tokens":1,"messages":[{{"role":"user","content":"q"}}]}}"#
        )
    }

    /// What is said of a body with and without what is known, and how many lists are known then.
    fn same(tools: &str, known: &mut KnownTools) -> usize {
        let body = body(tools);
        let said = |request: Result<Request<'_>, _>| match request {
            Ok(request) => format!("{request:?}"),
            Err(error) => format!("{error:?}"),
        };
        let plain = said(Request::parse(body.as_bytes()));
        assert_eq!(said(Request::parse_known(body.as_bytes(), known)), plain, "{tools}");
        known.0.len()
    }

    /// Worth to be kept.
    fn long(n: usize) -> String {
        format!(
            r#"[{{"name":"t{n}","description":"{}\n","input_schema":{{"type":"object", "a\u00e9":[1]}}}},
            {{"type":"bash_1"}},{{"type":"x_2","name":"","strict":false}}]"#,
            "d".repeat(3000)
        )
    }

    #[test]
    fn the_same_bytes_are_known_and_no_others() {
        let mut known = KnownTools::default();
        for (tools, lists) in [
            (long(1), 1),
            (long(1), 1),
            (long(1).replace("bash_1", "bash_2"), 2),
            // What begins like a known one goes on, or breaks off.
            (long(1) + "]", 2),
            (long(1).replacen("]}}", "]}", 1), 2),
            ("null".to_owned(), 2),
            ("[]".to_owned(), 2),
            (long(2), 3),
            (long(3), 4),
            (long(4), 4),
            (long(1), 4),
            (format!("[{}]", "[".repeat(3000)), 4),
        ] {
            assert_eq!(same(&tools, &mut known), lists, "{:?}", tools.get(..20));
        }
        assert!(known.read(&long(4)).is_some() && known.read(&long(1).replace("bash_1", "bash_2")).is_none());
    }

    proptest! {
        #[test]
        fn a_list_is_the_same_when_it_is_known(
            parts in prop::collection::vec(
                prop_oneof![
                    4 => r#"\{"name":"[a-z\\\\n]{0,3}","description":("[aé]{0,3}"|null),"input_schema":\{("[a-c]":(1|"[é]?"|\[ \]),?){0,2}\}\}"#,
                    1 => r#"\{"type":("custom"|"bash_1"|""),"name":"[a-c]?","defer_loading":true\}"#,
                    1 => r#"[\{\}\[\]",a]{0,3}"#,
                ],
                1..4,
            ),
        ) {
            let filler = format!(r#"{{"type":"x","description":"{}"}}"#, "d".repeat(2100));
            let tools = format!("[{filler},{}]", parts.join(","));
            let mut known = KnownTools::default();
            let lists = same(&tools, &mut known);
            prop_assert_eq!(same(&tools, &mut known), lists);
            prop_assert_eq!(lists == 1, Request::parse(body(&tools).as_bytes()).is_ok());
        }
    }
}
