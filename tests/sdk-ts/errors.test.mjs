// What a program sees when something fails: class, status, type, words, headers; retries and clocks.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { KEY, UPSTREAM_KEY, freePort } from '../harness/proxy.mjs';
import { EVENTS, answer, chunk, error, sse, whole } from '../harness/upstream.mjs';
import { ASK, IDS, connect, failure, stage, texts } from './setup.mjs';

const { up, proxy, client } = await stage();
const strict = await stage({ upstream_timeout_seconds: 1, stream_idle_timeout_seconds: 1, max_body_bytes: 100000 });

for (const [status, name, seen, type] of [
  [400, 'BadRequestError', 400, 'invalid_request_error'],
  [401, 'AuthenticationError', 401, 'authentication_error'],
  [402, 'PaymentRequiredError', 402, 'billing_error'],
  [403, 'PermissionDeniedError', 403, 'permission_error'],
  [404, 'NotFoundError', 404, 'not_found_error'],
  [408, 'GatewayTimeoutError', 504, 'timeout_error'],
  [409, 'ConflictError', 409, 'conflict_error'],
  [413, 'ContentTooLargeError', 413, 'request_too_large'],
  [422, 'BadRequestError', 400, 'invalid_request_error'],
  [429, 'RateLimitError', 429, 'rate_limit_error'],
  [500, 'InternalServerError', 500, 'api_error'],
  [502, 'InternalServerError', 502, 'api_error'],
  [503, 'OverloadedError', 529, 'overloaded_error'],
  [504, 'GatewayTimeoutError', 504, 'timeout_error'],
  [529, 'OverloadedError', 529, 'overloaded_error'],
]) {
  test(`upstream ${status} is ${name}`, async () => {
    up.play(error(status, `upstream words ${status}`));
    const e = await failure(client.messages.create(ASK));
    assert.equal(e.constructor.name, name);
    assert.ok(e instanceof Anthropic.APIError);
    assert.deepEqual([e.status, e.type, e.error.type], [seen, type, 'error']);
    assert.match(e.apiMessage, new RegExp(`upstream words ${status}`));
    assert.match(e.requestID, /^req_/);
    assert.equal(e.error.request_id, e.requestID);
    assert.equal(e.headers.get('request-id'), e.requestID);
    // The proxy tries some of them once more itself.
    assert.ok(up.seen.length === 1 || (up.seen.length === 2 && [502, 503, 529].includes(status)), `${up.seen.length}`);
  });
}

test('a refused upstream key: whose it was, without the key', async () => {
  up.play(error(401, 'Incorrect API key provided'));
  const { apiMessage } = await failure(client.messages.create(ASK));
  assert.match(apiMessage, /house/);
  assert.ok(!/x-api-key/i.test(apiMessage) && !apiMessage.includes(UPSTREAM_KEY));
});

test('a wrong key of the client', async () => {
  const e = await failure(connect(proxy, { apiKey: 'wrong' }).messages.create(ASK));
  assert.ok(e instanceof Anthropic.AuthenticationError);
  assert.equal(e.type, 'authentication_error');
  assert.ok(!e.message.includes(KEY));
  assert.deepEqual(up.seen, []);
});

test('an unknown model: the known ones are named', async () => {
  const e = await failure(client.messages.create({ ...ASK, model: 'no-such' }));
  assert.ok(e instanceof Anthropic.NotFoundError);
  for (const id of ['no-such', ...IDS]) assert.ok(e.apiMessage.includes(id), id);
});

for (const [what, messages, where] of [
  ['a block without text', [{ role: 'user', content: [{ type: 'text' }] }], 'messages.0.content.0'],
  ['content that is a number', [{ role: 'user', content: 5 }], 'messages.0.content'],
  ['an unknown role', [{ role: 'nobody', content: 'x' }], 'messages.0.role'],
]) {
  test(`an invalid request names the place: ${what}`, async () => {
    const e = await failure(client.messages.create({ ...ASK, messages }));
    assert.ok(e instanceof Anthropic.BadRequestError);
    assert.ok(e.apiMessage.includes(where), e.apiMessage);
    assert.deepEqual(up.seen, []);
  });
}

test('a body above the limit', async () => {
  const e = await failure(strict.client.messages.create({ ...ASK, messages: [{ role: 'user', content: 'x'.repeat(150000) }] }));
  assert.deepEqual([e.constructor.name, e.status, e.type], ['ContentTooLargeError', 413, 'request_too_large']);
  assert.deepEqual(strict.up.seen, []);
});

