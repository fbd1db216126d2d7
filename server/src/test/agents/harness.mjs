// usage: harness.mjs FOLDER [PROGRAM...]   runs installed programs against Quire, and writes results.json and the table
import {spawn} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {chosen} from './programs.mjs';
import {startProxy} from './proxy.mjs';
import {writeTable} from './table.mjs';

const RESULTS = new URL('./results.json', import.meta.url);
const TOGETHER = 3; // programs that run beside each other
const SLOWER = Number(process.env.QUIRE_AGENTS_SLOWER ?? 1); // for a machine that does other work beside
const LIMIT = 60_000 * SLOWER; // milliseconds of one run of a program
const RETRY_AFTER = 1; // seconds, in place of those that Quire names, so that a run is short

const schema = {
  type: 'object',
  properties: {city: {type: 'string', description: 'a city'}, days: {type: 'integer', minimum: 1, maximum: 9}},
  required: ['city', 'days'],
  additionalProperties: false,
};

const [work, ...names] = process.argv.slice(2);

// -- Quire ------------------------------------------------------------------------------------------------------------

const java = spawn(process.env.JAVA,
    ['--add-modules', 'jdk.incubator.vector', '--enable-native-access=ALL-UNNAMED', 'quire.server.AgentServer'],
    {stdio: ['pipe', 'pipe', openSync(join(work, 'quire.log'), 'w')]});
const lines = createInterface({input: java.stdout});
const ports = JSON.parse((await new Promise((resolve, reject) => {
  lines.once('line', resolve);
  java.once('exit', code => reject(new Error('the server ended with ' + code)));
})));

const requests = {
  chat: ['/v1/chat/completions', {messages: [{role: 'user', content: 'x'}]}],
  Responses: ['/v1/responses', {input: 'x'}],
  Messages: ['/v1/messages', {max_tokens: 9, messages: [{role: 'user', content: 'x'}]}],
  Ollama: ['/api/chat', {messages: [{role: 'user', content: 'x'}]}],
};

/** Quire's own answer to a request of an API when it is overloaded (429) or has no model yet (503). */
async function refusal(status, dialect) {
  const [path, body] = requests[dialect];
  for (;;) { // the first request of a minute is allowed
    const answer = await fetch(`http://127.0.0.1:${status === 429 ? ports.full : ports.loading}${path}`, {method: 'POST',
      headers: {'content-type': 'application/json', authorization: 'Bearer test'},
      body: JSON.stringify({model: 'fake', ...body})});
    const text = await answer.text();
    if (answer.status === status) {
      if (!/^[1-9]\d?$/.test(answer.headers.get('retry-after') ?? '')) {
        throw new Error(`${status} of ${path} has Retry-After ${answer.headers.get('retry-after')}`);
      }
      return {status, body: text, headers: {'content-type': answer.headers.get('content-type'),
        'content-length': Buffer.byteLength(text), 'retry-after': String(RETRY_AFTER)}};
    }
    if (answer.status !== 200) {
      throw new Error(`${path} gave ${answer.status} instead of ${status}: ${text}`);
    }
  }
}

const refusals = {};
for (const dialect of Object.keys(requests)) {
  refusals[dialect] = {429: await refusal(429, dialect), 503: await refusal(503, dialect)};
}

// -- one run of a program ---------------------------------------------------------------------------------------------

/** The text of a task: the scripted model reads its answers from it. */
const taskText = answers => 'Do this test task: script:' + Buffer.from(JSON.stringify(answers)).toString('base64') + ':';

const callText = (program, path, text) => {
  const [name, values] = program.call(path, text);
  return `<call>${name}:${JSON.stringify(values)}</call>`;
};

/**
 * Runs a program once.
 *
 * answers: what the model says, by the folder of the run. onEvent: called with each event of a stream and the process.
 */
