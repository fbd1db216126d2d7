/** The element with this id. */
export const $ = id => document.getElementById(id);

/**
 * Makes an element.
 * @param {string} tag e.g. "li" or "li.user" with classes
 * @param {Object|null} properties properties of the element, such as onclick; null for none
 * @param {...(Node|string)} children strings become text nodes, so markup in them stays text
 */
export function h(tag, properties, ...children) {
  const [name, ...classes] = tag.split('.');
  const element = document.createElement(name);
  element.classList.add(...classes);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

/** Shows a text in an element, and hides the element if there is none. */
export function say(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

/** A number as people read it: 1234567 becomes 1.23 M. */
export function short(number) {
  const units = ['', ' K', ' M', ' G', ' T'];
  let unit = 0;
  while (Math.abs(number) >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit++;
  }
  return (unit === 0 && Number.isInteger(number) ? number : number.toPrecision(3)) + units[unit];
}

/** A duration in milliseconds, as people read it. */
export function duration(ms) {
  return ms < 1 ? ms.toFixed(2) + ' ms' : ms < 1000 ? ms.toFixed(0) + ' ms' : (ms / 1000).toFixed(2) + ' s';
}
