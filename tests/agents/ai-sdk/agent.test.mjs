// The Vercel AI SDK's agent on its Anthropic provider, whose base URL ends in /v1.
import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';

import { createAnthropic } from '@ai-sdk/anthropic';
import { Output, ToolLoopAgent, tool } from 'ai';
import { z } from 'zod';

import { KEY, Proxy, provider } from '../../harness/proxy.mjs';
import { Upstream, call, error, stream, usage, whole } from '../../harness/upstream.mjs';

const up = await new Upstream().start();
const proxy = await new Proxy().start({ ak: KEY, providers: [
  provider(up.url, [{ id: 'plain', remote_id: 'remote-plain' }], { profile: 'generic', name: 'house' }),
  provider(up.url, [{ id: 'deep' }], { profile: 'deepseek' }),
] });
after(async () => {
  up.stop();
  await proxy.stop();
});
beforeEach(() => up.play());

globalThis.AI_SDK_LOG_WARNINGS = false;
const anthropic = createAnthropic({ baseURL: `${proxy.url}/v1`, apiKey: KEY });
const agent = (ran = [], model = 'plain', more = {}) => new ToolLoopAgent({
  model: anthropic(model), instructions: 'Be brief.', maxOutputTokens: 4000, maxRetries: 0, ...more,
  tools: { weather: tool({ description: 'of a city', inputSchema: z.object({ city: z.string() }), execute: ({ city }) => (ran.push(city), `rain in ${city}`) }) },
});

async function run(a, prompt) {
  const result = await a.stream({ prompt });
  const parts = [];
  for await (const part of result.fullStream) parts.push(part);
  const of = (type) => parts.filter((p) => p.type === type);
  return { result, of };
}

test('a tool loop', async () => {
  up.play(stream({ text: ['Let me ', 'look.'], calls: [call('a', 'weather', { city: 'Oslo' }), call('b', 'weather', { city: 'Rome' })] }),
    stream({ text: ['It ', 'rains ☔.'], use: usage(30, 5, 10) }));
  const ran = [];
  const { result, of } = await run(agent(ran), 'Weather?');
  assert.equal(of('text-delta').map((p) => p.text).join(''), 'Let me look.It rains ☔.');
  assert.equal(of('tool-input-delta').map((p) => p.delta).join(''), '{"city":"Oslo"}{"city":"Rome"}');
  assert.deepEqual(of('tool-result').map((p) => p.output), ['rain in Oslo', 'rain in Rome']);
  assert.deepEqual([of('error'), ran, await result.text, await result.finishReason], [[], ['Oslo', 'Rome'], 'It rains ☔.', 'stop']);
  const total = await result.totalUsage;
  assert.deepEqual([total.inputTokens, total.inputTokenDetails.cacheReadTokens, total.outputTokens], [50, 10, 10]);
  const [first, second] = up.seen.map((s) => s.body);
  assert.deepEqual([first.model, first.stream, first.tools[0].function.name], ['remote-plain', true, 'weather']);
  assert.deepEqual(first.messages, [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Weather?' }]);
  assert.deepEqual([second.messages.slice(0, 2), second.tools], [first.messages, first.tools]);
  assert.deepEqual(second.messages.slice(2), [
    { role: 'assistant', content: 'Let me look.', tool_calls: [call('a', 'weather', { city: 'Oslo' }), call('b', 'weather', { city: 'Rome' })] },
    { role: 'tool', tool_call_id: 'a', content: 'rain in Oslo' }, { role: 'tool', tool_call_id: 'b', content: 'rain in Rome' }]);
});

test('thinking goes back', async () => {
  up.play(stream({ first: [{ reasoning_content: 'I must ' }, { reasoning_content: 'look.' }], calls: [call('a', 'weather', { city: 'Oslo' })] }), stream({ text: 'Rain.' }));
  const thinking = { providerOptions: { anthropic: { thinking: { type: 'enabled', budgetTokens: 2000 } } } };
  const { result, of } = await run(agent([], 'deep', thinking), 'Weather?');
  assert.equal(of('reasoning-delta').map((p) => p.text).join(''), 'I must look.');
  assert.equal(await result.text, 'Rain.');
  assert.equal(up.last.body.messages[2].reasoning_content, 'I must look.');
});

test('structured output', async () => {
  const args = { city: 'Oslo', people: 700000 };
  up.play((seen) => (seen.body.response_format ? whole({ text: JSON.stringify(args) }) : whole({ calls: [call('c', seen.body.tools.at(-1).function.name, args)] })));
  const output = Output.object({ schema: z.object({ city: z.string(), people: z.number() }) });
  const a = new ToolLoopAgent({ model: anthropic('plain'), output, maxRetries: 0 });
  assert.deepEqual((await a.generate({ prompt: 'Where?' })).output, args);
});

test('a refused key names the provider', async () => {
  up.play(error(401, 'bad key'));
  await assert.rejects(agent().generate({ prompt: 'Weather?' }), (e) => e.statusCode === 401 && /house/.test(e.message));
});

test('a stream that dies runs no half call', async () => {
  up.play(stream({ calls: [call('a', 'weather', { city: 'Oslo' }), call('b', 'weather', '{"city": "Ro')], done: false, end: 'cut' }));
  const ran = [];
  const { of } = await run(agent(ran), 'Weather?');
  assert.equal(of('error').length, 1);
  assert.ok(!ran.includes('Ro'), String(ran));
});
