//! The upstream request's top level, with the configuration's last word on every field.

use serde_json::{Map, Value};

use crate::wire::json::write_str;

/// Writes the fields of a JSON object.
#[derive(Debug)]
pub(super) struct Body<'m> {
    out: Vec<u8>,
    first: bool,
    /// `models[].drop_params`.
    drop: &'m [String],
    /// `models[].extra_body`.
    extra: &'m Map<String, Value>,
    /// Fields of `extra` that were merged into one of ours.
    merged: Vec<&'m str>,
}

impl<'m> Body<'m> {
    pub(super) fn new(capacity: usize, drop: &'m [String], extra: &'m Map<String, Value>) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.push(b'{');
        Self { out, first: true, drop, extra, merged: Vec::new() }
    }

    fn key(&mut self, name: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        write_str(name, &mut self.out);
        self.out.push(b':');
    }

    /// Writes a field, unless the configuration removes or replaces it.
    pub(super) fn field(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        if self.drop.iter().any(|d| d == name) {
            return;
        }
        match self.extra.get_key_value(name) {
            None => {
                self.key(name);
                value(&mut self.out);
            }
            // Two objects are merged, the configuration's fields on top.
            Some((key, Value::Object(over))) => {
                self.merged.push(key);
                let mut own = Vec::new();
                value(&mut own);
                let mut merged: Value = serde_json::from_slice(&own).unwrap_or_default();
                match &mut merged {
                    Value::Object(fields) => merge(fields, over),
                    other => *other = Value::Object(over.clone()),
                }
                self.value(name, &merged);
            }
            // Written by `finish`.
            Some(_) => {}
        }
    }

    fn value(&mut self, name: &str, value: &Value) {
        self.key(name);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    /// Adds what `extra_body` has beyond the fields written so far.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let extra = self.extra;
        for (name, value) in extra {
            if self.drop.iter().any(|d| d == name) || self.merged.contains(&name.as_str()) {
                continue;
            }
            self.value(name, value);
        }
        self.out.push(b'}');
        self.out
    }
}

/// Puts `over` on top of `fields`, objects inside objects merged likewise.
fn merge(fields: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (name, value) in over {
        match (fields.get_mut(name), value) {
            (Some(Value::Object(inner)), Value::Object(over)) => merge(inner, over),
            _ => drop(fields.insert(name.clone(), value.clone())),
        }
    }
}
