//! An Anthropic request becomes a Chat Completions request.

use serde_json::{Map, Value};

use super::body::Body;
use super::hold::Holds;
use super::loss::Losses;
use super::media::Media;
use super::messages::{Messages, Stats};
use super::profile::{Echo, JsonSchemaSupport, Profile, SchemaDialect};
use super::reasoning::Wish;
use super::reply::ReplyContext;
use super::room::Asked;
use super::schema;
use super::text::{Text, write_joined};
use super::tools::{Names, Offer};
use super::turns::turns;
use super::web::{self, Round, Served, WebTools};
use crate::wire::anthropic::{ApiError, Request, SystemBlock, ToolChoice, ToolChoiceKind, Unsupported};
use crate::wire::json::{escape, write_str, write_u64};

/// What the configuration says of one model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelSpec {
    /// The name sent upstream.
    pub remote_id: String,
    /// A larger `max_tokens` is lowered to it.
    pub max_output_tokens: Option<u64>,
    /// Size of the context in tokens: `max_tokens` is lowered to what a prompt leaves of it. Told in
    /// overflow errors.
    pub context_window: Option<u64>,
    /// False: images become a placeholder. None: as the profile says.
    pub vision: Option<bool>,
    /// False: tools are not offered.
    pub tools: Option<bool>,
    /// False: reasoning is neither asked for nor sent back.
    pub reasoning: Option<bool>,
    /// Merged into the upstream request, last.
    pub extra_body: Map<String, Value>,
    /// Removed from the upstream request, last.
    pub drop_params: Vec<String>,
    /// The web tools that the proxy carries out.
    pub web: WebTools,
}

/// A converted request, and what is needed to convert its answer.
#[derive(Debug)]
pub struct Converted {
    /// The Chat Completions request as JSON.
    pub body: Vec<u8>,
    /// What was dropped or degraded.
    pub losses: Losses,
    /// What the answer's conversion has to know. Holds nothing of the conversation's text.
    pub reply: ReplyContext,
    /// The client asked for a stream.
    pub client_streams: bool,
    /// The upstream was asked for a stream (always so when the client streams).
    pub upstream_streams: bool,
    /// `max_tokens` is 0: nothing is sent upstream, the answer is empty
    /// ([`super::response::empty`], [`super::StreamTranslator::finish_empty`]).
    pub answer_locally: bool,
}

