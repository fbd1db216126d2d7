// The programs: what is installed, how each is started, and how its model calls a tool that writes a file.
import {mkdirSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';

const KEY = 'none';
const CONTEXT = 131072;
const OUTPUT = 4096;
const NODE = '24.21.0'; // for programs that do not run with Node 20

function write(path, content) {
  mkdirSync(dirname(path), {recursive: true});
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content, null, 2));
}

const shell = (path, text) => `printf '%s' '${text}' > '${path}'`;

// Programs of the command line. start(run) writes settings below run.home and gives what to start in run.dir.
const commands = [
  {
    name: 'codex', title: 'Codex', dialect: 'Responses', packages: {'@openai/codex': '0.171.0'},
    call: (path, text) => ['exec_command', {cmd: shell(path, text)}],
    object: run => ['--output-schema', join(run.home, 'schema.json')],
    start: run => {
      write(join(run.home, 'schema.json'), run.schema);
      write(join(run.home, '.codex/config.toml'), `model = "fake"
model_provider = "quire"
model_reasoning_summary = "auto"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.quire]
name = "quire"
base_url = "${run.base}/v1"
wire_api = "responses"
`);
      return {file: 'codex', arguments: ['exec', '--skip-git-repo-check', '--dangerously-bypass-approvals-and-sandbox',
        ...run.object, run.task]};
    },
  },
  {
    name: 'opencode', title: 'opencode', dialect: 'chat', packages: {'opencode-ai': '1.18.33'},
    call: (path, text) => ['write', {content: text, filePath: path}],
    isMain: body => body.tools?.length > 0,
    start: run => {
      write(join(run.dir, 'opencode.json'), {
        share: 'disabled', autoupdate: false, permission: {'*': 'allow'},
        provider: {quire: {npm: '@ai-sdk/openai-compatible', options: {baseURL: run.base + '/v1', apiKey: KEY},
          models: {fake: {name: 'fake', tool_call: true, reasoning: true, limit: {context: CONTEXT, output: OUTPUT}}}}},
      });
      return {file: 'opencode', arguments: ['run', '-m', 'quire/fake', run.task],
        environment: {OPENCODE_DISABLE_AUTOUPDATE: '1', OPENCODE_DISABLE_MODELS_FETCH: '1',
          OPENCODE_DISABLE_LSP_DOWNLOAD: '1'}};
    },
  },
  {
    name: 'qwen', title: 'Qwen Code', dialect: 'chat', packages: {'@qwen-code/qwen-code': '0.24.4'},
    call: (path, text) => ['write_file', {file_path: path, content: text}],
    object: run => ['--json-schema', JSON.stringify(run.schema)],
    objectCall: 'structured_output',
    isMain: body => body.tools?.some(tool => tool.function.name === 'glob') && body.tools.length > 8,
    start: run => {
      write(join(run.home, '.qwen/settings.json'), {
        telemetry: {enabled: false}, privacy: {usageStatisticsEnabled: false},
        general: {disableAutoUpdate: true, disableUpdateNag: true, enableAutoUpdate: false},
        security: {auth: {selectedType: 'openai'}},
      });
      return {file: 'qwen', arguments: ['--yolo', '--auth-type', 'openai', '-m', 'fake', ...run.object, '-p', run.task],
        environment: {OPENAI_API_KEY: KEY, OPENAI_BASE_URL: run.base + '/v1', OPENAI_MODEL: 'fake'}};
    },
  },
  ...[['chat', 'openai-completions', '/v1'], ['Responses', 'openai-responses', '/v1'],
    ['Messages', 'anthropic-messages', '']].map(([dialect, api, path]) => ({
    name: 'pi-' + dialect.toLowerCase(), title: 'pi', folder: 'pi', dialect,
    packages: {'@earendil-works/pi-coding-agent': '1.6.0', node: NODE},
    call: (file, text) => ['write', {path: file, content: text}],
    start: run => {
      write(join(run.home, '.pi/agent/models.json'), {providers: {quire: {
        baseUrl: run.base + path, api, apiKey: KEY,
        models: [{id: 'fake', name: 'fake', reasoning: true, input: ['text'], contextWindow: CONTEXT, maxTokens: OUTPUT}],
      }}});
      return {file: 'pi', arguments: ['--provider', 'quire', '--model', 'fake', '-p', run.task],
        environment: {PI_OFFLINE: '1', PI_TELEMETRY: '0', PI_SKIP_VERSION_CHECK: '1'}};
    },
  })),
  {
    name: 'continue', title: 'Continue', dialect: 'chat', packages: {'@continuedev/cli': '1.5.47'},
    call: (path, text) => ['Write', {filepath: path, content: text}],
    start: run => {
      write(join(run.home, 'config.yaml'), `name: test
version: 1.0.0
schema: v1
models:
  - name: fake
    provider: openai
    model: fake
    apiBase: ${run.base}/v1
    apiKey: ${KEY}
    roles: [chat]
    capabilities: [tool_use]
    defaultCompletionOptions:
      contextLength: ${CONTEXT}
      maxTokens: ${OUTPUT}
`);
      return {file: 'cn', arguments: ['-p', run.task, '--config', join(run.home, 'config.yaml'), '--auto'],
        environment: {CONTINUE_TELEMETRY_ENABLED: '0', CONTINUE_METRICS_ENABLED: '0'}};
    },
  },
  ...[['chat', 'openai:chat:fake'], ['Responses', 'openai:responses:fake']].map(([dialect, id]) => ({
    name: 'promptfoo-' + dialect.toLowerCase(), title: 'promptfoo', folder: 'promptfoo', dialect,
    packages: {promptfoo: '0.123.1', node: NODE},
    call: (path, text) => ['write_file', {path, content: text}],
    calls: 1, // it runs a tool, and takes what the tool gives as the answer
    stream: false,
    object: () => [],
    start: run => {
      const tool = {name: 'write_file', description: 'Writes a file', parameters: {type: 'object',
        properties: {path: {type: 'string'}, content: {type: 'string'}}, required: ['path', 'content']}};
      const schema = {name: 'answer', strict: true, schema: run.schema};
      write(join(run.dir, 'tools.cjs'), `const fs = require('node:fs');
module.exports = {write_file: text => { const {path, content} = JSON.parse(text); fs.writeFileSync(path, content);
  return 'written'; }};`);
      write(join(run.dir, 'promptfooconfig.json'), {
        prompts: ['{{task}}'],
        providers: [{id, config: {apiBaseUrl: run.base + '/v1', apiKey: KEY, temperature: 0, max_tokens: OUTPUT,
          ...run.scenario === 'object' ? {response_format: {type: 'json_schema',
            ...dialect === 'chat' ? {json_schema: schema} : schema}} : {},
          ...run.scenario === 'tools' ? {
            tools: [dialect === 'chat' ? {type: 'function', function: tool} : {type: 'function', ...tool}],
            functionToolCallbacks: {write_file: 'file://tools.cjs:write_file'},
          } : {}}}],
        tests: [{vars: {task: run.task}}],
      });
      return {file: 'promptfoo', arguments: ['eval', '-c', 'promptfooconfig.json', '-o', 'out.json', '--no-cache',
        '--no-progress-bar', '--no-table'], result: 'out.json',
        environment: {PROMPTFOO_DISABLE_TELEMETRY: '1', PROMPTFOO_DISABLE_UPDATE: '1', PROMPTFOO_SELF_HOSTED: '1',
          PROMPTFOO_DISABLE_REMOTE_GENERATION: '1', PROMPTFOO_CONFIG_DIR: join(run.home, '.promptfoo')}};
    },
  })),
];

