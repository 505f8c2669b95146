// Training curves: one chart for each quantity, the runs as lines, values where the pointer is.

const QUANTITIES = new Map([
  ['train/transport_loss', 'transport loss'],
  ['train/cost', 'transport cost'],
  ['train/potential_loss', 'potential loss'],
  ['train/gamma', 'γ'],
  ['train/slope', 'slope of the potential; at the optimum the cost'],
  ['validate/target_accuracy', 'target accuracy on validation volumes'],
  ['validate/colour_kept', 'colour kept on validation volumes'],
  ['validate/transport_cost', 'transport cost on validation volumes'],
  ['validate/target_distance', 'distance of mapped to target validation samples'],
]);
const SHARES = new Set(['validate/target_accuracy', 'validate/colour_kept']); // between 0 and 1
const MARGIN = {left: 56, right: 24, top: 8, bottom: 34};
const CHART_HEIGHT = 220;

const hiddenRuns = new Set();

/** Round values between low and high, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.7);
  const all = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) all.push(i * step);
  return all;
}

/** Digits enough that neighbouring ticks differ. */
function tickText(value, step) {
  const size = Math.abs(value);
  if (size >= 1e5 || (size !== 0 && step < 1e-5)) return value.toExponential(1).replace('e+', 'e');
  return value.toFixed(Math.max(0, Math.min(8, Math.ceil(-Math.log10(step) - 1e-9))));
}

/** Curves of a quantity with finite values, of the runs that are shown. */
function shownCurves(key) {
  const curves = [];
  RUNS.forEach((run, index) => {
    const curve = run.curves[key];
    if (curve && !hiddenRuns.has(index) && curve.values.some((v) => v !== null)) curves.push({index, ...curve});
  });
  return curves;
}

