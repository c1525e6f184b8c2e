// Tools: a program's own loop, the beta tool runner, threads.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import { z } from 'zod';

import { call, stream, whole } from '../harness/upstream.mjs';
import { ASK, USER, connect, failure, stage, texts } from './setup.mjs';

const { up, proxy, client } = await stage();
const WEATHER = { name: 'weather', description: 'of a city', input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } };
const CLOCK = { name: 'clock', input_schema: { type: 'object' } };
const roles = (seen) => seen.body.messages.map((m) => m.role);
const results = (seen) => seen.body.messages.filter((m) => m.role === 'tool').map((m) => [m.tool_call_id, m.content]);
const zodWeather = (cities) => betaZodTool({
  name: 'weather', description: 'of a city', inputSchema: z.object({ city: z.string() }),
  run: ({ city }) => (cities.push(city), `rain in ${city}`),
});

test('a loop of three turns', async () => {
  up.play(whole({ calls: [call('call_1', 'weather', { city: 'Oslo' })] }),
    whole({ text: 'Now the time.', calls: [call('call_2', 'clock', {})] }), whole({ text: 'Rain at noon.' }));
  const messages = [...USER];
  let m;
  for (const result of ['rain', 'noon', null]) {
    m = await client.messages.create({ ...ASK, messages, tools: [WEATHER, CLOCK] });
    if (m.stop_reason !== 'tool_use') break;
    const use = m.content.find((b) => b.type === 'tool_use');
    messages.push({ role: 'assistant', content: m.content }, { role: 'user', content: [{ type: 'tool_result', tool_use_id: use.id, content: result }] });
  }
  assert.deepEqual([m.stop_reason, texts(m)], ['end_turn', ['Rain at noon.']]);
  assert.deepEqual(roles(up.last), ['user', 'assistant', 'tool', 'assistant', 'tool']);
  assert.deepEqual(up.last.body.messages[1].tool_calls[0].function, { name: 'weather', arguments: '{"city":"Oslo"}' });
  assert.deepEqual(results(up.last), [['call_1', 'rain'], ['call_2', 'noon']]);
  assert.deepEqual(up.last.body.messages.slice(0, 3), up.seen[1].body.messages, 'what was said before stays as it was');
});

test('results of parallel calls go up in the order of the calls', async () => {
  up.play(whole({ calls: [call('a', 'weather', { city: 'Oslo' }), call('b', 'weather', { city: 'Rome' })] }), whole({ text: 'done' }));
  const m = await client.messages.create({ ...ASK, tools: [WEATHER] });
  assert.deepEqual(m.content.map((b) => [b.type, b.id, b.input.city]), [['tool_use', 'a', 'Oslo'], ['tool_use', 'b', 'Rome']]);
  await client.messages.create({ ...ASK, tools: [WEATHER], messages: [...USER, { role: 'assistant', content: m.content }, { role: 'user', content: [
    { type: 'tool_result', tool_use_id: 'b', content: [{ type: 'text', text: 'sun' }] },
    { type: 'tool_result', tool_use_id: 'a', content: 'no network', is_error: true }, { type: 'text', text: 'Go on.' }] }] });
  assert.deepEqual(roles(up.last), ['user', 'assistant', 'tool', 'tool', 'user']);
  assert.deepEqual(up.last.body.messages.slice(2).map((x) => x.content), ['Error: no network', 'sun', 'Go on.']);
});

test('definitions and tool_choice', async () => {
  up.play(whole({ text: 'ok' }));
  for (const tool_choice of [undefined, { type: 'auto' }, { type: 'any', disable_parallel_tool_use: true }, { type: 'tool', name: 'clock' }, { type: 'none' }]) {
    await client.messages.create({ ...ASK, tools: [{ ...WEATHER, cache_control: { type: 'ephemeral' } }, CLOCK], tool_choice });
  }
  assert.deepEqual(up.seen[0].body.tools.map((t) => t.function), [
    { name: 'weather', description: 'of a city', parameters: WEATHER.input_schema }, { name: 'clock', parameters: { type: 'object', properties: {} } }]);
  assert.deepEqual(up.seen.map((s) => s.body.tool_choice), [undefined, 'auto', 'required', { type: 'function', function: { name: 'clock' } }, 'none']);
  assert.equal(up.seen[2].body.parallel_tool_calls, false);
});

test('numbers beyond what a double holds keep their digits, both ways', async () => {
  const args = '{"id":9007199254740993123,"price":1.10,"tiny":1e-7}';
  up.play(whole({ calls: [call('a', 'weather', args)] }));
  assert.match(await (await client.messages.create({ ...ASK, tools: [WEATHER] }).asResponse()).text(), /"id":9007199254740993123[,}]/);
  up.play(stream({ calls: [call('a', 'weather', args)] }));
  let json = '';
  await client.messages.stream({ ...ASK, tools: [WEATHER] }).on('inputJson', (piece) => (json += piece)).done();
  assert.equal(json, args);
  up.play(whole({ text: 'ok' }));
  const exact = connect(proxy, { fetch: (url, init) => fetch(url, { ...init, body: init.body.replace('"DIGITS"', '9007199254740993123') }) });
  await exact.messages.create({ ...ASK, messages: [...USER, { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'weather', input: { id: 'DIGITS' } }] },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: 'ok' }] }] });
  assert.equal(up.only.body.messages[1].tool_calls[0].function.arguments, '{"id":9007199254740993123}');
});

