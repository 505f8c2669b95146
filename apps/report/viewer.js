// The voxel viewer: volumes beside each other that turn together, by mouse, touch and keyboard.

const START = {yaw: 24 * Math.PI / 180, pitch: 17 * Math.PI / 180, zoom: 1};
const TURN = 0.01; // radians for each pixel
const PRESS = 0.12; // radians for each press of an arrow key
const LINE_PIXELS = 33; // of a wheel that counts lines

const viewer = {run: -1, sample: 0, threshold: 0.3, shown: new Set(['source', 'mapped']), view: {...START},
  panes: [], arrays: {}, box: null, pointers: new Map(), waiting: false};

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

function hasVolumes(run) {
  return Object.keys(run.volumes).length > 0;
}

/** One box for all samples of a run: everything at one scale. */
function measureBox() {
  const box = [Infinity, Infinity, Infinity, -Infinity, -Infinity, -Infinity];
  for (const array of Object.values(viewer.arrays)) {
    for (let i = 0; i < array.shape[0]; i += 1) growBox(box, sampleVolume(array, i), viewer.threshold);
  }
  const [, depth, height, width] = Object.values(viewer.arrays)[0].shape;
  viewer.box = box[3] > 0 ? box : [0, 0, 0, width, height, depth];
}

function drawPanes() {
  viewer.waiting = false;
  const line = getComputedStyle(root).getPropertyValue('--strong-line');
  for (const {name, canvas} of viewer.panes) {
    const side = Math.max(1, Math.round(canvas.clientWidth * Math.min(2, window.devicePixelRatio || 1)));
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const array = viewer.arrays[name];
    const volume = sampleVolume(array, Math.min(viewer.sample, array.shape[0] - 1));
    drawVolume(canvas, volume, viewer.threshold, viewer.view, viewer.box, line);
  }
}

/** At most once for each frame of the screen. */
function redrawPanes() {
  if (viewer.waiting) return;
  viewer.waiting = true;
  requestAnimationFrame(drawPanes);
}

function turn(dx, dy) {
  viewer.view.yaw += dx;
  viewer.view.pitch = clamp(viewer.view.pitch + dy, -Math.PI / 2, Math.PI / 2);
  redrawPanes();
}

function zoom(factor) {
  viewer.view.zoom = clamp(viewer.view.zoom * factor, 0.3, 8);
  redrawPanes();
}

function resetView() {
  viewer.view = {...START};
  redrawPanes();
}

function spread() {
  const [a, b] = [...viewer.pointers.values()];
  return Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
}

/** One pointer turns; two zoom by their distance. */
function movePointer(event) {
  const last = viewer.pointers.get(event.pointerId);
  if (!last) return;
  const before = viewer.pointers.size === 2 ? spread() : 0;
  viewer.pointers.set(event.pointerId, {x: event.clientX, y: event.clientY});
  if (viewer.pointers.size === 2) {
    zoom(spread() / before);
  } else if (viewer.pointers.size === 1) {
    turn(-(event.clientX - last.x) * TURN, (event.clientY - last.y) * TURN);
  }
}

function pressKey(event) {
  const actions = {
    ArrowLeft: () => turn(PRESS, 0), ArrowRight: () => turn(-PRESS, 0),
    ArrowUp: () => turn(0, -PRESS), ArrowDown: () => turn(0, PRESS),
    '+': () => zoom(1.15), '=': () => zoom(1.15), '-': () => zoom(1 / 1.15), Home: resetView, 0: resetView,
  };
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
}

function listen(canvas) {
  canvas.addEventListener('pointerdown', (event) => {
    if (event.button === 0) viewer.pointers.set(event.pointerId, {x: event.clientX, y: event.clientY});
  });
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode === 1 ? LINE_PIXELS : 1) * 0.0015));
  }, {passive: false});
  canvas.addEventListener('keydown', pressKey);
  canvas.addEventListener('dblclick', resetView);
}

