import {HumanMessage, ToolMessage} from '@langchain/core/messages';
import {ChatOpenAI} from '@langchain/openai';
import {base, main, scenario, schema, signal, task, tool, variant, writeFile} from './task.mjs';

const model = new ChatOpenAI({model: 'fake', apiKey: 'none', configuration: {baseURL: base + '/v1'},
  useResponsesApi: variant === 'langchain-responses'});

await main(async () => {
  if (scenario === 'object') {
    return model.withStructuredOutput({title: 'answer', ...schema}, {method: 'jsonSchema', strict: true})
        .invoke(task, {signal});
  }
  const withTools = model.bindTools([{type: 'function', function: tool}]);
  const messages = [new HumanMessage(task)];
  for (;;) {
    let answer = null;
    for await (const chunk of await withTools.stream(messages, {signal})) {
      answer = answer === null ? chunk : answer.concat(chunk);
    }
    messages.push(answer);
    if (!answer.tool_calls?.length) {
      return answer.text;
    }
    for (const call of answer.tool_calls) {
      messages.push(new ToolMessage({tool_call_id: call.id, content: writeFile(call.args)}));
    }
  }
});
