import {get} from './api.js';
import {$, duration, h, say, short} from './dom.js';

/*
 * The engine at work. While the view is open, it asks for GET /v1/engine a few times a second and draws what it gets:
 * nothing is kept but the tokens a second of the last two minutes.
 */

const PERIOD_MS = 300;
const ABSENT_MS = 2000; // between questions for a model that is not in memory
const HISTORY_MS = 120_000;
const FREE = -1;
const CACHED = -2;
const SHARED = -3;

const history = []; // {time, generated, read}: tokens a second
let last = null; // the view before
let open = false;
let busy = false;
let absentUntil = 0;

/**
 * Shows the engine whenever its view is open.
 *
 * @param models their names; one is chosen if there are several
 */
export function startEngine(models) {
  $('engine-model').append(...models.map(model => h('option', {value: model}, model)));
  $('engine-choice').hidden = models.length < 2;
  $('engine-model').onchange = () => {
    history.length = 0;
    last = null;
    absentUntil = 0;
    $('engine').classList.add('empty'); // what is drawn is another model's
    look();
  };
  document.addEventListener('view', event => {
    open = event.detail === 'engine';
    last = null;
    look();
  });
  document.addEventListener('visibilitychange', look);
  setInterval(look, PERIOD_MS);
}

async function look() {
  if (!open || document.hidden || busy || performance.now() < absentUntil) {
    return;
  }
  busy = true;
  try {
    const model = $('engine-model').value;
    const view = await get('v1/engine?model=' + encodeURIComponent(model), AbortSignal.timeout(10_000));
    if (model !== $('engine-model').value) {
      return; // another one was chosen meanwhile
    }
    view.time = performance.now();
    say($('notice'), '');
    $('engine').classList.remove('empty');
    draw(view);
    last = view;
  } catch (e) {
    const absent = e.status === 503;
    absentUntil = absent ? performance.now() + ABSENT_MS : 0;
    $('engine').classList.toggle('empty', absent); // it has left, and what is drawn was true before
    say($('notice'), absent ? e.message : 'The engine cannot be shown: ' + e.message);
  } finally {
    busy = false;
  }
}

function draw(view) {
  const {stats, running, waiting} = view;
  if (last && stats.steps < last.stats.steps) {
    last = null; // the model was loaded again, and its engine counts from 0
  }
  if (last && view.time > last.time) {
    const seconds = (view.time - last.time) / 1000;
    history.push({
      time: view.time,
      generated: (stats.generation_tokens - last.stats.generation_tokens) / seconds,
      read: (stats.prompt_tokens - last.stats.prompt_tokens) / seconds,
    });
    while (history[0].time < view.time - HISTORY_MS) {
      history.shift();
    }
  }
  const speed = history.at(-1) ?? {generated: 0, read: 0};
  const drafts = stats.draft_tokens ? `${Math.round(100 * stats.accepted_tokens / stats.draft_tokens)} % of ${short(stats.draft_tokens)}` : 'none';
  const asked = stats.prompt_tokens + stats.cached_tokens;
  drawFigures({
    'Tokens a second': short(Math.round(speed.generated)),
    'Prompt tokens a second': short(Math.round(speed.read)),
    Running: stats.running,
    Waiting: stats.waiting,
    'KV pages in use': `${stats.used_pages} of ${stats.total_pages}`,
    ...(stats.total_window_pages
      ? {'window pages in use': `${stats.used_window_pages} of ${stats.total_window_pages}`} : {}),
    ...(stats.total_overflow_pages
      ? {'pages on disk in use': `${stats.used_overflow_pages} of ${stats.total_overflow_pages}`} : {}),
    'Prompt tokens cached': asked ? Math.round(100 * stats.cached_tokens / asked) + ' %' : 'none',
    'Draft tokens accepted': drafts,
    Preemptions: stats.preemptions,
    Steps: short(stats.steps),
    'Java heap': short(stats.heap_bytes) + 'B',
  });
  drawSpeed();
  drawRows($('running'), running, true, 'Nothing runs.');
  drawRows($('waiting'), waiting, false, 'Nobody waits.');
  if (stats.waiting > waiting.length) {
    $('waiting').append(h('li.hint', null, `and ${stats.waiting - waiting.length} more`));
  }
  drawPages(view);
}

function drawFigures(figures) {
  const list = $('figures');
  if (list.childElementCount === 0) {
    list.append(...Object.keys(figures).map(name => h('div', null, h('dt', null, name), h('dd', null))));
  }
  Object.values(figures).forEach((value, i) => {
    list.children[i].lastChild.textContent = value;
  });
}

/** The colour of the running sequence at an index; neighbours differ. */
function colour(index) {
  return `hsl(${(index * 137.5) % 360} 55% 55%)`;
}

