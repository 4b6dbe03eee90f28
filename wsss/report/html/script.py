"""The page's own script: theme, strength of the layers, and the large view with a dividing line. Without it the page
shows the same, each layer by itself."""

from __future__ import annotations

SCRIPT = """
(() => {
  'use strict';
  const root = document.documentElement;
  const make = (name, facts = {}, ...inside) => {
    const element = Object.assign(document.createElement(name), facts);
    element.append(...inside);
    return element;
  };

  const themes = ['auto', 'light', 'dark'], theme = document.getElementById('theme');
  const keep = value => { try { localStorage.setItem('wsss-theme', value); } catch { /* not allowed here */ } };
  const kept = () => { try { return localStorage.getItem('wsss-theme'); } catch { return null; } };
  const dress = value => {
    if (value === 'auto') delete root.dataset.theme; else root.dataset.theme = value;
    theme.textContent = 'Theme: ' + value;
    theme.value = value;
  };
  dress(themes.includes(kept()) ? kept() : 'auto');
  theme.addEventListener('click', () => {
    const next = themes[(themes.indexOf(theme.value) + 1) % themes.length];
    dress(next);
    keep(next);
  });

  const links = new Map([...document.querySelectorAll('nav a')].map(a => [a.hash.slice(1), a]));
  if ('IntersectionObserver' in window) {
    const seen = new IntersectionObserver(entries => {
      for (const entry of entries) if (entry.isIntersecting) {
        links.forEach((a, id) => a.classList.toggle('here', id === entry.target.id));
      }
    }, { rootMargin: '-20% 0px -70% 0px' });
    document.querySelectorAll('main > section').forEach(one => seen.observe(one));
  }

  const cards = [...document.querySelectorAll('.card')];
  for (const card of cards) {
    const base = card.querySelector('.base');
    card.querySelector('.layers').style.setProperty('--base', 'url("' + base.src + '")');
    card.classList.add('based');
  }
  const strength = document.getElementById('strength');
  const lay = () => {
    root.style.setProperty('--strength', strength.value / 100);
    document.getElementById('strength-value').textContent = strength.value + ' %';
  };
  if (strength) { strength.addEventListener('input', lay); lay(); }

  const viewer = document.getElementById('viewer');
  let shown = 0, sides = ['', ''];
  const options = card => [...card.querySelectorAll('button.layer')];
  const named = (card, name) => options(card).find(one => one.dataset.layer === name) || options(card)[0];
  const picture = (button, side) => {
    const kind = ['map', 'mask', 'image'].find(one => button.classList.contains(one));
    const { src, alt } = button.querySelector('img');
    return make('img', { src, alt, className: side + ' ' + kind + (kind === 'image' ? '' : ' over') });
  };
  const choice = (card, side, words, draw) => {
    const list = make('select', {}, ...options(card).map(one =>
      make('option', { value: one.dataset.layer, textContent: one.lastElementChild.textContent })));
    list.value = named(card, sides[side]).dataset.layer;
    list.addEventListener('change', () => { sides[side] = list.value; draw(); });
    return make('label', {}, words, list);
  };
  const open = (number, name) => {
    shown = (number + cards.length) % cards.length;
    const card = cards[shown];
    if (name) sides = [name === 'image' ? (named(card, 'truth').dataset.layer) : 'image', name];
    const views = make('div', { className: 'views' });
    views.style.setProperty('--ratio', card.style.getPropertyValue('--ratio'));
    const draw = () => {
      const { src, alt } = card.querySelector('.base');
      views.replaceChildren(make('img', { src, alt }), picture(named(card, sides[0]), 'a'),
        picture(named(card, sides[1]), 'b'));
    };
    draw();
    const cut = make('input', { type: 'range', min: 0, max: 100, value: 50 });
    cut.addEventListener('input', () => views.style.setProperty('--cut', cut.value + '%'));
    const slide = make('input', { type: 'range', min: 0, max: 100, value: strength.value });
    slide.addEventListener('input', () => { strength.value = slide.value; lay(); });
    const press = (text, act, facts = {}) => {
      const button = make('button', { type: 'button', textContent: text, ...facts });
      button.addEventListener('click', act);
      return button;
    };
    const close = press('Close', () => viewer.close());
    const before = press('Previous', () => { open(shown - 1); viewer.querySelector('.before').focus(); },
      { className: 'before' });
    const after = press('Next', () => { open(shown + 1); viewer.querySelector('.after').focus(); },
      { className: 'after' });
    viewer.replaceChildren(
      make('div', { className: 'row' }, make('h3', { textContent: card.getAttribute('aria-label') }), close), views,
      make('div', { className: 'row' }, choice(card, 0, 'Left ', draw), choice(card, 1, 'Right ', draw),
        make('label', { className: 'wide' }, 'Dividing line', cut),
        make('label', { className: 'wide' }, 'Strength', slide), before, after));
    if (!viewer.open) viewer.showModal();
  };
  cards.forEach((card, number) => options(card).forEach(one =>
    one.addEventListener('click', () => open(number, one.dataset.layer))));
  viewer.addEventListener('click', event => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener('keydown', event => {
    if (event.target.matches('input, select')) return;
    if (event.key === 'ArrowLeft') open(shown - 1);
    if (event.key === 'ArrowRight') open(shown + 1);
  });
})();
"""
