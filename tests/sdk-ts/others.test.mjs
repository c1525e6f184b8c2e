// models and count_tokens, answered by the proxy itself; endpoints that it does not have.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic, { toFile } from '@anthropic-ai/sdk';

import { ASK, IDS, USER, connect, failure, stage } from './setup.mjs';

const { up, proxy, client } = await stage();

test('models.list', async () => {
  const page = await client.models.list();
  assert.deepEqual(page.data.map((m) => m.id), IDS);
  assert.deepEqual([page.has_more, page.first_id, page.last_id, page.hasNextPage()], [false, IDS[0], IDS.at(-1), false]);
  for (const m of page.data) {
    assert.equal(m.type, 'model');
    assert.ok(!Number.isNaN(Date.parse(m.created_at)), m.created_at);
  }
  assert.deepEqual(page.data.slice(0, 2).map((m) => m.display_name), ['Plain', 'blind']);
  assert.deepEqual(up.seen, []);
});

test('models.list: the SDK turns the pages, forwards and backwards', async () => {
  const first = await client.models.list({ limit: 2 });
  assert.deepEqual([first.data.map((m) => m.id), first.has_more], [IDS.slice(0, 2), true]);
  const ids = [];
  for await (const m of client.models.list({ limit: 2 })) ids.push(m.id);
  assert.deepEqual(ids, IDS);
  const back = await client.models.list({ limit: 2, before_id: IDS[4] });
  assert.deepEqual(back.data.map((m) => m.id), IDS.slice(2, 4));
  const before = [];
  for await (const m of client.models.list({ limit: 2, before_id: IDS[4] })) before.push(m.id);
  assert.deepEqual(before.sort(), IDS.slice(0, 4).sort());
});

test('models.retrieve', async () => {
  const m = await client.models.retrieve('plain');
  assert.deepEqual([m.id, m.display_name, m.type], ['plain', 'Plain', 'model']);
  assert.match(m._request_id, /^req_/);
  assert.ok((await failure(client.models.retrieve('no-such'))) instanceof Anthropic.NotFoundError);
  assert.equal((await client.beta.models.retrieve('plain')).id, 'plain');
});

test('countTokens', async () => {
  const count = async (more) => (await client.messages.countTokens({ model: 'plain', messages: USER, ...more })).input_tokens;
  const short = await count({}), long = await count({ messages: [{ role: 'user', content: 'The quick brown fox jumps over the lazy dog. '.repeat(100) }] });
  assert.ok(short >= 1 && short <= 20, String(short));
  assert.ok(long >= 900 && long <= 1200, String(long));
  assert.ok((await count({ system: 'Be brief and kind.' })) > short);
  assert.ok((await count({ tools: [{ name: 'weather', description: 'of a city', input_schema: { type: 'object', properties: { city: { type: 'string' } } } }] })) > short + 10);
  assert.ok((await client.beta.messages.countTokens({ model: 'plain', messages: USER })).input_tokens === short);
  assert.ok((await failure(client.messages.countTokens({ model: 'no-such', messages: USER }))) instanceof Anthropic.NotFoundError);
  assert.deepEqual(up.seen, []);
});

test('countTokens, twenty-five at once', async () => {
  const all = await Promise.all(Array.from({ length: 25 }, () => client.messages.countTokens({ model: 'plain', messages: USER, tools: [] })));
  assert.equal(new Set(all.map((c) => c.input_tokens)).size, 1);
});

for (const [what, ask] of [
  ['batches.create', (c) => c.messages.batches.create({ requests: [{ custom_id: 'a', params: ASK }] })],
  ['batches.list', (c) => c.messages.batches.list()],
  ['batches.retrieve', (c) => c.messages.batches.retrieve('msgbatch_1')],
  ['batches.cancel', (c) => c.messages.batches.cancel('msgbatch_1')],
  ['batches.delete', (c) => c.messages.batches.delete('msgbatch_1')],
  ['files.list', (c) => c.beta.files.list()],
  ['files.upload', async (c) => c.beta.files.upload({ file: await toFile(Buffer.from('hello'), 'a.txt', { type: 'text/plain' }) })],
  ['files.download', (c) => c.beta.files.download('file_1')],
  ['files.delete', (c) => c.beta.files.delete('file_1')],
  ['skills.list', (c) => c.beta.skills.list()],
]) {
  test(`${what} does not exist here`, async () => {
    const e = await failure(ask(client));
    assert.ok(e instanceof Anthropic.NotFoundError, `${e.constructor.name}: ${e.message}`);
    assert.deepEqual([e.type, e.error.type], ['not_found_error', 'error']);
    assert.match(e.requestID, /^req_/);
    assert.deepEqual(up.seen, []);
  });
}

test('a base URL that ends in /v1', async () => {
  assert.deepEqual((await connect({ url: `${proxy.url}/v1` }).models.list()).data.map((m) => m.id), IDS);
});
