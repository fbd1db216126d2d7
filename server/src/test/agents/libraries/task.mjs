// What every library is asked to do.
import {writeFileSync} from 'node:fs';

export const variant = process.argv[2];
export const scenario = process.env.SCENARIO;
export const base = process.env.BASE;
export const task = process.env.TASK;
export const schema = JSON.parse(process.env.SCHEMA);

/** The tool of every task. */
export const tool = {
  name: 'write_file',
  description: 'Writes a file',
  parameters: {
    type: 'object',
    properties: {path: {type: 'string'}, content: {type: 'string'}},
    required: ['path', 'content'],
    additionalProperties: false,
  },
};

/** Runs the tool. */
export function writeFile({path, content}) {
  writeFileSync(path, content);
  return 'written';
}

const controller = new AbortController();
process.on('SIGINT', () => controller.abort());
export const signal = controller.signal;

/** Runs a task: prints the text that it gives, or the message of its error. */
export async function main(run) {
  try {
    const text = await run();
    console.log(typeof text === 'string' ? text : JSON.stringify(text));
    process.exit(0);
  } catch (error) {
    console.error(`ERROR ${error?.name}: ${error?.message ?? error}`);
    process.exit(1);
  }
}
