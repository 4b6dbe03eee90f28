// The review's own script: a list of photos, and a canvas on which labels are drawn over the photo.
//
// Of the photo that is open there are two arrays, a byte a pixel: the pseudo-label `mask`, and `drawn`, the correction,
// in which 255 is untouched and 254 leaves out. What is drawn is sent to the server after each stroke.
(() => {
  'use strict';
  const UNTOUCHED = 255, LEAVE_OUT = 254, IGNORE = 255;
  const STATES = ['unseen', 'seen', 'accepted', 'rejected', 'corrected'];
  const HELD = 64 * 2 ** 20; // bytes of earlier states that undo keeps
  const root = document.documentElement, at = id => document.getElementById(id);
  const create = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const ask = async (path, query = {}, body) => {
    const address = path + '?' + new URLSearchParams(query);
    const answer = await fetch(address, body === undefined ? {} : { method: 'POST', body });
    if (!answer.ok) throw new Error((await answer.text()).trim() || answer.statusText);
    return answer;
  };

  // Theme: the choice is kept where the browser allows it.
  const themes = ['auto', 'light', 'dark'];
  const setTheme = value => {
    if (value === 'auto') delete root.dataset.theme; else root.dataset.theme = value;
    at('theme').textContent = 'Theme: ' + value;
    at('theme').value = value;
    try { localStorage.setItem('wsss-theme', value); } catch { /* not allowed here */ }
  };
  at('theme').addEventListener('click', () => setTheme(themes[(themes.indexOf(at('theme').value) + 1) % 3]));
  let known = null;
  try { known = localStorage.getItem('wsss-theme'); } catch { /* not allowed here */ }
  setTheme(themes.includes(known) ? known : 'auto');

  let images = [], shown = [], names = [], colours = [], open = null, mask = null, drawn = null;
  let undone = [], redone = [], cursor = { x: 0, y: 0 }, busy = Promise.resolve(), ended = false;
  const photo = at('photo').getContext('2d'), labels = at('labels').getContext('2d');

  // Saving: one request after the other, so that the last one wins.
  let unsaved = 0;
  const say = (text, failed = false) => {
    at('saved').textContent = text;
    at('saved').classList.toggle('failed', failed);
  };
  const save = state => {
    const image = open, body = drawn.slice(), number = image.saves = (image.saves || 0) + 1;
    image.state = state; // at once, as going on asks for it; the server's word comes later
    unsaved += 1;
    say('saving');
    busy = busy.then(async () => {
      const answer = await (await ask('save', { id: image.id, state }, body)).json();
      if (image.saves === number) image.state = answer.state;
      tell(image);
      unsaved -= 1;
      if (!unsaved) say('saved');
    }).catch(error => {
      unsaved -= 1;
      say('not saved: ' + error.message, true);
    });
    return busy;
  };

  // List, filters, progress
  const tell = image => {
    const mark = image.entry.querySelector('.mark');
    mark.className = 'mark ' + image.state;
    mark.textContent = image.state + ', doubt ' + Math.round(100 * image.doubt) + ' %';
    const seen = images.filter(one => one.state !== 'unseen').length;
    at('progress').textContent = seen + ' of ' + images.length + ' seen';
    if (image === open) at('state').textContent = image.state;
  };
  const filter = () => {
    const value = Number(at('of-class').value), state = at('of-state').value;
    shown = images.filter(one => (!value || one.classes.includes(value)) && (!state || one.state === state));
    at('list').replaceChildren(...shown.map(one => create('li', {}, one.entry)));
  };
  const entry = image => {
    const picture = create('img', { alt: '', loading: 'lazy', src: 'thumbnail?' + new URLSearchParams({ id: image.id }) });
    const button = create('button', { type: 'button' }, picture, create('b', { textContent: image.id }),
      create('span', { className: 'mark' }));
    button.addEventListener('click', () => show(image));
    return button;
  };

  // Drawing. What a pixel shows: the correction where there is one, else the pseudo-label.
  const label = place => drawn[place] === UNTOUCHED ? mask[place] : drawn[place] === LEAVE_OUT ? IGNORE : drawn[place];
  const redraw = (left = 0, top = 0, right = open.width, bottom = open.height) => {
    left = Math.max(0, left); top = Math.max(0, top);
    right = Math.min(open.width, right); bottom = Math.min(open.height, bottom);
    if (right <= left || bottom <= top) return;
    const part = labels.createImageData(right - left, bottom - top);
    let k = 0;
    for (let y = top; y < bottom; y++) for (let x = left; x < right; x++, k += 4) {
      const value = label(y * open.width + x);
      if (value === 0) continue;
      // pixels that are left out are chequered, which no colour of a class is
      const grey = (x >> 2) + (y >> 2) & 1 ? 40 : 215;
      const colour = value === IGNORE ? [grey, grey, grey] : colours[value];
      part.data[k] = colour[0]; part.data[k + 1] = colour[1]; part.data[k + 2] = colour[2]; part.data[k + 3] = 255;
    }
    labels.putImageData(part, left, top);
  };
  const chosen = name => document.querySelector(`input[name=${name}]:checked`).value;
  const value = () => chosen('tool') === 'eraser' ? UNTOUCHED : Number(chosen('label'));
  const dab = (at_x, at_y) => { // around the middle of a pixel, so that strokes have straight edges
    const x = Math.round(at_x), y = Math.round(at_y);
    const radius = Number(at('size').value) / 2, paint = value();
    for (let row = Math.max(0, Math.ceil(y - radius)); row <= Math.min(open.height - 1, y + radius); row++) {
      const reach = Math.sqrt(radius * radius - (row - y) ** 2);
      const first = Math.max(0, Math.ceil(x - reach)), last = Math.min(open.width - 1, Math.floor(x + reach));
      if (last >= first) drawn.fill(paint, row * open.width + first, row * open.width + last + 1);
    }
    const far = Math.ceil(radius) + 1;
    redraw(x - far, y - far, x + far + 1, y + far + 1);
  };
  const line = (from, to) => {
    const steps = Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / Math.max(.5, at('size').value / 6)) || 1;
    for (let n = 1; n <= steps; n++) dab(from.x + (to.x - from.x) * n / steps, from.y + (to.y - from.y) * n / steps);
  };
  // A region: all pixels of one label that hang together, by their sides.
  const relabel = point => {
    const { width, height } = open, start = Math.floor(point.y) * width + Math.floor(point.x), old = label(start);
    const paint = value(), inside = new Uint8Array(width * height), waiting = [start];
    inside[start] = 1;
    while (waiting.length) {
      const place = waiting.pop(), x = place % width;
      for (const near of [x ? place - 1 : -1, x < width - 1 ? place + 1 : -1, place - width, place + width]) {
        if (near >= 0 && near < inside.length && !inside[near] && label(near) === old) {
          inside[near] = 1;
          waiting.push(near);
        }
      }
    }
    inside.forEach((yes, place) => { if (yes) drawn[place] = paint; });
    redraw();
  };

  // Undo and redo: whole corrections, as many as fit into memory.
  const remember = () => {
    undone.push(drawn.slice());
    redone = [];
    while (undone.length > 1 && undone.length * drawn.length > HELD) undone.shift();
    buttons();
  };
  const buttons = () => {
    at('undo').disabled = !undone.length;
    at('redo').disabled = !redone.length;
  };
  const back = (from, to) => {
    if (!open || !from.length) return;
    to.push(drawn);
    drawn = from.pop();
    redraw();
    buttons();
    save('corrected');
  };
  const change = (act, state = 'corrected') => {
    if (!open) return;
    remember();
    act();
    save(state);
  };

  // Going from photo to photo
  const show = async image => {
    if (!image || image === open) return;
    if (open && open.state === 'unseen') save('seen');
    await busy; // what is shown next may have been saved just now
    try {
      const query = { id: image.id };
      const picture = new Image();
      picture.src = 'photo?' + new URLSearchParams(query);
      const [bytes] = await Promise.all([ask('layers', query).then(answer => answer.arrayBuffer()), picture.decode()]);
      const pixels = image.width * image.height;
      if (open) open.entry.removeAttribute('aria-current');
      open = image;
      mask = new Uint8Array(bytes, 0, pixels);
      drawn = new Uint8Array(bytes, pixels).slice();
      undone = [];
      redone = [];
      for (const canvas of [at('photo'), at('labels')]) {
        canvas.width = image.width;
        canvas.height = image.height;
      }
      photo.drawImage(picture, 0, 0, image.width, image.height);
      redraw();
      const tagged = image.tags.map(name => names.indexOf(name) + 1), now = Number(chosen('label'));
      if (tagged.length && now !== 0 && now !== LEAVE_OUT && !tagged.includes(now)) pick('label', tagged[0]);
      at('views').style.setProperty('--ratio', image.width / image.height);
      cursor = { x: image.width / 2, y: image.height / 2 };
      at('cursor').hidden = true;
      at('name').textContent = image.id;
      at('reasons').textContent = ['tags: ' + (image.tags.join(', ') || 'none'), ...image.reasons].join(' · ');
      image.entry.setAttribute('aria-current', 'true');
      image.entry.scrollIntoView({ block: 'nearest', inline: 'nearest' });
      tell(image);
      buttons();
    } catch (error) {
      say('cannot be shown: ' + image.id + ': ' + error.message, true);
    }
  };
  const step = by => {
    const place = shown.indexOf(open);
    if (place >= 0 && shown[place + by]) return show(shown[place + by]);
    if (place < 0) return show(shown[0]);
    return open && open.state === 'unseen' ? save('seen') : busy;
  };
  const accept = () => { if (open) { save('accepted'); step(1); } };
  const reject = () => { if (open) { change(() => { drawn.fill(LEAVE_OUT); redraw(); }, 'rejected'); step(1); } };
  const reset = () => change(() => { drawn.fill(UNTOUCHED); redraw(); }, 'seen');
  const done = async () => {
    if (open && open.state === 'unseen') save('seen');
    await busy;
    const answer = await (await ask('end', {}, '')).json();
    ended = true;
    at('said').textContent = answer.said.join('\n');
    at('end').showModal();
  };

  // Pointer
  const point = event => {
    const box = at('labels').getBoundingClientRect();
    return { x: (event.clientX - box.left) * open.width / box.width - .5,
      y: (event.clientY - box.top) * open.height / box.height - .5 };
  };
  const place = () => {
    const mark = at('cursor'), size = 100 * at('size').value;
    mark.hidden = false;
    mark.style.left = 100 * (cursor.x + .5) / open.width + '%';
    mark.style.top = 100 * (cursor.y + .5) / open.height + '%';
    mark.style.width = Math.max(1, size / open.width) + '%';
    mark.style.height = Math.max(1, size / open.height) + '%';
  };
  const act = () => {
    remember();
    if (chosen('tool') === 'region') relabel({ x: Math.round(cursor.x), y: Math.round(cursor.y) });
    else dab(cursor.x, cursor.y);
  };
  const inside = p => ({ x: Math.min(open.width - 1, Math.max(0, p.x)), y: Math.min(open.height - 1, Math.max(0, p.y)) });
  let stroke = false;
  at('labels').addEventListener('pointerdown', event => {
    if (!open || event.button) return;
    at('labels').setPointerCapture(event.pointerId);
    cursor = inside(point(event));
    stroke = true;
    act();
    place();
  });
  at('labels').addEventListener('pointermove', event => {
    if (!open) return;
    const to = point(event);
    if (stroke && chosen('tool') !== 'region') line(cursor, to);
    cursor = stroke ? to : inside(to);
    place();
  });
  const lift = () => {
    if (!stroke) return;
    stroke = false;
    cursor = inside(cursor);
    save('corrected');
  };
  at('labels').addEventListener('pointerup', lift);
  at('labels').addEventListener('pointercancel', lift);
  at('labels').addEventListener('pointerleave', () => { if (!stroke) at('cursor').hidden = true; });

  // Keys
  const move = (id, by) => {
    at(id).value = Number(at(id).value) + by;
    at(id).dispatchEvent(new Event('input'));
  };
  const pick = (name, choice) => {
    const button = document.querySelector(`input[name=${name}][value="${choice}"]`);
    if (button) button.checked = true;
  };
  const undo = () => back(undone, redone), redo = () => back(redone, undone);
  const KEYS = {
    a: accept, r: reject, u: reset, z: undo, y: redo, n: () => step(1), p: () => step(-1),
    ArrowRight: () => step(1), ArrowLeft: () => step(-1),
    b: () => pick('tool', 'brush'), e: () => pick('tool', 'eraser'), f: () => pick('tool', 'region'),
    x: () => pick('label', LEAVE_OUT), '[': () => move('size', -2), ']': () => move('size', 2),
    '-': () => move('opacity', -10), '+': () => move('opacity', 10), o: () => root.classList.add('hidden'),
  };
  at('labels').addEventListener('keydown', event => {
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [0, 0];
    if (!open || event.ctrlKey || event.metaKey || !(x || y || event.key === ' ')) return;
    event.preventDefault();
    event.stopPropagation();
    const by = event.shiftKey ? 1 : Math.max(1, Math.round(at('size').value / 2));
    cursor = inside({ x: cursor.x + x * by, y: cursor.y + y * by });
    if (event.key === ' ') {
      act();
      save('corrected');
    }
    place();
  });
  document.addEventListener('keydown', event => {
    if (event.target.matches('select, input[type=range]') || at('end').open || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (key !== 'z' && key !== 'y') return;
      (key === 'y' || event.shiftKey ? redo : undo)();
    } else if (KEYS[key]) {
      if (key.startsWith('Arrow') && event.target.matches('input')) return; // arrows move within radio buttons
      KEYS[key]();
    } else if (/^[0-9]$/.test(key)) {
      pick('label', key);
    } else return;
    event.preventDefault();
  });
  document.addEventListener('keyup', event => { if (event.key.toLowerCase() === 'o') root.classList.remove('hidden'); });
  for (const [id, press] of Object.entries({ accept, reject, reset, undo, redo, done, next: () => step(1),
    previous: () => step(-1) })) at(id).addEventListener('click', press);
  const told = (id, unit, set) => {
    const input = at(id), act = () => { at(id + '-value').textContent = input.value + unit; set(input.value); };
    input.addEventListener('input', act);
    act();
  };
  told('size', ' px', () => { if (open && !at('cursor').hidden) place(); });
  told('opacity', ' %', strength => root.style.setProperty('--opacity', strength / 100));
  window.addEventListener('beforeunload', event => {
    if (!ended && unsaved) event.preventDefault();
  });

  // Beginning
  const hex = text => [1, 3, 5].map(k => parseInt(text.slice(k, k + 2), 16));
  const choice = (number, name, colour) => {
    const chip = create('i', { className: 'chip' });
    chip.style.background = colour;
    const input = create('input', { type: 'radio', name: 'label', value: number, checked: number === 1 });
    return create('label', {}, input, chip, create('span', { textContent: name }));
  };
  ask('images').then(answer => answer.json()).then(about => {
    at('title').textContent = about.title + ', ' + about.dataset;
    document.title = 'Review: ' + about.title;
    colours = [[0, 0, 0], ...about.colours.map(hex)];
    names = about.classes;
    const labelled = names.map((name, c) => [c + 1, name, about.colours[c]]);
    at('classes').append(choice(0, '0 background', 'transparent'),
      ...labelled.map(([number, name, colour]) => choice(number, number + ' ' + name, colour)),
      choice(LEAVE_OUT, 'leave out', 'repeating-conic-gradient(#282828 0 25%, #d7d7d7 0 50%) 0 0 / 50% 50%'));
    at('of-class').append(...labelled.map(([number, name]) => create('option', { value: number, textContent: name })));
    at('of-state').append(...STATES.map(name => create('option', { value: name, textContent: name })));
    images = about.images;
    for (const image of images) image.entry = entry(image);
    images.forEach(tell);
    filter();
    for (const id of ['of-class', 'of-state']) at(id).addEventListener('change', () => { filter(); show(shown[0]); });
    show(shown[0]);
  }).catch(error => say('cannot be read: ' + error.message, true));
})();
