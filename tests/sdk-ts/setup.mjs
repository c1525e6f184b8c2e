// One proxy for each file of tests, one scripted upstream behind it, emptied for each test.
import assert from 'node:assert/strict';
import { after, beforeEach } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { KEY, Proxy, freePort, provider } from '../harness/proxy.mjs';
import { Upstream } from '../harness/upstream.mjs';

export const USER = [{ role: 'user', content: 'hi' }];
export const ASK = { model: 'plain', max_tokens: 64, messages: USER };
export const IDS = ['plain', 'blind', 'deep', 'oai', 'dead'];

export async function stage(more = {}) {
  const up = await new Upstream().start();
  const proxy = await new Proxy().start({
    ak: KEY,
    providers: [
      provider(up.url, [{ id: 'plain', display_name: 'Plain', remote_id: 'remote-plain' }, { id: 'blind', vision: false }], { profile: 'generic', name: 'house' }),
      provider(up.url, [{ id: 'deep' }], { profile: 'deepseek' }),
      provider(up.url, [{ id: 'oai' }], { profile: 'openai' }),
      provider(`http://127.0.0.1:${await freePort()}`, [{ id: 'dead' }], { profile: 'generic' }),
    ],
    aliases: { 'claude-*': 'plain' },
    ...more,
  });
  beforeEach(() => up.play());
  after(async () => {
    up.stop();
    await proxy.stop();
  });
  return { up, proxy, client: connect(proxy) };
}

export function connect(proxy, more = {}) {
  return new Anthropic({ baseURL: proxy.url, apiKey: KEY, authToken: null, maxRetries: 0, timeout: 20000, logLevel: 'off', ...more });
}

// What a promise is rejected with.
export async function failure(promise) {
  try {
    await promise;
  } catch (e) {
    return e;
  }
  assert.fail('it went well');
}

export const within = (ms, promise, what) =>
  Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms).unref())]);

export const texts = (message) => message.content.map((b) => b.text);
export const kinds = (message) => message.content.map((b) => b.type);
