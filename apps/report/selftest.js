// With #selftest the page tries itself: events as a user's hand makes them, and whether anything moved. The verdict is
// the attribute data-selftest of the html element (tests/report_page.sh reads it).

/** What is drawn, by way of a copy that is made for reading. */
function pixels(canvas) {
  const copy = el('canvas', {width: canvas.width, height: canvas.height});
  const context = copy.getContext('2d', {willReadFrequently: true});
  context.drawImage(canvas, 0, 0);
  return context.getImageData(0, 0, copy.width, copy.height).data;
}

/** Draws what waits for the screen's next frame, which does not come while a browser only dumps the page. */
function drawWaiting() {
  if (viewer.waiting) drawPanes();
}

/** The share of pixels that `action` changes. */
function changeOf(canvas, action) {
  drawWaiting();
  const before = pixels(canvas);
  action();
  drawWaiting();
  const after = pixels(canvas);
  let changed = 0;
  for (let i = 0; i < before.length; i += 4) {
    if (before[i] !== after[i] || before[i + 1] !== after[i + 1] || before[i + 2] !== after[i + 2] ||
      before[i + 3] !== after[i + 3]) changed += 1;
  }
  return changed * 4 / before.length;
}

function point(target, kind, x, y, id = 1) {
  const box = target.getBoundingClientRect();
  target.dispatchEvent(new PointerEvent(kind, {bubbles: true, cancelable: true, pointerId: id, isPrimary: id === 1,
    button: 0, buttons: kind === 'pointerup' ? 0 : 1, clientX: box.left + x, clientY: box.top + y}));
}

function drag(canvas, dx, dy) {
  point(canvas, 'pointerdown', 60, 60);
  for (let i = 1; i <= 5; i += 1) point(canvas, 'pointermove', 60 + dx * i / 5, 60 + dy * i / 5);
  point(canvas, 'pointerup', 60 + dx, 60 + dy);
}

function pinch(canvas) {
  point(canvas, 'pointerdown', 50, 60, 1);
  point(canvas, 'pointerdown', 70, 60, 2);
  point(canvas, 'pointermove', 110, 60, 2);
  point(canvas, 'pointerup', 50, 60, 1);
  point(canvas, 'pointerup', 110, 60, 2);
}

function testViewer(check) {
  const canvases = viewer.panes.map((pane) => pane.canvas);
  if (canvases.length === 0) return;
  const moved = 0.03;
  drawWaiting();
  const first = canvases[0];
  check('volume drawn', pixels(first).some((value) => value !== 0));
  check('no drag, no turn', changeOf(first, () => point(first, 'pointermove', 90, 90)) === 0);
  check('drag turns', changeOf(first, () => drag(first, 70, 30)) > moved);
  check('drag turns the others', changeOf(canvases.at(-1), () => drag(first, -40, 0)) > moved);
  check('wheel zooms', changeOf(first, () => first.dispatchEvent(
    new WheelEvent('wheel', {deltaY: -200, bubbles: true, cancelable: true}))) > moved);
  check('arrow turns', changeOf(first, () => first.dispatchEvent(
    new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true, cancelable: true}))) > moved);
  check('reset comes back', changeOf(first, () => first.dispatchEvent(
    new KeyboardEvent('keydown', {key: 'Home', bubbles: true, cancelable: true}))) > moved);
  check('pinch zooms', changeOf(first, () => pinch(first)) > moved);
  resetView();
  drag(first, -70, 35);
  drawWaiting();
}

function testTable(check) {
  const heading = document.querySelector('#scores thead button');
  const names = () => [...document.querySelectorAll('#scores tbody .run-name')].map((e) => e.textContent);
  const before = names();
  heading.click();
  const up = names();
  heading.click();
  check('table sorts', up.join() === names().reverse().join());
  check('table keeps its rows', [...up].sort().join() === [...before].sort().join() && up.length === RUNS.length);
}

function testCharts(check) {
  const chart = document.querySelector('.chart svg');
  const button = document.querySelector('#legend button');
  if (!chart || !button) return;
  const lines = () => document.querySelectorAll('.chart .curve').length;
  const before = lines();
  button.click();
  check('legend switches a run off', lines() < before);
  button.click();
  check('legend switches it on', lines() === before);
  point(chart, 'pointermove', chart.clientWidth / 2, 60);
  check('hover shows values', document.querySelector('.tip:not([hidden]) b') !== null);
}

function selfTest() {
  const verdicts = [];
  const check = (name, good) => verdicts.push({name, good});
  testTable(check);
  testCharts(check);
  testViewer(check);
  check('no error', root.dataset.errors === '0');
  const failed = verdicts.filter(({good}) => !good);
  root.dataset.selftest = `${failed.length > 0 ? 'failed' : 'passed'}: ` +
    (failed.length > 0 ? failed : verdicts).map(({name}) => name).join('; ');
}
