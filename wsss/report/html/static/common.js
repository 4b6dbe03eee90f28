// What the scripts of the pages share.
const create = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const button = (text, act, properties = {}) => {
  const element = create('button', { type: 'button', textContent: text, ...properties });
  element.addEventListener('click', act);
  return element;
};
const within = (value, low, high) => Math.min(high, Math.max(low, value));
