// messages.create: one request, one answer.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { KEY, UPSTREAM_KEY } from '../harness/proxy.mjs';
import { either, usage, whole } from '../harness/upstream.mjs';
import { ASK, USER, connect, failure, stage, texts, within } from './setup.mjs';

const { up, proxy, client } = await stage();

test('a whole answer', async () => {
  up.play(whole({ text: 'Hello!', use: usage(12, 3) }));
  const m = await client.messages.create(ASK);
  assert.deepEqual([m.type, m.role, m.model, m.stop_reason, m.stop_sequence], ['message', 'assistant', 'plain', 'end_turn', null]);
  assert.deepEqual(texts(m), ['Hello!']);
  assert.deepEqual([m.usage.input_tokens, m.usage.output_tokens], [12, 3]);
  assert.match(m.id, /^msg_/);
  assert.equal(up.only.path, '/v1/chat/completions');
  assert.deepEqual([up.only.body.model, up.only.body.max_tokens, up.only.body.messages], ['remote-plain', 64, USER]);
  assert.ok(!up.only.body.stream);
});

test('keys stay on their side', async () => {
  up.play(whole({ text: 'ok' }));
  const { response } = await client.messages.create(ASK).withResponse();
  assert.equal(up.only.headers.authorization, `Bearer ${UPSTREAM_KEY}`);
  assert.ok(!(JSON.stringify(up.only.headers) + up.only.raw).includes(KEY));
  assert.ok(!JSON.stringify([...response.headers]).includes(UPSTREAM_KEY));
});

test('_request_id, withResponse and asResponse', async () => {
  up.play(whole({ text: 'ok' }));
  const { data, response, request_id } = await client.messages.create(ASK).withResponse();
  assert.match(request_id, /^req_/);
  assert.equal(data._request_id, request_id);
  assert.equal(response.headers.get('request-id'), request_id);
  assert.match(response.headers.get('content-type'), /^application\/json/);
  const raw = await client.messages.create(ASK).asResponse();
  assert.equal((await raw.json()).content[0].text, 'ok');
  assert.notEqual(raw.headers.get('request-id'), request_id);
});

test('a bearer token instead of a key', async () => {
  up.play(whole({ text: 'ok' }));
  const m = await connect(proxy, { apiKey: null, authToken: KEY }).messages.create(ASK);
  assert.deepEqual(texts(m), ['ok']);
});

test('system as text and as blocks', async () => {
  up.play(whole({ text: 'ok' }));
  await client.messages.create({ ...ASK, system: 'Be brief.' });
  await client.messages.create({ ...ASK, system: [
    { type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }, { type: 'text', text: 'Be kind.' }] });
  assert.deepEqual(up.seen.map((s) => s.body.messages[0]), [
    { role: 'system', content: 'Be brief.' }, { role: 'system', content: 'Be brief.\n\nBe kind.' }]);
});

test('a conversation keeps its roles and its order', async () => {
  up.play(whole({ text: 'ok' }));
  const messages = [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }, { role: 'user', content: [{ type: 'text', text: 'c' }] }];
  await client.messages.create({ ...ASK, messages });
  assert.deepEqual(up.only.body.messages, [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }, { role: 'user', content: 'c' }]);
});

test('stop sequences and sampling', async () => {
  up.play(whole({ text: 'one' }));
  const { response } = await client.messages.create({ ...ASK, stop_sequences: ['END', ' ', 'STOP'], temperature: 0.5, top_p: 0.9, top_k: 4 }).withResponse();
  const { stop, temperature, top_p, top_k } = up.only.body;
  assert.deepEqual([stop, temperature, top_p, top_k], [['END', 'STOP'], 0.5, 0.9, undefined]);
  assert.equal(response.headers.get('x-claude-proxy-warnings'), 'dropped:top_k');
});

for (const [finish, reason] of [['length', 'max_tokens'], ['content_filter', 'refusal'], ['stop', 'end_turn']]) {
  test(`finish_reason ${finish} is stop_reason ${reason}`, async () => {
    up.play(whole({ text: 'cut', finish }));
    assert.equal((await client.messages.create(ASK)).stop_reason, reason);
  });
}

