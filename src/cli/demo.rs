//! `demo`: a whole exchange on one screen, through real sockets, with nothing configured.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::args::{DemoArgs, GlobalArgs};
use super::output::{BOLD, CYAN, GREEN, YELLOW};
use super::serve::demo_config;
use super::{Exit, Printer};
use crate::demo::{Demo, Seen};
use crate::server::Server;
use crate::wire::sse::SseDecoder;

/// Between two words: the events come while one looks, and all is over in a few seconds.
const PACE: Duration = Duration::from_millis(15);

/// Runs the command.
pub(super) fn run(_: &DemoArgs, _: &GlobalArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let (watch, mut seen) = unbounded_channel();
    let demo = Demo::bind(PACE).context("the demo upstream cannot listen")?.watched_by(watch);
    let mut config = demo_config(&demo)?;
    config.port = 0;
    config.workers = 1;
    config.log_body_max_chars = 0;
    config.log_stream_text_preview_chars = 0;
    config.dashboard = false;
    let upstream = demo.base_url();
    actix_web::rt::System::new().block_on(async {
        let bound = Server::bind(Arc::new(config))?;
        let proxy = format!("http://{}", bound.addr());
        let (_stop, stopped) = unbounded_channel();
        writeln!(
            printer.text(),
            "A client speaks Anthropic's Messages API to claude-proxy at {proxy}, which speaks\n\
             OpenAI's Chat Completions to a demo model at {upstream}. Nothing leaves this machine."
        )?;
        tokio::select! {
            ended = bound.run(stopped) => bail!("the proxy ended: {ended:?}"),
            ended = demo.run() => bail!("the demo upstream ended: {ended:?}"),
            shown = exchange(&proxy, &mut seen, printer) => shown?,
        }
        writeln!(
            printer.text(),
            "\n{GREEN}Done:{GREEN:#} text, reasoning, a tool call and its result, streamed both ways.\n\
             Next: `claude-proxy serve --demo` serves this model to Claude Code."
        )?;
        Ok(Exit::Success)
    })
}

/// Two turns: the model calls a tool, and answers after its result.
async fn exchange(
    proxy: &str,
    seen: &mut UnboundedReceiver<Seen>,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let mut request = json!({
        "model": "demo",
        "max_tokens": 4096,
        "stream": true,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{
            "name": "Bash",
            "description": "Runs a command",
            "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
        }],
        "messages": [{"role": "user", "content": "Run a command that says hello."}],
    });
    let content = turn("1. The client asks", &request, proxy, seen, printer).await?;
    let call = content
        .iter()
        .find(|block| block["type"] == "tool_use")
        .context("the demo model did not call the tool")?;
    let result =
        json!({"type": "tool_result", "tool_use_id": call["id"], "content": "Hello from the demo upstream"});
    if let Some(messages) = request.get_mut("messages").and_then(Value::as_array_mut) {
        messages.push(json!({"role": "assistant", "content": content}));
        messages.push(json!({"role": "user", "content": [result]}));
    }
    let content =
        turn("2. The client has run the tool and sends its result", &request, proxy, seen, printer).await?;
    if !content.iter().any(|block| block["type"] == "text") {
        bail!("the demo model did not answer");
    }
    Ok(())
}

