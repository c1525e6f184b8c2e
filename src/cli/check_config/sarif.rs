//! Findings as a SARIF 2.1.0 log (OASIS), which code scanning reads.

use std::fmt::Write as _;
use std::path::{Component, Path};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::File;
use crate::cli::percent::encoded;
use crate::config::{Code, Finding, Severity};

/// Where the root of a checkout is; GitHub resolves relative paths against it.
const ROOT: &str = "%SRCROOT%";

/// The log of one run over `files`.
pub(super) fn log(files: &[File]) -> Value {
    let results: Vec<Value> =
        files.iter().flat_map(|file| file.findings.iter().map(|f| result(file, f))).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "claude-proxy check-config",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": Code::ALL.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {ROOT: {"description": {"text": "The working directory of check-config."}}},
            "results": results,
        }],
    })
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.as_str(),
        "shortDescription": {"text": format!("{}.", code.meaning())},
        "defaultConfiguration": {"level": level(code.severity())},
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn result(file: &File, finding: &Finding) -> Value {
    let (end_line, end_column) = finding.end(&file.text);
    let location = artifact(&file.path);
    let uri = location.get("uri").and_then(Value::as_str).unwrap_or_default();
    let fingerprint = fingerprint(uri, finding);
    // The file as a whole has no name in the document.
    let named = Some(&finding.path).filter(|p| !p.is_empty());
    let logical: Vec<Value> = named.map(|p| json!({"fullyQualifiedName": p})).into_iter().collect();
    json!({
        "ruleId": finding.code.as_str(),
        "ruleIndex": Code::ALL.iter().position(|c| *c == finding.code),
        "level": level(finding.severity),
        "message": {"text": finding.sentence()},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": location,
                "region": {
                    "startLine": finding.line,
                    "startColumn": finding.column,
                    "endLine": end_line,
                    "endColumn": end_column,
                },
            },
            "logicalLocations": logical,
        }],
        "partialFingerprints": {"claudeProxyFinding/v1": fingerprint},
    })
}

/// Stays the same when lines are added above: the place in the document and not in the file.
fn fingerprint(uri: &str, finding: &Finding) -> String {
    let mut hash = Sha256::new();
    for part in [uri, finding.code.as_str(), &finding.path] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut out = String::new();
    for byte in hash.finalize().iter().take(16) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The file's place: relative to the working directory if it is below it.
fn artifact(path: &Path) -> Value {
    if path.as_os_str() == "-" {
        return json!({"uri": "stdin"});
    }
    let here = std::env::current_dir().unwrap_or_default();
    let relative = path.strip_prefix(&here).unwrap_or(path);
    let mut segments: Vec<String> = Vec::new();
    for part in relative.components() {
        match part {
            Component::Normal(name) => segments.push(encoded(&name.to_string_lossy())),
            Component::ParentDir => segments.push("..".to_owned()),
            Component::Prefix(prefix) => segments.push(encoded(&prefix.as_os_str().to_string_lossy())),
            Component::RootDir | Component::CurDir => {}
        }
    }
    let uri = segments.join("/");
    if relative.is_absolute() {
        json!({"uri": format!("file:///{uri}")})
    } else {
        json!({"uri": uri, "uriBaseId": ROOT})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        let uri = |path: &str| artifact(Path::new(path))["uri"].as_str().unwrap().to_owned();
        assert_eq!(uri("./a b/é%.json"), "a%20b/%C3%A9%25.json");
        assert_eq!(uri("../x.json"), "../x.json");
        assert_eq!(uri("/etc/x.json"), "file:///etc/x.json");
        let here = std::env::current_dir().unwrap().join("sub/x.json");
        assert_eq!(artifact(&here), json!({"uri": "sub/x.json", "uriBaseId": ROOT}));
    }

    #[test]
    fn fingerprints_do_not_depend_on_the_line() {
        let finding = |text: &str| {
            let found = crate::config::check(text, &|_| Err(std::env::VarError::NotPresent)).findings;
            found.into_iter().find(|f| f.code == Code::UnknownKey).unwrap()
        };
        let (a, b) = (finding("{\"prot\": 1}"), finding("{\n\n \"prot\": 1}"));
        assert_ne!(a.line, b.line);
        let b = Finding { span: a.span.clone(), ..b };
        assert_eq!(fingerprint("x", &a), fingerprint("x", &b));
        assert_ne!(fingerprint("x", &a), fingerprint("y", &a));
    }
}
