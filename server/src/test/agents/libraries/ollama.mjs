import {Ollama} from 'ollama';
import {base, main, scenario, schema, signal, task, tool, writeFile} from './task.mjs';

const client = new Ollama({host: base});
signal.addEventListener('abort', () => client.abort());

await main(async () => {
  const messages = [{role: 'user', content: task}];
  if (scenario === 'object') {
    return JSON.parse((await client.chat({model: 'fake', messages, format: schema})).message.content);
  }
  for (;;) {
    const message = {role: 'assistant', content: '', thinking: '', tool_calls: []};
    let done = false;
    for await (const part of await client.chat({model: 'fake', messages, stream: true, think: scenario === 'reasoning',
      tools: [{type: 'function', function: tool}]})) {
      message.content += part.message.content;
      message.thinking += part.message.thinking ?? '';
      message.tool_calls.push(...part.message.tool_calls ?? []);
      done ||= part.done;
    }
    if (!done) {
      throw new Error('the stream has no end');
    }
    messages.push(message);
    if (message.tool_calls.length === 0) {
      return message.content;
    }
    for (const call of message.tool_calls) {
      messages.push({role: 'tool', tool_name: call.function.name, content: writeFile(call.function.arguments)});
    }
  }
});
