// The real program, a scripted upstream and a real browser.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

export const KEY = 'ak-dashboard-key';
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WORDS = 'It reads the file, finds where the time goes, and says what it would change, and why. '.split(' ');

/** An upstream that does what the model's name says, and streams that go on until `release()`. */
export async function upstream() {
  let open = [];
  let wait = new Promise(go => { open.push(go); });
  const pause = ms => new Promise(done => setTimeout(done, ms));
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    const { model, stream } = JSON.parse(body);
    if (model.startsWith('down')) {
      response.writeHead(503, { 'content-type': 'application/json' });
      return response.end(JSON.stringify({ error: { message: 'no GPU is free <b>now</b>' } }));
    }
    if (model.startsWith('limited') && request.headers.authorization === 'Bearer first') {
      response.writeHead(429, { 'content-type': 'application/json', 'retry-after': '600' });
      return response.end(JSON.stringify({ error: { message: 'slow down' } }));
    }
    const usage = { prompt_tokens: 21345, completion_tokens: 312, total_tokens: 21657, prompt_tokens_details: { cached_tokens: 20000 } };
    if (!stream) {
      await pause(120);
      response.writeHead(200, { 'content-type': 'application/json' });
      return response.end(JSON.stringify({ choices: [{ message: { role: 'assistant', content: 'Done.' }, finish_reason: 'stop' }], usage }));
    }
    await pause(30 + Math.random() * 250);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const say = event => response.write(`data: ${JSON.stringify(event)}\n\n`);
    const text = content => say({ choices: [{ delta: { content } }] });
    let gone = false, released = !model.startsWith('slow');
    response.on('close', () => { gone = true; });
    wait.then(() => { released = true; });
    for (let n = 0; !gone && (n < 40 || !released); n++) {
      text(WORDS[n % WORDS.length] + ' ');
      await pause(model.startsWith('slow') ? 40 : 5);
    }
    if (model.startsWith('cut')) return response.destroy();
    say({ choices: [{ delta: {}, finish_reason: 'stop' }] });
    say({ choices: [], usage });
    response.end('data: [DONE]\n\n');
  });
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    release() { open.forEach(go => go()); open = []; wait = new Promise(go => { open.push(go); }); },
    close() { server.closeAllConnections(); server.close(); },
  };
}

/** `serve` with this configuration; its address is `url`. */
export async function serve(config) {
  const bin = process.env.CLAUDE_PROXY_BIN || path.resolve(import.meta.dirname, '../../target/debug/claude-proxy');
  const dir = mkdtempSync(path.join(tmpdir(), 'dashboard-'));
  const file = path.join(dir, 'config.json');
  const write = text => writeFileSync(file, typeof text === 'string' ? text : JSON.stringify(text, null, 2), { mode: 0o600 });
  write(config);
  const start = async port => {
    const args = ['serve', '--config', file, '--port', String(port), '--log-level', 'warn', '--color', 'never'];
    const child = spawn(bin, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env.PATH, HOME: dir, SHELL: '/bin/bash' } });
    let log = '';
    const addr = await new Promise((found, failed) => {
      child.stderr.on('data', piece => {
        log += piece;
        const told = log.match(/listens on (http:\/\/\S+)/);
        if (told) found(told[1]);
      });
      child.on('exit', code => failed(new Error(`serve ended with ${code}: ${log}`)));
    });
    return { child, url: addr };
  };
  let { child, url } = await start(0);
  const end = signal => new Promise(done => {
    if (child.exitCode !== null || child.signalCode !== null) return done();
    child.once('exit', done);
    child.kill(signal);
  });
  return {
    url,
    write,
    hangup: () => child.kill('SIGHUP'),
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    async again() { ({ child } = await start(new URL(url).port)); },
    async close() { await end('SIGKILL'); rmSync(dir, { recursive: true, force: true }); },
    ask: (model, more = {}, key = KEY) => fetch(`${url}/v1/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': key },
      body: JSON.stringify({ model, max_tokens: 1000, stream: true, messages: [{ role: 'user', content: 'What is slow here?' }], ...more }),
    }).then(answer => answer.text()).catch(error => String(error)),
  };
}

export const browser = () => chromium.launch({
  executablePath: process.env.CHROMIUM || ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync),
  // Tests may run as root in a container, where Chromium's own sandbox cannot.
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});

/** A page, and everything that went wrong in it. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const wrong = [];
  page.on('console', told => { if (['error', 'warning'].includes(told.type())) wrong.push(told.text()); });
  page.on('pageerror', error => wrong.push(String(error)));
  page.on('request', asked => {
    const at = asked.url();
    if (!at.startsWith(url) && !at.startsWith('data:')) wrong.push(`a request to ${at}`);
  });
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', event => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  });
  return { page, context, wrong };
}

/** What axe finds wrong. */
export async function axe(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return violations.map(v => `${v.id}: ${v.nodes.map(n => `${n.html} ${n.failureSummary}`).join('; ')}`);
}
