// The dashboard in a browser.
//
//   node --test tests/dashboard/page.test.mjs        needs a debug build (or CLAUDE_PROXY_BIN) and Chromium (or CHROMIUM)
// tests/dashboard/pictures.mjs makes the pictures in docs/.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { KEY, axe, browser, open, serve, upstream } from './setup.mjs';

const HOSTILE = '<img src=x onerror="document.title=\'run\'"><script>document.title="run"</script>';
const PATIENCE = { timeout: 20000 };

let up, proxy, chrome;

function config(more = {}) {
  const provider = (name, models, key) => ({
    name, base_url: up.url, ...(key || { api_key: 'sk-upstream-sentinel' }), models: models.map(id => ({ id, fallbacks: [] })),
  });
  return {
    ak: KEY,
    ...more,
    aliases: { 'claude-*': 'slow-coder' },
    providers: [
      provider('deepseek', ['slow-coder', 'quick-chat', 'cut-off']),
      provider('gpu-box.lan', ['down-70b']),
      provider('openrouter.ai', ['limited-glm'], { api_keys: ['first', 'second'] }),
      provider(HOSTILE, [HOSTILE]),
    ],
  };
}

before(async () => {
  up = await upstream();
  proxy = await serve(config());
  chrome = await browser();
});

after(async () => {
  await chrome?.close();
  await proxy?.close();
  up?.close();
});

/** A page that is signed in, and live. */
async function signedIn(options) {
  const opened = await open(chrome, proxy.url, options);
  await opened.page.goto(`${proxy.url}/dashboard`);
  await opened.page.getByLabel('Key').fill(KEY);
  await opened.page.getByRole('button', { name: 'Sign in' }).click();
  await opened.page.getByText('live', { exact: true }).waitFor(PATIENCE);
  // The form is answered with 401, as it should.
  opened.wrong.splice(0, opened.wrong.length, ...opened.wrong.filter(w => !w.includes('401')));
  return opened;
}

const row = (page, words) => page.locator('#past tbody tr.row', { hasText: words }).first();
const until = (page, what, arg) => page.waitForFunction(what, arg, PATIENCE);

test('the key opens the page, another one does not, and signing out closes it', async () => {
  const { page, context, wrong } = await open(chrome, proxy.url);
  await page.goto(`${proxy.url}/dashboard`);
  assert.deepEqual(await axe(page), []);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'key');
  await page.keyboard.type('nonsense');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').waitFor();
  assert.deepEqual(await axe(page), []);
  await page.getByLabel('Key').fill(KEY);
  await page.keyboard.press('Enter');
  await page.getByText('live', { exact: true }).waitFor(PATIENCE);
  const cookie = (await context.cookies())[0];
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, 'Strict', '/dashboard']);
  assert.ok(!cookie.value.includes(KEY));
  const other = await context.newPage();
  await other.goto(`${proxy.url}/dashboard`);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('Key').waitFor();
  await other.getByText('signed out', { exact: true }).waitFor(PATIENCE);
  assert.deepEqual(wrong.filter(w => !w.includes('401')), []);
  await context.close();
});

