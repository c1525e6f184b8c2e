'use strict';
// Everything that somebody else wrote goes into the page as text, never as markup.
const $ = id => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';

function el(name, cls, ...inner) {
  const e = document.createElement(name);
  if (cls) e.className = cls;
  e.append(...inner.filter(x => x !== null && x !== undefined));
  return e;
}
/** Writes only what differs, so that nothing flickers and no selection is lost. */
function put(e, text) {
  text = String(text);
  if (e.textContent !== text) e.textContent = text;
}
const count = n => (n ?? 0).toLocaleString('en-US');
const short = n => n >= 1e6 ? (n / 1e6).toFixed(1) + ' M' : n >= 1e4 ? (n / 1e3).toFixed(n >= 1e5 ? 0 : 1) + ' k' : n < 10 && n % 1 ? n.toFixed(1) : count(Math.round(n));
function span(ms) {
  if (ms === null || ms === undefined) return '';
  if (ms < 1000) return Math.round(ms) + ' ms';
  const s = ms / 1000;
  if (s < 9.95) return s.toFixed(1) + ' s';
  if (s < 60) return Math.round(s) + ' s';
  const m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
  if (m < 60) return `${m} min ${Math.floor(s % 60)} s`;
  return h < 24 ? `${h} h ${m % 60} min` : `${d} d ${h % 24} h`;
}
const age = ms => ms < 10000 ? (Math.max(ms, 0) / 1000).toFixed(1) + ' s' : span(ms);
const clock = t => new Date(t).toLocaleTimeString('en-GB');
const bytes = n => n < 1000 ? n + ' B' : n < 1e6 ? (n / 1000).toFixed(1) + ' kB' : (n / 1e6).toFixed(1) + ' MB';
const money = n => n === undefined || n === null ? '' : n.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: n < 1 ? 6 : 2 });
const some = n => n ? count(n) : '';
const plural = (n, one) => `${count(n)} ${one}${n === 1 ? '' : 's'}`;

const OUTCOMES = { done: '', refused: 'refused', failed: 'broke off', client_gone: 'client left', panicked: 'bug' };
let server = {}, running = new Map(), ended = [], points = new Map(), skew = 0, fresh = true;
const now = () => Date.now() + skew;

// --- what runs ---------------------------------------------------------------

const rows = new Map();

function showRunning() {
  const body = $('running').tBodies[0];
  for (const [id, row] of rows) if (!running.has(id)) { row.remove(); rows.delete(id); }
  for (const [id, r] of running) {
    let row = rows.get(id);
    if (!row) {
      row = el('tr', '', el('td'), el('td', 'm'), el('td', 'num'), el('td', 'num w'), el('td', 'num'));
      row.dataset.id = id;
      rows.set(id, row);
      body.append(row);
    }
    const c = row.cells;
    put(c[0], r.model);
    if (r.question) c[0].title = r.question;
    put(c[1], r.remote && r.remote !== r.model ? `${r.provider} · ${r.remote}` : r.provider);
    put(c[2], age(now() - r.began));
    put(c[3], r.first_byte === null ? 'waiting' : span(r.first_byte));
    put(c[4], r.first_byte === null ? (r.stream ? '' : 'whole answer') : r.stream ? (r.told ? '' : '~') + count(r.tokens) : '');
  }
  const n = running.size + (server.more || 0);
  put($('running-n'), n);
  $('running').parentElement.hidden = !running.size;
  $('running-empty').hidden = n > 0;
  $('running-more').hidden = !server.more;
  put($('running-more'), `and ${server.more} more`);
}

// --- what ran ------------------------------------------------------------------

const past = new Map(), FEW = 30;
let paused = false, all = false;
const isBad = e => e.outcome !== 'done' && e.outcome !== 'client_gone';

function status(e) {
  const td = el('td', isBad(e) ? 'status bad' : 'status', e.status ? String(e.status) : '–');
  if (OUTCOMES[e.outcome]) td.append(' ' + OUTCOMES[e.outcome]);
  const n = e.warnings ? e.warnings.split(', ').length : 0;
  if (n) td.append(el('span', 'warned', ` ⚠ ${n}`, el('span', 'unseen', n === 1 ? ' warning' : ' warnings')));
  return td;
}

