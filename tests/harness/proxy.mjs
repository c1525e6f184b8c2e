// Starts and stops the built binary (proxy.py for Node).
import { spawn } from 'node:child_process';
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const KEY = 'test-inbound-key-3f9c';
export const UPSTREAM_KEY = 'sk-test-upstream-77aa';

export const provider = (base_url, models, more = {}) => ({ base_url, api_key: UPSTREAM_KEY, models, ...more });

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// `claude-proxy serve` with this config; its port is set here.
export class Proxy {
  async start(config) {
    const port = await freePort();
    this.url = `http://127.0.0.1:${port}`;
    this.dir = mkdtempSync(path.join(os.tmpdir(), 'claude-proxy-test-'));
    const file = path.join(this.dir, 'config.json'), log = path.join(this.dir, 'log.txt');
    writeFileSync(file, JSON.stringify({ port, ...config }));
    const out = openSync(log, 'w');
    const binary = process.env.CLAUDE_PROXY_BIN || path.join(ROOT, 'target/debug/claude-proxy');
    this.process = spawn(binary, ['serve', '--config', file], {
      cwd: this.dir, stdio: ['ignore', out, out], env: { ...process.env, NO_COLOR: '1' },
    });
    closeSync(out);
    let gone;
    this.ended = new Promise((resolve) => {
      this.process.on('error', (e) => resolve((gone = e.message)));
      this.process.on('exit', (code, signal) => resolve((gone = `it exited with ${code ?? signal}`)));
    });
    process.on('exit', () => this.process.kill('SIGKILL'));
    for (const until = Date.now() + 30000; Date.now() < until; await sleep(20)) {
      if (gone) throw new Error(`${binary} does not run: ${gone}: ${readFileSync(log, 'utf8').slice(-1500)}`);
      const health = await fetch(`${this.url}/health`).catch(() => undefined);
      if (health?.ok) return this;
    }
    throw new Error(`${binary} is not ready after 30 s: ${readFileSync(log, 'utf8').slice(-1500)}`);
  }

  async stop() {
    this.process.kill('SIGTERM');
    const impatient = setTimeout(() => this.process.kill('SIGTERM'), 200);      // the second one ends the grace time
    const last = setTimeout(() => this.process.kill('SIGKILL'), 10000);
    await this.ended;
    clearTimeout(impatient);
    clearTimeout(last);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
