// Drives the web page in a browser: node page.mjs CHROMIUM URL URL_WITH_KEY URL_OF_TWO URL_OF_TINY FOLDER. PageInBrowserTest starts it,
// with servers whose answers are scripted: "markup" gets Markdown and hostile markup, "tool" a call of a tool, "endless" an answer
// without end. Then come a server that has the models story and tale and room for one, and one with the built-in model. Writes pictures
// into FOLDER. Ends with an error at the first expectation that does not hold.
import assert from 'node:assert/strict';
import {chromium} from 'playwright-core';

const [executablePath, url, urlWithKey, urlOfTwo, urlOfTiny, folder] = process.argv.slice(2);
const browser = await chromium.launch({executablePath, args: ['--no-sandbox', '--disable-gpu']});
const complaints = [];

async function newPage(options = {}) {
  const context = await browser.newContext({viewport: {width: 1100, height: 760}, ...options});
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on('console', message => {
    // A browser logs every answer with an error status; the page handles those.
    if (message.type() === 'error' && !message.text().includes('Failed to load resource')) {
      complaints.push(message.text());
    }
  });
  page.on('pageerror', error => complaints.push(String(error)));
  page.on('request', request => {
    if (!request.url().startsWith('http://127.0.0.1:') && !request.url().startsWith('data:')) {
      complaints.push('asks for ' + request.url());
    }
  });
  return page;
}

async function send(page, text) {
  await page.locator('#input').fill(text);
  await page.locator('#input').press('Enter');
}

async function answered(page) {
  await page.locator('#send').waitFor({state: 'visible'});
}

const stats = page => page.evaluate(async () => (await (await fetch('v1/engine')).json()).stats);

async function until(condition, what) {
  const end = Date.now() + 60_000;
  while (!await condition()) {
    assert.ok(Date.now() < end, what);
  }
}

// A chat: the answer is rendered, and no markup of the model becomes an element.
const page = await newPage();
await page.goto(url);
await page.waitForFunction(() => document.activeElement?.id === 'input'); // the keyboard is where one types
await send(page, 'markup');
await answered(page);
const answer = page.locator('#messages > .assistant .text');
assert.equal(await answer.locator('strong').textContent(), 'bold');
assert.equal(await answer.locator('pre code').textContent(), 'int x = 1 < 2 ? 3 : 4;');
assert.deepEqual(await answer.locator('li').allTextContents(), ['one', 'two']);
assert.equal(await answer.locator('img, script, iframe').count(), 0);
assert.match(await answer.textContent(), /<img src=x onerror=alert\(1\)>/);
assert.equal(await answer.locator('a').count(), 1);
assert.equal(await answer.locator('a').getAttribute('href'), 'https://example.com/');
assert.match(await page.locator('.figures').textContent(), /tokens in.*out · first after/);

// Settings: log probabilities on hover, a value that is no number, a schema that is no JSON.
await page.locator('#settings summary').click();
await page.locator('#s-logprobs').check();
await page.locator('#s-temperature').fill('warm');
assert.match(await page.locator('#s-error').textContent(), /temperature is 'warm'/);
await page.locator('#s-temperature').fill('0');
await page.locator('#s-schema').fill('{');
assert.match(await page.locator('#s-error').textContent(), /The JSON schema is not valid JSON/);
await page.locator('#s-schema').fill('');
assert.equal(await page.locator('#s-error').isVisible(), false);
await page.getByRole('button', {name: 'Retry'}).click();
await answered(page);
assert.match(await page.locator('.tokens span').first().getAttribute('title'), /%\n/);
await page.locator('#s-logprobs').uncheck();

// Editing takes the message back into the box, without what follows it.
await page.getByRole('button', {name: 'Edit'}).click();
assert.equal(await page.locator('#input').inputValue(), 'markup');
assert.equal(await page.locator('#messages > li').count(), 0);
await send(page, 'markup again');
await answered(page);

// The browser keeps the conversation and the settings.
await page.reload();
await page.locator('#messages > .assistant').waitFor();
assert.equal(await page.locator('#messages > .user .text').textContent(), 'markup again');
assert.equal(await page.locator('#s-temperature').inputValue(), '0');
await page.screenshot({path: folder + '/chat.png'});

// A call of a tool is shown; with its result the model goes on.
await page.locator('#settings summary').click();
await page.locator('#s-tools').fill(JSON.stringify([{type: 'function', function: {name: 'weather', parameters: {
  type: 'object', properties: {city: {type: 'string'}}, required: ['city']}}}]));
await page.locator('#new').click();
await send(page, 'tool');
await answered(page);
assert.match(await page.locator('.call').textContent(), /weather.*Oslo/s);
await page.locator('.call textarea').fill('rain');
await page.getByRole('button', {name: 'Send the result'}).click();
await page.locator('#messages > .tool').waitFor();
await page.locator('#messages > .assistant').nth(1).waitFor();
await answered(page);
assert.match(await page.locator('#messages > .assistant').nth(1).textContent(), /It rains/);
await page.locator('#s-tools').fill('');

