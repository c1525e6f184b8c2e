//! A request to an upstream that speaks the Messages API itself, as `serve` would pass it on.

use super::ask::{Reply, post};
use super::once::{Prompt, Refused, Tokens, judge};
use crate::config::Model;
use crate::convert::native::{Relay, answer, error};
use crate::convert::{Form, Summary};
use crate::upstream::{Client, Limits};
use crate::wire::anthropic::ApiError;

/// Sends one, and reads the answer.
pub(super) async fn exchange(
    client: &Client,
    model: &Model,
    limits: Limits,
    prompt: &Prompt,
) -> Result<(Reply, Option<Tokens>), Refused> {
    let name = &model.provider.name;
    let body = prompt.body(&model.spec.remote_id);
    let asked = post(client, &model.provider, body, prompt.stream, limits).await;
    let reply = asked.map_err(|fault| Refused::unanswered(fault, name))?;
    let read = match Form::of(&reply.content_type, &reply.body) {
        _ if reply.status >= 400 => Err(error(reply.status, &reply.body, name)),
        Some(Form::Events) if !prompt.stream => {
            Err(ApiError::bad_gateway("it sent a stream although none was asked for"))
        }
        _ if !prompt.stream => answer(&reply.body, name),
        _ => stream(&reply, name),
    };
    judge(reply, read).map_err(|refused| *refused)
}

fn stream(reply: &Reply, name: &str) -> Result<Summary, ApiError> {
    let mut relay = Relay::new(reply.content_type.clone(), name.to_owned(), 0);
    let mut out = Vec::new();
    if !relay.take(&reply.body, &mut out, || ())? {
        relay.end(&mut out)?;
    }
    Ok(relay.summary())
}
