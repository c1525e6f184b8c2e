// Images, documents, thinking, structured output.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { betaZodOutputFormat } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';

import { call, stream, whole } from '../harness/upstream.mjs';
import { ASK, USER, failure, kinds, stage, texts } from './setup.mjs';

const { up, client } = await stage();
const described = await stage({ vision_model: 'oai' });
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=';
const PDF = Buffer.from('%PDF-1.4 not much').toString('base64');
const text = (t) => ({ type: 'text', text: t });
const image = (source) => ({ type: 'image', source });
const png = image({ type: 'base64', media_type: 'image/png', data: PNG });
const pdf = { type: 'document', title: 'Bill', source: { type: 'base64', media_type: 'application/pdf', data: PDF } };
const user = (...content) => ({ ...ASK, messages: [{ role: 'user', content }] });
const THINK = { ...ASK, model: 'deep', max_tokens: 4000, thinking: { type: 'enabled', budget_tokens: 2000 }, tools: [{ name: 'clock', input_schema: { type: 'object' } }] };
const CITY = z.object({ city: z.string(), people: z.number() });

test('images', async () => {
  up.play(whole({ text: 'A cat.' }));
  await client.messages.create(user(text('What?'), png, image({ type: 'url', url: 'https://example.com/cat.jpg' })));
  assert.deepEqual(up.only.body.messages[0].content, [
    { type: 'text', text: 'What?' }, { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } },
    { type: 'image_url', image_url: { url: 'https://example.com/cat.jpg' } }]);
});

test('an image for a model without eyes is left out and said so', async () => {
  up.play(whole({ text: '?' }));
  const { response } = await client.messages.create({ ...user(text('What?'), png), model: 'blind' }).withResponse();
  assert.equal(up.only.body.messages[0].content, 'What?\n\n[image omitted: this model does not accept images]');
  assert.equal(response.headers.get('x-claude-proxy-warnings'), 'dropped:image');
});

test('an image in a tool result', async () => {
  up.play(whole({ text: 'ok' }));
  await client.messages.create({ ...ASK, messages: [...USER, { role: 'assistant', content: [{ type: 'tool_use', id: 'x', name: 'look', input: {} }] },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'x', content: [text('a picture'), png] }] }] });
  const [, , tool, after] = up.only.body.messages;
  assert.deepEqual([tool.role, after.role, after.content.filter((p) => p.type === 'image_url').length], ['tool', 'user', 1]);
  assert.match(tool.content, /a picture/);
});

test('a PDF, for an upstream that reads it and for one that does not', async () => {
  up.play(whole({ text: 'ok' }));
  await client.messages.create({ ...user(pdf, text('Sum up.')), model: 'oai' });
  const [file] = up.only.body.messages[0].content;
  assert.equal(file.type, 'file');
  assert.ok(file.file.file_data.includes(PDF));
  up.play(whole({ text: 'ok' }));
  const { response } = await client.messages.create(user(pdf, text('Sum up.'))).withResponse();
  assert.match(up.only.body.messages[0].content, /\[document omitted: Bill: PDF input is not supported by this upstream\]/);
  assert.equal(response.headers.get('x-claude-proxy-warnings'), 'dropped:document_pdf');
});

test('an image for a model without eyes: another one describes it, once', async () => {
  const { up, client } = described;
  up.play((seen) => (seen.body.model === 'oai' ? whole({ text: 'A cat.' }) : seen.body.stream ? stream({ text: 'I see.' }) : whole({ text: 'I see.' })));
  const asked = { ...user(text('What?'), png), model: 'blind' };
  const { data, response } = await client.messages.create(asked).withResponse();
  assert.equal(data.content[0].text, 'I see.');
  assert.equal(response.headers.get('x-claude-proxy-warnings'), 'degraded:image');
  assert.equal((await client.messages.stream(asked).finalMessage()).content[0].text, 'I see.');
  const [eye, first, second] = up.seen.map((r) => r.body);
  assert.equal(up.seen.length, 3);
  assert.equal(eye.messages[0].content[0].type, 'image_url');
  assert.match(first.messages[0].content, /<image_description>\nA cat\.\n<\/image_description>$/);
  assert.deepEqual(second.messages, first.messages);
});

