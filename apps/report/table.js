// The table of scores: one row for each run, sorted by a click on a heading.

const COLUMNS = [
  {key: 'name', title: 'run', cell: nameCell},
  {key: 'data', title: 'source → target'},
  {key: 'colour', title: 'colour'},
  {key: 'rotation', title: 'rotation'},
  {key: 'form', title: 'form'},
  {key: 'target_accuracy', title: 'target accuracy', text: (v) => v.toFixed(3)},
  {key: 'target_accuracy_by_colour', title: '… by colour', value: worstColour, cell: colourCell},
  {key: 'colour_kept', title: 'colour kept', text: (v) => v.toFixed(3)},
  {key: 'transport_cost', title: 'transport cost'},
  {key: 'cost_ratio', title: '× discrete', text: (v) => v.toFixed(2)},
  {key: 'feature_distance', title: 'feature distance'},
  {key: 'feature_ratio', title: '× real', text: (v) => v.toFixed(2)},
  {key: 'diversity', title: 'diversity'},
  {key: 'diversity_of_shape', title: '… of shape'},
  {key: 'diversity_colour_kept', title: '… colour kept', text: (v) => v.toFixed(3)},
  {key: 'l2_uvp', title: 'L2-UVP %'},
  {key: 'cosine', title: 'cosine', text: (v) => v.toFixed(4)},
  {key: 'judge_accuracy', title: 'judge', text: (v) => v.toFixed(3)},
  {key: 'scored_step', title: 'scored step', text: String},
  {key: 'steps', title: 'steps', text: String},
  {key: 'seconds', title: 'time', text: durationText},
  {key: 'device', title: 'device'},
  {key: 'seed', title: 'seed', text: String},
];

/** What a column sorts by; null where it is not known. */
function sortValue(column, run) {
  const value = column.value ? column.value(run) : run.row[column.key];
  return value === undefined ? null : value;
}

function isNumeric(column) {
  return !column.cell && RUNS.some((run) => typeof run.row[column.key] === 'number');
}

function worstColour(run) {
  const all = Object.values(run.row.target_accuracy_by_colour);
  return all.length > 0 ? Math.min(...all) : null;
}

function nameCell(run, index) {
  const notes = run.row.notes.map((note) => el('p', {class: 'note'}, note));
  return [el('span', {class: 'run-name', title: run.row.run}, swatch(index), el('span', {}, run.row.name)), ...notes];
}

function colourCell(run) {
  const all = Object.entries(run.row.target_accuracy_by_colour);
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
