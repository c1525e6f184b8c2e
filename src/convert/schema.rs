//! JSON Schemas of tools and of structured output, rewritten without becoming a tree.
//!
//! Names of properties are never touched: only keywords where keywords can stand.

use super::profile::SchemaDialect;
use crate::wire::anthropic::InputSchema;
use crate::wire::json::{Cursor, JsonError, RawJson, write_str};

type Result<T> = std::result::Result<T, JsonError>;

/// Appends the parameters of a function: `$schema` goes, `type` and `properties` are there.
///
/// # Errors
/// None in practice: the schema was checked when the request was read.
pub(super) fn write_parameters(
    schema: &InputSchema<'_>,
    dialect: SchemaDialect,
    out: &mut Vec<u8>,
) -> Result<()> {
    let (mut has_type, mut object, mut properties) = (false, true, false);
    out.push(b'{');
    let mut fields = Fields::new();
    fields.has_const = schema.fields.iter().any(|(key, _)| key.raw() == "const");
    for (key, value) in &schema.fields {
        match key.raw() {
            "$schema" => continue,
            "type" => {
                has_type = true;
                object = value.text() == "\"object\"";
            }
            "properties" => properties = true,
            _ => {}
        }
        fields.field(key.raw(), *value, dialect, out)?;
    }
    if !has_type {
        fields.key("type", out);
        write_str("object", out);
    }
    if object && !properties {
        fields.key("properties", out);
        out.extend_from_slice(b"{}");
    }
    out.push(b'}');
    Ok(())
}

/// Keywords that Gemini's endpoint refuses.
///
/// Source: Gemini API documentation, "Function calling" (subset of OpenAPI schema), and
/// reports about 400 answers.
const GEMINI_REFUSES: &[&str] = &[
    "$schema",
    "$id",
    "$ref",
    "$defs",
    "definitions",
    "additionalProperties",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "propertyNames",
    "patternProperties",
    "default",
    "examples",
    "title",
    "not",
    "if",
    "then",
    "else",
];

/// Keywords for which llama.cpp's server may refuse the whole request.
///
/// It turns the schemas of all tools into one grammar, where a bound is a repetition and 2000 of
/// them, multiplied over the levels, are too many ("failed to parse grammar"); a pattern that it
/// cannot express is an error too. Claude Code's own tools have both. Bounds only guide the
/// sampling there: the client checks its input itself.
const GRAMMAR_REFUSES: &[&str] = &["maxLength", "maxItems", "pattern"];

struct Fields {
    first: bool,
    /// The schema has a `const`, which becomes its `enum`.
    has_const: bool,
}

impl Fields {
    fn new() -> Self {
        Self { first: true, has_const: false }
    }

    fn key(&mut self, key: &str, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.first) {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
    }

    /// Writes one keyword with its value. `key` is still escaped as it came.
    fn field(
        &mut self,
        key: &str,
        value: RawJson<'_>,
        dialect: SchemaDialect,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if dialect == SchemaDialect::Json {
            self.key(key, out);
            value.write(out);
            return Ok(());
        }
        let gemini = dialect == SchemaDialect::Gemini;
        match key {
            _ if gemini && GEMINI_REFUSES.contains(&key) => {}
            _ if !gemini && GRAMMAR_REFUSES.contains(&key) => {}
            "minLength" | "minItems" if !gemini && !matches!(value.text(), "0" | "1") => {}
            "enum" if gemini && self.has_const => {}
            "const" if gemini => {
                self.key("enum", out);
                out.push(b'[');
                value.write(out);
                out.push(b']');
            }
            "format" if gemini => {
                if matches!(value.text(), "\"enum\"" | "\"date-time\"") {
                    self.key(key, out);
                    value.write(out);
                }
            }
            "properties" | "dependentSchemas" | "$defs" | "definitions" | "patternProperties"
                if value.is_object() =>
            {
                self.key(key, out);
                out.push(b'{');
                let mut names = Self::new();
                value.cursor().object(|name, cur| -> Result<()> {
                    names.key(name.raw(), out);
                    write_schema(cur.raw()?, dialect, out)
                })?;
                out.push(b'}');
            }
            // These hold data, not schemas.
            "enum" | "const" | "default" | "examples" | "required" | "dependentRequired" => {
                self.key(key, out);
                value.write(out);
            }
            _ => {
                self.key(key, out);
                write_schema(value, dialect, out)?;
            }
        }
        Ok(())
    }
}

/// Writes a value of a keyword; objects (alone or in a list) are schemas.
///
/// # Errors
/// None in practice: the schema was checked when the request was read.
pub(super) fn write_schema(value: RawJson<'_>, dialect: SchemaDialect, out: &mut Vec<u8>) -> Result<()> {
    if value.is_object() {
        out.push(b'{');
        let mut fields = Fields::new();
        value.cursor().object(|key, cur| -> Result<()> {
            fields.has_const |= key.raw() == "const";
            cur.raw().map(drop)
        })?;
        value.cursor().object(|key, cur| fields.field(key.raw(), cur.raw()?, dialect, out))?;
        out.push(b'}');
    } else if value.text().starts_with('[') {
        out.push(b'[');
        value.cursor().array(|n, cur| -> Result<()> {
            if n > 0 {
                out.push(b',');
            }
            write_schema(cur.raw()?, dialect, out)
        })?;
        out.push(b']');
    } else {
        value.write(out);
    }
    Ok(())
}