/// One request, shown on all four sides. Gives the content blocks of the answer.
async fn turn(
    title: &str,
    request: &Value,
    proxy: &str,
    seen: &mut UnboundedReceiver<Seen>,
    printer: &mut Printer,
) -> anyhow::Result<Vec<Value>> {
    writeln!(printer.text(), "\n{BOLD}{title}: POST /v1/messages{BOLD:#}")?;
    outline(request, printer)?;
    let client = awc::Client::builder().disable_timeout().finish();
    let asked = client.post(format!("{proxy}/v1/messages")).send_json(request);
    let mut answer = asked.await.map_err(|e| anyhow::anyhow!("the proxy did not answer: {e}"))?;
    if answer.status() != 200 {
        let body = answer.body().await?;
        bail!("the proxy answered {}: {}", answer.status(), String::from_utf8_lossy(&body));
    }
    let mut decoder = SseDecoder::new(1 << 20);
    let mut blocks = Blocks::default();
    loop {
        let bytes = tokio::select! {
            // What the upstream said comes before what became of it.
            biased;
            Some(event) = seen.recv() => {
                show_upstream(&event, printer)?;
                continue;
            }
            bytes = answer.next() => bytes,
        };
        let Some(bytes) = bytes else { break };
        decoder.push(&bytes?);
        while let Some(event) = decoder.next_event() {
            let event = event?;
            let data = String::from_utf8_lossy(event.data).into_owned();
            writeln!(printer.text(), "  {CYAN}to the client{CYAN:#}      {data}")?;
            blocks.take(&serde_json::from_str(&data)?)?;
        }
    }
    if !blocks.stopped {
        bail!("the stream ended without message_stop");
    }
    Ok(blocks.content)
}

fn show_upstream(event: &Seen, printer: &mut Printer) -> anyhow::Result<()> {
    match event {
        Seen::Request(body) => {
            let body: Value = serde_json::from_str(body)?;
            writeln!(
                printer.text(),
                "\n{BOLD}claude-proxy asks the upstream: POST /v1/chat/completions{BOLD:#}"
            )?;
            outline(&body, printer)?;
            writeln!(printer.text(), "\n{BOLD}and translates its answer while it comes:{BOLD:#}")?;
        }
        Seen::Chunk(data) => {
            let told = told(data);
            writeln!(printer.text(), "  {YELLOW}from the upstream{YELLOW:#}  {told}")?;
        }
    }
    Ok(())
}

/// A request, each of its fields on a line, each message and tool on one of its own.
fn outline(request: &Value, printer: &mut Printer) -> anyhow::Result<()> {
    let out = printer.text();
    for (key, value) in request.as_object().into_iter().flatten() {
        match value.as_array() {
            Some(items) => {
                writeln!(out, "  {key}:")?;
                for item in items {
                    writeln!(out, "    {item}")?;
                }
            }
            None => writeln!(out, "  {key}: {value}")?,
        }
    }
    Ok(())
}

/// What is new in a chunk: the rest is the same in all of them.
fn told(data: &str) -> String {
    let chunk: Value = serde_json::from_str(data).unwrap_or_default();
    let choice = chunk.pointer("/choices/0");
    match (choice, chunk.get("usage")) {
        (Some(choice), _) if choice["finish_reason"].is_string() => {
            format!("{{\"finish_reason\":{}}}", choice["finish_reason"])
        }
        (Some(choice), _) => format!("{{\"delta\":{}}}", choice["delta"]),
        (None, Some(usage)) => format!("{{\"usage\":{usage}}}"),
        (None, None) => data.to_owned(),
    }
}

/// Puts a message together from its events, as an SDK does.
#[derive(Default)]
struct Blocks {
    content: Vec<Value>,
    arguments: String,
    stopped: bool,
}

impl Blocks {
    /// The one that is open.
    fn block(&mut self) -> anyhow::Result<&mut Map<String, Value>> {
        self.content.last_mut().and_then(Value::as_object_mut).context("an event without its block")
    }

    fn take(&mut self, event: &Value) -> anyhow::Result<()> {
        match event["type"].as_str().unwrap_or_default() {
            "content_block_start" => {
                self.content.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                let block = self.block()?;
                for key in ["text", "thinking", "signature"] {
                    if let Some(more) = delta[key].as_str() {
                        let text = block.get(key).and_then(Value::as_str).unwrap_or_default();
                        let text = format!("{text}{more}");
                        block.insert(key.to_owned(), text.into());
                    }
                }
                self.arguments.push_str(delta["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" => {
                let input = std::mem::take(&mut self.arguments);
                let block = self.block()?;
                if block.get("type").is_some_and(|t| t == "tool_use") {
                    block.insert("input".to_owned(), serde_json::from_str(&input)?);
                }
            }
            "message_stop" => self.stopped = true,
            "error" => bail!("the stream failed: {event}"),
            _ => {}
        }
        Ok(())
    }
}
