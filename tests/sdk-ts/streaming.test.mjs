// messages.stream and stream: true.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { EVENTS, answer, call, chunk, endless, error, sse, stream, usage } from '../harness/upstream.mjs';
import { ASK, connect, failure, kinds, stage, texts, within } from './setup.mjs';

const { up, proxy, client } = await stage();
const TOOLS = ['read', 'write'].map((name) => ({ name, input_schema: { type: 'object' } }));

test('on text, finalMessage, finalText', async () => {
  up.play(stream({ text: ['Hel', 'lo ', 'wörld 🌍'], use: usage(11, 4, 5) }));
  const pieces = [];
  const s = client.messages.stream(ASK).on('text', (piece, soFar) => {
    pieces.push(piece);
    assert.equal(pieces.join(''), soFar);
  });
  const m = await s.finalMessage();
  assert.equal(pieces.join(''), 'Hello wörld 🌍');
  assert.equal(await s.finalText(), 'Hello wörld 🌍');
  assert.deepEqual([m.model, m.stop_reason, texts(m)], ['plain', 'end_turn', ['Hello wörld 🌍']]);
  assert.deepEqual([m.usage.input_tokens, m.usage.cache_read_input_tokens, m.usage.output_tokens], [6, 5, 4]);
  assert.equal(up.only.body.stream, true);
  assert.deepEqual(up.only.body.stream_options, { include_usage: true });
});

test('every event of the helper, in its order', async () => {
  up.play(stream({ text: ['a', 'b'], calls: [call('c1', 'read', { n: 1 })] }));
  const got = [];
  const s = client.messages.stream({ ...ASK, tools: TOOLS });
  for (const name of ['connect', 'streamEvent', 'text', 'inputJson', 'contentBlock', 'message', 'finalMessage', 'end', 'error', 'abort']) s.on(name, (a) => got.push([name, a]));
  await s.done();
  const names = got.map(([name]) => name);
  assert.equal(names[0], 'connect');
  assert.deepEqual(names.filter((n) => !['connect', 'streamEvent', 'text', 'inputJson'].includes(n)), ['contentBlock', 'contentBlock', 'message', 'finalMessage', 'end']);
  assert.equal(got.filter(([n]) => n === 'text').map(([, t]) => t).join(''), 'ab');
  assert.equal(got.filter(([n]) => n === 'inputJson').map(([, j]) => j).join(''), '{"n":1}');
  assert.deepEqual(got.filter(([n]) => n === 'contentBlock').map(([, b]) => b.type), ['text', 'tool_use']);
});

test('raw events by iteration', async () => {
  up.play(stream({ text: ['a', 'b'] }));
  const events = [];
  for await (const e of await client.messages.create({ ...ASK, stream: true })) events.push(e);
  const names = events.map((e) => e.type);
  const deltas = names.filter((n) => n === 'content_block_delta');
  assert.ok(deltas.length >= 1);
  assert.deepEqual(names, ['message_start', 'content_block_start', ...deltas, 'content_block_stop', 'message_delta', 'message_stop']);
  const { message } = events[0];
  assert.deepEqual([message.type, message.role, message.content, message.stop_reason, message.model], ['message', 'assistant', [], null, 'plain']);
  assert.ok(message.usage.input_tokens > 0);
  assert.deepEqual(events.at(-2).delta, { stop_reason: 'end_turn', stop_sequence: null });
});

test('iteration over the helper, and its request id', async () => {
  up.play(stream({ text: 'ab' }));
  const s = client.messages.stream(ASK);
  const { response, request_id } = await s.withResponse();
  let text = '';
  for await (const e of s) if (e.type === 'content_block_delta') text += e.delta.text;
  assert.equal(text, 'ab');
  assert.match(request_id, /^req_/);
  assert.equal(s.request_id, request_id);
  assert.match(response.headers.get('content-type'), /^text\/event-stream/);
});

