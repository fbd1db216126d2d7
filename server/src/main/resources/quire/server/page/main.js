import {get} from './api.js';
import {$, say} from './dom.js';
import {startChat} from './chat.js';
import {startEngine} from './engine.js';

const RETRY_MS = 500;

/** Waits until the model is loaded, and says how far it is. */
async function awaitModel() {
  for (;;) {
    try {
      const response = await fetch('health/ready');
      if (response.ok) {
        say($('notice'), '');
        return;
      }
      const state = await response.json();
      say($('notice'), `Not ready: ${state.status}` + (state.percent === undefined ? '' : ` (${state.percent} %)`));
    } catch {
      say($('notice'), 'The server does not answer.');
    }
    await new Promise(resolve => setTimeout(resolve, RETRY_MS));
  }
}

function show() {
  const view = location.hash === '#engine' ? 'engine' : 'chat';
  for (const name of ['chat', 'engine']) {
    $(name).hidden = name !== view;
    $('tab-' + name).ariaCurrent = name === view ? 'page' : null;
  }
  if (view === 'chat') {
    $('input').focus();
  }
  document.dispatchEvent(new CustomEvent('view', {detail: view}));
}

await awaitModel();
const models = (await get('v1/models')).data;
const own = models.filter(model => model.id === model.root);
$('model').textContent = own.length > 1 ? `${own.length} models` : models[0].id;
startChat(models);
startEngine(own.map(model => model.id));
addEventListener('hashchange', show);
show();