function extent(lists) {
  let [low, high] = [Infinity, -Infinity];
  for (const list of lists) {
    for (const value of list) {
      if (value === null) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return [low, high];
}

/** Data to pixels in both axes, with some air above and below. */
function chartScales(curves, width, isShare) {
  let [x0, x1] = extent(curves.map((c) => c.steps));
  let [y0, y1] = extent(curves.map((c) => c.values));
  x0 = Math.min(x0, x1 - 1);
  const air = (y1 - y0) * 0.06 || Math.abs(y1) * 0.1 || 1;
  [y0, y1] = [y0 - air, y1 + air];
  if (isShare) [y0, y1] = [Math.max(y0, -0.02), Math.min(y1, 1.02)];
  const [w, h] = [width - MARGIN.left - MARGIN.right, CHART_HEIGHT - MARGIN.top - MARGIN.bottom];
  return {
    x0, x1, y0, y1, width,
    x: (step) => MARGIN.left + (step - x0) / (x1 - x0) * w,
    y: (value) => MARGIN.top + (y1 - value) / (y1 - y0) * h,
    step: (pixel) => x0 + (pixel - MARGIN.left) / w * (x1 - x0),
  };
}

function drawAxes(place, s) {
  const [right, bottom] = [s.width - MARGIN.right, CHART_HEIGHT - MARGIN.bottom];
  const ys = ticks(s.y0, s.y1, 5);
  for (const value of ys) {
    const y = s.y(value);
    place.append(svg('line', {class: 'grid', x1: MARGIN.left, x2: right, y1: y, y2: y}),
      svg('text', {x: MARGIN.left - 6, y: y + 4, 'text-anchor': 'end'}, tickText(value, ys[1] - ys[0] || 1)));
  }
  const steps = ticks(s.x0, s.x1, Math.max(2, Math.min(8, s.width / 90))).filter(Number.isInteger);
  for (const step of steps) {
    const x = s.x(step);
    place.append(svg('line', {class: 'axis', x1: x, x2: x, y1: bottom, y2: bottom + 4}),
      svg('text', {x, y: bottom + 16, 'text-anchor': 'middle'}, String(step)));
  }
  place.append(svg('line', {class: 'axis', x1: MARGIN.left, x2: right, y1: bottom, y2: bottom}),
    svg('line', {class: 'axis', x1: MARGIN.left, x2: MARGIN.left, y1: MARGIN.top, y2: bottom}),
    svg('text', {x: (MARGIN.left + right) / 2, y: CHART_HEIGHT - 3, 'text-anchor': 'middle'}, 'step'));
}

/** A line that breaks where a value is not finite; a lone value becomes a dot. */
function drawCurve(place, s, curve) {
  let path = '';
  let length = 0;
  curve.steps.forEach((step, i) => {
    const value = curve.values[i];
    if (value === null) {
      length = 0;
      return;
    }
    path += `${length === 0 ? 'M' : 'L'}${s.x(step).toFixed(1)} ${s.y(value).toFixed(1)}`;
    length += 1;
    if (length === 1 && (curve.values[i + 1] ?? null) === null) drawDot(place, s, curve.index, step, value);
  });
  place.append(svg('path', {class: 'curve', d: path, stroke: runColour(curve.index),
    'stroke-dasharray': runDash(curve.index)}));
}

function drawDot(place, s, index, step, value) {
  place.append(svg('circle', {cx: s.x(step), cy: s.y(value), r: 3.2, fill: runColour(index)}));
}

function drawChart(chart) {
  const curves = shownCurves(chart.key);
  chart.picture.replaceChildren();
  chart.tip.hidden = true;
  chart.empty.hidden = curves.length > 0;
  chart.curves = curves;
  if (curves.length === 0) return;
  const width = Math.max(200, chart.picture.clientWidth);
  chart.picture.setAttribute('viewBox', `0 0 ${width} ${CHART_HEIGHT}`);
  chart.scales = chartScales(curves, width, SHARES.has(chart.key));
  drawAxes(chart.picture, chart.scales);
  for (const curve of curves) drawCurve(chart.picture, chart.scales, curve);
  chart.pointer = svg('g');
  chart.picture.append(chart.pointer);
}

function nearest(steps, step) {
  let best = 0;
  steps.forEach((s, i) => { if (Math.abs(s - step) < Math.abs(steps[best] - step)) best = i; });
  return best;
}

function showValues(chart, event) {
  if (chart.curves.length === 0) return;
  const box = chart.picture.getBoundingClientRect();
  const s = chart.scales;
  const wanted = s.step((event.clientX - box.left) * s.width / box.width);
  const found = chart.curves.map((curve) => ({curve, at: nearest(curve.steps, wanted)}));
  const step = found.map(({curve, at}) => curve.steps[at])
    .reduce((a, b) => (Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a));
  chart.pointer.replaceChildren(svg('line', {class: 'cursor', x1: s.x(step), x2: s.x(step), y1: MARGIN.top,
    y2: CHART_HEIGHT - MARGIN.bottom}));
  chart.tip.replaceChildren(el('div', {}, `step ${step}`));
  for (const {curve, at} of found) {
    const [its, value] = [curve.steps[at], curve.values[at]];
    if (value !== null) drawDot(chart.pointer, s, curve.index, its, value);
    const name = RUNS[curve.index].row.name + (its === step ? '' : ` (step ${its})`);
    chart.tip.append(el('div', {}, swatch(curve.index), name.slice(0, 40), el('b', {}, numberText(value))));
  }
  chart.tip.hidden = false;
  const left = s.x(step) * box.width / s.width;
  const onTheLeft = left > box.width / 2;
  chart.tip.style.left = `${onTheLeft ? Math.max(4, left - chart.tip.offsetWidth) : left + 24}px`;
  chart.tip.style.top = '44px';
}

function hideValues(chart) {
  chart.tip.hidden = true;
  if (chart.pointer) chart.pointer.replaceChildren();
}

function buildChart(key) {
  const title = QUANTITIES.get(key) || key.replace('/', ': ').replaceAll('_', ' ');
  const chart = {key, picture: svg('svg', {role: 'img', 'aria-label': title}), curves: [],
    tip: el('div', {class: 'tip'}), empty: el('p', {class: 'empty'}, 'no values')};
  chart.place = el('div', {class: 'card chart'}, el('h3', {}, title), chart.empty, chart.picture, chart.tip);
  for (const kind of ['pointermove', 'pointerdown'])
    chart.picture.addEventListener(kind, (event) => showValues(chart, event));
  chart.picture.addEventListener('pointerleave', () => hideValues(chart));
  return chart;
}

function buildLegend(place, redraw) {
  RUNS.forEach((run, index) => {
    const button = el('button', {type: 'button', 'aria-pressed': 'true'}, swatch(index), run.row.name);
    button.addEventListener('click', () => {
      if (!hiddenRuns.delete(index)) hiddenRuns.add(index);
      button.setAttribute('aria-pressed', String(!hiddenRuns.has(index)));
      redraw();
    });
    place.append(button);
  });
}

function buildCharts(legend, place) {
  const present = new Set(RUNS.flatMap((run) => Object.keys(run.curves)));
  const known = [...QUANTITIES.keys()].filter((key) => present.has(key));
  const others = [...present].filter((key) => !QUANTITIES.has(key)).sort();
  const charts = [...known, ...others].map(buildChart);
  if (charts.length === 0) {
    place.append(el('p', {class: 'hint'}, 'No run has metrics yet.'));
    return;
  }
  place.append(...charts.map((chart) => chart.place));
  const redraw = () => charts.forEach(drawChart);
  buildLegend(legend, redraw);
  redraw();
  new ResizeObserver(redraw).observe(place);
}
