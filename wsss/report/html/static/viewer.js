// Pictures: the opacity of the layers over their image, and the large view: two layers left and right of a divider, with
// zoom. Without it the page shows each layer by itself.
(() => {
  'use strict';
  const root = document.documentElement;

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

  // The large view. The picture's corner (left, top) is in shares of the frame, the divider in percent of it.
  const LARGEST = 16, STEP = 1.5, MOVE = 0.1, GRIP = 0.03;
  const KEYS = 'Zoom: wheel, pinch, + and −; 0 shows the whole picture. Drag the dividing line, or the enlarged picture '
    + '(arrow keys move it, too). N and P: next and previous picture.';
  const viewer = document.getElementById('viewer');
  let current = 0, sides = ['', ''];
  let zoom = 1, left = 0, top = 0, cut = 50;
  let views, divider;
  const place = () => {
    left = within(left, 1 - zoom, 0);
    top = within(top, 1 - zoom, 0);
    const set = (name, value) => views.style.setProperty(name, value);
    set('--move', `translate(${100 * left}%, ${100 * top}%) scale(${zoom})`);
    set('--cut', cut + '%');
    set('--clip', (cut - 100 * left) / zoom + '%'); // the divider stands still while the picture moves below it
    views.classList.toggle('large', zoom > 1);
    divider.value = cut;
  };
  // The point (x, y) of the frame keeps its place.
  const zoomTo = (value, x = 0.5, y = 0.5) => {
    const next = within(value, 1, LARGEST);
    left = x - (x - left) * next / zoom;
    top = y - (y - top) * next / zoom;
    zoom = next;
    place();
  };
  const whole = () => zoomTo(1);

  const pointers = new Map();
  let dividing = false;
  const pointed = event => {
    const box = views.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const hold = event => {
    if (event.button) return;
    views.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, pointed(event));
    dividing = zoom === 1 || Math.abs(pointed(event)[0] - cut / 100) < GRIP;
  };
  const drag = event => {
    if (!pointers.has(event.pointerId)) return;
    const [x, y] = pointed(event), [u, v] = pointers.get(event.pointerId);
    pointers.set(event.pointerId, [x, y]);
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const { width, height } = views.getBoundingClientRect();
      const apart = (a, b) => Math.max(1, Math.hypot((a - other[0]) * width, (b - other[1]) * height));
      left += (x - u) / 2;
      top += (y - v) / 2;
      zoomTo(zoom * apart(x, y) / apart(u, v), (x + other[0]) / 2, (y + other[1]) / 2);
    } else if (dividing) {
      cut = within(cut + 100 * (x - u), 0, 100);
    } else {
      left += x - u;
      top += y - v;
    }
    place();
  };
  const release = event => pointers.delete(event.pointerId);
  const wheel = event => {
    event.preventDefault();
    const pace = event.ctrlKey ? 0.01 : event.deltaMode ? 0.05 : 0.002; // pinch on a touchpad, lines, pixels
    zoomTo(zoom * Math.exp(-pace * event.deltaY), ...pointed(event));
  };
  const frame = card => {
    const element = create('div', { className: 'views' });
    element.style.setProperty('--ratio', card.style.getPropertyValue('--ratio'));
    element.addEventListener('pointerdown', hold);
    element.addEventListener('pointermove', drag);
    for (const name of ['pointerup', 'pointercancel']) element.addEventListener(name, release);
    element.addEventListener('wheel', wheel, { passive: false });
    element.addEventListener('dblclick', event => { zoomTo(zoom > 1 ? 1 : 3, ...pointed(event)); });
    return element;
  };

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
  const step = (by, side) => { open(current + by); viewer.querySelector('.' + side).focus(); };
  const open = (number, name) => {
    current = (number + cards.length) % cards.length;
    const card = cards[current];
    if (name) sides = [name === 'image' ? layerOf(card, 'truth').dataset.layer : 'image', name];
    views = frame(card);
    pointers.clear();
    const files = create('p', { className: 'note' });
    const draw = () => {
      const { src, alt } = card.querySelector('.base');
      const known = [...new Set(sides)].map(side => layerOf(card, side)).filter(layer => layer.dataset.file);
      const links = known.map(layer => create('a', { href: layer.dataset.file, target: '_blank', rel: 'noopener',
                                                     textContent: layer.lastElementChild.textContent }));
      files.replaceChildren(...(links.length ? ['Files: '] : []), ...links.flatMap((a, k) => k ? [', ', a] : [a]));
      views.replaceChildren(create('img', { src, alt }), picture(layerOf(card, sides[0]), 'a'),
        picture(layerOf(card, sides[1]), 'b'));
    };
    draw();
    divider = slider(cut, value => { cut = Number(value); place(); });
    const opacity = slider(strength.value, value => { strength.value = value; setStrength(); });
    viewer.replaceChildren(
      create('div', { className: 'row' }, create('h3', { textContent: card.getAttribute('aria-label') }),
        button('Close', () => viewer.close())),
      views,
      create('div', { className: 'row' }, selector(card, 0, 'Left ', draw), selector(card, 1, 'Right ', draw),
        create('label', { className: 'wide' }, 'Dividing line', divider),
        create('label', { className: 'wide' }, 'Opacity', opacity),
        create('span', { className: 'together' },
          button('Zoom in', () => zoomTo(zoom * STEP)), button('Zoom out', () => zoomTo(zoom / STEP)),
          button('Whole', whole)),
        create('span', { className: 'together' },
          button('Previous', () => step(-1, 'before'), { className: 'before' }),
          button('Next', () => step(1, 'after'), { className: 'after' }))),
      files, create('p', { className: 'note', textContent: KEYS }));
    whole();
    if (!viewer.open) viewer.showModal();
    if (!viewer.contains(document.activeElement)) viewer.focus(); // what had it is gone, and keys want to arrive
  };
  cards.forEach((card, number) => layersOf(card).forEach(layer =>
    layer.addEventListener('click', () => open(number, layer.dataset.layer))));
  viewer.tabIndex = -1;
  viewer.addEventListener('click', event => { if (event.target === viewer) viewer.close(); });

  const aside = (x, y) => {
    if (zoom === 1) { open(current + x); return; }
    left -= MOVE * x;
    top -= MOVE * y;
    place();
  };
  const keys = {
    '+': () => zoomTo(zoom * STEP), '=': () => zoomTo(zoom * STEP), '-': () => zoomTo(zoom / STEP), 0: whole,
    ArrowLeft: () => aside(-1, 0), ArrowRight: () => aside(1, 0), ArrowUp: () => aside(0, -1), ArrowDown: () => aside(0, 1),
    n: () => open(current + 1), p: () => open(current - 1),
  };
  viewer.addEventListener('keydown', event => {
    if (event.target.matches('input, select') || !(event.key in keys)) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
    if (zoom === 1 && ['ArrowUp', 'ArrowDown'].includes(event.key)) return; // scroll a low window
    event.preventDefault();
    keys[event.key]();
  });
})();