function pastRow(e) {
  const at = clock(e.began + e.total);
  const open = el('button', 'open', el('time', '', at));
  open.type = 'button';
  open.setAttribute('aria-expanded', 'false');
  open.setAttribute('aria-label', `Details of ${e.model || 'the request'} at ${at}`);
  const row = el('tr', 'row', el('td', 'time', open), el('td', '', e.model || '–'), el('td', 'w', e.provider), status(e),
    el('td', 'num w', span(e.first_byte)), el('td', 'num', span(e.total)), el('td', 'num m', some(e.input + e.cached)),
    el('td', 'num m', some(e.output)), el('td', 'num w', some(e.cached)), el('td', 'num w cost', money(e.cost)));
  if (e.cost !== undefined) $('past').dataset.cost = '';
  row.dataset.number = e.number;
  let more = null;
  open.onclick = () => {
    const on = open.getAttribute('aria-expanded') !== 'true';
    open.setAttribute('aria-expanded', on);
    if (on && !more) {
      const td = el('td', '', details(e));
      td.colSpan = row.cells.length;
      more = el('tr', 'more', td);
      entry.more = more;
    }
    if (on) row.after(more); else more.remove();
  };
  const words = [e.key, e.model, e.provider, e.remote, e.request_id, e.status, e.outcome, e.error, e.warnings, e.stop_reason];
  const entry = { e, row, more: null, text: words.join(' ').toLowerCase() };
  return entry;
}

function details(e) {
  const list = el('dl');
  const add = (name, value, cls) => { if (value) list.append(el('dt', '', name), el('dd', cls, value)); };
  add('Error', e.error, 'words bad');
  add('Warnings', e.warnings, 'words warned');
  add('Asked', e.provider && `${e.provider} · ${e.remote}`);
  const tries = [[e.attempts, 'attempt'], [e.retries, 'retry'], [e.rotations, 'other key'], [e.fallbacks, 'fallback']];
  add('Attempts', tries.filter(t => t[0]).map(([n, what]) => what === 'retry' ? `${n} ${n === 1 ? 'retry' : 'retries'}` : plural(n, what)).join(', '));
  add('Began', clock(e.began));
  add('First byte, total', [span(e.first_byte), span(e.total)].filter(Boolean).join(', '));
  add('Tokens', `${count(e.input)} in, ${count(e.cached)} from the cache, ${count(e.output)} out`);
  add('Cost', money(e.cost));
  add('Key', e.key);
  add('Stopped', e.stop_reason);
  add('Ended', e.outcome);
  add('Size', `${bytes(e.received)} in, ${bytes(e.sent)} out${e.stream ? ', streamed' : ''}`);
  add('Request id', el('code', '', e.request_id));
  add('Question', e.question, 'words');
  add('Answer', e.answer, 'words');
  return list;
}

function showPast() {
  if (paused) return;
  const body = $('past').tBodies[0];
  const keep = new Set(ended.map(e => e.number));
  for (const [n, entry] of past) if (!keep.has(n)) { entry.row.remove(); entry.more?.remove(); past.delete(n); }
  for (const e of ended) {
    if (past.has(e.number)) continue;
    const entry = pastRow(e);
    past.set(e.number, entry);
    body.prepend(entry.row);
  }
  filter();
}

function filter() {
  const find = $('find').value.trim().toLowerCase(), only = $('only').value;
  let shown = 0;
  // The newest first: they come last.
  for (const { e, row, more, text } of [...past.values()].reverse()) {
    const fits = (!find || text.includes(find)) && (!only || (only === 'bad' ? isBad(e) : e.warnings));
    if (fits) shown++;
    row.hidden = !fits || (!all && shown > FEW);
    if (more) more.hidden = row.hidden;
  }
  $('all').hidden = shown <= FEW;
  put($('all'), all ? `Show ${FEW}` : `Show all ${shown}`);
  put($('past-n'), shown === past.size ? shown : `${shown} of ${past.size}`);
  $('past').parentElement.hidden = !shown;
  $('past-empty').hidden = shown > 0;
  put($('past-empty'), past.size ? 'None of them fits.' : 'No request has ended so far.');
}

