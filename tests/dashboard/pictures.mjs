// Pictures of the dashboard with something to see on it, for docs/ and for looking at.
//
//   node tests/dashboard/pictures.mjs DIR       dashboard-{light,dark}.png and dashboard-phone-{light,dark}.png
import path from 'node:path';
import { KEY, browser, open, serve, upstream } from './setup.mjs';

const dir = process.argv[2] || '.';
const pause = ms => new Promise(done => setTimeout(done, ms));
const up = await upstream();
const provider = (name, models, more) => ({
  name, base_url: up.url, api_key: `sk-${name}`, ...more,
  models: models.map(id => ({ id, price: { input: 0.28, output: 0.42, cached: 0.028 } })),
});
const proxy = await serve({
  ak: KEY,
  prot: 8888,
  dashboard_content: false,
  keys: [{ name: 'ann', key: 'key-of-ann-0123', budget: 5 }, { name: 'build', key: 'key-of-build-4567', budget: 0.07 }],
  budgets: { path: 'spent.redb', per_day: 20 },
  aliases: { 'claude-*haiku*': 'quick-chat', 'claude-*': 'slow-coder' },
  providers: [
    provider('api.deepseek.com', ['slow-coder', 'quick-chat', 'cut-off']),
    provider('gpu-box.lan', ['down-70b']),
    { ...provider('openrouter.ai', ['limited-glm']), api_key: undefined, api_keys: ['first', 'second'] },
  ],
});
const chrome = await browser();
let running = true;
const clients = ['claude-opus-4-8', 'slow-coder', 'claude-sonnet-4-8'].map(async (model, n) => {
  while (running) { await proxy.ask(model, {}, 'key-of-ann-0123'); await pause(300 * n); }
});
const traffic = (async () => {
  for (let n = 0; running; n++) {
    await proxy.ask(['claude-haiku-4-5', 'quick-chat', 'limited-glm'][n % 3], n % 4 ? { top_k: 5 } : {}, 'key-of-build-4567');
    if (n % 9 === 5) await proxy.ask('cut-off');
    if (n === 12) for (let k = 0; k < 5; k++) await proxy.ask('down-70b', { stream: false });
    if (n % 6 === 5) { up.release(); }
    await pause(150 + 500 * Math.abs(Math.sin(n / 9)));
  }
})();
await pause(Number(process.env.SECONDS_OF_TRAFFIC || 45) * 1000);
for (const [size, viewport] of [['', { width: 1200, height: 1000 }], ['phone-', { width: 360, height: 1400 }]]) {
  for (const colorScheme of ['light', 'dark']) {
    const { page, context } = await open(chrome, proxy.url, { colorScheme, viewport, reducedMotion: 'reduce' });
    await page.goto(`${proxy.url}/dashboard`);
    await page.getByLabel('Key').fill(KEY);
    await page.keyboard.press('Enter');
    await page.getByText('live', { exact: true }).waitFor();
    await page.mouse.move(0, 0);
    await page.evaluate(() => document.activeElement.blur());
    await page.screenshot({ path: path.join(dir, `dashboard-${size}${colorScheme}.png`) });
    await page.locator('#past .open').nth(2).click();
    await page.screenshot({ path: path.join(dir, `whole-${size}${colorScheme}.png`), fullPage: true });
    await context.close();
  }
}
running = false;
up.release();
await Promise.race([Promise.all([...clients, traffic]), pause(5000)]);
await chrome.close();
await proxy.close();
up.close();
