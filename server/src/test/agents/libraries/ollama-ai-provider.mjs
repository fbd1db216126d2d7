import {generateObject, generateText, jsonSchema, tool as describe} from 'ai';
import {createOllama} from 'ollama-ai-provider';
import {base, main, scenario, schema, signal, task, tool, writeFile} from './task.mjs';

const model = createOllama({baseURL: base + '/api'})('fake');

await main(async () => {
  if (scenario === 'object') {
    return (await generateObject({model, prompt: task, schema: jsonSchema(schema), abortSignal: signal})).object;
  }
  return (await generateText({model, prompt: task, abortSignal: signal, maxSteps: 5, tools: {write_file: describe({
    description: tool.description, parameters: jsonSchema(tool.parameters), execute: async input => writeFile(input)})}}))
      .text;
});
