import {createOpenAICompatible} from '@ai-sdk/openai-compatible';
import {Agent} from '@mastra/core/agent';
import {createTool} from '@mastra/core/tools';
import {z} from 'zod';
import {base, main, scenario, signal, task, tool, writeFile} from './task.mjs';

const quire = createOpenAICompatible({name: 'quire', baseURL: base + '/v1', apiKey: 'none',
  supportsStructuredOutputs: true});
const agent = new Agent({
  id: 'test', name: 'test', instructions: 'Do the task.', model: quire('fake'),
  tools: scenario === 'object' ? {} : {write_file: createTool({id: tool.name, description: tool.description,
    inputSchema: z.object({path: z.string(), content: z.string()}),
    execute: async input => ({result: writeFile(input.context ?? input)})})},
});

await main(async () => {
  const options = {abortSignal: signal, maxSteps: 5};
  if (scenario === 'object') {
    options.structuredOutput = {schema: z.object({city: z.string(), days: z.number().int().min(1).max(9)})};
  }
  const stream = await agent.stream(task, options);
  let failure = null;
  for await (const chunk of stream.fullStream) {
    if (chunk.type === 'error') {
      failure ??= chunk.payload?.error ?? chunk;
    }
  }
  if (failure) {
    throw failure;
  }
  return scenario === 'object' ? await stream.object : await stream.text;
});
