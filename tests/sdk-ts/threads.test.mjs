// Message threads that the proxy keeps: the SDK sends what is new, the upstream sees all of it.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { z } from 'zod';

import { call, stream, whole } from '../harness/upstream.mjs';
import { ASK, USER, connect, failure, stage, texts } from './setup.mjs';

const { up, proxy } = await stage({ threads: { path: 'threads.redb' } });
const sent = [];
const client = connect(proxy, { fetch: (url, init) => (sent.push(init.body), fetch(url, init)) });
beforeEach(() => sent.splice(0));
const bodies = () => sent.map((raw) => JSON.parse(raw));
const roles = (seen) => seen.body.messages.map((m) => m.role);
const LONG = 'A long instruction that goes over the wire once. '.repeat(400);
const weather = betaZodTool({
  name: 'weather', description: 'of a city', inputSchema: z.object({ city: z.string() }), run: ({ city }) => `rain in ${city}`,
});

for (const streamed of [false, true]) {
  test(`the tool runner sends only what is new, ${streamed ? 'streamed' : 'whole'}`, async () => {
    const say = streamed ? stream : whole;
    up.play(say({ calls: [call('a', 'weather', { city: 'Oslo' }), call('b', 'weather', { city: 'Rome' })] }),
      say({ text: 'One more.', calls: [call('c', 'weather', { city: 'Bonn' })] }), say({ text: 'Rain everywhere.' }));
    const runner = client.beta.messages.toolRunner({ ...ASK, system: LONG, tools: [weather], stream: streamed });
    let final;
    if (streamed) for await (const s of runner) final = await s.finalMessage();
    else final = await runner;
    assert.deepEqual(texts(final), ['Rain everywhere.']);
    const [create, ...rest] = bodies();
    assert.deepEqual([create.thread, create.system], [{ type: 'create' }, LONG]);
    assert.equal(rest.length, 2);
    for (const body of rest) {
      assert.equal(body.thread.type, 'continue');
      assert.ok(body.messages.length === 1 && !('system' in body) && !('tools' in body));
      assert.ok(JSON.stringify(body).length < 1000);
    }
    assert.deepEqual(up.seen.map(roles), [['system', 'user'], ['system', 'user', 'assistant', 'tool', 'tool'],
      ['system', 'user', 'assistant', 'tool', 'tool', 'assistant', 'tool']]);
    const prompts = up.seen.map((s) => JSON.stringify(s.body.messages).slice(0, -1));
    assert.ok(prompts[1].startsWith(prompts[0]) && prompts[2].startsWith(prompts[1]), 'what was said before keeps its bytes');
    assert.ok(up.seen.every((s) => s.body.tools.length === 1));
  });
}

test('the upstream sees what it sees of full histories', async () => {
  const runs = [];
  for (const more of [{}, { thread: false }]) {
    up.play(whole({ calls: [call('a', 'weather', { city: 'Ålesund "2"' })] }), whole({ text: 'Rain.' }));
    await client.beta.messages.toolRunner({ ...ASK, tools: [weather], ...more });
    runs.push(up.seen.map((s) => s.body));
  }
  assert.deepEqual(runs[0], runs[1]);
  assert.equal(bodies().filter((b) => b.thread).length, 2);
});

test('a message thread', async () => {
  up.play(whole({ text: 'Hello.' }), whole({ text: 'Fine.' }));
  const thread = client.beta.messages.thread({ model: 'plain', max_tokens: 64, system: 'Be brief.' });
  assert.deepEqual(texts(await thread.send({ role: 'user', content: 'Hi' })), ['Hello.']);
  assert.deepEqual(texts(await thread.send({ role: 'user', content: 'How are you?' })), ['Fine.']);
  assert.deepEqual(bodies().map((b) => b.messages.length), [1, 1]);
  assert.deepEqual(roles(up.last), ['system', 'user', 'assistant', 'user']);
});

test('errors have the types of the SDK', async () => {
  const ask = (thread, more) => client.beta.messages.create({ ...ASK, messages: USER, thread, betas: ['message-threads-2026-08-12'], ...more });
  const lost = await failure(ask({ type: 'continue', previous_message_id: 'msg_01never' }));
  assert.deepEqual([lost.status, lost.constructor.name], [404, 'ThreadNotFoundError']);
  up.play(whole({ text: 'Hello.' }));
  const first = await ask({ type: 'create' }, { system: 'Be brief.' });
  const changed = await failure(ask({ type: 'continue', previous_message_id: first.id }, { system: 'Be long.' }));
  assert.deepEqual([changed.status, changed.constructor.name], [400, 'ThreadFingerprintMismatchError']);
});