test('requests are seen while they run, and when they have ended', async () => {
  const { page, context, wrong } = await signedIn();
  assert.ok(await page.getByText('Nothing runs at the moment.').isVisible());
  const asked = proxy.ask('slow-coder');
  const line = page.locator('#running tbody tr', { hasText: 'slow-coder' });
  await line.waitFor(PATIENCE);
  await until(page, () => /^~\d+$/.test(document.querySelector('#running tbody tr')?.cells[4].textContent));
  const tokens = async () => Number((await line.locator('td').nth(4).textContent()).replace(/[~,]/g, ''));
  const before = await tokens();
  await until(page, n => Number(document.querySelector('#running tbody tr').cells[4].textContent.replace(/[~,]/g, '')) > n, before);
  assert.match(await line.locator('td').nth(1).textContent(), /^deepseek/);
  up.release();
  await asked;
  await row(page, 'slow-coder').waitFor(PATIENCE);
  await line.waitFor({ state: 'detached', ...PATIENCE });
  const cells = await row(page, 'slow-coder').locator('td').allTextContents();
  assert.deepEqual([cells[2], cells[3], cells[6], cells[7], cells[8]], ['deepseek', '200', '21,345', '312', '20,000']);
  assert.ok(await page.getByText('Nothing runs at the moment.').isVisible());
  await until(page, () => document.querySelector('#plot-requests svg title').textContent.includes('1 request in 10 min'));
  assert.match(await page.locator('#plot-first svg').getAttribute('role'), /img/);
  assert.deepEqual(wrong, []);
  await context.close();
});

test('what fails is told, and who rests', async () => {
  const { page, context, wrong } = await signedIn();
  for (let n = 0; n < 6; n++) await proxy.ask('down-70b', { stream: false });
  await proxy.ask('cut-off');
  await proxy.ask('limited-glm');
  const failed = row(page, 'down-70b');
  await failed.waitFor(PATIENCE);
  assert.match(await failed.locator('td').nth(3).textContent(), /^5\d\d refused/);
  await row(page, 'broke off').waitFor(PATIENCE);
  await page.locator('#providers li', { hasText: 'gpu-box.lan' }).getByText(/resting until \d\d:\d\d:\d\d/).waitFor(PATIENCE);
  await page.locator('#providers li', { hasText: 'openrouter.ai' }).getByText(/1 of 2 keys resting until/).waitFor(PATIENCE);
  await page.locator('#providers li', { hasText: 'deepseek' }).getByText('fine', { exact: true }).waitFor();
  await page.getByLabel('Show').selectOption('bad');
  assert.equal(await row(page, 'limited-glm').isVisible(), false);
  await page.getByLabel('Find').fill('cut-off');
  await until(page, () => document.querySelectorAll('#past tbody tr.row:not([hidden])').length === 1);
  await page.getByLabel('Find').fill('nobody has this');
  assert.ok(await page.getByText('None of them fits.').isVisible());
  assert.deepEqual(wrong, []);
  await context.close();
});

test('what others wrote is text', async () => {
  const { page, context, wrong } = await signedIn();
  await proxy.ask(HOSTILE);
  await proxy.ask(`unknown ${HOSTILE}`);
  await page.locator('#past tbody tr.row', { hasText: '<img src=x' }).nth(1).waitFor(PATIENCE);
  for (const open of await page.locator('#past .open').all()) await open.click();
  await page.locator('#providers li', { hasText: '<script>' }).waitFor();
  assert.ok(await page.locator('tr.more', { hasText: 'unknown <img' }).first().isVisible());
  assert.equal(await page.locator('main img, main script, main b[onclick], header img').count(), 0);
  assert.equal(await page.title(), 'claude-proxy');
  assert.ok(!(await page.content()).includes('sentinel'));
  assert.deepEqual(wrong, []);
  await context.close();
});