async function run(program, scenario, answers, {fault = () => null, onEvent = () => {}, limit = LIMIT} = {}) {
  const root = mkdtempSync(join(work, 'run-'));
  const home = join(root, 'home');
  const dir = join(root, 'project');
  mkdirSync(home);
  mkdirSync(dir);
  const proxy = await startProxy(ports.ok, program.isMain, fault);
  const started = Date.now();
  try {
    const task = taskText(answers(dir));
    const what = {dir, home, base: proxy.base, task, schema, scenario, object: []};
    if (scenario === 'object') {
      what.object = program.object(what);
    }
    const {file, node, arguments: parameters, environment = {}, result} = program.start(what);
    const installed = join(work, 'npm', program.folder);
    const command = file ? join(installed, 'node_modules/.bin', file) : process.execPath;
    const child = spawn(command, node ? [join(installed, node), ...parameters] : parameters, {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: {PATH: `${join(installed, 'node_modules/.bin')}:${process.env.PATH}`, HOME: home, TERM: 'dumb', LANG: 'C.UTF-8', NO_COLOR: '1', CI: '1',
        XDG_CONFIG_HOME: join(home, '.config'), XDG_DATA_HOME: join(home, '.local/share'),
        XDG_CACHE_HOME: join(home, '.cache'), XDG_STATE_HOME: join(home, '.local/state'),
        DO_NOT_TRACK: '1', OTEL_SDK_DISABLED: 'true', ...environment},
    });
    let out = '';
    let errors = '';
    child.stdout.on('data', data => { out += data; });
    child.stderr.on('data', data => { errors += data; });
    proxy.onEvent(record => onEvent(record, child));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      stop(child);
    }, limit);
    const code = await new Promise(resolve => child.once('close', resolve));
    clearTimeout(timer);
    stop(child);
    if (result && existsSync(join(dir, result))) {
      out += JSON.stringify(JSON.parse(readFileSync(join(dir, result))).results.results
          .map(each => each.response?.output ?? each.error));
    }
    const text = out.replaceAll(task, '');
    const main = proxy.records.filter(record => record.main);
    if (process.env.QUIRE_AGENTS_LOG) {
      writeFileSync(join(process.env.QUIRE_AGENTS_LOG, `${program.name}-${scenario}.log`),
          `exit ${code}${late ? ' (late)' : ''}\n${out}\n--\n${errors}\n--\n`
          + proxy.records.map(record => JSON.stringify({...record, body: undefined})).join('\n') + '\n'
          + proxy.records.map(record => JSON.stringify(record.body, null, 1)).join('\n'));
    }
    const files = {};
    for (const name of ['a.txt', 'b.txt'].filter(each => existsSync(join(dir, each)))) {
      files[name] = readFileSync(join(dir, name), 'utf8');
    }
    return {code, late, out: text, errors, main, files, milliseconds: Date.now() - started};
  } finally {
    proxy.close();
    rmSync(root, {recursive: true, force: true, maxRetries: 5});
  }
}

function stop(child) {
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // it has ended
  }
}

/** Why a run is not what it should be: null if it is. */
function fault(run, {text, files = {}, requests}) {
  const bad = run.main.find(record => record.status !== 200);
  if (bad) {
    return `status ${bad.status}`;
  }
  if (run.late) {
    return 'does not end';
  }
  if (run.main.length !== requests) {
    return `${run.main.length} requests instead of ${requests}`;
  }
  for (const [name, content] of Object.entries(files)) {
    if (run.files[name] !== content) {
      return `the tool did not write ${name}`;
    }
  }
  return run.out.includes(text) ? null : 'the answer is not shown';
}

// -- scenarios --------------------------------------------------------------------------------------------------------

const TEXT = 'Quire ok.';
const failed = reason => ({ok: false, reason});
const passed = more => ({ok: true, ...more});

async function chat(program) {
  const ran = await run(program, 'chat', () => [TEXT]);
  const reason = fault(ran, {text: TEXT, requests: 1});
  return reason ? failed(reason) : passed({events: ran.main[0].events});
}

async function tools(program) {
  const files = program.calls === 2 ? {'a.txt': 'alpha', 'b.txt': 'beta'} : {'a.txt': 'alpha'};
  const ran = await run(program, 'tools', dir => [
    ...Object.entries(files).map(([name, text]) => callText(program, join(dir, name), text)), TEXT]);
  const single = program.calls === 1; // the result of the tool is the answer
  const reason = fault(ran, {text: single ? 'written' : TEXT, files, requests: single ? 1 : 3});
  return reason ? failed(reason) : passed({milliseconds: ran.milliseconds});
}

async function object(program) {
  const wanted = {city: 'Bern', days: 3};
  const written = JSON.stringify(wanted);
  const call = program.objectCall;
  // The model itself would not end its answer behind the object: the constraint does.
  const ran = await run(program, 'object', () => [call ? `<call>${call}:${written}</call>` : `${written} is what I would say.`]);
  if (ran.main.some(record => record.status !== 200)) {
    return failed(`status ${ran.main.find(record => record.status !== 200).status}`);
  }
  const compact = ran.out.replaceAll('\\"', '"').replaceAll(/\s/g, '');
  return compact.includes('"city":"Bern"') && compact.includes('"days":3') ? passed() : failed('the object is not shown');
}

async function reasoning(program) {
  const thought = 'First I think about it.';
  const ran = await run(program, 'reasoning', dir => [
    `<think>\n${thought}\n</think>\n\n${callText(program, join(dir, 'a.txt'), 'alpha')}`,
    `<think>\nThen I am done.\n</think>\n\n${TEXT}`]);
  const reason = fault(ran, {text: TEXT, files: {'a.txt': 'alpha'}, requests: 2});
  if (reason) {
    return failed(reason);
  }
  if (ran.out.includes('<think>')) {
    return failed('marks of reasoning are in the text');
  }
  return passed({returned: JSON.stringify(ran.main[1].body).includes(thought)});
}

/** Several answers to one prompt, whole and as a stream. */
async function choices(program) {
  const ran = await run(program, 'choices', () => [TEXT]);
  const two = `0: ${TEXT}, 1: ${TEXT}`;
  const reason = fault(ran, {text: `${two}; ${two}`, requests: 2});
  return reason ? failed(reason) : passed();
}