test('a web stream of the answer, read by another program', async () => {
  up.play(stream({ text: ['a', 'b'] }));
  const again = (await client.messages.create({ ...ASK, stream: true })).toReadableStream();
  const lines = (await new Response(again).text()).trim().split('\n').map((l) => JSON.parse(l).type);
  assert.deepEqual([lines[0], lines.at(-1)], ['message_start', 'message_stop']);
});

test('partial tool input', async () => {
  const input = { path: '/tmp/ä b.txt', lines: [1, 2, 3], deep: { a: null } };
  up.play(stream({ text: 'Let me look.', calls: [call('call_1', 'read', input)] }));
  let json = '', snapshot;
  const partial = [];
  const m = await client.messages.stream({ ...ASK, tools: TOOLS }).on('inputJson', (piece, soFar) => {
    json += piece;
    partial.push(soFar);
    snapshot = soFar;
  }).finalMessage();
  assert.deepEqual([JSON.parse(json), snapshot], [input, input]);
  assert.ok(partial.length >= 2 && Object.keys(partial[0]).length < 3, 'it came in pieces');
  assert.deepEqual(kinds(m), ['text', 'tool_use']);
  assert.deepEqual([m.content[1].id, m.content[1].name, m.content[1].input, m.stop_reason], ['call_1', 'read', input, 'tool_use']);
});

test('parallel calls, their fragments interleaved', async () => {
  const open = (index, id) => ({ tool_calls: [{ index, id, type: 'function', function: { name: 'read', arguments: '' } }] });
  const part = (index, args) => ({ tool_calls: [{ index, function: { arguments: args } }] });
  up.play(stream({ first: [open(0, 'a'), open(1, 'b'), part(1, '{"n":'), part(0, '{"n"'), part(1, '2}'), part(0, ':1}')], finish: 'tool_calls' }));
  const open_blocks = new Set();
  const s = client.messages.stream({ ...ASK, tools: TOOLS }).on('streamEvent', (e) => {
    if (e.type === 'content_block_start') open_blocks.add(e.index);
    if (e.type === 'content_block_stop') open_blocks.delete(e.index);
    assert.ok(open_blocks.size <= 1, 'one block at a time');
  });
  assert.deepEqual((await s.finalMessage()).content.map((b) => [b.id, b.input]), [['a', { n: 1 }], ['b', { n: 2 }]]);
});

test('a call without arguments has the input {}', async () => {
  up.play(stream({ calls: [call('a', 'read', '')] }));
  assert.deepEqual((await client.messages.stream({ ...ASK, tools: TOOLS }).finalMessage()).content[0].input, {});
});

test('thinking and its signature', async () => {
  up.play(stream({ first: [{ reasoning_content: 'Let me ' }, { reasoning_content: 'think.' }], text: '42' }));
  let seen = '', signature;
  const m = await client.messages.stream({ ...ASK, model: 'deep', max_tokens: 4096, thinking: { type: 'enabled', budget_tokens: 2048 } })
    .on('thinking', (piece) => (seen += piece)).on('signature', (s) => (signature = s)).finalMessage();
  assert.equal(seen, 'Let me think.');
  assert.deepEqual(kinds(m), ['thinking', 'text']);
  assert.match(signature, /^cp1\./);
  assert.deepEqual([m.content[0].thinking, m.content[0].signature], [seen, signature]);
});

test('characters split over chunks', async () => {
  const text = 'Zwölf 🦊 füchse, 漢字 und e\u0301';
  const whole = Buffer.concat(stream({ text: [text], calls: [call('a', 'read', { 'schlüssel 🌍': text })] }).parts.map(Buffer.from));
  for (const size of [1, 7]) {
    const pieces = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) => whole.subarray(i * size, (i + 1) * size));
    up.play(answer(200, EVENTS, pieces));
    const m = await client.messages.stream({ ...ASK, tools: TOOLS }).finalMessage();
    assert.deepEqual([m.content[0].text, m.content[1].input], [text, { 'schlüssel 🌍': text }]);
  }
});

