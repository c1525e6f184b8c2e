//! Providers that `init` knows: where they are, and where their keys are usually kept.

/// One provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// As `--provider` names it, and the configuration.
    pub(super) name: &'static str,
    /// For people.
    pub(super) title: &'static str,
    /// Where its API is.
    pub(super) base_url: &'static str,
    /// The variable that its own documentation keeps the key in; none: it needs none.
    pub(super) key_env: Option<&'static str>,
    /// Its profile, where the URL does not tell.
    pub(super) profile: Option<&'static str>,
}

const fn hosted(
    name: &'static str,
    title: &'static str,
    base_url: &'static str,
    key_env: &'static str,
) -> Known {
    Known { name, title, base_url, key_env: Some(key_env), profile: None }
}

const fn local(
    name: &'static str,
    title: &'static str,
    base_url: &'static str,
    profile: &'static str,
) -> Known {
    Known { name, title, base_url, key_env: None, profile: Some(profile) }
}

/// All of them, in the order of the menu.
pub(super) const KNOWN: &[Known] = &[
    hosted("deepseek", "DeepSeek", "https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    hosted("zai", "Z.ai (GLM)", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
    hosted("zai-coding", "Z.ai coding plan (GLM)", "https://api.z.ai/api/coding/paas/v4", "ZAI_API_KEY"),
    hosted("moonshot", "Moonshot (Kimi)", "https://api.moonshot.ai", "MOONSHOT_API_KEY"),
    hosted("minimax", "MiniMax", "https://api.minimax.io", "MINIMAX_API_KEY"),
    hosted(
        "qwen",
        "Alibaba Model Studio (Qwen)",
        "https://dashscope-intl.aliyuncs.com/compatible-mode",
        "DASHSCOPE_API_KEY",
    ),
    hosted("openrouter", "OpenRouter", "https://openrouter.ai/api", "OPENROUTER_API_KEY"),
    hosted("openai", "OpenAI", "https://api.openai.com", "OPENAI_API_KEY"),
    hosted(
        "gemini",
        "Google Gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
    ),
    hosted("mistral", "Mistral", "https://api.mistral.ai", "MISTRAL_API_KEY"),
    hosted("xai", "xAI (Grok)", "https://api.x.ai", "XAI_API_KEY"),
    hosted("groq", "Groq", "https://api.groq.com/openai", "GROQ_API_KEY"),
    hosted("cerebras", "Cerebras", "https://api.cerebras.ai", "CEREBRAS_API_KEY"),
    local("ollama", "Ollama, on this machine", "http://127.0.0.1:11434", "ollama"),
    local("llamacpp", "llama.cpp server, on this machine", "http://127.0.0.1:8080", "llamacpp"),
    local("vllm", "vLLM, on this machine", "http://127.0.0.1:8000", "vllm"),
    local("sglang", "SGLang, on this machine", "http://127.0.0.1:30000", "sglang"),
    local("lmstudio", "LM Studio, on this machine", "http://127.0.0.1:1234", "generic"),
];

/// The built-in model, for which no file is needed.
pub(super) const DEMO: &str = "demo";

/// The provider of this name; `llama.cpp` and `LM-Studio` are spellings too.
pub(super) fn named(name: &str) -> Option<&'static Known> {
    let plain = |c: &char| c.is_ascii_alphanumeric();
    let key = |name: &str| name.to_ascii_lowercase().chars().filter(plain).collect::<String>();
    KNOWN.iter().find(|known| key(known.name) == key(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::Profile;

    #[test]
    fn names_are_found_as_people_write_them() {
        assert_eq!(named("llama.cpp").unwrap().name, "llamacpp");
        assert_eq!(named("LM-Studio").unwrap().name, "lmstudio");
        assert!(named("acme").is_none());
    }

    #[test]
    fn profiles_exist_or_are_found_by_the_host() {
        for known in KNOWN {
            if let Some(profile) = known.profile {
                assert!(Profile::named(profile).is_some(), "{}", known.name);
            } else {
                let host = known.base_url.strip_prefix("https://").unwrap();
                let host = host.split('/').next().unwrap();
                assert_ne!(Profile::detect(host, None, "m").unwrap().name, "generic", "{}", known.name);
            }
        }
    }
}