// Stop ends the answer in the engine too.
await page.locator('#new').click();
await send(page, 'endless');
await page.locator('#messages > .assistant .text', {hasText: 'word'}).waitFor();
await page.locator('#stop').click();
await page.locator('#messages .error', {hasText: 'Stopped.'}).waitFor();
await until(async () => (await stats(page)).running === 0, 'the engine goes on after Stop');

// The live view moves, and a request explains itself.
const other = await newPage();
await other.goto(url);
await send(other, 'endless');
await other.locator('#messages > .assistant .text', {hasText: 'word'}).waitFor();
await page.locator('#tab-engine').click();
await page.locator('#running .row').waitFor();
const progress = () => page.locator('#running .row .text').textContent();
const before = await progress();
await until(async () => await progress() !== before, 'the live view does not move');
const colours = await page.evaluate(() => {
  const canvas = document.getElementById('pages');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(data.buffer)).size;
});
assert.ok(colours > 2, 'the map of pages has one colour');
await page.screenshot({path: folder + '/engine.png'});
await page.locator('#running .row').click();
await page.locator('#timeline td', {hasText: 'first token'}).waitFor();
await page.screenshot({path: folder + '/timeline.png'});
await page.keyboard.press('Escape');
await page.locator('#timeline').waitFor({state: 'hidden'});
await other.close();
await page.getByText('Nothing runs.').waitFor();

// A phone, in the dark.
const phone = await newPage({viewport: {width: 360, height: 740}, colorScheme: 'dark'});
await phone.goto(url);
await send(phone, 'markup');
await answered(phone);
for (const view of ['chat', 'engine']) {
  await phone.locator('#tab-' + view).click();
  await phone.locator('#' + view).waitFor();
  assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth) <= 360, view + ' is wider than a phone');
  await phone.screenshot({path: `${folder}/phone-${view}.png`});
}
await phone.locator('#tab-chat').click();
await phone.locator('#menu').click();
await phone.locator('#new').click();
assert.equal(await phone.locator('#messages > li').count(), 0);

// A server with a key asks for it, and a wrong one is said to be wrong.
const locked = await newPage();
await locked.goto(urlWithKey);
await locked.locator('#key-input').fill('wrong');
await locked.keyboard.press('Enter');
await locked.locator('#key-error', {hasText: 'does not accept'}).waitFor();
await locked.locator('#key-input').fill('right');
await locked.keyboard.press('Enter');
await send(locked, 'markup');
await answered(locked);
assert.equal(await locked.locator('#messages > .assistant strong').textContent(), 'bold');

// Several models: one is chosen, its request loads it, and its engine is shown.
const two = await newPage();
await two.goto(urlOfTwo);
await two.locator('#model', {hasText: '2 models'}).waitFor();
await two.locator('#settings summary').click();
assert.deepEqual(await two.locator('#s-model option').allTextContents(), ['story (not loaded)', 'tale (not loaded)']);
await two.locator('#s-model').selectOption('tale');
await two.locator('#s-max_tokens').fill('20');
await send(two, 'Once upon a time');
await answered(two);
await two.locator('#s-model option', {hasText: /^tale$/}).waitFor({state: 'attached'});
assert.match(await two.locator('.figures').textContent(), /out · first after/);
await two.screenshot({path: folder + '/two-chat.png'});
await two.locator('#tab-engine').click();
await two.locator('#notice', {hasText: 'not in memory'}).waitFor(); // the first model
await two.locator('#engine-model').selectOption('tale');
await two.locator('#pages').waitFor();
assert.equal(await two.locator('#notice').isVisible(), false);
assert.match(await two.locator('#figures').textContent(), /KV pages in use/);
await two.screenshot({path: folder + '/two-engine.png'});

// The picture of the README: the built-in model at work.
const tiny = await newPage({viewport: {width: 960, height: 640}});
await tiny.goto(urlOfTiny);
await tiny.locator('#tab-engine').click();
let working = true;
const work = Promise.all(['Once upon a time', 'The capital of Italy', 'A fox and a hen', 'One day, a boy'].map(async (prompt, i) => {
  for (let seed = 0; working; seed++) {
    const response = await fetch(urlOfTiny + '/v1/completions', {
      method: 'POST',
      headers: {'Content-Type': 'application/json'},
      body: JSON.stringify({prompt, max_tokens: 200 + 40 * i, ignore_eos: true, temperature: 1, seed}),
    });
    assert.equal(response.status, 200);
    await response.text();
  }
}));
await until(async () => (await stats(tiny)).steps > 500, 'the built-in model makes no steps');
await tiny.locator('#running .row').nth(1).waitFor();
await tiny.screenshot({path: folder + '/page-engine.png'});
working = false;
await work;

assert.deepEqual(complaints, []);
await browser.close();
console.log('the page works');