/// Converts a request for one upstream.
///
/// # Errors
/// 400 for what cannot be expressed (`thread`, `compaction`), and for settings of web tools that
/// contradict each other.
pub fn request(
    request: &Request<'_>,
    profile: &'static Profile,
    model: &ModelSpec,
) -> Result<Converted, ApiError> {
    let mut losses = Losses::default();
    refuse(request, &mut losses)?;
    let mut names = Names::default();
    let served = if model.tools == Some(false) { Served::default() } else { Served::of(request, model.web)? };
    let wish = Wish::of(request);
    let reasoning = model.reasoning != Some(false);
    let upstream_streams = request.stream || profile.always_stream;

    let mut body = Body::new(capacity(request), &model.drop_params, &model.extra_body);
    body.field("model", |out| write_str(&model.remote_id, out));
    let mut stats = Stats::default();
    body.field("messages", |out| {
        stats = messages(request, profile, model, served, (&mut names, &mut losses), out);
    });
    let max_tokens = max_tokens(request, model, &mut losses);
    let mut asked = Asked { tokens: max_tokens, end: None };
    body.field(profile.max_tokens_field.as_str(), |out| {
        write_u64(max_tokens, out);
        asked.end = Some(out.len());
    });
    if upstream_streams {
        body.field("stream", |out| out.extend_from_slice(b"true"));
        if profile.stream_usage {
            body.field("stream_options", |out| out.extend_from_slice(b"{\"include_usage\":true}"));
        }
    }
    sampling(request, profile, &mut body, &mut losses);
    let choice = tool_choice(request, model.web.round);
    let offer = Offer::new(request, served, model.web.round, &mut losses);
    let has_tools = !offer.is_empty() && model.tools != Some(false);
    if has_tools {
        offer.write(choice, profile, &mut names, &mut body, &mut losses);
    } else if !offer.is_empty() {
        losses.add(|| "tools".into(), "dropped:tools");
    }
    response_format(request, profile, &mut body);
    let is_forced = |c: ToolChoice<'_>| matches!(c.kind, ToolChoiceKind::Any | ToolChoiceKind::Tool(_));
    if profile.forced_tool_ends_thinking && has_tools && choice.is_some_and(is_forced) {
        wish.given_up(&mut losses).write(profile, has_tools, &mut body, &mut losses);
    } else if reasoning {
        wish.write(profile, has_tools, &mut body, &mut losses);
    } else {
        wish.leave_out(profile, has_tools, &mut body, &mut losses);
    }
    if stats.prefill {
        prefill(profile, &mut body, &mut losses);
    }
    if let Some(cache) = request.cache_control.filter(|_| profile.cache_control) {
        body.field("cache_control", |out| cache.write(out));
    }
    for (name, value) in &profile.extra {
        body.field(name, |out| out.extend_from_slice(value.to_string().as_bytes()));
    }
    let mut body = body.finish();

    let text_bytes = body.len().saturating_sub(stats.media_bytes) as u64;
    let input_estimate = super::count::estimate(text_bytes, stats.media);
    let fit = model.context_window.and_then(|window| asked.fit(input_estimate, window, &mut body));
    if fit.is_some() {
        losses.add(|| "max_tokens".into(), "degraded:max_tokens");
    }
    let reply = ReplyContext {
        model: request.model.clone().into_owned(),
        profile,
        provider: String::new(),
        thinking: wish.mode(),
        stop_sequences: request.stop_sequences.iter().map(|s| s.decode().into_owned()).collect(),
        tool_names: names.into_renamed(),
        history_ids: stats.history_ids,
        safeguards: request.safeguards.is_some(),
        served,
        sources: if served.is_empty() { Vec::new() } else { web::sources(request) },
        holds: Holds::default(),
        resumed: None,
        input_estimate,
        max_tokens: fit.unwrap_or(max_tokens),
        context_window: model.context_window,
        seed: 0,
        record: false,
        preview_chars: 0,
    };
    Ok(Converted {
        body,
        losses,
        reply,
        client_streams: request.stream,
        upstream_streams,
        answer_locally: request.max_tokens == 0,
    })
}

/// Room for the converted request: about as long as what came in.
fn capacity(request: &Request<'_>) -> usize {
    // Most requests shrink; the rest grows its buffer once.
    request.source_len + request.source_len / 16 + 512
}

fn refuse(request: &Request<'_>, losses: &mut Losses) -> Result<(), ApiError> {
    for field in &request.unsupported {
        let name = field.as_str();
        match field {
            Unsupported::Thread => {
                let mut error = ApiError::invalid_request("thread: not supported by this proxy");
                // The SDKs' tool runner reads this and goes on with full histories.
                error.details = Some(
                    r#"{"error_code":"thread_unsupported_request","unsupported":["thread"]}"#.to_owned(),
                );
                return Err(error);
            }
            Unsupported::Compaction => {
                return Err(ApiError::invalid_request("compaction: not supported by this proxy"));
            }
            _ => losses.add(|| name.to_owned(), &format!("dropped:{name}")),
        }
    }
    Ok(())
}

/// A call that was forced was made in the first round: forced again, it would never come to an end.
fn tool_choice<'a>(request: &Request<'a>, round: Round) -> Option<ToolChoice<'a>> {
    let choice = request.tool_choice?;
    match choice.kind {
        ToolChoiceKind::Any | ToolChoiceKind::Tool(_) if round != Round::First => {
            Some(ToolChoice { kind: ToolChoiceKind::Auto, ..choice })
        }
        _ => Some(choice),
    }
}

fn max_tokens(request: &Request<'_>, model: &ModelSpec, losses: &mut Losses) -> u64 {
    match model.max_output_tokens {
        Some(most) if request.max_tokens > most => {
            losses.add(|| "max_tokens".into(), "degraded:max_tokens");
            most
        }
        _ => request.max_tokens,
    }
}

fn sampling(request: &Request<'_>, profile: &Profile, body: &mut Body<'_>, losses: &mut Losses) {
    let numbers = [
        ("temperature", request.temperature, profile.sampling),
        ("top_p", request.top_p, profile.sampling),
        ("top_k", request.top_k, profile.top_k),
    ];
    for (name, value, accepted) in numbers {
        match value {
            Some(number) if accepted => body.field(name, |out| out.extend_from_slice(number.as_bytes())),
            Some(_) => losses.add(|| name.to_owned(), &format!("dropped:{name}")),
            None => {}
        }
    }
    let all: Vec<_> = request.stop_sequences.iter().filter(|s| !s.is_blank()).collect();
    if all.len() > profile.stop_max {
        losses.add(|| "stop_sequences".into(), "dropped:stop_sequences");
    }
    let kept = all.get(..profile.stop_max.min(all.len())).unwrap_or_default();
    if !kept.is_empty() {
        body.field("stop", |out| {
            out.push(b'[');
            for (n, stop) in kept.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                stop.write(out);
            }
            out.push(b']');
        });
    }
}

