//! What one upstream accepts and how it deviates, as data.
//!
//! `profiles.json` holds the generic profile in full and, for the others, what differs from
//! it. A new provider is an entry there and fixtures: docs/CONTRIBUTING.md.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Capabilities and habits of one kind of upstream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The profile's own name, as `providers[].profile` spells it.
    #[serde(skip)]
    pub name: String,
    /// Hosts that it is taken for, and all below them.
    pub hosts: Vec<String>,
    /// Beginnings of model names (lower case) that it is taken for at other hosts, as their maker's
    /// own API spells them. Names of weights on a hub (`Qwen/Qwen3-32B`) and of local servers
    /// (`qwen3:8b`) are not among them: what serves these is not known from the name.
    pub models: Vec<String>,
    /// Provenance tag in thinking signatures: reasoning goes back only to the family it came from.
    pub family: String,
    /// Name of the output limit upstream.
    pub max_tokens_field: MaxTokensField,
    /// Role of the leading system message.
    pub system_role: SystemRole,
    /// What becomes of `role: "system"` inside `messages`.
    pub mid_system: MidSystem,
    /// Whether `temperature` and `top_p` are accepted.
    pub sampling: bool,
    /// Whether `top_k` is accepted.
    pub top_k: bool,
    /// How many stop sequences are accepted; 0: none.
    pub stop_max: usize,
    /// Whether `stream_options.include_usage` is accepted.
    pub stream_usage: bool,
    /// Which forms of `tool_choice` are accepted.
    pub tool_choice: ToolChoiceSupport,
    /// Whether `parallel_tool_calls` is accepted.
    pub parallel_flag: bool,
    /// Whether `strict` on tools is accepted.
    pub strict_tools: bool,
    /// Which dialect of JSON Schema tool parameters have to be in.
    pub schema: SchemaDialect,
    /// Whether `image_url` parts are accepted.
    pub images: bool,
    /// Where images of tool results go.
    pub tool_result_images: ToolResultImages,
    /// Whether PDFs can be sent as file parts.
    pub pdf: Pdf,
    /// Whether `cache_control` is kept on text parts.
    pub cache_control: bool,
    /// Form of tool call ids upstream.
    pub tool_call_id: ToolCallId,
    /// `content` of an assistant message that has only tool calls.
    pub assistant_empty: AssistantEmpty,
    /// Whether a user message may follow a tool message.
    pub user_after_tool: UserAfterTool,
    /// How structured output is asked for.
    pub json_schema: JsonSchemaSupport,
    /// How reasoning is asked for.
    pub reasoning_request: ReasoningRequest,
    /// Accepted values of `reasoning_effort`.
    pub efforts: Vec<Effort>,
    /// Function tools are only accepted with `reasoning_effort: "none"` (gpt-5.4 and later).
    pub tools_force_effort_none: bool,
    /// Thinks unless told not to, and refuses a forced tool while it does (DeepSeek V4: "Thinking
    /// mode does not support this tool_choice"; Kimi and DashScope in other words).
    pub forced_tool_ends_thinking: bool,
    /// How reasoning goes back in the history.
    pub echo: Echo,
    /// Value of the reasoning field for messages that have none.
    pub echo_placeholder: Option<String>,
    /// Which messages get [`Profile::echo_placeholder`].
    pub echo_placeholder_scope: PlaceholderScope,
    /// Whether a leading `<think>` section of text is reasoning.
    pub think_tags: ThinkTags,
    /// Constant fields of the request body.
    pub extra: Map<String, Value>,
    /// Whole answers are fetched as streams too: this server notices only there that a client left.
    pub always_stream: bool,
    /// What does not fit into the context is cut out of the prompt, and the rest is answered as if
    /// that were all (Ollama, unless its engine for the model refuses it).
    pub cuts_prompts: bool,
}

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }
        impl $name {
            /// The literal in profiles.json, and over the wire where it is sent.
            pub fn as_str(self) -> &'static str { match self { $(Self::$variant => $text),+ } }
        }
    };
}

