import createInstructor from '@instructor-ai/instructor';
import OpenAI from 'openai';
import {z} from 'zod';
import {base, main, signal, task, variant} from './task.mjs';

// The same schema as every task's, which this library takes from Zod only.
const answer = z.object({city: z.string().describe('a city'), days: z.number().int().min(1).max(9)});

await main(async () => {
  const client = createInstructor({client: new OpenAI({baseURL: base + '/v1', apiKey: 'none'}),
    mode: variant.replace('instructor-', '').toUpperCase()});
  const {city, days} = await client.chat.completions.create({model: 'fake', messages: [{role: 'user', content: task}],
    response_model: {schema: answer, name: 'answer'}, max_retries: 0}, {signal});
  return {city, days};
});
