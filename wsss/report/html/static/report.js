// The report's own script: theme, menu, opacity of the layers, and the large view with a divider between two layers.
// Without it the page shows the same, each layer by itself.
(() => {
  'use strict';
  const root = document.documentElement;
  const create = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  // Theme: the choice is kept where the browser allows it; a page opened from a file may not be allowed to.
  const themes = ['auto', 'light', 'dark'], theme = document.getElementById('theme');
  const store = value => { try { localStorage.setItem('wsss-theme', value); } catch { /* not allowed here */ } };
  const stored = () => { try { return localStorage.getItem('wsss-theme'); } catch { return null; } };
  const setTheme = value => {
    if (value === 'auto') delete root.dataset.theme; else root.dataset.theme = value;
    theme.textContent = 'Theme: ' + value;
    theme.value = value;
  };
  setTheme(themes.includes(stored()) ? stored() : 'auto');
  theme.addEventListener('click', () => {
    const next = themes[(themes.indexOf(theme.value) + 1) % themes.length];
    setTheme(next);
    store(next);
  });

  // Menu: the section in view is marked.
  const links = new Map([...document.querySelectorAll('nav a')].map(a => [a.hash.slice(1), a]));
  if ('IntersectionObserver' in window) {
    const observer = new IntersectionObserver(entries => {
      for (const entry of entries) if (entry.isIntersecting) {
        links.forEach((a, id) => a.classList.toggle('here', id === entry.target.id));
      }
    }, { rootMargin: '-20% 0px -70% 0px' });
    document.querySelectorAll('main > section').forEach(section => observer.observe(section));
  }

  // Layers: masks and maps lie over their image.
  const cards = [...document.querySelectorAll('.card')];
  for (const card of cards) {
    const base = card.querySelector('.base');
    card.querySelector('.layers').style.setProperty('--base', 'url("' + base.src + '")');
    card.classList.add('based');
  }
  const strength = document.getElementById('strength');
  const setStrength = () => {
    root.style.setProperty('--strength', strength.value / 100);
    document.getElementById('strength-value').textContent = strength.value + ' %';
  };
  if (strength) { strength.addEventListener('input', setStrength); setStrength(); }

  // Large view: two layers of a card side by side, left and right of a divider.
  const viewer = document.getElementById('viewer');
  let current = 0, sides = ['', ''];
  const layersOf = card => [...card.querySelectorAll('button.layer')];
  const layerOf = (card, name) => layersOf(card).find(layer => layer.dataset.layer === name) || layersOf(card)[0];
  const picture = (layer, side) => {
    const kind = ['map', 'mask', 'image'].find(name => layer.classList.contains(name));
    const { src, alt } = layer.querySelector('img');
    return create('img', { src, alt, className: side + ' ' + kind + (kind === 'image' ? '' : ' over') });
  };
  const selector = (card, side, label, draw) => {
    const list = create('select', {}, ...layersOf(card).map(layer =>
      create('option', { value: layer.dataset.layer, textContent: layer.lastElementChild.textContent })));
    list.value = layerOf(card, sides[side]).dataset.layer;
    list.addEventListener('change', () => { sides[side] = list.value; draw(); });
    return create('label', {}, label, list);
  };
  const slider = (value, act) => {
    const input = create('input', { type: 'range', min: 0, max: 100, value });
    input.addEventListener('input', () => act(input.value));
    return input;
  };
  const button = (text, act, properties = {}) => {
    const element = create('button', { type: 'button', textContent: text, ...properties });
    element.addEventListener('click', act);
    return element;
  };
  const step = (by, side) => { open(current + by); viewer.querySelector('.' + side).focus(); };
  const open = (number, name) => {
    current = (number + cards.length) % cards.length;
    const card = cards[current];
    if (name) sides = [name === 'image' ? layerOf(card, 'truth').dataset.layer : 'image', name];
    const views = create('div', { className: 'views' });
    views.style.setProperty('--ratio', card.style.getPropertyValue('--ratio'));
    const draw = () => {
      const { src, alt } = card.querySelector('.base');
      views.replaceChildren(create('img', { src, alt }), picture(layerOf(card, sides[0]), 'a'),
        picture(layerOf(card, sides[1]), 'b'));
    };
    draw();
    const divider = slider(50, value => views.style.setProperty('--cut', value + '%'));
    const opacity = slider(strength.value, value => { strength.value = value; setStrength(); });
    viewer.replaceChildren(
      create('div', { className: 'row' }, create('h3', { textContent: card.getAttribute('aria-label') }),
        button('Close', () => viewer.close())),
      views,
      create('div', { className: 'row' }, selector(card, 0, 'Left ', draw), selector(card, 1, 'Right ', draw),
        create('label', { className: 'wide' }, 'Dividing line', divider),
        create('label', { className: 'wide' }, 'Strength', opacity),
        button('Previous', () => step(-1, 'before'), { className: 'before' }),
        button('Next', () => step(1, 'after'), { className: 'after' })));
    if (!viewer.open) viewer.showModal();
  };
  cards.forEach((card, number) => layersOf(card).forEach(layer =>
    layer.addEventListener('click', () => open(number, layer.dataset.layer))));
  viewer.addEventListener('click', event => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener('keydown', event => {
    if (event.target.matches('input, select')) return;
    if (event.key === 'ArrowLeft') open(current - 1);
    if (event.key === 'ArrowRight') open(current + 1);
  });
})();
