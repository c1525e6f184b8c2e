// A scripted Chat Completions upstream: plays queued answers, keeps what it was asked (upstream.py for Node).
import assert from 'node:assert/strict';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const JSON_BODY = { 'content-type': 'application/json' };
export const EVENTS = { 'content-type': 'text/event-stream' };

export function usage(prompt = 20, completion = 5, cached = undefined, more = {}) {
  const details = cached === undefined ? {} : { prompt_tokens_details: { cached_tokens: cached } };
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion, ...details, ...more };
}

export function call(id, name, args) {
  return { id, type: 'function', function: { name, arguments: typeof args === 'string' ? args : JSON.stringify(args) } };
}

// An answer is {status, headers, parts, pause, delay, end}: `parts` go out one by one, `pause` ms apart, after `delay` ms;
// `end`: 'clean', 'cut' (the connection closes before the body ends) or 'none' (no answer at all).
export function answer(status, headers, parts, more = {}) {
  return { status, headers, parts, pause: 0, delay: 0, end: 'clean', ...more };
}

export function whole({ text = null, calls = [], finish, use = usage(), more = {}, ...timing } = {}) {
  const message = { role: 'assistant', content: text, ...(calls.length ? { tool_calls: calls } : {}), ...more };
  return answer(200, JSON_BODY, [JSON.stringify({
    id: 'chatcmpl-t', object: 'chat.completion', created: 1, model: 'served', usage: use,
    choices: [{ index: 0, message, finish_reason: finish ?? (calls.length ? 'tool_calls' : 'stop') }],
  })], timing);
}

export function chunk(delta, finish = null) {
  return { id: 'chatcmpl-t', object: 'chat.completion.chunk', created: 1, model: 'served', choices: [{ index: 0, delta, finish_reason: finish }] };
}

export const sse = (payload) => `data: ${typeof payload === 'string' ? payload : JSON.stringify(payload)}\n\n`;

// `first`: deltas before the text; `text`: one string or several pieces; arguments of calls come in two pieces.
export function stream({ first = [], text, calls = [], finish, use = usage(), done = true, ...timing } = {}) {
  const deltas = [{ role: 'assistant', content: '' }, ...first];
  for (const piece of text === undefined ? [] : [text].flat()) deltas.push({ content: piece });
  calls.forEach((c, index) => {
    const args = c.function.arguments, cut = Math.max(1, args.length >> 1);
    deltas.push({ tool_calls: [{ ...c, index, function: { ...c.function, arguments: '' } }] });
    for (const part of [args.slice(0, cut), args.slice(cut)]) if (part) deltas.push({ tool_calls: [{ index, function: { arguments: part } }] });
  });
  const parts = deltas.map((d) => sse(chunk(d)));
  if (done) parts.push(sse(chunk({}, finish ?? (calls.length ? 'tool_calls' : 'stop'))), sse({ ...chunk({}), choices: [], usage: use }), sse('[DONE]'));
  return answer(200, EVENTS, parts, timing);
}

// A stream or a whole answer, as the request asks.
export const either = (what) => (seen) => (seen.body.stream ? stream : whole)(what);

// A stream that goes on until the other side hangs up.
export function endless(pause = 20) {
  return answer(200, EVENTS, Array.from({ length: 1000 }, (_, i) => sse(chunk({ content: `${i} ` }))), { pause });
}

export function error(status, message = 'no', { type = 'invalid_request_error', code = null, headers = {} } = {}) {
  return answer(status, { ...JSON_BODY, ...headers }, [JSON.stringify({ error: { message, type, param: null, code } })]);
}

export class Upstream {
  seen = [];
  #queue = [];
  #server = http.createServer((request, response) => this.#serve(request, response).catch((e) => response.destroy(e)));

  async start() {
    await new Promise((ready) => this.#server.listen(0, '127.0.0.1', ready));
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  stop() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  // Answers in this order, the last one for ever; an answer may be a function of the request.
  play(...answers) {
    this.#queue = answers;
    this.seen = [];
  }

  get last() {
    return this.seen.at(-1);
  }

  get only() {
    assert.equal(this.seen.length, 1, 'requests that reached the upstream');
    return this.seen[0];
  }

  async #serve(request, response) {
    const bytes = [];
    for await (const part of request) bytes.push(part);
    const raw = Buffer.concat(bytes).toString();
    const seen = { method: request.method, path: request.url, headers: request.headers, raw, body: raw ? JSON.parse(raw) : null };
    // resolves once the connection closes before the answer is complete
    const hungUp = new AbortController();
    seen.hungUp = new Promise((resolve) => response.on('close', () => response.writableFinished || (hungUp.abort(), resolve())));
    this.seen.push(seen);
    let a = this.#queue.length > 1 ? this.#queue.shift() : this.#queue[0];
    if (typeof a === 'function') a = a(seen);
    a ??= error(500, 'the test has no answer for this request', { type: 'server_error' });
    const wait = (ms) => sleep(ms, undefined, { signal: hungUp.signal });
    try {
      if (a.delay) await wait(a.delay);
      if (a.end === 'none') return void response.destroy();
      response.writeHead(a.status, a.headers);
      for (const [i, part] of a.parts.entries()) {
        if (i && a.pause) await wait(a.pause);
        response.write(part);
      }
      if (a.end === 'clean') return void response.end();
      await wait(100);                     // lets the other side read what was sent
      response.destroy();
    } catch (e) {
      if (e.name !== 'AbortError') throw e;
    }
  }
}