fn response_format(request: &Request<'_>, profile: &Profile, body: &mut Body<'_>) {
    let Some(schema) = request.output_schema else { return };
    body.field("response_format", |out| match profile.json_schema {
        JsonSchemaSupport::JsonObject => out.extend_from_slice(b"{\"type\":\"json_object\"}"),
        JsonSchemaSupport::JsonSchema => {
            out.extend_from_slice(
                b"{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"response\",\"schema\":",
            );
            // A schema that has been read before cannot fail; if it did, it would go as it came.
            let start = out.len();
            let grammar = profile.schema == SchemaDialect::Grammar;
            if !grammar || schema::write_schema(schema, profile.schema, out).is_err() {
                out.truncate(start);
                schema.write(out);
            }
            let strict = schema::strict_ok(schema);
            out.extend_from_slice(if strict { b",\"strict\":true}}" } else { b",\"strict\":false}}" });
        }
    });
}

/// The conversation ends with the beginning of an answer.
fn prefill(profile: &Profile, body: &mut Body<'_>, losses: &mut Losses) {
    match profile.family.as_str() {
        // `prefix: true` is on the message itself.
        "mistral" => {}
        "vllm" => {
            body.field("continue_final_message", |out| out.extend_from_slice(b"true"));
            body.field("add_generation_prompt", |out| out.extend_from_slice(b"false"));
        }
        // Most servers begin a new answer instead of continuing this one.
        _ => losses.add(|| "messages".into(), "degraded:prefill"),
    }
}

/// Claude Code's attribution: it changes with every session and would spoil prompt caches.
const BILLING_HEADER: &str = "x-anthropic-billing-header:";

fn messages(
    request: &Request<'_>,
    profile: &'static Profile,
    model: &ModelSpec,
    served: Served,
    (names, losses): (&mut Names, &mut Losses),
    out: &mut Vec<u8>,
) -> Stats {
    let echo = if model.reasoning == Some(false) { Echo::None } else { profile.echo };
    let media = Media { profile, images: model.vision.unwrap_or(profile.images) };
    let turns = turns(&request.messages, profile.mid_system, losses);
    let mut messages = Messages::new(out, profile, media, (echo, served), names, losses);
    let system: Vec<&SystemBlock<'_>> =
        request.system.iter().filter(|b| !b.text.is_empty() && !b.text.starts_with(BILLING_HEADER)).collect();
    let schema = request.output_schema.filter(|_| profile.json_schema == JsonSchemaSupport::JsonObject);
    let instruction = schema.map(|schema| {
        let mut inner = Vec::new();
        escape("Respond with JSON that conforms to this JSON schema:\n", &mut inner);
        schema.write_compact_escaped(&mut inner);
        Text::Composed(inner)
    });
    let marked = system.len() > 1 || system.iter().any(|b| b.cache_control.is_some());
    if profile.cache_control && marked {
        messages.system(|out| system_parts(&system, instruction.as_ref(), out));
    } else if !system.is_empty() || instruction.is_some() {
        messages.system(|out| {
            let texts: Vec<Text<'_>> = system.iter().map(|b| Text::Json(b.text)).chain(instruction).collect();
            out.push(b'"');
            write_joined(&texts, out);
            out.push(b'"');
        });
    }
    for (n, turn) in turns.iter().enumerate() {
        messages.turn(turn, n + 1 == turns.len());
    }
    messages.finish()
}

fn system_parts(system: &[&SystemBlock<'_>], instruction: Option<&Text<'_>>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (n, block) in system.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
        block.text.write(out);
        if let Some(cache) = block.cache_control {
            out.extend_from_slice(b",\"cache_control\":");
            cache.write(out);
        }
        out.push(b'}');
    }
    if let Some(instruction) = instruction {
        if !system.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
        instruction.write(out);
        out.push(b'}');
    }
    out.push(b']');
}