test('a context overflow in the words of the API', async () => {
  up.play(error(400, "This model's maximum context length is 1000 tokens. However, your messages resulted in 1009 tokens.", { code: 'context_length_exceeded' }));
  assert.equal((await failure(client.messages.create(ASK))).apiMessage, 'prompt is too long: 1009 tokens > 1000 maximum');
});

test('an HTML error page of a gateway', async () => {
  up.play(answer(502, { 'content-type': 'text/html' }, ['<html><h1>Bad Gateway</h1></html>']));
  const e = await failure(client.messages.create(ASK));
  assert.deepEqual([e.status, e.type], [502, 'api_error']);
  assert.ok(!e.message.includes('<html>'));
});

test('retries: as often as allowed, then the last error', async () => {
  up.play(error(500, 'first', { headers: { 'retry-after-ms': '20' } }), error(529, 'second', { headers: { 'retry-after-ms': '20' } }), whole({ text: 'ok' }));
  assert.deepEqual(texts(await connect(proxy, { maxRetries: 2 }).messages.create(ASK)), ['ok']);
  assert.equal(up.seen.length, 3);
  up.play(error(500, 'again', { headers: { 'retry-after-ms': '20' } }));
  assert.equal((await failure(connect(proxy, { maxRetries: 1 }).messages.create(ASK))).status, 500);
  assert.equal(up.seen.length, 2);
});

test('retries: what a client did wrong is not sent again', async () => {
  for (const status of [400, 401, 403, 404, 413, 422]) {
    up.play(error(status));
    await failure(connect(proxy, { maxRetries: 2 }).messages.create(ASK));
    assert.equal(up.seen.length, 1, String(status));
  }
});

test('retry-after is handed on and waited for', async () => {
  up.play(error(429, 'slow down', { headers: { 'retry-after': '1' } }), whole({ text: 'ok' }));
  const start = performance.now();
  assert.deepEqual(texts(await connect(proxy, { maxRetries: 1 }).messages.create(ASK)), ['ok']);
  assert.ok(performance.now() - start >= 950 && up.seen.length === 2);
  up.play(error(429, 'slow down', { headers: { 'retry-after': '7' } }));
  assert.equal((await failure(client.messages.create(ASK))).headers.get('retry-after'), '7');
});

test('x-should-retry: an empty account is not asked again', async () => {
  up.play(error(429, 'You exceeded your current quota', { type: 'insufficient_quota', code: 'insufficient_quota' }));
  const e = await failure(connect(proxy, { maxRetries: 2 }).messages.create(ASK));
  assert.ok(e instanceof Anthropic.RateLimitError);
  assert.equal(e.headers.get('x-should-retry'), 'false');
  assert.equal(up.seen.length, 1);
});

test('an upstream that is slow', async () => {
  strict.up.play(whole({ text: 'late', delay: 10000 }));
  const e = await failure(strict.client.messages.create(ASK));
  assert.deepEqual([e.constructor.name, e.status, e.type], ['GatewayTimeoutError', 504, 'timeout_error']);
});

test('a silent stream ends with an error', async () => {
  strict.up.play(answer(200, EVENTS, [sse(chunk({ content: 'a' })), sse(chunk({ content: 'b' }))], { pause: 6000 }));
  const e = await failure(strict.client.messages.stream(ASK).finalMessage());
  assert.ok(e instanceof Anthropic.APIError);
  assert.ok(['overloaded_error', 'timeout_error'].includes(e.type), e.type);
});

test('an upstream that is down, one that hangs up, one that stops in the middle', async () => {
  const e = await failure(client.messages.create({ ...ASK, model: 'dead' }));
  assert.deepEqual([e.constructor.name, e.status, e.type], ['InternalServerError', 502, 'api_error']);
  for (const a of [answer(200, {}, [], { end: 'none' }), answer(200, { 'content-type': 'application/json' }, ['{"choices":[{"ind'], { end: 'cut' })]) {
    up.play(a);
    assert.equal((await failure(client.messages.create(ASK))).status, 502);
  }
});

test('nobody listens', async () => {
  const e = await failure(connect({ url: `http://127.0.0.1:${await freePort()}` }).messages.create(ASK));
  assert.ok(e instanceof Anthropic.APIConnectionError);
});