test('by keyboard alone', async () => {
  const { page, context, wrong } = await signedIn();
  await page.evaluate(() => document.activeElement.blur());
  const focus = () => page.evaluate(() => {
    const e = document.activeElement;
    return e.id || e.className || e.textContent.trim() || e.getAttribute('aria-labelledby');
  });
  const order = [];
  for (let n = 0; n < 9; n++) {
    await page.keyboard.press('Tab');
    order.push(await focus());
  }
  assert.deepEqual(order.slice(0, 7), ['skip', 'Sign out', 'find', 'only', 'pause', 'scroll', 'open'], String(order));
  await page.locator('.skip').focus();
  await page.keyboard.press('Enter');
  assert.equal(await focus(), 'main');
  const first = page.locator('#past .open').first();
  await first.focus();
  await page.keyboard.press('Enter');
  assert.equal(await first.getAttribute('aria-expanded'), 'true');
  assert.ok(await page.locator('tr.more').getByText('Request id').isVisible());
  assert.notEqual(await first.evaluate(e => getComputedStyle(e).outlineStyle), 'none');
  // New rows take neither the focus nor the details away.
  await proxy.ask('quick-chat');
  await row(page, 'quick-chat').waitFor(PATIENCE);
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-expanded')), 'true');
  await page.keyboard.press(' ');
  assert.equal(await page.locator('tr.more').count(), 0);
  // A list that stands still.
  const count = await page.locator('#past tbody tr.row').count();
  await page.getByRole('button', { name: 'Pause' }).click();
  await proxy.ask('quick-chat');
  await until(page, n => document.querySelector('#plot-first .sub').textContent.includes(`last ${n + 1} `) || true, count);
  assert.equal(await page.locator('#past tbody tr.row').count(), count);
  await page.getByRole('button', { name: 'Pause' }).click();
  await until(page, n => document.querySelectorAll('#past tbody tr.row').length > n, count);
  assert.deepEqual(wrong, []);
  await context.close();
});

test('a reload shows other findings, a restart is a pause, and the lines follow the address', async () => {
  const { page, context, wrong } = await signedIn();
  assert.match(await page.locator('#lines').textContent(), new RegExp(`^export ANTHROPIC_BASE_URL=${proxy.url}\n`));
  assert.ok((await page.locator('#lines').textContent()).includes('<the value of `ak`>'));
  await page.locator('#shell').selectOption('PowerShell');
  assert.match(await page.locator('#lines').textContent(), /^\$env:ANTHROPIC_BASE_URL/);
  proxy.write(config({ prot: 1 }));
  proxy.hangup();
  await page.locator('#findings li', { hasText: 'did you mean `port`?' }).waitFor(PATIENCE);
  assert.match(await page.getByRole('status').textContent(), /reloaded/);
  proxy.write(config());
  proxy.hangup();
  await page.locator('#findings li', { hasText: 'prot' }).waitFor({ state: 'detached', ...PATIENCE });
  assert.deepEqual(wrong, []);
  await proxy.stop();
  await page.getByText('connection lost, trying again', { exact: true }).waitFor(PATIENCE);
  await proxy.again();
  // Sessions end with the process.
  await page.getByText('signed out', { exact: true }).waitFor(PATIENCE);
  await page.getByRole('link', { name: 'Load the page again' }).click();
  await page.getByLabel('Key').waitFor(PATIENCE);
  await context.close();
});

for (const colorScheme of ['light', 'dark']) {
  for (const [size, viewport] of [['desktop', { width: 1280, height: 900 }], ['phone', { width: 360, height: 780 }]]) {
    test(`axe has nothing to say: ${colorScheme}, ${size}`, async () => {
      const { page, context, wrong } = await signedIn({ colorScheme, viewport, reducedMotion: 'reduce' });
      const slow = [proxy.ask('slow-coder'), proxy.ask('claude-opus-4-8'), proxy.ask('slow-coder', { stop_sequences: ['a', 'b', 'c', 'd', 'e'] })];
      for (let n = 0; n < 12; n++) await proxy.ask(n % 5 === 3 ? 'limited-glm' : 'quick-chat', n % 4 ? { top_k: 5 } : { stream: false });
      for (let n = 0; n < 5; n++) await proxy.ask('down-70b', { stream: false });
      await proxy.ask('cut-off');
      await row(page, 'cut-off').waitFor(PATIENCE);
      await page.locator('#running tbody tr').nth(2).waitFor(PATIENCE);
      await page.locator('#past .open').nth(1).click();
      assert.deepEqual(await axe(page), []);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${wide} px too wide`);
      up.release();
      await Promise.all(slow);
      assert.deepEqual(wrong, []);
      await context.close();
    });
  }
}