choices! {
    /// Name of the output limit upstream.
    MaxTokensField {
        /// The older name, which most servers know.
        MaxTokens = "max_tokens",
        /// OpenAI's newer name, the only one for its reasoning models.
        MaxCompletionTokens = "max_completion_tokens",
    }
}
choices! {
    /// Role of system messages upstream.
    SystemRole {
        /// `system`.
        System = "system",
        /// `developer` (OpenAI's reasoning models).
        Developer = "developer",
    }
}
choices! {
    /// What becomes of system messages in the middle of a conversation.
    MidSystem {
        /// They stay where they are.
        Inline = "inline",
        /// They become a `<system-reminder>` in the adjacent user turn.
        User = "user",
    }
}
choices! {
    /// Which forms of `tool_choice` are accepted.
    ToolChoiceSupport {
        /// All.
        Full = "full",
        /// Only `auto`.
        AutoOnly = "auto_only",
        /// The field is left out.
        Drop = "drop",
        /// A named choice is ignored: `required`, with that tool alone, has the same effect.
        RequiredAlone = "required_alone",
    }
}
choices! {
    /// Dialect of JSON Schema.
    SchemaDialect {
        /// JSON Schema as it comes.
        Json = "json",
        /// Gemini's subset.
        Gemini = "gemini",
        /// Without what llama.cpp's grammars cannot express.
        Grammar = "grammar",
    }
}
choices! {
    /// Where images of tool results go.
    ToolResultImages {
        /// Into the user message that follows: role `tool` takes only text.
        User = "user",
        /// They stay in the tool message.
        Inline = "inline",
    }
}
choices! {
    /// What becomes of PDF documents.
    Pdf {
        /// A placeholder says that it was left out.
        Omit = "omit",
        /// A `file` part.
        File = "file",
    }
}
choices! {
    /// Form of tool call ids.
    ToolCallId {
        /// As the client sent them.
        Any = "any",
        /// At most 40 characters (OpenAI).
        Max40 = "max40",
        /// Exactly nine letters and digits (Mistral).
        Mistral9 = "mistral9",
        /// `functions.NAME:N`, N counting over the conversation (Kimi).
        Kimi = "kimi",
    }
}
choices! {
    /// `content` of an assistant message with nothing but tool calls.
    AssistantEmpty {
        /// `null`.
        Null = "null",
        /// `""`.
        Empty = "empty",
    }
}
choices! {
    /// Whether a user message may follow a tool message.
    UserAfterTool {
        /// Yes.
        Ok = "ok",
        /// No (Mistral error 3230): its text is folded into the last tool message.
        Fold = "fold",
    }
}
choices! {
    /// How structured output is asked for.
    JsonSchemaSupport {
        /// `response_format` of type `json_schema`.
        JsonSchema = "json_schema",
        /// `json_object`, with the schema in the system message.
        JsonObject = "json_object",
    }
}
choices! {
    /// How reasoning is asked for.
    ReasoningRequest {
        /// Not at all.
        None = "none",
        /// `reasoning_effort` (OpenAI, xAI, Groq, Gemini, Ollama).
        Effort = "effort",
        /// `reasoning {effort | max_tokens | enabled}` (OpenRouter).
        Openrouter = "openrouter",
        /// `thinking {type}` and `reasoning_effort` (DeepSeek).
        Deepseek = "deepseek",
        /// `thinking {type, clear_thinking}` (GLM).
        Thinking = "thinking",
        /// `thinking {type}` (Kimi).
        Kimi = "kimi",
        /// `thinking {type: adaptive | disabled}` (MiniMax).
        Minimax = "minimax",
        /// `enable_thinking`, `thinking_budget` (DashScope).
        Qwen = "qwen",
        /// `chat_template_kwargs {enable_thinking}` (vLLM, SGLang, llama.cpp).
        Template = "template",
    }
}
choices! {
    /// Strength of reasoning, weakest first.
    Effort {
        /// No reasoning.
        None = "none",
        /// OpenAI's weakest.
        Minimal = "minimal",
        /// Low.
        Low = "low",
        /// Medium.
        Medium = "medium",
        /// High.
        High = "high",
        /// Between high and max.
        Xhigh = "xhigh",
        /// The most.
        Max = "max",
    }
}
choices! {
    /// How reasoning goes back in the history.
    Echo {
        /// It does not.
        None = "none",
        /// `reasoning_content` on the assistant message.
        ReasoningContent = "reasoning_content",
        /// `reasoning` on the assistant message.
        Reasoning = "reasoning",
        /// `reasoning_details`, unmodified (OpenRouter, MiniMax).
        ReasoningDetails = "reasoning_details",
        /// A thinking part in a content array (Mistral).
        Mistral = "mistral",
    }
}
choices! {
    /// Which messages get the reasoning placeholder.
    PlaceholderScope {
        /// Those with tool calls.
        ToolCalls = "tool_calls",
        /// Every assistant message.
        All = "all",
    }
}
choices! {
    /// Whether `<think>` at the start of text is reasoning.
    ThinkTags {
        /// No.
        None = "none",
        /// Yes, at the very start only.
        Leading = "leading",
    }
}

