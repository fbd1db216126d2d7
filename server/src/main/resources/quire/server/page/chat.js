import {get, streamChat} from './api.js';
import {$, duration, h, say} from './dom.js';
import {markdown} from './markdown.js';

/*
 * A conversation is {id, title, messages}. A message is what the API takes, {role, content, …}, and beside it what only this
 * page knows, under `page`: {reasoning, tokens, figures, error}. All is kept in the browser's local storage.
 */

const CONVERSATIONS = 'quire-conversations';
const SETTINGS = 'quire-settings';
const MAX_CONVERSATIONS = 100;
const MIN_RATE_MS = 100;
const FIELDS = ['model', 'system', 'temperature', 'top_p', 'max_tokens', 'seed', 'schema', 'tools'];

let conversations = [];
let current = null;
let running = null; // AbortController of the answer that is being written

/**
 * Shows the conversations of this browser.
 *
 * @param models as GET /v1/models lists them
 */
export function startChat(models) {
  conversations = load(CONVERSATIONS, []);
  $('s-model').append(...models.map(model => h('option', {value: model.id}, shownName(model))));
  $('settings').addEventListener('toggle', showStates);
  readSettings();
  $('settings').addEventListener('input', () => {
    storeSettings();
    try {
      request();
      say($('s-error'), '');
    } catch (e) {
      say($('s-error'), e.message);
    }
  });
  $('new').onclick = () => open(null);
  $('composer').onsubmit = event => {
    event.preventDefault();
    send();
  };
  $('input').onkeydown = event => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  };
  $('stop').onclick = stop;
  $('menu').onclick = () => {
    const shown = $('side').classList.toggle('open');
    $('menu').ariaExpanded = String(shown);
  };
  addEventListener('keydown', event => {
    if (event.key === 'Escape' && running && !document.querySelector('dialog[open]')) {
      stop();
    }
  });
  open(conversations.find(each => each.id === load('quire-open', null)) ?? null);
}

/** A model's name, and what it is doing unless it is ready. */
function shownName(model) {
  return model.state === 'ready' ? model.id : `${model.id} (${model.state === 'absent' ? 'not loaded' : model.state})`;
}

/** Models are loaded and unloaded while the page is open. */
async function showStates() {
  if (!$('settings').open) {
    return;
  }
  try {
    const models = (await get('v1/models')).data;
    for (const option of $('s-model').options) {
      const model = models.find(each => each.id === option.value);
      option.textContent = model ? shownName(model) : option.value;
    }
  } catch {
    // what is shown stays until the next time
  }
}

// ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────────────