// --- plots -------------------------------------------------------------------------

function path(d, cls) {
  const p = document.createElementNS(SVG, 'path');
  p.setAttribute('d', d);
  if (cls) p.setAttribute('class', cls);
  return p;
}

function plot(id, value, sub, title, paths) {
  const f = $(id), svg = f.querySelector('svg');
  put(f.querySelector('.value'), value);
  put(f.querySelector('.sub'), sub);
  put(svg.querySelector('title'), title);
  svg.replaceChildren(svg.querySelector('title'), ...paths);
}

function showPlots() {
  if (!server.bucket) return;
  const step = server.bucket, n = server.span / step;
  // Buckets begin with the process; the one that goes on is not shown.
  const last = server.since + (Math.floor((now() - server.since) / step) - 1) * step;
  const at = Array.from({ length: n }, (_, i) => points.get(last - (n - 1 - i) * step));
  const x = i => (i / (n - 1) * 240).toFixed(1), y = (v, top) => (46 - v / top * 44).toFixed(1);
  const line = (of, top) => {
    let d = '', pen = 'M';
    at.forEach((p, i) => {
      const v = of(p);
      if (v === null) { pen = 'M'; return; }
      d += `${pen}${x(i)} ${y(v, top)}`;
      // A single one is a dot.
      if (pen === 'M') d += 'h0.01';
      pen = 'L';
    });
    return d;
  };
  const area = (of, top) => `M0 46L${at.map((p, i) => `${x(i)} ${y(of(p), top)}`).join('L')}L240 46Z`;
  const minute = Math.round(60000 / step), recent = at.slice(-minute);
  const sum = (list, key) => list.reduce((s, p) => s + (p ? p[key] : 0), 0);

  const reqs = p => p ? p.requests * 60000 / step : 0;
  const rTop = Math.max(...at.map(reqs), 1), all = sum(at, 'requests'), bad = sum(at, 'failed');
  let marks = '';
  at.forEach((p, i) => { if (p && p.failed) marks += `M${x(i)} 46V${Math.min(42, y(p.failed * 60000 / step, rTop))}`; });
  const rate = sum(recent, 'requests');
  const told = `${plural(all, 'request')} in 10 min, ${bad ? `${count(bad)} failed` : 'none failed'}`;
  plot('plot-requests', count(rate), told, `Requests a minute over the last ten minutes: ${count(rate)} in the last minute. ${told}.`,
    [path(area(reqs, rTop), 'area'), path(line(reqs, rTop)), path(marks, 'failed')]);

  const out = p => p ? p.output * 1000 / step : 0;
  const tTop = Math.max(...at.map(out), 1), speed = sum(recent, 'output') / 60;
  const inOut = `${short(sum(at, 'input'))} in, ${short(sum(at, 'output'))} out in 10 min`;
  plot('plot-tokens', short(speed), inOut, `Tokens of output a second over the last ten minutes: ${short(speed)} on average in the last minute. ${inOut} tokens.`,
    [path(area(out, tTop), 'area'), path(line(out, tTop))]);

  const firsts = ended.map(e => e.first_byte).filter(v => v !== null && v !== undefined).sort((a, b) => a - b);
  const q = s => firsts.length ? firsts[Math.min(firsts.length - 1, Math.ceil(firsts.length * s) - 1)] : null;
  const p50 = q(.5), p95 = q(.95), fTop = Math.max(...at.map(p => p?.p95 ?? 0), 1);
  const of = firsts.length ? `of the last ${plural(firsts.length, 'answer')}` : 'no answers so far';
  plot('plot-first', p50 === null ? '–' : `${span(p50)}, ${span(p95)}`, of,
    p50 === null ? 'Time to first byte: no answers so far.' : `Time to first byte ${of}: median ${span(p50)}, 95 % within ${span(p95)}.`,
    [path(line(p => p?.p95 ?? null, fTop), 'faint'), path(line(p => p?.p50 ?? null, fTop))]);
}

