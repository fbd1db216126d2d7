import {$, say} from './dom.js';

/** A request that the server has refused, with its message. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let asking = null;

/** Asks for the API key; all requests that need it wait for the same question. */
function askKey(wrong) {
  asking ??= new Promise(resolve => {
    say($('key-error'), wrong ? 'The server does not accept this key.' : '');
    const dialog = $('key');
    dialog.showModal();
    dialog.onclose = () => {
      sessionStorage.setItem('quire-key', $('key-input').value);
      $('key-input').value = '';
      asking = null;
      resolve();
    };
    dialog.oncancel = event => event.preventDefault(); // without a key nothing works
  });
  return asking;
}

async function message(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return `${response.status} ${text.slice(0, 200)}`;
  }
}

/**
 * Sends a request to the server that this page comes from, with the API key if there is one.
 * @throws {ApiError} if the answer is an error
 */
async function request(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem('quire-key');
    const headers = {...options.headers, ...(key ? {Authorization: 'Bearer ' + key} : {})};
    const response = await fetch(path, {...options, headers});
    if (response.status !== 401) {
      if (response.ok) {
        return response;
      }
      throw new ApiError(response.status, await message(response));
    }
    await askKey(key !== null);
  }
}

/** The JSON at a path. */
export async function get(path, signal) {
  return (await request(path, {signal})).json();
}

/**
 * Sends a chat request, and gives each event of the answer to a function.
 * @param {Object} body of /v1/chat/completions
 * @param {AbortSignal} signal ends the answer
 * @param {function(Object)} onEvent receives the chunks
 * @throws {ApiError} if the request is refused or the answer fails
 */
export async function streamChat(body, signal, onEvent) {
  const response = await request('v1/chat/completions', {
    method: 'POST',
    headers: {'Content-Type': 'application/json'},
    body: JSON.stringify({...body, stream: true, stream_options: {include_usage: true}}),
    signal,
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    rest += part.value;
    const events = rest.split('\n\n');
    rest = events.pop();
    for (const event of events) {
      const data = event.split('\n').filter(line => line.startsWith('data: ')).map(line => line.slice(6)).join('\n');
      if (data === '[DONE]') {
        return;
      }
      if (data) {
        const chunk = JSON.parse(data);
        if (chunk.error) {
          throw new ApiError(0, chunk.error.message);
        }
        onEvent(chunk);
      }
    }
  }
  throw new ApiError(0, 'The answer broke off: the connection was closed.');
}