static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    // The file is compiled in and read by a test of this module: an entry that does not parse
    // cannot be released. A profile that failed here would be missing, never half-right.
    let all: Map<String, Value> = serde_json::from_str(include_str!("profiles.json")).unwrap_or_default();
    let generic = all.get("generic").cloned().unwrap_or_default();
    all.into_iter()
        .filter_map(|(name, own)| {
            let mut whole = generic.clone();
            if let (Some(whole), Value::Object(own)) = (whole.as_object_mut(), own) {
                whole.extend(own);
            }
            let mut profile: Profile = serde_json::from_value(whole).ok()?;
            profile.name = name;
            Some(profile)
        })
        .collect()
});

impl Profile {
    /// Every profile that is compiled in.
    pub fn all() -> &'static [Self] {
        &PROFILES
    }

    /// The profile of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|p| p.name == name)
    }

    /// The profile that fits an upstream: by the host of its URL, then by the model's name
    /// upstream, else `generic`.
    ///
    /// `host` without its port; `port` tells Ollama on a machine of one's own.
    pub fn detect(host: &str, port: Option<u16>, remote_id: &str) -> Option<&'static Self> {
        let host = host.to_ascii_lowercase();
        let model = remote_id.to_ascii_lowercase();
        let at_host = |end: &String| {
            host == *end || host.strip_suffix(end.as_str()).is_some_and(|rest| rest.ends_with('.'))
        };
        let by_host = PROFILES.iter().find(|p| p.hosts.iter().any(at_host)).map(|p| p.name.as_str());
        let by_model = || PROFILES.iter().find(|p| p.models.iter().any(|start| model.starts_with(start)));
        let name = match by_host {
            Some("openai" | "azure") | None if openai_reasoning(&model).is_some() => openai_reasoning(&model),
            Some(name) => Some(name),
            None if port == Some(11434) => Some("ollama"),
            None if model.contains([':', '/']) => None,
            None => by_model().map(|p| p.name.as_str()),
        };
        Self::named(name.unwrap_or("generic"))
    }

    /// The value nearest to `level` among [`Profile::efforts`], the lower one on a tie.
    ///
    /// `none` only for `none`: a request for some reasoning never turns it off.
    pub fn clamp(&self, level: Effort) -> Option<Effort> {
        if level == Effort::None {
            return self.efforts.contains(&level).then_some(level);
        }
        let distance = |e: &&Effort| ((**e as i32 - level as i32).abs(), **e as i32);
        self.efforts.iter().filter(|e| **e != Effort::None).min_by_key(distance).copied()
    }
}

