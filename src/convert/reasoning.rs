//! Thinking and effort become what the upstream calls reasoning.

use super::body::Body;
use super::loss::Losses;
use super::profile::{Effort, Profile, ReasoningRequest};
use super::reply::ThinkingMode;
use crate::wire::anthropic::{Display, Request, Role, Thinking, ThinkingKind};
use crate::wire::json::{write_str, write_u64};

/// What the request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    thinking: Option<Thinking>,
    /// Effort, from the latest word on it; none when nothing was said.
    level: Option<Effort>,
    /// The level was said as an effort, not as a budget.
    by_effort: bool,
}

impl Wish {
    pub(super) fn of(request: &Request<'_>) -> Self {
        let said = request.messages.iter().rev().filter(|m| m.role == Role::System).find_map(|m| m.effort);
        let effort = said.or(request.effort).and_then(|e| effort(e.raw()));
        let level = match request.thinking.map(|t| t.kind) {
            Some(ThinkingKind::Disabled | ThinkingKind::BetweenTools) => Some(Effort::None),
            Some(ThinkingKind::Enabled(budget)) => effort.or(Some(match budget {
                0..=4096 => Effort::Low,
                4097..=16384 => Effort::Medium,
                _ => Effort::High,
            })),
            _ => effort,
        };
        Self { thinking: request.thinking, level, by_effort: effort.is_some() }
    }

    /// Without thinking, for an upstream that cannot be forced to call a tool while it thinks:
    /// the tool is what the client counts on.
    pub(super) fn given_up(self, losses: &mut Losses) -> Self {
        if self.is_on() == Some(true) {
            losses.add(|| "thinking".into(), "dropped:thinking");
        }
        self.off()
    }

    fn off(mut self) -> Self {
        let display = self.thinking.map_or(Display::Shown, |t| t.display);
        self.thinking = Some(Thinking { kind: ThinkingKind::Disabled, display });
        self.level = Some(Effort::None);
        self
    }

    /// Whether the client gets to see reasoning.
    pub(super) fn mode(&self) -> ThinkingMode {
        match self.thinking {
            Some(t) if self.is_on() == Some(true) => match t.display {
                Display::Shown => ThinkingMode::Show,
                Display::Omitted => ThinkingMode::Omit,
            },
            _ => ThinkingMode::Off,
        }
    }

    /// None when nothing was said: the upstream's default applies.
    fn is_on(&self) -> Option<bool> {
        self.thinking.map(|t| !matches!(t.kind, ThinkingKind::Disabled | ThinkingKind::BetweenTools))
    }

    fn budget(&self) -> Option<u64> {
        match self.thinking?.kind {
            ThinkingKind::Enabled(budget) => Some(budget),
            _ => None,
        }
    }