async function cancel(program) {
  let stopped = 0;
  const ran = await run(program, 'cancel', () => ['<endless>'], {
    limit: 30_000 * SLOWER,
    onEvent: (record, child) => {
      if (record.main && record.events === 5) {
        stopped ||= Date.now();
        process.kill(-child.pid, 'SIGINT'); // as a terminal does
      }
    },
  });
  if (stopped === 0) {
    return failed(ran.main.some(record => record.status >= 400) ? 'refused' : 'no stream');
  }
  if (ran.late) {
    return failed('does not end');
  }
  return await idle() ? passed() : failed('Quire goes on computing');
}

/** Whether Quire computes nothing within some seconds. */
async function idle() {
  for (let i = 0; i < 200 * SLOWER; i++) {
    const metrics = await (await fetch(`http://127.0.0.1:${ports.ok}/metrics`)).text();
    const running = /^quire_num_requests_running(?:\{[^}]*\})? (\d+)/m.exec(metrics);
    if (running === null) {
      throw new Error('/metrics has no quire_num_requests_running');
    }
    if (running[1] === '0') {
      return true;
    }
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  return false;
}

/** How a program took a fault: it recovered, it showed a message, or it said nothing. */
function outcome(ran, message) {
  const shown = ran.out + ran.errors;
  const kind = ran.out.includes(TEXT) ? 'recovers'
      : ran.late ? 'tries on'
          : message.test(shown) ? 'message'
              : ran.code !== 0 || /error|fail/i.test(shown) ? 'other message' : 'silent';
  return {kind, requests: ran.main.length, seconds: Math.round(ran.milliseconds / 100) / 10};
}

async function refused(program, status) {
  const ran = await run(program, 'retry', () => [TEXT],
      {fault: n => n === 0 ? {answer: refusals[program.dialect][status]} : null});
  const waited = ran.main.length > 1 ? (ran.main[1].at - ran.main[0].at) / 1000 : null;
  return {...outcome(ran, /tokens? a minute|requests? a minute|loading|loaded/i), waited};
}

async function cuts(program, events) {
  const outcomes = [];
  for (let k = 0; k < Math.max(events, 2); k++) {
    const ran = await run(program, 'cut', () => [TEXT], {fault: n => n === 0 ? {cutAfter: k} : null});
    outcomes.push(outcome(ran, /$^/));
  }
  return outcomes;
}

const broken = {
  'before the text': () => '<broken>',
  'within the text': () => 'Half of an answer <broken>',
  'within a call': (program, dir) => callText(program, join(dir, 'a.txt'), 'alpha').slice(0, -12) + '<broken>',
};

async function errors(program) {
  const outcomes = {};
  for (const [stage, answer] of Object.entries(broken)) {
    const ran = await run(program, stage === 'within a call' ? 'tools' : 'errors', dir => [answer(program, dir)],
        {limit: 90_000 * SLOWER});
    outcomes[stage] = outcome(ran, /not finite/);
  }
  return outcomes;
}

async function all(program) {
  const does = scenario => !program.only || program.only.includes(scenario);
  const result = {title: program.title, version: program.version, dialect: program.dialect};
  const step = async (name, action) => {
    result[name] = await action();
    console.log(`${program.name} ${name}: ${JSON.stringify(result[name])}`);
  };
  if (does('chat')) {
    await step('chat', () => chat(program));
  }
  if (does('tools')) {
    await step('tools', () => tools(program));
  }
  if (program.object) {
    await step('object', () => object(program));
  }
  if (does('reasoning') && program.calls === 2) {
    await step('reasoning', () => reasoning(program));
  }
  if (program.choices) {
    await step('choices', () => choices(program));
  }
  if (does('cancel') && program.stream) {
    await step('cancel', () => cancel(program));
  }
  if (result.chat?.ok && !process.env.QUIRE_AGENTS_SHORT) {
    await step('429', () => refused(program, 429));
    await step('503', () => refused(program, 503));
    await step('cuts', () => cuts(program, result.chat.events));
    await step('errors', () => errors(program));
  }
  return result;
}

// -- all programs -----------------------------------------------------------------------------------------------------

const results = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS)) : {};
const waiting = chosen(names);
let bad = 0;

async function worker() {
  for (let program = waiting.shift(); program; program = waiting.shift()) {
    const result = await all(program);
    bad += Object.values(result).filter(each => each?.ok === false).length;
    if (!process.env.QUIRE_AGENTS_SHORT) {
      results[program.name] = result;
      writeFileSync(RESULTS, JSON.stringify(results, null, 1) + '\n');
    }
  }
}

await Promise.all(Array.from({length: TOGETHER}, worker));
if (!process.env.QUIRE_AGENTS_SHORT) {
  writeTable(results);
}
java.stdin.end();
console.log(bad === 0 ? 'all programs work' : `${bad} faults`);
process.exitCode = bad === 0 ? 0 : 1;