function load(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Stores the conversations. When the browser has no more room, the oldest ones go. */
function store() {
  conversations.length = Math.min(conversations.length, MAX_CONVERSATIONS);
  for (;;) {
    try {
      localStorage.setItem(CONVERSATIONS, JSON.stringify(conversations));
      localStorage.setItem('quire-open', JSON.stringify(current?.id ?? null));
      return;
    } catch (e) {
      if (conversations.length <= 1) {
        say($('notice'), 'The browser does not keep this conversation: ' + e.message);
        return;
      }
      conversations.pop();
    }
  }
}

function readSettings() {
  const settings = load(SETTINGS, {});
  for (const name of FIELDS) {
    if (settings[name] !== undefined) {
      $('s-' + name).value = settings[name];
    }
  }
  if ($('s-model').selectedIndex < 0) {
    $('s-model').selectedIndex = 0; // the model of the last visit is no longer served
  }
  $('s-logprobs').checked = settings.logprobs ?? false;
}

function storeSettings() {
  const settings = Object.fromEntries(FIELDS.map(name => [name, $('s-' + name).value]));
  localStorage.setItem(SETTINGS, JSON.stringify({...settings, logprobs: $('s-logprobs').checked}));
}

// ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * The parameters that the settings ask for.
 * @throws {Error} if one is wrong, naming it
 */
function request() {
  const body = {model: $('s-model').value};
  for (const name of ['temperature', 'top_p', 'max_tokens', 'seed']) {
    const text = $('s-' + name).value.trim();
    if (text) {
      if (!Number.isFinite(Number(text))) {
        throw new Error(`${name} is '${text}', which is not a number.`);
      }
      body[name] = Number(text);
    }
  }
  if ($('s-logprobs').checked) {
    body.logprobs = true;
    body.top_logprobs = 5;
  }
  const schema = json('s-schema', 'The JSON schema');
  if (schema !== undefined) {
    body.response_format = {type: 'json_schema', json_schema: {name: 'answer', strict: true, schema}};
  }
  const tools = json('s-tools', 'The list of tools');
  if (tools !== undefined) {
    if (!Array.isArray(tools)) {
      throw new Error('The list of tools must be a JSON array.');
    }
    body.tools = tools;
  }
  return body;
}

function json(id, name) {
  const text = $(id).value.trim();
  try {
    return text ? JSON.parse(text) : undefined;
  } catch (e) {
    throw new Error(`${name} is not valid JSON: ${e.message}`);
  }
}

/** The messages of the conversation as the API takes them. */
function messages() {
  const system = $('s-system').value.trim();
  const own = current.messages.map(({page, ...message}) => message);
  return system ? [{role: 'system', content: system}, ...own] : own;
}

function send() {
  const text = $('input').value.trim();
  if (!text || running) {
    return;
  }
  $('input').value = '';
  if (!current) {
    current = {id: crypto.randomUUID?.() ?? String(Math.random()), title: text.slice(0, 60), messages: []};
  }
  conversations = [current, ...conversations.filter(each => each !== current)];
  current.messages.push({role: 'user', content: text});
  draw();
  answer();
}

function stop() {
  running?.abort();
}

/** Lets the model answer the conversation, and shows the answer as it comes. */
async function answer() {
  const conversation = current;
  const controller = new AbortController();
  const message = {role: 'assistant', content: '', page: {reasoning: '', tokens: [], figures: '', error: ''}};
  let sent = null;
  let shown = null;
  let first = 0;
  let usage = null;
  let due = false;
  const begun = performance.now();

  const refresh = () => {
    if (!due) {
      due = true;
      requestAnimationFrame(() => {
        due = false;
        if (shown?.isConnected) {
          const next = item(message, conversation.messages.indexOf(message), true);
          shown.replaceWith(next);
          shown = next;
          follow();
        }
      });
    }
  };

  running = controller;
  conversation.messages.push(message);
  if (conversation === current) {
    shown = item(message, conversation.messages.length - 1, true);
    $('messages').append(shown);
    follow(true);
  }
  drawState();
  try {
    const past = messages().slice(0, -1);
    sent = {...request(), messages: past};
    await streamChat(sent, controller.signal, chunk => {
      usage = chunk.usage ?? usage;
      const choice = chunk.choices[0];
      if (choice) {
        first ||= performance.now();
        take(message, choice);
        refresh();
      }
    });
  } catch (e) {
    message.page.error = e.name === 'AbortError' ? 'Stopped.' : e.message;
  }
  running = null;
  message.page.figures = figures(usage, begun, first, performance.now());
  message.page.sent = sent;
  store();
  draw();
  drawState();
  showStates(); // the request may have loaded a model, and another one may have left for it
  $('input').focus();
}

/** Adds a chunk of an answer to the message. */
function take(message, choice) {
  const delta = choice.delta;
  message.content += delta.content ?? '';
  message.page.reasoning += delta.reasoning_content ?? delta.reasoning ?? '';
  for (const token of choice.logprobs?.content ?? []) {
    message.page.tokens.push({
      text: token.token,
      p: Math.exp(token.logprob),
      others: (token.top_logprobs ?? []).map(other => ({text: other.token, p: Math.exp(other.logprob)})),
    });
  }
  for (const part of delta.tool_calls ?? []) {
    message.tool_calls ??= [];
    const call = message.tool_calls[part.index] ??= {id: part.id, type: 'function', function: {name: '', arguments: ''}};
    call.function.name += part.function?.name ?? '';
    call.function.arguments += part.function?.arguments ?? '';
  }
  if (choice.finish_reason && choice.finish_reason !== 'stop' && choice.finish_reason !== 'tool_calls') {
    message.page.error = choice.finish_reason === 'length'
        ? 'The answer reached its maximum number of tokens.' : `The answer ended: ${choice.finish_reason}.`;
  }
}

function figures(usage, begun, first, end) {
  if (!usage || !first) {
    return '';
  }
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  // Tokens that arrive together say nothing of their speed.
  const rate = end - first >= MIN_RATE_MS ? (usage.completion_tokens - 1) / ((end - first) / 1000) : 0;
  return `${usage.prompt_tokens} tokens in${cached ? ` (${cached} cached)` : ''}, ${usage.completion_tokens} out`
      + ` · first after ${duration(first - begun)}` + (rate ? ` · ${rate.toFixed(1)} tokens/s` : '');
}

// ── what is shown ───────────────────────────────────────────────────────────────────────────────────────────────────

function open(conversation) {
  stop();
  current = conversation;
  store();
  draw();
  $('side').classList.remove('open');
  $('input').focus();
}

function draw() {
  $('conversations').replaceChildren(...conversations.map(each => h('li', null,
      h('button.quiet', {type: 'button', onclick: () => open(each), ariaCurrent: each === current ? 'true' : null}, each.title),
      h('button.quiet.small', {type: 'button', ariaLabel: 'Delete ' + each.title, onclick: () => remove(each)}, '×'))));
  const list = current?.messages ?? [];
  $('messages').replaceChildren(...list.map((message, i) => item(message, i, false)));
  follow(true);
}

function drawState() {
  $('send').hidden = running !== null;
  $('stop').hidden = running === null;
}

function remove(conversation) {
  if (confirm(`Delete the conversation “${conversation.title}”?`)) {
    conversations = conversations.filter(each => each !== conversation);
    open(conversation === current ? null : current);
  }
}

/** Scrolls to the end, if the end is nearly in view or if it must. */
function follow(always) {
  const box = $('messages');
  if (always || box.scrollHeight - box.scrollTop - box.clientHeight < 120) {
    box.scrollTop = box.scrollHeight;
  }
}

function item(message, index, live) {
  const element = h('li.' + message.role, null);
  const page = message.page ?? {};
  element.append(h('h3', null, {user: 'You', assistant: 'Model', tool: 'Result of the tool'}[message.role]));
  if (page.reasoning) {
    const open = live && !message.content;
    element.append(h('details.reasoning', {open}, h('summary', null, 'Reasoning'), h('div', null, markdown(page.reasoning))));
  }
  if (message.role === 'assistant' && page.tokens?.length && $('s-logprobs').checked) {
    element.append(h('div.text.tokens', null, ...page.tokens.map(token)));
  } else if (message.role === 'assistant') {
    element.append(h('div.text', null, markdown(message.content)));
  } else {
    element.append(h('div.text.plain', null, message.content));
  }
  for (const call of message.tool_calls ?? []) {
    element.append(toolCall(call, index, live));
  }
  if (page.error) {
    element.append(h('p.error', {role: 'alert'}, page.error));
  }
  if (page.figures) {
    element.append(h('p.figures', null, page.figures));
  }
  if (!live) {
    element.append(h('div.actions', null, ...actions(message, index)));
  }
  return element;
}

function token(token) {
  const percent = p => (100 * p).toFixed(p < 0.01 ? 2 : 0) + ' %';
  const title = `${JSON.stringify(token.text)} ${percent(token.p)}\n`
      + token.others.map(other => `${percent(other.p).padStart(6)}  ${JSON.stringify(other.text)}`).join('\n');
  const level = token.p > 0.9 ? 0 : token.p > 0.5 ? 1 : token.p > 0.1 ? 2 : 3;
  return h('span.p' + level, {title}, token.text);
}

function toolCall(call, index, live) {
  let pretty = call.function.arguments;
  try {
    pretty = JSON.stringify(JSON.parse(pretty), null, 2);
  } catch {
    // not complete yet
  }
  const box = h('figure.call', null, h('figcaption', null, 'calls ', h('code', null, call.function.name)), h('pre', null, pretty));
  const rest = current?.messages.slice(index + 1) ?? [];
  if (!live && !rest.some(each => each.tool_call_id === call.id)) {
    const result = h('textarea', {rows: 2, ariaLabel: 'Result of ' + call.function.name, placeholder: 'What does the tool return?'});
    box.append(result, h('button', {type: 'button', onclick: () => giveResult(call, result.value)}, 'Send the result'));
  }
  return box;
}

/** Adds the result of a tool; the model goes on when all calls of its message have one. */
function giveResult(call, content) {
  if (running) {
    return;
  }
  current.messages.push({role: 'tool', tool_call_id: call.id, content});
  store();
  draw();
  const calls = current.messages.findLast(message => message.tool_calls)?.tool_calls ?? [];
  if (calls.every(each => current.messages.some(message => message.tool_call_id === each.id))) {
    answer();
  }
}

function actions(message, index) {
  const button = (label, onclick) => h('button.quiet.small', {type: 'button', onclick}, label);
  const copy = text => () => navigator.clipboard?.writeText(text);
  const list = [button('Copy', copy(message.content))];
  if (message.role === 'user') {
    list.push(button('Edit', () => edit(index)));
  }
  if (message.role === 'assistant') {
    list.push(button('Retry', () => again(index)));
    if (message.page?.sent) {
      list.push(button('Copy as curl', copy(curl(message.page.sent))));
    }
  }
  return list;
}

function curl(body) {
  const key = sessionStorage.getItem('quire-key') ? " -H 'Authorization: Bearer '$QUIRE_API_KEY" : '';
  const data = JSON.stringify(body).replaceAll("'", "'\\''");
  return `curl -s ${location.origin}/v1/chat/completions${key} -H 'Content-Type: application/json' -d '${data}'`;
}

/** Answers again in the place of this answer and of what follows. */
function again(index) {
  if (!running) {
    current.messages.length = index;
    draw();
    answer();
  }
}

/** Puts a message of the user back into the box for input, without it and what follows. */
function edit(index) {
  if (!running) {
    $('input').value = current.messages[index].content;
    current.messages.length = index;
    store();
    draw();
    $('input').focus();
  }
}