/** A colour of the style sheet as a canvas takes it: the one for the light or the dark. */
function themeColour(name) {
  const probe = $('probe');
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

function drawRows(list, rows, areRunning, none) {
  if (rows.length === 0) {
    list.replaceChildren(h('li.hint', null, none));
    return;
  }
  // Rows keep their place, so that the focus of the keyboard stays where it is.
  while (list.childElementCount > rows.length) {
    list.lastChild.remove();
  }
  rows.forEach((row, i) => {
    let item = list.children[i];
    if (!item?.bar) {
      const made = bar();
      item ? item.replaceWith(made) : list.append(made);
      item = made;
    }
    const part = tokens => 100 * tokens / row.max_tokens + '%';
    item.bar.onclick = () => row.id && explain(row.id);
    item.bar.disabled = !row.id;
    item.mark.style.background = areRunning ? colour(i) : 'transparent';
    item.cached.style.width = part(row.cached_tokens);
    item.computed.style.width = part(Math.max(row.computed_tokens - row.cached_tokens, 0));
    item.target.style.width = part(row.target_tokens - row.computed_tokens);
    item.name.textContent = (row.id ?? 'request of another key') + (row.priority ? ` · priority ${row.priority}` : '');
    const answered = row.target_tokens - row.prompt_tokens;
    item.text.textContent = !areRunning
        ? `${row.prompt_tokens} tokens · ${row.preempted ? 'preempted' : 'waits'} · ${duration(row.ms)}`
        : (answered ? `${answered} tokens answered` : `reads ${row.computed_tokens} of ${row.prompt_tokens}`)
            + ` · ${row.pages} pages · ${duration(row.ms)}`;
  });
}

function bar() {
  const item = h('li', null);
  item.mark = h('span.mark', null);
  item.cached = h('span.cached', null);
  item.computed = h('span.computed', null);
  item.target = h('span.target', null);
  item.name = h('span.name', null);
  item.text = h('span.text', null);
  item.bar = h('button.row', {type: 'button'}, item.mark, item.name, item.text,
      h('span.bar', null, item.cached, item.computed, item.target));
  item.append(item.bar);
  return item;
}

/** Sets the size of a canvas in points of the screen; returns what draws on it, in CSS pixels. */
function surface(canvas, height) {
  const scale = devicePixelRatio || 1;
  const width = canvas.parentElement.clientWidth;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = height + 'px';
  }
  const draw = canvas.getContext('2d');
  draw.setTransform(scale, 0, 0, scale, 0, 0);
  draw.clearRect(0, 0, width, height);
  return {draw, width};
}

function drawSpeed() {
  const height = 90;
  const {draw, width} = surface($('speed'), height);
  const most = Math.max(1, ...history.map(point => point.generated));
  const now = history.at(-1)?.time ?? 0;
  draw.strokeStyle = themeColour('--accent');
  draw.lineWidth = 1.5;
  draw.beginPath();
  history.forEach((point, i) => {
    const x = width * (1 - (now - point.time) / HISTORY_MS);
    const y = height - 2 - (height - 18) * point.generated / most;
    i === 0 ? draw.moveTo(x, y) : draw.lineTo(x, y);
  });
  draw.stroke();
  draw.fillStyle = themeColour('--faint');
  draw.font = '12px system-ui, sans-serif';
  draw.fillText(`${short(Math.round(most))} tokens/s at most`, 2, 12);
}

/** Draws a cell for each page, or for as many pages as fit; a cell of several pages has the colour of its first one in use. */
function drawPages(view) {
  const total = view.stats.total_pages;
  const canvas = $('pages');
  const width = canvas.parentElement.clientWidth;
  const cell = total > 4000 ? 6 : 10;
  const columns = Math.max(1, Math.floor(width / cell));
  const rows = Math.min(Math.ceil(total / columns), 60);
  const perCell = Math.ceil(total / (columns * rows));
  const {draw} = surface(canvas, Math.ceil(Math.ceil(total / perCell) / columns) * cell);
  const fixed = {
    [FREE]: themeColour('--free'),
    [CACHED]: themeColour('--cached'),
    [SHARED]: themeColour('--shared'),
  };
  const cells = new Array(Math.ceil(total / perCell)).fill(FREE);
  let page = 0;
  for (const [owner, count] of view.pages) {
    for (let i = 0; owner !== FREE && i < count; i++) {
      const at = Math.floor((page + i) / perCell);
      if (cells[at] === FREE || (cells[at] === CACHED && owner !== CACHED)) {
        cells[at] = owner;
      }
    }
    page += count;
  }
  cells.forEach((owner, i) => {
    draw.fillStyle = fixed[owner] ?? colour(owner);
    draw.fillRect(i % columns * cell, Math.floor(i / columns) * cell, cell - 1, cell - 1);
  });
  const shared = view.pages.filter(([owner]) => owner === SHARED).reduce((sum, [, count]) => sum + count, 0);
  $('page-keys').replaceChildren(
      h('span.key.free', null), ` free, `,
      h('span.key.cached', null), ` ${view.stats.cached_pages} cached, `,
      h('span.key.shared', null), ` ${shared} shared, other colours: one request each`
      + (perCell > 1 ? `; a cell is ${perCell} pages` : `; a page has ${view.stats.page_tokens} tokens`));
}

/** Shows the timeline of a request. */
async function explain(id) {
  $('t-timeline').textContent = 'Request ' + id;
  $('timeline-body').replaceChildren('…');
  $('timeline').showModal();
  try {
    const timeline = await get('v1/requests/' + encodeURIComponent(id));
    $('timeline-body').replaceChildren(...timeline.answers.flatMap(answer => [
      ...(timeline.answers.length > 1 ? [h('h3', null, 'Answer ' + answer.index)] : []),
      h('div.scroll', null, h('table', null,
          h('thead', null, h('tr', null, ...['Time', 'Event', 'Tokens', 'Pages'].map(name => h('th', null, name)))),
          h('tbody', null, ...answer.events.map(line)))),
      ...(answer.events_left_out ? [h('p.hint', null, `${answer.events_left_out} events in the middle were left out.`)] : []),
    ]));
  } catch (e) {
    $('timeline-body').replaceChildren(h('p.error', null, e.message));
  }
}

function line({event, ms, pages, ...tokens}) {
  const [name, count] = Object.entries(tokens)[0] ?? ['', ''];
  return h('tr', null, h('td', null, duration(ms)), h('td', null, event.replaceAll('_', ' ')),
      h('td', null, `${count} ${name.replaceAll('_', ' ').replace(/ ?tokens$/, '')}`.trim()), h('td', null, String(pages)));
}
