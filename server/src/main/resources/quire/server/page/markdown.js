import {h} from './dom.js';

/**
 * Renders a subset of Markdown: headings, paragraphs, lists, quotations, tables, rules, code, emphasis and links. The text
 * comes from a model, so it only ever becomes text nodes, and links lead to http and https alone.
 */

const FENCE = /^ {0,3}(```+|~~~+)\s*([^`\s]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const MAX_NESTING = 8;

/** A fragment of the page for a text in Markdown. */
export function markdown(text) {
  const fragment = document.createDocumentFragment();
  fragment.append(...blocks(text.split('\n'), 0));
  return fragment;
}

function blocks(lines, depth) {
  if (depth > MAX_NESTING) {
    return [h('p', null, lines.join('\n'))];
  }
  const out = [];
  let i = 0;
  while (i < lines.length) {
    const line = lines[i];
    let match;
    if (!line.trim()) {
      i++;
    } else if ((match = FENCE.exec(line))) {
      const close = new RegExp('^ {0,3}' + match[1][0] + `{${match[1].length},}\\s*$`);
      const from = ++i;
      while (i < lines.length && !close.test(lines[i])) {
        i++;
      }
      out.push(codeBlock(lines.slice(from, i).join('\n'), match[2]));
      i++;
    } else if ((match = HEADING.exec(line))) {
      out.push(h('h' + Math.min(6, match[1].length + 2), null, ...inline(match[2])));
      i++;
    } else if (RULE.test(line)) {
      out.push(h('hr', null));
      i++;
    } else if (QUOTE.test(line)) {
      const inner = [];
      while (i < lines.length && (match = QUOTE.exec(lines[i]))) {
        inner.push(match[1]);
        i++;
      }
      out.push(h('blockquote', null, ...blocks(inner, depth + 1)));
    } else if (ITEM.test(line)) {
      const [list, next] = listFrom(lines, i, depth);
      out.push(list);
      i = next;
    } else if (line.includes('|') && i + 1 < lines.length && TABLE_RULE.test(lines[i + 1])
        && cells(line).length === cells(lines[i + 1]).length) {
      const head = h('tr', null, ...cells(line).map(cell => h('th', null, ...inline(cell))));
      const body = [];
      for (i += 2; i < lines.length && lines[i].includes('|'); i++) {
        body.push(h('tr', null, ...cells(lines[i]).map(cell => h('td', null, ...inline(cell)))));
      }
      out.push(h('div.scroll', null, h('table', null, h('thead', null, head), h('tbody', null, ...body))));
    } else {
      const from = i++;
      while (i < lines.length && lines[i].trim() && !FENCE.test(lines[i]) && !HEADING.test(lines[i])
          && !QUOTE.test(lines[i]) && !ITEM.test(lines[i])) {
        i++;
      }
      out.push(h('p', null, ...inline(lines.slice(from, i).join('\n'))));
    }
  }
  return out;
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, '').split('|').map(cell => cell.trim());
}

/** The list that begins at a line, and the index of the line after it. */
function listFrom(lines, start, depth) {
  const [, indent, mark] = ITEM.exec(lines[start]);
  const ordered = /\d/.test(mark);
  const list = h(ordered ? 'ol' : 'ul', ordered ? {start: parseInt(mark, 10)} : null);
  let i = start;
  while (i < lines.length) {
    const match = ITEM.exec(lines[i]);
    if (!match || match[1].length > indent.length + 1 || match[1].length < indent.length
        || /\d/.test(match[2]) !== ordered) {
      break;
    }
    const inner = [match[3]];
    const offset = lines[i].length - match[3].length;
    i++;
    while (i < lines.length) {
      const next = ITEM.exec(lines[i]);
      const spaces = lines[i].length - lines[i].trimStart().length;
      if (lines[i].trim() ? spaces <= indent.length && (next || lines[i - 1].trim() === '')
          : !(i + 1 < lines.length && lines[i + 1].startsWith(' '.repeat(indent.length + 1)))) {
        break;
      }
      if (next && spaces <= indent.length + 1) {
        break;
      }
      inner.push(lines[i].slice(Math.min(spaces, offset)));
      i++;
    }
    const parts = blocks(inner, depth + 1);
    // The only paragraph of an item is its text.
    list.append(h('li', null, ...(parts[0]?.tagName === 'P' ? [...parts[0].childNodes, ...parts.slice(1)] : parts)));
    while (i < lines.length && !lines[i].trim() && ITEM.test(lines[i + 1] ?? '')) {
      i++;
    }
  }
  return [list, i];
}

function codeBlock(code, language) {
  const copy = h('button.copy', {type: 'button', onclick: () => navigator.clipboard?.writeText(code)}, 'Copy');
  return h('figure.code', null, h('figcaption', null, language || 'code', copy), h('pre', {tabIndex: 0}, h('code', null, code)));
}

const INLINE = new RegExp([
  '(?<ticks>`+)(?<code>[^]*?[^`])\\k<ticks>(?!`)',
  '\\[(?<label>[^\\]\\n]{1,1000})\\]\\((?<target>https?:\\/\\/[^\\s)]{1,2000})\\)',
  '(?<bare>https?:\\/\\/[^\\s<>()\\[\\]"\']{1,2000}[^\\s<>()\\[\\]"\'.,;:!?])',
  '(?<strongMark>\\*\\*|__)(?<strong>(?=\\S)[^]*?\\S)\\k<strongMark>',
  '(?<![\\w*_])(?<emMark>[*_])(?<em>(?=[^\\s*_])[^*_\\n]*?[^\\s*_]|[^\\s*_])\\k<emMark>(?![\\w*_])',
  '~~(?<del>(?=\\S)[^\\n]*?\\S)~~',
  '\\\\(?<escaped>[\\\\`*_{}\\[\\]()#+\\-.!~|>])',
].join('|'), 'g');

/** The parts of a line: text nodes and elements. */
function inline(text, depth = 0) {
  if (depth > MAX_NESTING) {
    return [text];
  }
  const out = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    out.push(text.slice(from, match.index));
    from = match.index + match[0].length;
    const part = match.groups;
    if (part.code !== undefined) {
      out.push(h('code', null, part.code.replace(/^ (.*[^ ].*) $/, '$1')));
    } else if (part.target !== undefined) {
      out.push(link(part.target, ...inline(part.label, depth + 1)));
    } else if (part.bare !== undefined) {
      out.push(link(part.bare, part.bare));
    } else if (part.strong !== undefined) {
      out.push(h('strong', null, ...inline(part.strong, depth + 1)));
    } else if (part.em !== undefined) {
      out.push(h('em', null, ...inline(part.em, depth + 1)));
    } else if (part.del !== undefined) {
      out.push(h('del', null, ...inline(part.del, depth + 1)));
    } else {
      out.push(part.escaped);
    }
  }
  out.push(text.slice(from));
  return out.filter(part => part !== '');
}

function link(target, ...label) {
  return h('a', {href: target, target: '_blank', rel: 'noopener noreferrer'}, ...label);
}
