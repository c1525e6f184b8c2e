// Web search: the proxy carries it out, the SDK's accumulator reads what comes of it.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { Upstream, answer, call, stream, whole } from '../harness/upstream.mjs';
import { ASK, USER, kinds, stage } from './setup.mjs';

const SEARCH = { type: 'web_search_20250305', name: 'web_search', max_uses: 3 };
const HITS = [{ title: 'Rust 1.99', url: 'https://blog.example.org/rust', content: 'It is fast & safe.' }];
const service = await new Upstream().start();
service.play(answer(200, { 'content-type': 'application/json' }, [JSON.stringify({ results: HITS })]));
after(() => service.stop());
const { up, client } = await stage({ web_search: { provider: 'searxng', base_url: service.url } });

const SAYS = 'Rust 1.99 is out: [Rust](https://blog.example.org/rust).';
const rounds = (seen) => {
  const told = seen.body.messages.some((m) => m.role === 'tool');
  const said = told ? { text: SAYS } : { text: 'I look.', calls: [call('call_1', 'web_search', { query: 'rust' })] };
  return (seen.body.stream ? stream : whole)(said);
};

function check(m) {
  assert.deepEqual(kinds(m), ['text', 'server_tool_use', 'web_search_tool_result', 'text']);
  const [, use, found, last] = m.content;
  assert.deepEqual([use.name, use.input, found.tool_use_id], ['web_search', { query: 'rust' }, use.id]);
  assert.deepEqual([found.content[0].url, found.content[0].title], [HITS[0].url, HITS[0].title]);
  assert.equal(last.text, SAYS);
  assert.equal(last.citations.length, 1);
  assert.deepEqual([last.citations[0].type, last.citations[0].url, last.citations[0].cited_text],
    ['web_search_result_location', HITS[0].url, HITS[0].content]);
  assert.deepEqual([m.stop_reason, m.usage.server_tool_use.web_search_requests], ['end_turn', 1]);
}

test('whole', async () => {
  up.play(rounds);
  check(await client.messages.create({ ...ASK, tools: [SEARCH] }));
});

test('streamed, with citations as they come', async () => {
  up.play(rounds);
  const s = client.messages.stream({ ...ASK, tools: [SEARCH] });
  const cited = [];
  s.on('citation', (citation) => cited.push(citation.url));
  check(await s.finalMessage());
  assert.deepEqual(cited, [HITS[0].url]);
});

test('the next turn takes the blocks back', async () => {
  up.play(rounds);
  const first = await client.messages.create({ ...ASK, tools: [SEARCH] });
  const before = up.last.body.messages;
  const messages = [...USER, { role: 'assistant', content: first.content }, { role: 'user', content: 'more' }];
  await client.messages.create({ ...ASK, messages, tools: [SEARCH] });
  assert.deepEqual(up.last.body.messages.slice(0, before.length), before);
});
