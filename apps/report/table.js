// The table of scores: one row for each run, sorted by a click on a heading.

const COLUMNS = [
  {key: 'name', title: 'run', cell: nameCell},
  {key: 'data', title: 'source → target'},
  {key: 'colour', title: 'colour'},
  {key: 'rotation', title: 'rotation'},
  {key: 'form', title: 'form'},
  ...REPORT.score_columns.map(scoreColumn),
  {key: 'steps', title: 'steps', text: String},
  {key: 'seconds', title: 'time', text: durationText},
  {key: 'device', title: 'device'},
  {key: 'seed', title: 'seed', text: String},
];

/** A column of scores, as the program defines it. */
function scoreColumn({key, title, digits, group}) {
  if (group) return {key, title, value: (run) => worst(run.row[key]), cell: (run) => groupCell(run.row[key])};
  return {key, title, text: digits === null ? numberText : (v) => v.toFixed(digits)};
}

/** What a column sorts by; null where it is not known. */
function sortValue(column, run) {
  const value = column.value ? column.value(run) : run.row[column.key];
  return value === undefined ? null : value;
}

function isNumeric(column) {
  return !column.cell && RUNS.some((run) => typeof run.row[column.key] === 'number');
}

function worst(group) {
  const all = Object.values(group);
  return all.length > 0 ? Math.min(...all) : null;
}

function nameCell(run, index) {
  const notes = run.row.notes.map((note) => el('p', {class: 'note'}, note));
  return [el('span', {class: 'run-name', title: run.row.run}, swatch(index), el('span', {}, run.row.name)), ...notes];
}

function groupCell(group) {
  const all = Object.entries(group);
  if (all.length === 0) return [unknown()];
  return [el('div', {class: 'by-colour'}, ...all.map(([name, value]) =>
    el('span', {title: `${name}: ${value}`},
      el('span', {class: 'swatch', style: `background: ${name}`, role: 'img', 'aria-label': name}),
      value.toFixed(2))))];
}

function unknown() {
  return el('span', {class: 'unknown'}, DASH);
}

function plainCell(column, run) {
  const value = run.row[column.key];
  if (value === null || value === undefined) return [unknown()];
  if (typeof value !== 'number') return [String(value)];
  return [(column.text || numberText)(value)];
}

/** Columns of which some run knows something. */
function shownColumns() {
  return COLUMNS.filter((column) => RUNS.some((run) => sortValue(column, run) !== null));
}

function tableRow(columns, run, index) {
  return el('tr', {}, ...columns.map((column) => {
    const tag = column.key === 'name' ? 'th' : 'td';
    const kind = isNumeric(column) ? `number ${column.key}` : column.key;
    const attributes = {class: kind, scope: tag === 'th' ? 'row' : null};
    return el(tag, attributes, ...(column.cell ? column.cell(run, index) : plainCell(column, run)));
  }));
}

/** What is not known comes last in both directions. */
function compareRuns(column, sign) {
  return (a, b) => {
    const [x, y] = [sortValue(column, RUNS[a]), sortValue(column, RUNS[b])];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (typeof x === 'number' ? x - y : String(x).localeCompare(String(y), undefined, {numeric: true}));
  };
}

function buildTable(place) {
  const columns = shownColumns();
  const rows = RUNS.map((run, index) => tableRow(columns, run, index));
  const body = el('tbody', {}, ...rows);
  const headings = columns.map((column) => {
    const button = el('button', {type: 'button'}, column.title);
    const heading = el('th', {scope: 'col', class: isNumeric(column) ? 'number' : null}, button);
    button.addEventListener('click', () => {
      const upwards = heading.getAttribute('aria-sort') !== 'ascending';
      for (const other of headings) other.removeAttribute('aria-sort');
      heading.setAttribute('aria-sort', upwards ? 'ascending' : 'descending');
      const order = RUNS.map((_, index) => index).sort(compareRuns(column, upwards ? 1 : -1));
      body.append(...order.map((index) => rows[index]));
    });
    return heading;
  });
  place.append(el('table', {}, el('thead', {}, el('tr', {}, ...headings)), body));
}