test('usage: cached tokens are not counted twice', async () => {
  up.play(whole({ text: 'ok', use: usage(100, 7, 80, { completion_tokens_details: { reasoning_tokens: 3 } }) }));
  const { usage: u } = await client.messages.create(ASK);
  assert.deepEqual([u.input_tokens, u.cache_read_input_tokens, u.cache_creation_input_tokens, u.output_tokens], [20, 80, 0, 7]);
  assert.equal(u.output_tokens_details.thinking_tokens, 3);
});

test('usage: written cache tokens', async () => {
  up.play(whole({ text: 'ok', use: { ...usage(100, 7), prompt_tokens_details: { cached_tokens: 10, cache_write_tokens: 50 } } }));
  const { usage: u } = await client.messages.create(ASK);
  assert.deepEqual([u.input_tokens, u.cache_read_input_tokens, u.cache_creation_input_tokens], [40, 10, 50]);
});

test('a body of two megabytes', async () => {
  const long = 'äöü 🌍 line\n'.repeat(2 ** 21 / 17);
  assert.ok(Buffer.byteLength(long) > 2_000_000);
  up.play(whole({ text: long }));
  const m = await client.messages.create({ ...ASK, messages: [{ role: 'user', content: long }] });
  assert.ok(up.only.body.messages[0].content === long, 'the upstream got it as it was');
  assert.ok(m.content[0].text === long, 'it came back as it was');
});

test('anthropic-beta and anthropic-version headers of any value', async () => {
  up.play(whole({ text: 'ok' }));
  const headers = { 'anthropic-beta': 'context-1m-2025-08-07,no-such-beta-2031-01-01', 'anthropic-version': '2031-01-01' };
  assert.deepEqual(texts(await client.messages.create(ASK, { headers })), ['ok']);
  const m = await client.beta.messages.create({ ...ASK, betas: ['interleaved-thinking-2025-05-14', 'another-2031-01-01'] });
  assert.deepEqual(texts(m), ['ok']);
  assert.equal(up.seen.length, 2);
  assert.ok(up.seen.every((s) => !('anthropic-beta' in s.headers) && !('betas' in s.body)));
});

test('twenty at once, streamed and whole', async () => {
  up.play((seen) => either({ text: `re ${seen.body.messages[0].content}` })(seen));
  const ask = (i) => {
    const params = { ...ASK, messages: [{ role: 'user', content: `n${i}` }] };
    return i % 2 ? client.messages.create(params) : client.messages.stream(params).finalMessage();
  };
  const all = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(i)));
  assert.deepEqual(all.map((m) => m.content[0].text), Array.from({ length: 20 }, (_, i) => `re n${i}`));
});

test('max_tokens of zero calls nobody', async () => {
  const m = await client.messages.create({ ...ASK, max_tokens: 0 });
  assert.deepEqual([m.content, m.stop_reason, m.usage.output_tokens], [[], 'max_tokens', 0]);
  assert.deepEqual(up.seen, []);
});

test('an alias: the name that was asked for comes back', async () => {
  up.play(whole({ text: 'ok' }));
  const m = await client.messages.create({ ...ASK, model: 'claude-opus-5-20260901' });
  assert.deepEqual([m.model, up.only.body.model], ['claude-opus-5-20260901', 'remote-plain']);
});

test('a client without patience: the upstream request ends too', async () => {
  up.play(whole({ text: 'late', delay: 10000 }));
  assert.ok((await failure(client.messages.create(ASK, { timeout: 300 }))) instanceof Anthropic.APIConnectionTimeoutError);
  await within(5000, up.only.hungUp, 'the proxy hangs up');
});

test('a client that aborts: the upstream request ends too', async () => {
  up.play(whole({ text: 'late', delay: 10000 }));
  const control = new AbortController();
  const end = failure(client.messages.create(ASK, { signal: control.signal }));
  while (up.seen.length === 0) await new Promise((r) => setTimeout(r, 10));
  control.abort();
  assert.ok((await end) instanceof Anthropic.APIUserAbortError);
  await within(5000, up.only.hungUp, 'the proxy hangs up');
});