/** A drag goes on outside of the canvas, so its end is the window's. */
function listenForDrags() {
  window.addEventListener('pointermove', movePointer);
  for (const kind of ['pointerup', 'pointercancel'])
    window.addEventListener(kind, (event) => viewer.pointers.delete(event.pointerId));
}

function buildPanes(place) {
  const names = Object.keys(viewer.arrays).filter((name) => viewer.shown.has(name));
  viewer.panes = names.map((name) => {
    const canvas = el('canvas', {tabindex: '0', role: 'img',
      'aria-label': `${name} volume; drag or arrow keys turn it, the wheel or + and - zoom`});
    listen(canvas);
    return {name, canvas};
  });
  place.replaceChildren(...viewer.panes.map(({name, canvas}) =>
    el('figure', {}, canvas, el('figcaption', {}, name))));
  redrawPanes();
}

function choice(options, chosen, onChange) {
  const select = el('select', {}, ...options.map(([value, text]) => el('option', {value}, text)));
  select.value = String(chosen);
  select.addEventListener('change', () => onChange(Number(select.value)));
  return select;
}

function slider(options, onInput) {
  const [input, output] = [el('input', {type: 'range', ...options}), el('output')];
  const show = () => { output.value = options.text ? options.text(input) : input.value; };
  input.addEventListener('input', () => {
    show();
    onInput(Number(input.value));
  });
  show();
  return {input, output, show};
}

function buildToggles(panes) {
  return el('span', {class: 'toggles', role: 'group', 'aria-label': 'volumes'}, ...['source', 'mapped', 'target'].map((name) => {
    const button = el('button', {type: 'button', 'aria-pressed': String(viewer.shown.has(name))}, name);
    button.addEventListener('click', () => {
      if (!viewer.shown.delete(name)) viewer.shown.add(name);
      button.setAttribute('aria-pressed', String(viewer.shown.has(name)));
      buildPanes(panes);
    });
    return button;
  }));
}

function chooseRun(index, samples, panes) {
  viewer.run = index;
  viewer.arrays = Object.fromEntries(Object.entries(RUNS[index].volumes).map(([k, v]) => [k, decodeArray(v)]));
  const count = Math.max(...Object.values(viewer.arrays).map((array) => array.shape[0]));
  viewer.sample = Math.min(viewer.sample, count - 1);
  samples.input.max = String(count);
  samples.input.value = String(viewer.sample + 1);
  samples.show();
  measureBox();
  buildPanes(panes);
}

function buildViewer(place) {
  const able = RUNS.map((run, index) => [index, run.row.name]).filter(([index]) => hasVolumes(RUNS[index]));
  if (able.length === 0) {
    place.append(el('p', {class: 'hint'}, 'No run has volumes or images to show.'));
    return;
  }
  const panes = el('div', {class: 'panes'});
  const samples = slider({min: '1', max: '1', value: '1', 'aria-label': 'sample'}, (value) => {
    viewer.sample = value - 1;
    redrawPanes();
  });
  const threshold = slider({min: '0', max: '0.95', step: '0.05', value: String(viewer.threshold),
    'aria-label': 'brightness above which a voxel is drawn'}, (value) => {
    viewer.threshold = value;
    redrawPanes();
  });
  const reset = el('button', {type: 'button', class: 'plain'}, 'reset view');
  reset.addEventListener('click', resetView);
  const run = choice(able, able[0][0], (index) => chooseRun(index, samples, panes));
  place.append(el('div', {class: 'controls'}, el('label', {}, 'run', run), buildToggles(panes),
    el('label', {}, 'sample', samples.input, samples.output),
    el('label', {}, 'threshold', threshold.input, threshold.output), reset), panes,
  el('p', {class: 'hint'}, 'Drag to turn, wheel or pinch to zoom; arrow keys, + and − when a volume has the focus.'));
  chooseRun(able[0][0], samples, panes);
  listenForDrags();
  new ResizeObserver(redrawPanes).observe(panes);
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redrawPanes);
}