test('a name that is too long for the upstream comes back as it was', async () => {
  const name = 'mcp__a-very-long-server-name-that-somebody-chose__and_a_tool_name_beyond_all_limits_x';
  up.play((seen) => {
    const sent = seen.body.tools[0].function.name;
    assert.ok(sent.length <= 64);
    return stream({ calls: [call('c', sent, {})] });
  });
  const m = await client.messages.stream({ ...ASK, tools: [{ name, input_schema: { type: 'object' } }] }).finalMessage();
  assert.equal(m.content[0].name, name);
});

test('broken arguments are an error, not a call', async () => {
  up.play(whole({ calls: [call('c', 'weather', '{"city": "Os')] }));
  const e = await failure(client.messages.create({ ...ASK, tools: [WEATHER] }));
  assert.ok(e instanceof Anthropic.InternalServerError);
  assert.match(e.apiMessage, /weather/);
});

test('thread is refused in the words that the SDK knows', async () => {
  const e = await failure(client.beta.messages.create({ ...ASK, thread: { type: 'create' } }));
  assert.ok(e instanceof Anthropic.BadRequestError && e.constructor.name === 'ThreadUnsupportedRequestError', e.constructor.name);
  assert.deepEqual(e.details, { error_code: 'thread_unsupported_request', unsupported: ['thread'] });
  assert.deepEqual(up.seen, []);
});

test('the tool runner goes on with full histories', async () => {
  const cities = [];
  up.play(whole({ calls: [call('a', 'weather', { city: 'Oslo' }), call('b', 'weather', { city: 'Rome' })] }),
    whole({ calls: [call('c', 'weather', { city: 'Bonn' })] }), whole({ text: 'Rain everywhere.' }));
  const final = await client.beta.messages.toolRunner({ ...ASK, tools: [zodWeather(cities)] });
  assert.deepEqual(texts(final), ['Rain everywhere.']);
  assert.deepEqual(cities.sort(), ['Bonn', 'Oslo', 'Rome']);
  assert.equal(up.seen.length, 3, 'the refused thread request never went up');
  assert.ok(up.seen.every((s) => !('thread' in s.body) && s.body.tools.length === 1));
  assert.deepEqual(roles(up.last), ['user', 'assistant', 'tool', 'tool', 'assistant', 'tool']);
  assert.deepEqual(results(up.last), [['a', 'rain in Oslo'], ['b', 'rain in Rome'], ['c', 'rain in Bonn']]);
});

test('the tool runner, streamed, its tools started while the answer still comes', async () => {
  const cities = [], heard = [];
  up.play(stream({ text: 'Looking.', calls: [call('a', 'weather', { city: 'Oslo' }), call('b', 'weather', { city: 'Rome' })] }), stream({ text: ['It ', 'rains.'] }));
  for await (const s of client.beta.messages.toolRunner({ ...ASK, tools: [zodWeather(cities)], stream: true, runToolsEagerly: true })) {
    s.on('text', (t) => heard.push(t));
    await s.done();
  }
  assert.equal(heard.join(''), 'Looking.It rains.');
  assert.deepEqual(cities, ['Oslo', 'Rome']);
  assert.deepEqual(results(up.last), [['a', 'rain in Oslo'], ['b', 'rain in Rome']]);
});

test('the tool runner: a tool that fails, input that does not fit', async () => {
  const broken = betaTool({ ...WEATHER, inputSchema: WEATHER.input_schema, run: () => { throw new Error('no network'); } });
  up.play(whole({ calls: [call('a', 'weather', { city: 'Oslo' })] }), whole({ text: 'Sorry.' }));
  assert.deepEqual(texts(await client.beta.messages.toolRunner({ ...ASK, tools: [broken] })), ['Sorry.']);
  assert.match(results(up.last)[0][1], /^Error: .*no network/);
  up.play(whole({ calls: [call('a', 'weather', { town: 'Oslo' })] }), whole({ text: 'Sorry.' }));
  assert.deepEqual(texts(await client.beta.messages.toolRunner({ ...ASK, tools: [zodWeather([])] })), ['Sorry.']);
  assert.match(results(up.last)[0][1], /city/);
});

test('the tool runner stops at max_iterations', async () => {
  up.play(whole({ calls: [call('a', 'weather', { city: 'Oslo' })] }));
  const m = await client.beta.messages.toolRunner({ ...ASK, tools: [zodWeather([])], max_iterations: 2 });
  assert.deepEqual([m.stop_reason, up.seen.length], ['tool_use', 2]);
});

test('a message thread goes on without one', async () => {
  up.play(whole({ text: 'Hello.' }), whole({ text: 'Fine.' }));
  const thread = client.beta.messages.thread({ model: 'plain', max_tokens: 64, system: 'Be brief.', unsupportedRequestBehavior: 'continue_unthreaded' });
  assert.deepEqual(texts(await thread.send({ role: 'user', content: 'Hi' })), ['Hello.']);
  assert.deepEqual(texts(await thread.send({ role: 'user', content: 'How are you?' })), ['Fine.']);
  assert.deepEqual(up.last.body.messages, [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Hello.' }, { role: 'user', content: 'How are you?' }]);
});

test('a system message within the conversation', async () => {
  up.play(whole({ text: 'ok' }));
  await client.beta.messages.create({ ...ASK, messages: [...USER, { role: 'system', content: 'Now in French.' }] });
  assert.deepEqual(up.only.body.messages, [{ role: 'user', content: 'hi\n\n<system-reminder>\nNow in French.\n</system-reminder>' }]);
});
