//! The JSON Schema of config.json, from the types that read it and their doc comments.

use std::time::Duration;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::file::File;
use super::read::{At, Entries, MOST_MONEY, MOST_SECONDS};

/// The schema, as committed in `config.schema.json`.
pub fn schema() -> Value {
    // References and definitions are all it needs of a draft; this one every editor knows.
    SchemaSettings::draft07().into_generator().into_root_schema_for::<File>().to_value()
}

/// The schema of an object while it grows.
pub(super) struct Object {
    title: &'static str,
    description: String,
    properties: Map<String, Value>,
    required: Vec<&'static str>,
    /// Exactly one of these has to be there.
    either: Vec<&'static str>,
}

impl Object {
    /// An object without keys. `doc` is the doc comment of its type.
    pub(super) fn new(name: &'static str, doc: &str) -> Self {
        let title = if name == "File" { "claude-proxy configuration" } else { name };
        let mut properties = Map::new();
        if name == "File" {
            let description = "The JSON Schema of this file, for editors.";
            properties.insert("$schema".to_owned(), json!({"description": description, "type": "string"}));
        }
        Self { title, description: prose(doc), properties, required: Vec::new(), either: Vec::new() }
    }

    /// Exactly one of the keys for which this is called has to be there.
    pub(super) fn either(&mut self, name: &'static str) {
        self.either.push(name);
    }

    /// Adds a key: its doc comment, its type, whether it has to be there, its default, and what
    /// else is to be said.
    pub(super) fn key(
        &mut self,
        name: &'static str,
        doc: &str,
        of: Schema,
        required: bool,
        default: Value,
        more: Value,
    ) {
        let mut fields = Map::new();
        let doc = prose(doc);
        let own = of.to_value();
        for part in [own, default, more] {
            let Value::Object(part) = part else { continue };
            fields.extend(part);
        }
        if fields.contains_key("exclusiveMinimum") {
            fields.remove("minimum");
        }
        let mut property = Map::from_iter([("description".to_owned(), Value::String(doc))]);
        property.extend(fields);
        self.properties.insert(name.to_owned(), Value::Object(property));
        if required {
            self.required.push(name);
        }
    }

    /// The schema. Other keys are refused: `serve` ignores them with a warning, but who edits
    /// the file wants to know.
    pub(super) fn into_schema(self) -> Schema {
        let Self { title, description, properties, required, either } = self;
        let mut schema = json_schema!({
            "title": title,
            "description": description,
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        if !either.is_empty() {
            let each: Vec<Value> = either.iter().map(|name| json!({"required": [name]})).collect();
            schema.insert("oneOf".to_owned(), each.into());
        }
        schema
    }
}

/// A doc comment as one line.
fn prose(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A type of the file, as JSON Schema describes it.
pub(super) trait Shape {
    /// Its schema, or a reference to it.
    fn shape(generator: &mut SchemaGenerator) -> Schema;
}

macro_rules! shapes {
    ($($type:ty: $schema:tt,)+) => {
        $(impl Shape for $type {
            fn shape(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })+
    };
}

shapes! {
    String: {"type": "string"},
    bool: {"type": "boolean"},
    u16: {"type": "integer", "minimum": 0, "maximum": (u16::MAX)},
    u64: {"type": "integer", "minimum": 0},
    usize: {"type": "integer", "minimum": 0},
    f64: {"type": "number", "minimum": 0, "maximum": (MOST_MONEY as u64)},
    Duration: {"type": "number", "minimum": 0, "maximum": (MOST_SECONDS as u64)},
    Map<String, Value>: {"type": "object"},
}

impl<T: Shape> Shape for Vec<At<T>> {
    fn shape(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "array", "items": T::shape(generator)})
    }
}

impl<T: Shape> Shape for Entries<T> {
    fn shape(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": T::shape(generator)})
    }
}
