import OpenAI from 'openai';
import {base, main, scenario, schema, signal, task, tool, variant, writeFile} from './task.mjs';

const client = new OpenAI({baseURL: base + '/v1', apiKey: 'none'});
const model = 'fake';

async function chat() {
  const messages = [{role: 'user', content: task}];
  if (scenario === 'object') {
    const answer = await client.chat.completions.parse({model, messages,
      response_format: {type: 'json_schema', json_schema: {name: 'answer', strict: true, schema}}}, {signal});
    return answer.choices[0].message.parsed ?? JSON.parse(answer.choices[0].message.content);
  }
  if (scenario === 'choices') {
    const body = {model, messages, n: 2};
    const whole = await client.chat.completions.create(body, {signal});
    const streamed = await client.chat.completions.stream(body, {signal}).finalChatCompletion();
    return [whole, streamed].map(each => each.choices.map(choice => `${choice.index}: ${choice.message.content}`)
        .sort().join(', ')).join('; ');
  }
  for (;;) {
    let thought = '';
    const stream = client.chat.completions.stream({model, messages, stream_options: {include_usage: true},
      tools: [{type: 'function', function: tool}]}, {signal});
    stream.on('chunk', chunk => { thought += chunk.choices[0]?.delta.reasoning_content ?? ''; });
    const {message} = (await stream.finalChatCompletion()).choices[0];
    if (scenario === 'reasoning' && thought === '') {
      throw new Error('the stream has no reasoning');
    }
    messages.push(message);
    if (!message.tool_calls?.length) {
      return message.content;
    }
    for (const call of message.tool_calls) {
      messages.push({role: 'tool', tool_call_id: call.id, content: writeFile(JSON.parse(call.function.arguments))});
    }
  }
}

async function responses() {
  if (scenario === 'object') {
    const answer = await client.responses.parse({model, input: task,
      text: {format: {type: 'json_schema', name: 'answer', strict: true, schema}}}, {signal});
    return answer.output_parsed ?? JSON.parse(answer.output_text);
  }
  let input = [{role: 'user', content: task}];
  for (;;) {
    const stream = client.responses.stream({model, input, store: false, reasoning: {summary: 'auto'},
      tools: [{type: 'function', strict: true, ...tool}]}, {signal});
    const answer = await stream.finalResponse();
    const calls = answer.output.filter(item => item.type === 'function_call');
    if (calls.length === 0) {
      return answer.output_text;
    }
    input = [...input, ...answer.output];
    for (const call of calls) {
      input.push({type: 'function_call_output', call_id: call.call_id, output: writeFile(JSON.parse(call.arguments))});
    }
  }
}

await main(variant === 'openai-chat' ? chat : responses);
