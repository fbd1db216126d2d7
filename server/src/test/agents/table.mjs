// Writes results.json as the tables of docs/agents.md.
import {readFileSync, writeFileSync} from 'node:fs';
import {pathToFileURL} from 'node:url';
import {programs} from './programs.mjs';

const PAGE = new URL('../../../../docs/agents.md', import.meta.url);

const row = cells => `| ${cells.join(' | ')} |`;
const table = (head, rows) => [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');

const works = result => result === undefined ? '–' : result.ok ? 'yes' : `no: ${result.reason}`;

function refusal(result) {
  if (result === undefined) {
    return '–';
  }
  return result.kind === 'recovers' ? `again after ${result.waited.toFixed(1)} s` : took(result);
}

const took = result => result.requests > 1 ? `${result.kind} after ${result.requests} requests` : result.kind;

function cuts(results) {
  if (results === undefined) {
    return ['–', '–', '–', '–'];
  }
  const count = (...kinds) => results.filter(each => kinds.includes(each.kind)).length;
  return [results.length, count('recovers'), count('message', 'other message', 'tries on'), count('silent')];
}

/** Replaces the tables. */
export function writeTable(results) {
  const known = programs.filter(program => results[program.name]).map(program => results[program.name]);
  const first = table(
      ['Program', 'Version', 'API', 'Chat', 'Tools', 'Object', 'Reasoning', 'Cancel', 'After 429', 'After 503'],
      known.map(each => [each.title, each.version, each.dialect, works(each.chat), works(each.tools), works(each.object),
        each.reasoning?.ok ? each.reasoning.returned ? 'yes, sent back' : 'yes' : works(each.reasoning),
        works(each.cancel), refusal(each['429']), refusal(each['503'])]));
  const second = table(
      ['Program', 'API', 'Cuts', 'Recovers', 'Error', 'Silent', 'Error before the text', 'within the text', 'within a call'],
      known.filter(each => each.errors).map(each => [each.title, each.dialect, ...cuts(each.cuts),
        ...['before the text', 'within the text', 'within a call'].map(stage => took(each.errors[stage]))]));
  let page = readFileSync(PAGE, 'utf8');
  for (const [name, text] of [['programs', first], ['faults', second]]) {
    page = page.replace(new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- end -->)`), (all, begin, end) => begin + text + '\n' + end);
  }
  writeFileSync(PAGE, page);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  writeTable(JSON.parse(readFileSync(new URL('./results.json', import.meta.url))));
}