/// The profile of an OpenAI reasoning model, by its name (lower case).
///
/// Source: OpenAI's model pages; gpt-5.4 and later refuse function tools on Chat Completions
/// unless `reasoning_effort` is `none`.
fn openai_reasoning(model: &str) -> Option<&'static str> {
    if ["o1", "o3", "o4"]
        .iter()
        .any(|s| model == *s || model.strip_prefix(s).is_some_and(|r| r.starts_with('-')))
    {
        return Some("openai_reasoning");
    }
    let version = model.strip_prefix("gpt-")?;
    if version.contains("chat") {
        return None;
    }
    let number: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let (major, minor) = number.split_once('.').unwrap_or((&number, "0"));
    match (major.parse::<u32>().ok()?, minor.parse::<u32>().unwrap_or(0)) {
        (5, 0..=3) => Some("openai_reasoning"),
        (5.., _) => Some("openai_gpt54"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_parses() {
        let raw: Map<String, Value> = serde_json::from_str(include_str!("profiles.json")).unwrap();
        assert_eq!(Profile::all().len(), raw.len());
        for (name, own) in &raw {
            // Inherited, it would send the reasoning of others back to them.
            assert!(own.get("family").is_some(), "{name}: family");
        }
        // No host and no name leads to two of them.
        let twice = |a: &str, b: &str| a == b || a.ends_with(&format!(".{b}"));
        for (n, a) in Profile::all().iter().enumerate() {
            for b in Profile::all().iter().skip(n + 1) {
                let hosts = a.hosts.iter().any(|x| b.hosts.iter().any(|y| twice(x, y) || twice(y, x)));
                let models =
                    a.models.iter().any(|x| b.models.iter().any(|y| x.starts_with(y) || y.starts_with(x)));
                assert!(!hosts && !models, "{} and {}", a.name, b.name);
            }
        }
    }

    #[test]
    fn detects_by_host_then_model() {
        let name = |host, port, model| Profile::detect(host, port, model).unwrap().name.as_str();
        assert_eq!(name("api.deepseek.com", None, "deepseek-chat"), "deepseek");
        assert_eq!(name("API.Z.AI", None, "glm-5"), "zai");
        assert_eq!(name("notz.ai", None, "x"), "generic");
        assert_eq!(name("api.openai.com", None, "gpt-4.1"), "openai");
        assert_eq!(name("api.openai.com", None, "gpt-5-mini"), "openai_reasoning");
        assert_eq!(name("api.openai.com", None, "gpt-5.3-codex"), "openai_reasoning");
        assert_eq!(name("api.openai.com", None, "gpt-5.4"), "openai_gpt54");
        assert_eq!(name("api.openai.com", None, "gpt-6-sol"), "openai_gpt54");
        assert_eq!(name("api.openai.com", None, "o4-mini"), "openai_reasoning");
        assert_eq!(name("res.openai.azure.com", None, "my-deployment"), "azure");
        assert_eq!(name("openrouter.ai", None, "openai/gpt-5"), "openrouter");
        assert_eq!(name("localhost", Some(11434), "qwen3:8b"), "ollama");
        assert_eq!(name("gateway.local", None, "glm-4.7"), "zai");
        assert_eq!(name("gateway.local", None, "Qwen/Qwen3-32B"), "generic");
        assert_eq!(name("gateway.local", None, "my-model"), "generic");
    }

    #[test]
    fn clamp_takes_the_nearest() {
        let p = |n| Profile::named(n).unwrap();
        assert_eq!(p("generic").clamp(Effort::Max), Some(Effort::High));
        assert_eq!(p("generic").clamp(Effort::None), None);
        assert_eq!(p("openai_reasoning").clamp(Effort::Xhigh), Some(Effort::Xhigh));
        assert_eq!(p("gemini").clamp(Effort::Minimal), Some(Effort::Low));
        assert_eq!(p("ollama").clamp(Effort::Xhigh), Some(Effort::High));
    }
}
