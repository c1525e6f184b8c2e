//! Every kind of finding: its code, how much it matters, what it means.
//!
//! The one table of them: docs/cli.md and the rules of SARIF logs come from it.

use std::fmt;

use super::finding::Severity::{self, Error, Note, Warning};

macro_rules! codes {
    ($($code:ident = $text:literal, $severity:ident, $meaning:literal;)+) => {
        /// The kind of a finding. Its text, `unknown-key`, stays the same from version to version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $meaning] $code),+ }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// As it is printed: `unknown-key`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text),+ }
            }

            /// How much it matters, unless the place makes it less.
            pub fn severity(self) -> Severity {
                match self { $(Self::$code => $severity),+ }
            }

            /// What it means, in a line without a period.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$code => $meaning),+ }
            }
        }
    };
}

codes! {
    Unreadable = "unreadable", Error, "The file cannot be read, is not UTF-8 or is too large";
    Syntax = "syntax", Error, "The file is not JSON";
    WrongType = "wrong-type", Error, "The value is of another type than the key takes";
    MissingKey = "missing-key", Error, "A key that is required is not there";
    UnknownKey = "unknown-key", Warning, "No key has this name; it is ignored";
    DuplicateKey = "duplicate-key", Warning, "The same key comes twice in an object; the last one counts";
    OutOfRange = "out-of-range", Error, "The number is too small or too large";
    BadValue = "bad-value", Error, "The value is none of those that the key takes";
    UnsetVariable = "unset-variable", Error, "A `${NAME}` names an environment variable that is not set";
    BadVariable = "bad-variable", Error, "A `${` without a name and `}`, or a variable that is not UTF-8";
    EmptyVariable = "empty-variable", Warning, "A `${NAME}` names an environment variable that is set to nothing";
    EmptyKey = "empty-key", Error, "`ak` comes from an empty variable: the proxy would be open; or a key of `keys` is empty";
    NoProviders = "no-providers", Error, "`providers` is empty";
    NoModels = "no-models", Warning, "A provider has no models";
    DuplicateModel = "duplicate-model", Error, "Two models have the same id";
    DuplicateName = "duplicate-name", Warning, "Two providers have the same name, so that logs cannot tell them apart";
    UnknownModel = "unknown-model", Error, "An alias, a fallback or `default_model` names no model";
    UnknownProfile = "unknown-profile", Error, "No profile has this name";
    AliasLoop = "alias-loop", Error, "Aliases lead back to where they began";
    AliasShadowed = "alias-shadowed", Warning, "The alias can never match: a model id or an earlier alias takes every name it could";
    FallbackLoop = "fallback-loop", Warning, "Fallbacks lead back to the model that they stand in for";
    BadUrl = "bad-url", Error, "The URL or path cannot be used";
    BaseUrlPath = "base-url-path", Warning, "`base_url` is the address of an endpoint, not what stands before it";
    DoubledVersion = "doubled-version", Warning, "The version, such as `/v1`, comes twice in the address of requests";
    DefaultPath = "default-path", Note, "`base_url` ends in a version, so that the default path is shorter";
    PlainHttp = "plain-http", Warning, "Keys and conversations go unencrypted over the internet (a note for `host`)";
    BadHost = "bad-host", Error, "`host` is neither an IP address nor a host name";
    BadHeader = "bad-header", Error, "A header or key that cannot be sent";
    OpenWithoutKey = "open-without-key", Warning, "Other machines can reach the proxy and need no key";
    PlaceholderKey = "placeholder-key", Warning, "The key is one that documentation shows, not a real one";
    ReusedKey = "reused-key", Warning, "An upstream's key is also the key of the proxy's clients";
    RepeatedKey = "repeated-key", Warning, "`api_keys` has the same key twice; it counts once";
    SharedKey = "shared-key", Error, "Two of the proxy's own keys are the same";
    DuplicateKeyName = "duplicate-key-name", Error, "Two of `keys` have the same name";
    NoPrice = "no-price", Warning, "There are budgets, and models without a price, which use up nothing";
    ReadableByOthers = "readable-by-others", Warning, "The file holds keys and every user of the machine may read it";
    SlowPing = "slow-ping", Warning, "Pings come too late to keep a client waiting";
    IdleBeyondClient = "idle-beyond-client", Warning, "Clients give up before the proxy does (a note if pings keep them waiting)";
    AbsurdTimeout = "absurd-timeout", Warning, "A time that is probably meant in another unit than seconds";
    ProfileConflict = "profile-conflict", Warning, "A model is said to do what its profile cannot (a note if that changes nothing)";
    NoEffect = "no-effect", Warning, "The key changes nothing where requests pass through as they are (a note if it does a part of its work)";
    WindowTooSmall = "window-too-small", Warning, "`max_output_tokens` leaves no room in `context_window`";
    DroppedRequired = "dropped-required", Warning, "`drop_params` removes what no upstream can do without";
    UnusedDrop = "unused-drop", Warning, "`drop_params` removes what is never sent";
    OverriddenField = "overridden-field", Warning, "`extra_body` replaces what each request sets for itself";
    UnusedExtra = "unused-extra", Warning, "`drop_params` removes what `extra_body` adds";
    BadCaFile = "bad-ca-file", Error, "`ca_file` cannot be read or holds no PEM certificate";
    BadTls = "bad-tls", Error, "`tls` cannot be used: a file is missing or no PEM, or the key is another's (a warning if clients refuse the certificate)";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn codes_are_told_apart_and_meanings_are_a_line() {
        for (n, code) in Code::ALL.iter().enumerate() {
            let name = code.as_str();
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{name}");
            assert!(Code::ALL.iter().skip(n + 1).all(|c| c.as_str() != name), "{name}");
            assert!(!code.meaning().ends_with('.') && !code.meaning().contains(['\n', '|']), "{name}");
        }
    }
}
