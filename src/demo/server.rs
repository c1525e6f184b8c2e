//! The demo model's Chat Completions endpoint.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::script::{Script, decide, words};

/// What the demo upstream saw and said, for those who want to watch.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A request's body.
    Request(String),
    /// A `data:` payload of a streamed answer.
    Chunk(String),
}

/// The demo upstream; listens from [`Demo::bind`] on, answers while [`Demo::run`] runs.
#[derive(Debug)]
pub struct Demo {
    listener: TcpListener,
    addr: SocketAddr,
    /// Between two words.
    pace: Duration,
    watch: Option<UnboundedSender<Seen>>,
}

/// Largest request, in bytes: what the proxy lets through grows a little on its way.
const MAX_BODY: usize = 64 << 20;

impl Demo {
    /// Takes a free port on loopback. `pace` is the time between two words of an answer.
    ///
    /// # Errors
    /// No port is free.
    pub fn bind(pace: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr, pace, watch: None })
    }

    /// Reports what goes over the wire.
    #[must_use]
    pub fn watched_by(mut self, watch: UnboundedSender<Seen>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// For `providers[].base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A configuration with this upstream as model `demo`, to which every unknown name leads.
    ///
    /// The profile's way to ask for reasoning (`chat_template_kwargs.enable_thinking`) is the
    /// one that [`Demo`] understands.
    pub fn config_json(&self) -> String {
        json!({
            "default_model": "demo",
            "providers": [{
                "name": "demo",
                "base_url": self.base_url(),
                "api_key": "",
                "profile": "vllm",
                "models": [{"id": "demo", "display_name": "Demo (built in)"}],
            }],
        })
        .to_string()
    }

    /// Answers until it is dropped.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(self) -> io::Result<()> {
        let Self { listener, pace, watch, .. } = self;
        HttpServer::new(move || {
            let watch = watch.clone();
            App::new().app_data(web::PayloadConfig::new(MAX_BODY)).default_service(web::to(
                move |request: HttpRequest, body: Bytes| {
                    let watch = watch.clone();
                    async move { answer(&request, &body, pace, watch) }
                },
            ))
        })
        .workers(1)
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        .disable_signals()
        .shutdown_timeout(0)
        .listen(listener)?
        .run()
        .await
    }
}

fn answer(
    request: &HttpRequest,
    body: &Bytes,
    pace: Duration,
    watch: Option<UnboundedSender<Seen>>,
) -> HttpResponse {
    if request.path() == "/v1/models" {
        return HttpResponse::Ok()
            .json(json!({"object": "list", "data": [{"id": "demo", "object": "model", "created": 0, "owned_by": "claude-proxy"}]}));
    }
    if request.path() != "/v1/chat/completions" {
        return HttpResponse::NotFound().json(json!({"error": {"message": "not found"}}));
    }
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        return HttpResponse::BadRequest().json(json!({"error": {"message": "the body is not JSON"}}));
    };
    if let Some(watch) = &watch {
        let _ = watch.send(Seen::Request(String::from_utf8_lossy(body).into_owned()));
    }
    let script = decide(&asked);
    let usage = usage(body.len(), &script);
    if asked.get("stream") != Some(&Value::Bool(true)) {
        return HttpResponse::Ok().json(whole(&script, &usage));
    }
    let with_usage = asked.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
    let chunks = chunks(&script, with_usage.then_some(usage));
    let events = stream::unfold(chunks.into_iter(), move |mut rest| {
        let watch = watch.clone();
        async move {
            let chunk = rest.next()?;
            tokio::time::sleep(pace).await;
            let event = Bytes::from(format!("data: {chunk}\n\n"));
            if let Some(watch) = &watch {
                let _ = watch.send(Seen::Chunk(chunk));
            }
            Some((Ok::<_, io::Error>(event), rest))
        }
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(Box::pin(events))
}

fn usage(prompt_bytes: usize, script: &Script) -> Value {
    let count = |text: &str| words(text).count() as u64;
    let reasoning = count(&script.reasoning);
    let prompt = 1 + prompt_bytes as u64 / 4;
    let output = count(&script.text) + reasoning + script.calls.len() as u64 * 12;
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    })
}

fn finish_reason(script: &Script) -> &'static str {
    match script {
        Script { calls, .. } if !calls.is_empty() => "tool_calls",
        Script { cut: true, .. } => "length",
        _ => "stop",
    }
}

fn call_id(index: usize) -> String {
    if index == 0 { "call_demo".to_owned() } else { format!("call_demo_{index}") }
}

fn whole(script: &Script, usage: &Value) -> Value {
    let mut message = serde_json::Map::new();
    message.insert("role".to_owned(), "assistant".into());
    message.insert("content".to_owned(), script.text.clone().into());
    if !script.reasoning.is_empty() {
        message.insert("reasoning_content".to_owned(), script.reasoning.clone().into());
    }
    if !script.calls.is_empty() {
        let call = |(index, (name, arguments)): (usize, &(String, String))| json!({"id": call_id(index), "type": "function", "function": {"name": name, "arguments": arguments}});
        message.insert("tool_calls".to_owned(), script.calls.iter().enumerate().map(call).collect());
    }
    json!({
        "id": "chatcmpl-demo", "object": "chat.completion", "created": 0, "model": "demo",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(script)}],
        "usage": usage,
    })
}

/// The `data:` payloads of a streamed answer.
fn chunks(script: &Script, usage: Option<Value>) -> Vec<String> {
    let chunk = |delta: Value, finish: Option<&str>| {
        json!({
            "id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": "demo",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
        .to_string()
    };
    let mut out = vec![chunk(json!({"role": "assistant", "content": ""}), None)];
    out.extend(words(&script.reasoning).map(|w| chunk(json!({"reasoning_content": w}), None)));
    out.extend(words(&script.text).map(|w| chunk(json!({"content": w}), None)));
    for (index, (name, arguments)) in script.calls.iter().enumerate() {
        let (id, function) = (call_id(index), json!({"name": name, "arguments": ""}));
        out.push(chunk(
            json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}),
            None,
        ));
        out.extend(words(arguments).map(|piece| {
            chunk(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), None)
        }));
    }
    out.push(chunk(json!({}), Some(finish_reason(script))));
    if let Some(usage) = usage {
        out.push(
            json!({
                "id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": "demo",
                "choices": [], "usage": usage,
            })
            .to_string(),
        );
    }
    out.push("[DONE]".to_owned());
    out
}
