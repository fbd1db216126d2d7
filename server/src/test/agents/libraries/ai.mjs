import {createAnthropic} from '@ai-sdk/anthropic';
import {createOpenAI} from '@ai-sdk/openai';
import {createOpenAICompatible} from '@ai-sdk/openai-compatible';
import {isStepCount, jsonSchema, Output, streamText, tool as describe} from 'ai';
import {base, main, scenario, schema, signal, task, tool, variant, writeFile} from './task.mjs';

const baseURL = base + '/v1';
const apiKey = 'none';
const model = {
  'ai-openai': () => createOpenAI({baseURL, apiKey})('fake'),
  'ai-openai-chat': () => createOpenAI({baseURL, apiKey}).chat('fake'),
  'ai-compatible': () => createOpenAICompatible({name: 'quire', baseURL, apiKey, supportsStructuredOutputs: true})('fake'),
  'ai-anthropic': () => createAnthropic({baseURL, apiKey})('fake'),
}[variant]();

await main(async () => {
  let failure = null;
  const result = streamText({
    model, prompt: task, abortSignal: signal,
    onError: ({error}) => { failure ??= error; },
    ...scenario === 'object' ? {output: Output.object({schema: jsonSchema(schema)})} : {
      tools: {write_file: describe({description: tool.description, inputSchema: jsonSchema(tool.parameters),
        execute: writeFile})},
      stopWhen: isStepCount(5),
    },
    ...scenario === 'reasoning' && variant === 'ai-anthropic' ? {providerOptions: {anthropic: {
      thinking: {type: 'enabled', budgetTokens: 1024}}}} : {},
  });
  try {
    const text = scenario === 'object' ? await result.output : await result.text;
    if (failure) {
      throw failure;
    }
    return text;
  } catch (error) {
    throw failure ?? error;
  }
});