test('thinking goes back, with its signature, where the upstream needs it', async () => {
  up.play(stream({ first: [{ reasoning_content: 'I need ' }, { reasoning_content: 'the time.' }], calls: [call('c1', 'clock', {})] }), whole({ text: 'Noon.' }));
  const m = await client.messages.stream(THINK).finalMessage();
  assert.deepEqual(kinds(m), ['thinking', 'tool_use']);
  await client.messages.create({ ...THINK, messages: [...USER, { role: 'assistant', content: m.content },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'c1', content: '12:00' }] }] });
  assert.equal(up.last.body.messages[1].reasoning_content, 'I need the time.');
  assert.deepEqual(up.seen[0].body.thinking, { type: 'enabled' });
});

test('thinking that is not to be shown goes back all the same', async () => {
  up.play(stream({ first: [{ reasoning_content: 'I need the time.' }], calls: [call('c1', 'clock', {})] }), whole({ text: 'Noon.' }));
  const params = { ...THINK, thinking: { type: 'adaptive', display: 'omitted' } };
  const m = await client.messages.stream(params).finalMessage();
  assert.deepEqual([kinds(m), m.content[0].thinking], [['thinking', 'tool_use'], '']);
  await client.messages.create({ ...params, messages: [...USER, { role: 'assistant', content: m.content },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'c1', content: '12:00' }] }] });
  assert.equal(up.last.body.messages[1].reasoning_content, 'I need the time.');
});

test('thinking of another server is not sent on', async () => {
  up.play(whole({ text: 'ok' }));
  const { response } = await client.messages.create({ ...THINK, messages: [
    ...USER, { role: 'assistant', content: [{ type: 'thinking', thinking: 'elsewhere', signature: 'EqQBCkYIBxgC' }, text('a')] }, { role: 'user', content: 'go on' }] }).withResponse();
  assert.ok(!up.only.raw.includes('elsewhere'));
  assert.match(response.headers.get('x-claude-proxy-warnings'), /dropped:foreign_thinking/);
});

test('reasoning that nobody asked for is not shown', async () => {
  up.play(whole({ text: '42', more: { reasoning_content: 'secret' } }));
  assert.deepEqual(texts(await client.messages.create({ ...ASK, model: 'deep' })), ['42']);
});

test('messages.parse with zod', async () => {
  up.play(whole({ text: '{"city":"Oslo","people":700000}' }));
  const m = await client.messages.parse({ ...ASK, model: 'oai', output_config: { format: zodOutputFormat(CITY) } });
  assert.deepEqual(m.parsed_output, { city: 'Oslo', people: 700000 });
  const { type, json_schema: { name, strict, schema } } = up.only.body.response_format;
  assert.deepEqual([type, name, strict, schema.required, schema.additionalProperties], ['json_schema', 'response', true, ['city', 'people'], false]);
});

test('beta structured output with zod, whole and streamed', async () => {
  const format = betaZodOutputFormat(CITY);
  up.play(whole({ text: '{"city":"Oslo","people":700000}' }), stream({ text: ['{"city":"Os', 'lo","people":7', '00000}'] }));
  const m = await client.beta.messages.parse({ ...ASK, output_format: format });
  const s = client.beta.messages.stream({ ...ASK, output_config: { format } });
  assert.deepEqual([m.parsed_output, (await s.finalMessage()).parsed_output], [{ city: 'Oslo', people: 700000 }, { city: 'Oslo', people: 700000 }]);
  assert.deepEqual(up.seen.map((x) => x.body.response_format.type), ['json_schema', 'json_schema']);
  assert.ok(up.seen.every((x) => !('output_format' in x.body) && !('output_config' in x.body)));
});

test('an answer that does not fit the schema is the SDK\'s to refuse', async () => {
  up.play(whole({ text: '{"city":5}' }));
  const e = await failure(client.messages.parse({ ...ASK, output_config: { format: zodOutputFormat(CITY) } }));
  assert.match(e.message, /parse structured output/);
});

test('structured output where only JSON mode exists', async () => {
  up.play(whole({ text: '{"city":"Oslo","people":1}' }));
  const m = await client.messages.parse({ ...ASK, model: 'deep', system: 'Be exact.', output_config: { format: zodOutputFormat(CITY) } });
  assert.equal(m.parsed_output.city, 'Oslo');
  assert.deepEqual(up.only.body.response_format, { type: 'json_object' });
  assert.match(up.only.body.messages[0].content, /^Be exact\.[^]*"people"/);
});