// Client libraries: libraries/SCRIPT runs the scenario; the variant is its argument.
const library = (name, title, dialect, script, packages, more = {}) => ({
  name, title, dialect, packages, folder: more.folder ?? script.replace(/\.mjs$/, ''),
  call: (path, text) => ['write_file', {path, content: text}],
  object: () => [],
  start: run => ({node: script, arguments: [name],
    environment: {SCENARIO: run.scenario, BASE: run.base, TASK: run.task, SCHEMA: JSON.stringify(run.schema)}}),
  ...more,
});

const sdk = {ai: '7.0.173', '@ai-sdk/openai': '4.0.118', '@ai-sdk/openai-compatible': '3.0.92',
  '@ai-sdk/anthropic': '4.0.105', zod: '4.6.7'};
const openai = {openai: '7.59.0', zod: '4.6.7'};
const langchain = {'@langchain/openai': '1.6.0', '@langchain/core': '1.4.0', zod: '4.6.7'};

const libraries = [
  library('openai-chat', 'openai', 'chat', 'openai.mjs', openai, {choices: true}),
  library('openai-responses', 'openai', 'Responses', 'openai.mjs', openai),
  library('anthropic', '@anthropic-ai/sdk', 'Messages', 'anthropic.mjs', {'@anthropic-ai/sdk': '1.14.0'}),
  library('ollama', 'ollama', 'Ollama', 'ollama.mjs', {ollama: '0.6.4'}),
  library('ai-openai', 'ai, @ai-sdk/openai', 'Responses', 'ai.mjs', sdk, {version: '@ai-sdk/openai'}),
  library('ai-openai-chat', 'ai, @ai-sdk/openai', 'chat', 'ai.mjs', sdk, {version: '@ai-sdk/openai'}),
  library('ai-compatible', 'ai, @ai-sdk/openai-compatible', 'chat', 'ai.mjs', sdk,
      {version: '@ai-sdk/openai-compatible'}),
  library('ai-anthropic', 'ai, @ai-sdk/anthropic', 'Messages', 'ai.mjs', sdk, {version: '@ai-sdk/anthropic', objectCall: 'json'}),
  library('langchain-chat', '@langchain/openai', 'chat', 'langchain.mjs', langchain),
  library('langchain-responses', '@langchain/openai', 'Responses', 'langchain.mjs', langchain),
  ...['TOOLS', 'FUNCTIONS', 'JSON_SCHEMA'].map(mode => library(
      'instructor-' + mode.toLowerCase(), '@instructor-ai/instructor, ' + mode, 'chat', 'instructor.mjs',
      {'@instructor-ai/instructor': '1.7.0', openai: '6.49.0', zod: '3.25.76'},
      {only: ['object'], objectCall: mode === 'JSON_SCHEMA' ? undefined : 'answer'})),
  library('mastra', '@mastra/core', 'chat', 'mastra.mjs',
      {'@mastra/core': '1.71.0', '@ai-sdk/openai-compatible': '3.0.92', zod: '4.6.7'}),
  library('ollama-ai-provider', 'ollama-ai-provider', 'Ollama', 'ollama-ai-provider.mjs',
      {'ollama-ai-provider': '1.2.0', ai: '4.3.19', zod: '3.25.76'}, {stream: false}),
];

export const programs = [...commands, ...libraries].map(program => ({
  folder: program.name, isMain: () => true, calls: 2, stream: true, ...program,
  version: program.packages[program.version ?? Object.keys(program.packages)[0]],
}));

/** The programs with the given names, or that begin with one of them; all without names. */
export function chosen(names) {
  const found = programs.filter(program =>
    names.length === 0 || names.some(name => program.name === name || program.name.startsWith(name + '-')));
  if (found.length === 0) {
    throw new Error(`no program ${names.join(' ')}; there are ${programs.map(program => program.name).join(' ')}`);
  }
  return found;
}