// --- providers, findings, setup ------------------------------------------------------

let providers = [];

function stateOf(p) {
  const left = t => { const s = Math.ceil((t - now()) / 1000); return s < 60 ? `${s} s` : span(s * 1000); };
  const until = t => t > now() ? `until ${clock(t)} (${left(t)})` : 'until it is tried again';
  const resting = p.keys.filter(k => k.until);
  if (p.until) return ['bad', `resting ${until(p.until)}`];
  if (p.probe) return ['wait', 'has rested, the next request tries it'];
  if (resting.length && resting.length === p.keys.length) {
    return [p.usable ? 'wait' : 'bad', `${resting.some(k => k.refused) ? 'key refused, rests' : 'rate limit, rests'} ${until(Math.min(...resting.map(k => k.until)))}`];
  }
  if (resting.length) return ['wait', `fine, ${resting.length} of ${p.keys.length} keys resting ${until(Math.max(...resting.map(k => k.until)))}`];
  return ['fine', 'fine'];
}

function showProviders() {
  const list = $('providers'), load = new Map();
  for (const r of running.values()) load.set(r.provider, (load.get(r.provider) || 0) + 1);
  while (list.children.length > providers.length) list.lastChild.remove();
  providers.forEach((p, i) => {
    const li = list.children[i] || list.appendChild(el('li', '', el('div', 'top', el('b'), el('span', 'state'), el('span', 'sec')), el('div', 'sec')));
    const [name, state, busy] = li.firstChild.children, [level, words] = stateOf(p);
    put(name, p.name);
    put(state, words);
    if (state.dataset.state !== level) {
      if (state.dataset.state && li.dataset.name === p.name) say(`Provider ${p.name}: ${words}`);
      state.dataset.state = level;
    }
    li.dataset.name = p.name;
    put(busy, load.get(p.name) ? `${load.get(p.name)} running` : '');
    put(li.lastChild, `${p.models.slice(0, 12).join(', ')}${p.models.length > 12 ? ` and ${p.models.length - 12} more` : ''}${p.api === 'anthropic' ? ' (passed through)' : ''}`);
  });
  $('providers-empty').hidden = providers.length > 0;
}

function showFindings(findings) {
  $('findings').replaceChildren(...findings.map(f => {
    const level = el('span', 'state', f.severity);
    level.dataset.state = f.severity === 'note' ? '' : f.severity === 'error' ? 'bad' : 'warning';
    const where = el('span', 'sec', `${f.place} ${f.code}`);
    return el('li', '', el('div', 'top', level, where), el('div', '', f.message), f.help ? el('div', 'help', f.help) : null);
  }));
  $('findings').hidden = !findings.length;
  $('findings-empty').hidden = findings.length > 0;
  if (!fresh) say(`The configuration was reloaded: ${plural(findings.length, 'finding')}`);
}

function showBudgets(list) {
  $('budgets').hidden = !list.length;
  $('spent').replaceChildren(...list.map(b => {
    const over = b.budget !== null && b.spent >= b.budget, state = el('span', 'state', over ? 'used up' : 'fine');
    state.dataset.state = over ? 'bad' : 'fine';
    const sum = b.budget === null ? money(b.spent) : `${money(b.spent)} of ${money(b.budget)}`;
    return el('li', '', el('div', 'top', el('b', '', b.key), b.budget === null ? null : state, el('span', 'sec', sum)));
  }));
}

let shells = [];

function showSetup(list) {
  shells = list;
  const select = $('shell'), was = select.selectedIndex;
  select.replaceChildren(...list.map(s => el('option', '', s.shell)));
  if (list.length) select.selectedIndex = was >= 0 && was < list.length ? was : 0;
  $('setup').hidden = !list.length;
  showLines();
}
const showLines = () => put($('lines'), (shells[$('shell').selectedIndex]?.lines || []).join('\n'));

