// Charts: the point under the pointer, or the one that the arrow keys have come to, says its value.
(() => {
  'use strict';
  const NEAR = 4, MOST = 5; // points as near as this to the nearest are told with it, so many at most
  const tipIn = box => {
    const tip = create('p', { className: 'tip', hidden: true });
    tip.setAttribute('role', 'status');
    box.append(tip);
    return tip;
  };
  // Where a tip about the point (x, y) of its box is to stand: above it, and not beyond the sides.
  const show = (tip, text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    tip.style.left = within(x - tip.offsetWidth / 2, 0, tip.parentElement.clientWidth - tip.offsetWidth) + 'px';
    tip.style.top = y - tip.offsetHeight - 12 + 'px';
  };

  const linesOf = svg => {
    const { x, unit } = svg.dataset;
    const drawn = [...svg.querySelectorAll('polyline')].filter(line => line.points.length).reverse();
    const lines = drawn.map(line => { // what matters most is drawn last
      const values = line.dataset.values.split(' ').map(pair => pair.split(','));
      return Array.from(line.points, (point, k) => ({
        x: point.x, y: point.y, text: `${line.dataset.name}: ${values[k][1]}${unit} at ${x} ${values[k][0]}`,
      }));
    });
    const marks = [...svg.querySelectorAll('.mark')].map(mark => {
      const title = mark.querySelector('title'), [x, y] = mark.dataset.at.split(',').map(Number);
      title.remove(); // or the browser's own tip would lie over ours
      return { x, y, text: title.textContent };
    });
    return marks.length ? [...lines, marks] : lines;
  };

  for (const chart of document.querySelectorAll('.chart')) {
    const svg = chart.querySelector(':scope > svg'), lines = linesOf(svg), tip = tipIn(chart);
    const dot = document.createElementNS(svg.namespaceURI, 'circle');
    dot.setAttribute('class', 'here');
    dot.setAttribute('r', 6);
    const away = (point, x, y) => Math.hypot(point.x - x, point.y - y);
    const nearest = (line, x, y) => line.reduce((best, point) => (away(point, x, y) < away(best, x, y) ? point : best));
    const tell = point => {
      const others = lines.map(line => nearest(line, point.x, point.y))
        .filter(other => other !== point && away(other, point.x, point.y) <= NEAR);
      dot.setAttribute('cx', point.x);
      dot.setAttribute('cy', point.y);
      svg.append(dot);
      const box = svg.getBoundingClientRect(), frame = chart.getBoundingClientRect();
      const scale = box.width / svg.viewBox.baseVal.width;
      show(tip, [point, ...others].slice(0, MOST).map(one => one.text).join('\n'),
        box.left - frame.left + point.x * scale, box.top - frame.top + point.y * scale);
    };
    const hide = () => { tip.hidden = true; dot.remove(); };
    const follow = event => {
      const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      tell(lines.map(line => nearest(line, x, y)).reduce((best, point) =>
        (away(point, x, y) < away(best, x, y) ? point : best)));
    };
    svg.addEventListener('pointermove', follow);
    svg.addEventListener('pointerdown', follow);
    svg.addEventListener('pointerleave', hide);

    let row = 0, column = 0;
    const read = () => tell(lines[row][column]);
    const turn = by => {
      const { x, y } = lines[row][column];
      row = (row + by + lines.length) % lines.length;
      column = lines[row].indexOf(nearest(lines[row], x, y));
    };
    const keys = {
      ArrowLeft: () => { column = Math.max(0, column - 1); },
      ArrowRight: () => { column = Math.min(lines[row].length - 1, column + 1); },
      ArrowUp: () => turn(-1),
      ArrowDown: () => turn(1),
      Home: () => { column = 0; },
      End: () => { column = lines[row].length - 1; },
    };
    svg.tabIndex = 0;
    svg.setAttribute('role', 'application'); // so that screen readers hand on the arrow keys
    svg.setAttribute('aria-roledescription', 'chart');
    svg.setAttribute('aria-label', svg.getAttribute('aria-label') + ' Arrow keys: from point to point, up and down: lines.');
    svg.addEventListener('focus', () => { if (svg.matches(':focus-visible')) read(); });
    svg.addEventListener('blur', hide);
    svg.addEventListener('keydown', event => {
      if (event.key === 'Escape') hide();
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
      read();
    });
  }

  for (const dots of document.querySelectorAll('.dots')) {
    const tip = tipIn(dots);
    const tell = () => show(tip, dots.getAttribute('aria-label'), dots.clientWidth / 2, 8);
    const hide = () => { tip.hidden = true; };
    dots.querySelectorAll('.dot').forEach(dot => dot.removeAttribute('title'));
    for (const [name, act] of [['pointerenter', tell], ['focus', tell], ['pointerleave', hide], ['blur', hide]]) {
      dots.addEventListener(name, act);
    }
  }
})();