    /// Writes the fields by which this upstream is asked for reasoning.
    pub(super) fn write(&self, profile: &Profile, has_tools: bool, body: &mut Body<'_>, losses: &mut Losses) {
        let effort_field = |body: &mut Body<'_>, effort: Effort| {
            body.field("reasoning_effort", |out| write_str(effort.as_str(), out));
        };
        let object = |body: &mut Body<'_>, name: &str, fields: &str| {
            body.field(name, |out| out.extend_from_slice(fields.as_bytes()));
        };
        match profile.reasoning_request {
            ReasoningRequest::Effort if profile.tools_force_effort_none && has_tools => {
                effort_field(body, Effort::None);
                if self.level != Some(Effort::None) {
                    losses.add(|| "output_config.effort".into(), "degraded:reasoning_effort");
                }
            }
            ReasoningRequest::Effort => {
                if let Some(effort) = self.level.and_then(|l| profile.clamp(l)) {
                    effort_field(body, effort);
                }
            }
            ReasoningRequest::Openrouter => match (self.level, self.budget()) {
                (Some(Effort::None), _) => object(body, "reasoning", r#"{"effort":"none"}"#),
                (Some(level), _) if self.by_effort => {
                    if let Some(effort) = profile.clamp(level) {
                        object(body, "reasoning", &format!(r#"{{"effort":"{}"}}"#, effort.as_str()));
                    }
                }
                (_, Some(budget)) => object(body, "reasoning", &format!(r#"{{"max_tokens":{budget}}}"#)),
                _ if self.is_on() == Some(true) => object(body, "reasoning", r#"{"enabled":true}"#),
                _ => {}
            },
            ReasoningRequest::Deepseek => {
                self.thinking_type(body, "enabled");
                match self.level {
                    None | Some(Effort::None) => {}
                    Some(Effort::Minimal | Effort::Low) => effort_field(body, Effort::Low),
                    Some(Effort::Medium | Effort::High | Effort::Xhigh) => effort_field(body, Effort::High),
                    Some(Effort::Max) => effort_field(body, Effort::Max),
                }
            }
            ReasoningRequest::Thinking => match self.is_on() {
                Some(true) => object(body, "thinking", r#"{"type":"enabled","clear_thinking":false}"#),
                Some(false) => object(body, "thinking", r#"{"type":"disabled"}"#),
                None => {}
            },
            ReasoningRequest::Kimi => self.thinking_type(body, "enabled"),
            ReasoningRequest::Minimax => self.thinking_type(body, "adaptive"),
            ReasoningRequest::Qwen => {
                if let Some(on) = self.is_on() {
                    object(body, "enable_thinking", if on { "true" } else { "false" });
                    if let Some(budget) = self.budget() {
                        body.field("thinking_budget", |out| write_u64(budget, out));
                    }
                }
            }
            ReasoningRequest::Template => {
                if let Some(on) = self.is_on() {
                    object(body, "chat_template_kwargs", &format!(r#"{{"enable_thinking":{on}}}"#));
                }
            }
            ReasoningRequest::None => self.drop_effort(losses),
        }
    }

    /// For a model whose reasoning the configuration switches off.
    ///
    /// Upstreams that think unless told not to are told: DeepSeek and Kimi would want the
    /// reasoning back that is not sent. Others may not know the field; they get only what tools
    /// cannot do without.
    pub(super) fn leave_out(
        &self,
        profile: &Profile,
        has_tools: bool,
        body: &mut Body<'_>,
        losses: &mut Losses,
    ) {
        self.drop_effort(losses);
        let has_to_be_told = match profile.reasoning_request {
            ReasoningRequest::Deepseek
            | ReasoningRequest::Thinking
            | ReasoningRequest::Kimi
            | ReasoningRequest::Qwen => true,
            _ => profile.tools_force_effort_none && has_tools,
        };
        if has_to_be_told {
            self.off().write(profile, has_tools, body, losses);
        }
    }

    fn drop_effort(&self, losses: &mut Losses) {
        if self.by_effort && self.level != Some(Effort::None) {
            losses.add(|| "output_config.effort".into(), "dropped:effort");
        }
    }

    fn thinking_type(&self, body: &mut Body<'_>, on: &str) {
        if let Some(is_on) = self.is_on() {
            let kind = if is_on { on } else { "disabled" };
            body.field("thinking", |out| {
                out.extend_from_slice(b"{\"type\":");
                write_str(kind, out);
                out.push(b'}');
            });
        }
    }
}

fn effort(name: &str) -> Option<Effort> {
    Some(match name {
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::Xhigh,
        "max" => Effort::Max,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ModelSpec, Profile, request};
    use crate::wire::anthropic::Request;

    /// The converted body and the warning tokens, for a model whose reasoning is switched off.
    fn without_reasoning(profile: &str, more: &str) -> (serde_json::Value, Vec<String>) {
        let body =
            format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":"q"}}],{more}}}"#);
        let parsed = Request::parse(body.as_bytes()).unwrap();
        let model = ModelSpec { remote_id: "m".into(), reasoning: Some(false), ..ModelSpec::default() };
        let done = request(&parsed, Profile::named(profile).unwrap(), &model).unwrap();
        let tokens = done.losses.tokens().into_iter().map(str::to_owned).collect();
        (serde_json::from_slice(&done.body).unwrap(), tokens)
    }

    #[test]
    fn switched_off_by_the_configuration() {
        let wish = r#""thinking":{"type":"adaptive"},"output_config":{"effort":"high"}"#;
        let (body, tokens) = without_reasoning("deepseek", wish);
        assert_eq!((&body["thinking"]["type"], body.get("reasoning_effort")), (&"disabled".into(), None));
        assert_eq!(tokens, ["dropped:effort"]);
        // These models refuse tools without it.
        let tools = r#""tools":[{"name":"f","input_schema":{"type":"object"}}]"#;
        let (body, tokens) = without_reasoning("openai_gpt54", tools);
        assert_eq!(body["reasoning_effort"], "none");
        assert!(tokens.is_empty());
    }
}