/// Whether OpenAI's strict mode takes the schema: every object has `additionalProperties: false`
/// and lists all its properties in `required`.
///
/// Source: OpenAI documentation, "Structured outputs", supported schemas.
pub(super) fn strict_ok(schema: RawJson<'_>) -> bool {
    strict(&mut schema.cursor(), true).unwrap_or(false)
}

fn strict(cur: &mut Cursor<'_>, is_schema: bool) -> Result<bool> {
    let mut fine = true;
    match cur.peek() {
        Some(b'{') if is_schema => {
            let (mut object, mut closed) = (false, false);
            let (mut properties, mut required) = (Vec::new(), Vec::new());
            cur.object(|key, cur| -> Result<()> {
                match key.raw() {
                    "type" => object |= cur.raw()?.text().contains("\"object\""),
                    "additionalProperties" => closed = cur.raw()?.text() == "false",
                    "properties" if cur.peek() == Some(b'{') => {
                        object = true;
                        cur.object(|name, cur| -> Result<()> {
                            properties.push(name.raw());
                            fine &= strict(cur, true)?;
                            Ok(())
                        })?;
                    }
                    "required" if cur.peek() == Some(b'[') => cur.array(|_, cur| -> Result<()> {
                        required.push(cur.string()?.raw());
                        Ok(())
                    })?,
                    "$defs" | "definitions" if cur.peek() == Some(b'{') => {
                        cur.object(|_, cur| -> Result<()> {
                            fine &= strict(cur, true)?;
                            Ok(())
                        })?;
                    }
                    "enum" | "const" | "default" | "examples" => drop(cur.raw()?),
                    _ => fine &= strict(cur, true)?,
                }
                Ok(())
            })?;
            fine &= !object
                || (closed
                    && properties.iter().all(|p| required.contains(p))
                    && required.iter().all(|r| properties.contains(r)));
        }
        Some(b'[') => cur.array(|_, cur| -> Result<()> {
            fine &= strict(cur, is_schema)?;
            Ok(())
        })?,
        _ => drop(cur.raw()?),
    }
    Ok(fine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::anthropic::Request;

    fn written(schema: &str, dialect: SchemaDialect) -> String {
        let body = format!(
            r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":"q"}}],"tools":[{{"name":"f","input_schema":{schema}}}]}}"#
        );
        let request = Request::parse(body.as_bytes()).unwrap();
        let mut out = Vec::new();
        write_parameters(request.tools[0].input_schema.as_ref().unwrap(), dialect, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn completes_what_is_missing() {
        for (from, to) in [
            ("{}", r#"{"type":"object","properties":{}}"#),
            (r#"{"$schema":"x","type":"object"}"#, r#"{"type":"object","properties":{}}"#),
            (r#"{"properties":{"$schema":{}}}"#, r#"{"properties":{"$schema":{}},"type":"object"}"#),
            (r#"{"type":"string"}"#, r#"{"type":"string"}"#),
        ] {
            assert_eq!(written(from, SchemaDialect::Json), to);
        }
    }

    #[test]
    fn gemini_keeps_names_and_drops_keywords() {
        let from = r#"{"title":"T","type":"object","properties":{"title":{"type":"string","format":"uri","title":"x"},
            "const":{"anyOf":[{"enum":[1,2],"const":1},{"not":{}}]},"list":{"items":{"default":1,"type":"integer"}}},"required":["title"]}"#;
        assert_eq!(
            written(from, SchemaDialect::Gemini),
            r#"{"type":"object","properties":{"title":{"type":"string"},"const":{"anyOf":[{"enum":[1]},{}]},"list":{"items":{"type":"integer"}}},"required":["title"]}"#
        );
    }

    #[test]
    fn grammars_get_no_bounds() {
        let from = r#"{"type":"object","properties":{"maxLength":{"type":"string","maxLength":524288,"minLength":1},
            "to":{"allOf":[{"pattern":"^[^\\n]*$"},{"const":{"pattern":1}}]},"list":{"type":"array","minItems":2,"maxItems":32,
            "items":{"type":"object","properties":{ }}}},"additionalProperties":false,"$defs":{"pattern":{"pattern":"x"}}}"#;
        assert_eq!(
            written(from, SchemaDialect::Grammar),
            r#"{"type":"object","properties":{"maxLength":{"type":"string","minLength":1},"to":{"allOf":[{},{"const":{"pattern":1}}]},"list":{"type":"array","items":{"type":"object","properties":{}}}},"additionalProperties":false,"$defs":{"pattern":{}}}"#
        );
        assert_eq!(written("{}", SchemaDialect::Grammar), r#"{"type":"object","properties":{}}"#);
    }

    #[test]
    fn strict_wants_closed_objects() {
        let ok = |s| strict_ok(RawJson::parse(s).unwrap());
        assert!(ok(
            r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#
        ));
        assert!(!ok(
            r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#
        ));
        assert!(!ok(
            r#"{"type":"object","properties":{"a":{"type":"object"}},"required":["a"],"additionalProperties":false}"#
        ));
        assert!(!ok(r#"{"type":"object","properties":{},"required":[]}"#));
        assert!(!ok(r#"{"type":"object","properties":{},"required":["gone"],"additionalProperties":false}"#));
        assert!(ok(r#"{"type":"array","items":{"type":"string","enum":["object"]}}"#));
    }
}