test('usage with cache fields, also of tokens written', async () => {
  up.play(stream({ text: 'ok', use: { ...usage(100, 7), prompt_tokens_details: { cached_tokens: 10, cache_write_tokens: 50 } } }));
  const { usage: u } = await client.messages.stream(ASK).finalMessage();
  assert.deepEqual([u.input_tokens, u.cache_read_input_tokens, u.cache_creation_input_tokens, u.output_tokens], [40, 10, 50, 7]);
});

test('abort ends the upstream request', async () => {
  up.play(endless());
  const s = client.messages.stream(ASK);
  let aborted;
  s.on('abort', (e) => (aborted = e)).on('text', () => s.abort());
  assert.ok((await failure(s.done())) instanceof Anthropic.APIUserAbortError);
  assert.ok(aborted instanceof Anthropic.APIUserAbortError && s.aborted);
  await within(5000, up.only.hungUp, 'the proxy hangs up');
});

test('breaking out of the loop ends the upstream request', async () => {
  up.play(endless());
  for await (const e of await client.messages.create({ ...ASK, stream: true })) if (e.type === 'content_block_delta') break;
  await within(5000, up.only.hungUp, 'the proxy hangs up');
});

test('a signal aborts before the first byte', async () => {
  up.play(stream({ text: 'late', delay: 10000 }));
  const control = new AbortController();
  const s = client.messages.stream(ASK, { signal: control.signal });
  const end = failure(s.done());
  while (up.seen.length === 0) await new Promise((r) => setTimeout(r, 10));
  control.abort();
  assert.ok((await end) instanceof Anthropic.APIUserAbortError);
  await within(5000, up.only.hungUp, 'the proxy hangs up');
});

test('a stream that is cut off', async () => {
  up.play(stream({ text: ['half of', ' it'], done: false, end: 'cut' }));
  const e = await failure(client.messages.stream(ASK).finalMessage());
  assert.ok(e instanceof Anthropic.APIError, e);
  assert.match(e.message, /closed the stream before the response was complete/);
  assert.equal(e.type, 'overloaded_error');              // no block was complete: clients send it again
  assert.match(e.requestID, /^req_/);
});

test('a stream that ends without finish_reason', async () => {
  up.play(stream({ text: ['half'], done: false }));
  assert.match((await failure(client.messages.stream(ASK).finalMessage())).message, /closed the stream/);
});

test('an error in the middle, with its words', async () => {
  up.play(answer(200, EVENTS, [sse(chunk({ content: 'par' })), sse({ error: { message: 'GPU fell off', code: 500 } })]));
  const got = [];
  const s = client.messages.stream(ASK).on('text', (t) => got.push(t)).on('error', (e) => got.push(e.constructor.name));
  const e = await failure(s.done());
  assert.deepEqual([got, e.error.type], [['par', 'APIError'], 'error']);
  assert.match(e.message, /GPU fell off/);
});

test('an error after a complete block is no invitation to send it again', async () => {
  up.play(stream({ text: 'I read.', calls: [call('a', 'read', { n: 1 }), call('b', 'read', '{"n": 2')], done: false, end: 'cut' }));
  const s = client.messages.stream({ ...ASK, tools: TOOLS });
  const closed = [];
  s.on('contentBlock', (b) => closed.push(b.id ?? b.type));
  const e = await failure(s.done());
  assert.equal(e.type, 'api_error');
  assert.deepEqual(closed, ['text', 'a'], 'the call without the end of its arguments is never closed');
});

test('an error before the first event is an HTTP error', async () => {
  up.play(error(429, 'slow down', { type: 'rate_limit_error' }));
  const e = await failure(client.messages.stream(ASK).finalMessage());
  assert.ok(e instanceof Anthropic.RateLimitError);
  assert.deepEqual([e.status, e.type], [429, 'rate_limit_error']);
});

test('the SDK sends a refused stream again', async () => {
  up.play(error(503, 'warming up', { headers: { 'retry-after': '0.05' } }), stream({ text: 'ok' }));
  const m = await connect(proxy, { maxRetries: 1 }).messages.stream(ASK).finalMessage();
  assert.deepEqual([texts(m), up.seen.length], [['ok'], 2]);
});
