// The page with every image: which are shown, in which order, under which mask. KNOWN is written by browse.py.
(() => {
  'use strict';
  const STEP = 60;
  const [ID, SPLIT, TAGS, PHOTO, MASKS, WIDTH, HEIGHT, FIGURE] = [0, 1, 2, 3, 4, 5, 6, 7];
  const of = id => document.getElementById(id);
  const choices = (id, options) => of(id).append(...options.map(([value, text]) => new Option(text, value)));

  const ANY = 'any';
  if (KNOWN.layers.length > 1) choices('layer', [[ANY, KNOWN.layers.map(layer => layer.name).join(', else ')]]);
  choices('layer', [...KNOWN.layers.map((layer, k) => [k, layer.name]), [-1, 'none']]);
  choices('split', [[-1, 'all'], ...KNOWN.splits.map((name, k) => [k, name])]);
  choices('tag', [[-1, 'any'], ...KNOWN.classes.map((name, k) => [k, name])]);
  const first = KNOWN.figure ? [['low', 'lowest ' + KNOWN.figure.name + ' first'],
                                ['high', 'highest ' + KNOWN.figure.name + ' first']] : [];
  choices('order', [['listed', 'as listed'], ...first]);

  const card = image => {
    const covers = layer => KNOWN.layers[layer].splits.includes(image[SPLIT]);
    const value = of('layer').value;
    const layer = value === ANY ? KNOWN.layers.findIndex((_, k) => covers(k)) : Number(value);
    const frame = create('span', { className: 'frame' });
    frame.style.setProperty('--ratio', image[WIDTH] + '/' + image[HEIGHT]);
    frame.append(create('img', { decoding: 'async', src: image[PHOTO], alt: image[ID] }));
    if (layer >= 0 && covers(layer)) {
      frame.append(create('img', { decoding: 'async', src: image[MASKS][layer], className: 'over',
                                   alt: KNOWN.layers[layer].name + ' of ' + image[ID] }));
    }
    const figure = image[FIGURE] === null || !KNOWN.figure ? ''
      : KNOWN.figure.name + ' ' + image[FIGURE].toFixed(1) + KNOWN.figure.unit;
    return create('figure', {}, create('a', { href: image[PHOTO], target: '_blank' }, frame),
      create('figcaption', {}, create('code', { textContent: image[ID] }),
        create('span', { textContent: image[TAGS].map(c => KNOWN.classes[c]).join(', ') }),
        create('b', { textContent: figure })));
  };

  let chosen = [], shown = 0;
  const more = () => {
    const next = chosen.slice(shown, shown + STEP);
    of('browse').append(...next.map(card));
    shown += next.length;
    of('more').hidden = shown >= chosen.length;
  };
  const choose = () => {
    const split = Number(of('split').value), tag = Number(of('tag').value), name = of('name').value.toLowerCase();
    chosen = KNOWN.images.filter(image => (split < 0 || image[SPLIT] === split)
      && (tag < 0 || image[TAGS].includes(tag)) && image[ID].toLowerCase().includes(name));
    const order = of('order').value, sign = order === 'low' ? 1 : -1;
    if (order !== 'listed') {
      chosen = chosen.filter(image => image[FIGURE] !== null).sort((a, b) => sign * (a[FIGURE] - b[FIGURE]));
    }
    of('count').textContent = chosen.length + ' of ' + KNOWN.images.length + ' images';
    of('browse').replaceChildren();
    shown = 0;
    more();
  };
  for (const id of ['layer', 'split', 'tag', 'order', 'name']) of(id).addEventListener('input', choose);
  of('opacity').addEventListener('input', event => {
    of('browse').style.setProperty('--strength', event.target.value / 100);
  });
  of('more').addEventListener('click', more);
  document.querySelector('form').addEventListener('submit', event => event.preventDefault());
  if ('IntersectionObserver' in window) {
    new IntersectionObserver(entries => { if (entries.some(one => one.isIntersecting)) more(); },
                             { rootMargin: '800px' }).observe(of('more'));
  }
  choose();
})();
