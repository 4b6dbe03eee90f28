// Tables: a press on a head sorts them, words filter them, and what is shown can be copied or saved as CSV. Without this
// they are plain tables.
(() => {
  'use strict';
  const FILTERED = 6; // rows from which on a filter is worth its place
  const MISSING = ['', '–'];
  const NUMBER = /^([+−-]?[\d,]+(?:\.\d+)?)(?: ± [\d.]+)?(?: ?%)?$/; // 61.2, 61.2 ± 1.3, −1,234, 5 %
  const textOf = cell => cell.textContent.trim();
  const numberOf = text => {
    const found = NUMBER.exec(text);
    return found && Number(found[1].replaceAll(',', '').replace('−', '-'));
  };
  const isGroup = row => row.classList.contains('group');

  // Texts as people sort them (x2 before x10), numbers by value; what is missing stays last both ways.
  const order = (texts, down) => {
    const known = texts.filter(text => !MISSING.includes(text));
    const numeric = known.every(text => numberOf(text) !== null);
    const compare = numeric ? (a, b) => numberOf(a) - numberOf(b)
      : (a, b) => a.localeCompare(b, 'en', { numeric: true, sensitivity: 'base' });
    return (a, b) => MISSING.includes(a) - MISSING.includes(b) || (down ? compare(b, a) : compare(a, b));
  };

  const sortable = table => {
    const heads = [...table.tHead.rows[0].cells];
    const bodies = [...table.tBodies].map(body => ({ body, rows: [...body.rows] }));
    const texts = column => bodies.flatMap(({ rows }) => rows.filter(row => !isGroup(row)))
      .map(row => textOf(row.cells[column]));
    const sort = (column, direction) => {
      heads.forEach((head, k) => head.setAttribute('aria-sort', k === column ? direction : 'none'));
      const compare = order(texts(column), direction === 'descending');
      for (const { body, rows } of bodies) {
        const sorted = direction === 'none' ? rows : [...rows].sort((a, b) =>
          isGroup(b) - isGroup(a) || compare(textOf(a.cells[column]), textOf(b.cells[column])));
        body.append(...sorted);
      }
    };
    heads.forEach((head, column) => {
      if (!textOf(head)) return;
      // Numbers begin with the highest; the third press brings back the order that they came in.
      const first = texts(column).some(text => numberOf(text) !== null) ? ['descending', 'ascending']
        : ['ascending', 'descending'];
      const cycle = ['none', ...first];
      const press = button(textOf(head), () =>
        sort(column, cycle[(cycle.indexOf(head.getAttribute('aria-sort')) + 1) % cycle.length]), { className: 'sort' });
      head.replaceChildren(press);
      head.setAttribute('aria-sort', 'none');
    });
  };

  // RFC 4180. Figures as programs read them: a hyphen as sign, no separators within, nothing where one is missing.
  const plain = text => {
    if (text === '–') return '';
    return numberOf(text) === null ? text : text.replaceAll(',', '').replace('−', '-');
  };
  const quoted = text => (/[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text);
  const csvOf = table => {
    const grouped = table.querySelector('.group') !== null;
    const lines = [[...(grouped ? ['group'] : []), ...[...table.tHead.rows[0].cells].map(textOf)]];
    for (const body of table.tBodies) {
      const group = grouped ? [textOf(body.rows[0].cells[0])] : [];
      for (const row of body.rows) {
        if (!row.hidden && !isGroup(row)) lines.push([...group, ...[...row.cells].map(cell => plain(textOf(cell)))]);
      }
    }
    return lines.map(line => line.map(quoted).join(',') + '\r\n').join('');
  };
  const copy = async text => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // some browsers refuse this to a page that was opened from a file
      const area = create('textarea', { value: text });
      document.body.append(area);
      area.select();
      const done = document.execCommand('copy');
      area.remove();
      return done;
    }
    return true;
  };
  const save = (text, name) => {
    const address = URL.createObjectURL(new Blob(['\ufeff', text], { type: 'text/csv' })); // the mark tells Excel: UTF-8
    create('a', { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  };

  const tools = table => {
    const rows = [...table.tBodies].flatMap(body => [...body.rows]).filter(row => !isGroup(row));
    const said = create('span', { className: 'said' });
    said.setAttribute('role', 'status');
    const filter = create('input', { type: 'search', autocomplete: 'off' });
    filter.addEventListener('input', () => {
      const words = filter.value.toLowerCase().split(/\s+/);
      for (const body of table.tBodies) {
        const group = isGroup(body.rows[0]) ? body.rows[0] : null;
        const own = [...body.rows].filter(row => row !== group);
        for (const row of own) {
          const text = (row.textContent + ' ' + (group?.textContent ?? '')).toLowerCase();
          row.hidden = !words.every(word => text.includes(word));
        }
        if (group) group.hidden = own.every(row => row.hidden);
      }
      said.textContent = filter.value.trim() ? `${rows.filter(row => !row.hidden).length} of ${rows.length} rows` : '';
    });
    const caption = textOf(table.caption);
    const name = `${document.title} ${caption}`.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 80) + '.csv';
    const bar = create('div', { className: 'tools' }, said,
      ...(rows.length >= FILTERED ? [create('label', {}, 'Filter ', filter)] : []),
      button('Copy CSV', async () => { said.textContent = await copy(csvOf(table)) ? 'copied' : 'the browser refuses'; }),
      button('Save CSV', () => { save(csvOf(table), name); }));
    bar.setAttribute('role', 'group');
    bar.setAttribute('aria-label', caption);
    table.closest('.scroll').before(bar);
  };

  for (const table of document.querySelectorAll('.scroll > table')) {
    if (table.querySelectorAll('tbody tr:not(.group)').length < 2) continue;
    if (!table.matches('.facts, .heat')) sortable(table);
    tools(table);
  }
})();
