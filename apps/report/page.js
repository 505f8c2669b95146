'use strict';
// What all parts share: the data, elements, numbers as text, and errors that a test can see.

const root = document.documentElement;
root.dataset.errors = '0';
for (const kind of ['error', 'unhandledrejection']) {
  window.addEventListener(kind, () => { root.dataset.errors = String(Number(root.dataset.errors) + 1); });
}

const REPORT = JSON.parse(document.getElementById('report-data').textContent);
const RUNS = REPORT.runs;
const DASH = '–';
const COLOURS = 8;

/** An element with attributes and children; text is always a text node, so names cannot be markup. */
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  const space = document.getElementById('svg-root').namespaceURI;
  return fill(document.createElementNS(space, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function runColour(index) {
  return `var(--run${index % COLOURS})`;
}

/** More runs than colours are told apart by their dashes. */
function runDash(index) {
  return ['none', '6 3', '2 3', '9 3 2 3'][Math.floor(index / COLOURS) % 4];
}

function swatch(index) {
  return el('span', {class: 'swatch', style: `background: ${runColour(index)}`, 'aria-hidden': 'true'});
}

/** Four significant digits, without needless zeros. */
function numberText(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/** 0:07, 12:34 or 1:02:03. */
function durationText(seconds) {
  const whole = Math.round(seconds);
  const two = (n) => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
