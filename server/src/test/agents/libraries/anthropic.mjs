import Anthropic from '@anthropic-ai/sdk';
import {base, main, scenario, schema, signal, task, tool, writeFile} from './task.mjs';

const client = new Anthropic({baseURL: base, apiKey: 'none'});
const common = {model: 'fake', max_tokens: 100000};
if (scenario === 'reasoning') {
  common.thinking = {type: 'enabled', budget_tokens: 1024};
}

await main(async () => {
  const messages = [{role: 'user', content: task}];
  if (scenario === 'object') {
    const answer = await client.messages.parse({...common, max_tokens: 4096, messages,
      output_config: {format: {type: 'json_schema', schema}}}, {signal});
    return answer.parsed_output ?? JSON.parse(answer.content[0].text);
  }
  for (;;) {
    const answer = await client.messages.stream({...common, messages,
      tools: [{name: tool.name, description: tool.description, input_schema: tool.parameters}]}, {signal}).finalMessage();
    messages.push({role: 'assistant', content: answer.content});
    if (answer.stop_reason !== 'tool_use') {
      return answer.content.filter(block => block.type === 'text').map(block => block.text).join('');
    }
    messages.push({role: 'user', content: answer.content.filter(block => block.type === 'tool_use').map(block =>
      ({type: 'tool_result', tool_use_id: block.id, content: writeFile(block.input)}))});
  }
});