function showFacts() {
  put($('version'), server.version || '');
  const parts = [`up ${span(now() - server.since)}`, `configuration ${server.generation}`, plural(server.models, 'model')];
  parts.push(`${count(server.running)} of ${count(server.limit)} places taken`);
  if (!server.key) parts.push('no key');
  if (server.content) parts.push('texts are shown');
  put($('facts'), parts.join(' · '));
}

// --- events ------------------------------------------------------------------------------

function say(words) { put($('say'), words); }

function link(state, words) {
  if ($('link').dataset.state === state && $('link-text').textContent === words) return;
  $('link').dataset.state = state;
  put($('link-text'), words);
  if (!fresh || state !== 'wait') say(`Dashboard: ${words}`);
}

function alert(words, again) {
  $('alert').hidden = !words;
  put($('alert-text'), words);
  $('alert-link').hidden = !again;
}

function take(state) {
  skew = state.now - Date.now();
  if (state.server) Object.assign(server, state.server);
  if (state.more !== undefined) server.more = state.more;
  for (const r of state.running || []) running.set(r.id, Object.assign(running.get(r.id) || {}, r));
  for (const id of state.gone || []) running.delete(id);
  for (const e of state.ended || []) { ended.push(e); running.delete(e.id); }
  ended.splice(0, ended.length - (server.remembered || 200));
  for (const p of state.points || []) points.set(p.t, p);
  for (const t of points.keys()) if (t < now() - server.span - 60000) points.delete(t);
  if (state.providers) providers = state.providers;
  if (state.findings) showFindings(state.findings);
  if (state.budgets) showBudgets(state.budgets);
  if (state.setup) showSetup(state.setup);
  if (state.ended || fresh) showPast();
  show();
}

function show() {
  showRunning();
  showProviders();
  showPlots();
  if (server.since) showFacts();
}

let source, timer;

function connect() {
  clearTimeout(timer);
  source = new EventSource('/dashboard/events');
  source.addEventListener('snapshot', event => {
    server = {}; running = new Map(); ended = []; points = new Map();
    fresh = true;
    past.forEach(entry => { entry.row.remove(); entry.more?.remove(); });
    past.clear();
    take(JSON.parse(event.data));
    alert('');
    link('fine', 'live');
    fresh = false;
  });
  source.addEventListener('change', event => take(JSON.parse(event.data)));
  source.addEventListener('bye', event => {
    if (JSON.parse(event.data) === 'draining') return link('wait', 'shutting down');
    source.close();
    ask();
  });
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) ask();
    else if (!$('link-text').textContent.includes('shutting')) lost();
    else setTimeout(lost, 3000);
  };
}

function lost() {
  if (source.readyState === EventSource.OPEN) return;
  link('bad', 'connection lost, trying again');
}

/** Why there are no events. */
async function ask() {
  let status = 0;
  try { status = (await fetch('/dashboard/snapshot.json', { cache: 'no-store' })).status; } catch { /* not there */ }
  const over = { 401: 'signed out', 403: 'refused', 404: 'the dashboard was switched off' }[status];
  if (over) {
    link('bad', over);
    alert(`${over[0].toUpperCase()}${over.slice(1)}: what you see is not kept up to date.`, true);
    return;
  }
  link('bad', status === 200 ? 'no events, trying again' : 'connection lost, trying again');
  timer = setTimeout(connect, 4000);
}

$('find').oninput = $('only').onchange = filter;
$('pause').onclick = () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', paused);
  showPast();
};
$('all').onclick = () => { all = !all; filter(); };
$('shell').onchange = showLines;
$('copy').onclick = async () => {
  try {
    await navigator.clipboard.writeText($('lines').textContent);
    put($('copy'), 'Copied');
  } catch {
    // Only pages over TLS or on this machine may write there.
    getSelection().selectAllChildren($('lines'));
    put($('copy'), 'Selected');
  }
  say($('copy').textContent);
  setTimeout(() => put($('copy'), 'Copy'), 2000);
};
setInterval(() => { if (!fresh && source.readyState === EventSource.OPEN) show(); }, 1000);
connect();
