// Voxels as shaded cubes on a 2-D canvas. Orthographic, so painting whole rows of voxels from far to near is exact and
// nothing is sorted. Axes as in voxot's pictures: w to the right, h down, d away from the viewer.

const LIGHT = unitVector([-0.4, -0.8, -0.8]); // from the left, above and the viewer's side
const FULL = 255;

function unitVector(v) {
  const length = Math.hypot(...v);
  return v.map((x) => x / length);
}

/** One sample of an array: bytes D×H×W×C. */
function sampleVolume(array, sample) {
  const [, depth, height, width, channels] = array.shape;
  const each = depth * height * width * channels;
  return {depth, height, width, channels, bytes: array.bytes.subarray(sample * each, (sample + 1) * each)};
}

function decodeArray({shape, bytes}) {
  return {shape, bytes: Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))};
}

/**
 * Which voxels are shown: those whose brightest channel is above the threshold, and every pixel of a flat image. The grid
 * has a border of empty voxels, so that a neighbour is always an offset away.
 */
function shownVoxels(volume, threshold) {
  const {depth, height, width, channels, bytes} = volume;
  const offsets = [1, width + 2, (width + 2) * (height + 2)];
  const grid = new Uint8Array(offsets[2] * (depth + 2));
  for (let i = 0; i < depth * height * width; i += 1) {
    let bright = bytes[i * channels];
    for (let c = 1; c < channels; c += 1) bright = Math.max(bright, bytes[i * channels + c]);
    if (depth > 1 && bright <= threshold * FULL) continue;
    const [w, h, d] = [i % width, Math.floor(i / width) % height, Math.floor(i / (width * height))];
    grid[gridIndex(offsets, w, h, d)] = 1;
  }
  return {grid, offsets};
}

function gridIndex(offsets, w, h, d) {
  return (w + 1) * offsets[0] + (h + 1) * offsets[1] + (d + 1) * offsets[2];
}

/** Grows the box [first w, h, d, last w, h, d] by what is shown. */
function growBox(box, volume, threshold) {
  const {grid, offsets} = shownVoxels(volume, threshold);
  for (let i = 0; i < grid.length; i += 1) {
    if (!grid[i]) continue;
    const at = [i % offsets[1] - 1, Math.floor(i % offsets[2] / offsets[1]) - 1, Math.floor(i / offsets[2]) - 1];
    for (let axis = 0; axis < 3; axis += 1) {
      box[axis] = Math.min(box[axis], at[axis]);
      box[axis + 3] = Math.max(box[axis + 3], at[axis] + 1);
    }
  }
}

/** Hue at full strength, a little darker where the voxel is dim; grey volumes as slate; flat images as they are. */
function voxelColour(volume, i) {
  const {channels, bytes, depth} = volume;
  const rgb = channels === 1 ? [bytes[i], bytes[i], bytes[i]] : [...bytes.subarray(3 * i, 3 * i + 3)];
  if (depth === 1) return rgb;
  const bright = Math.max(...rgb) / FULL;
  if (channels === 1) return [0.62 - 0.26 * bright, 0.66 - 0.24 * bright, 0.72 - 0.2 * bright].map((x) => x * FULL);
  const scale = (0.62 + 0.38 * bright) / Math.max(bright, 1e-3);
  return rgb.map((x) => x * scale * 0.88 + 0.12 * FULL);
}

/** Screen x, screen y and distance for a step along w, h and d. */
function viewAxes({yaw, pitch}) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return [[cy, sy * sp, -sy * cp], [0, cp, sp], [sy, -cy * sp, cy * cp]];
}

/** The three sides that the viewer sees: where they lie, what spans them, and their light. */
function visibleSides(axes) {
  const sides = [];
  for (let axis = 0; axis < 3; axis += 1) {
    const away = axes[axis][2];
    if (Math.abs(away) < 1e-6) continue;
    const sign = away > 0 ? -1 : 1;
    const normal = axes[axis].map((x) => x * sign);
    const light = Math.max(0, normal[0] * LIGHT[0] + normal[1] * LIGHT[1] + normal[2] * LIGHT[2]);
    sides.push({axis, sign, light, spans: [axes[(axis + 1) % 3], axes[(axis + 2) % 3]]});
  }
  return sides;
}

function litColour(rgb, light, flat) {
  const strength = flat ? 0.86 + 0.14 * light : 0.6 + 0.6 * light;
  const white = flat ? 0 : Math.max(0, light - 0.7) * 1.1;
  return rgb.map((x) => Math.round(Math.min(FULL, x * strength) * (1 - white) + FULL * white));
}

function cssColour([r, g, b]) {
  return `rgb(${r},${g},${b})`;
}

/** Indices of an axis from far to near. */
function farToNear(count, away) {
  return Array.from({length: count}, (_, i) => (away > 0 ? count - 1 - i : i));
}

function paintSide(context, x, y, [a, b], scale) {
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + a[0] * scale, y + a[1] * scale);
  context.lineTo(x + (a[0] + b[0]) * scale, y + (a[1] + b[1]) * scale);
  context.lineTo(x + b[0] * scale, y + b[1] * scale);
  context.closePath();
  context.fill();
  context.stroke();
}

/** The sides of one voxel that the viewer sees and no neighbour covers. */
function paintVoxel(context, volume, at, uncovered, frame) {
  const [w, h, d] = at;
  const flat = volume.depth === 1;
  const rgb = voxelColour(volume, (d * volume.height + h) * volume.width + w);
  for (const side of uncovered) {
    const lit = litColour(rgb, side.light, flat);
    context.fillStyle = cssColour(lit);
    context.strokeStyle = flat ? context.fillStyle : cssColour(lit.map((x) => Math.round(x * 0.8)));
    const corner = [...at];
    if (side.sign > 0) corner[side.axis] += 1;
    const [x, y] = frame.project(corner);
    paintSide(context, x, y, side.spans, frame.scale);
  }
}

/** The box's three far sides as thin lines, so that an empty volume has an orientation too. */
function paintBox(context, box, frame, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1;
  for (const {axis, sign} of frame.sides) {
    const far = sign > 0 ? box[axis] : box[axis + 3];
    const [u, v] = [(axis + 1) % 3, (axis + 2) % 3];
    context.beginPath();
    for (const [i, j] of [[0, 0], [3, 0], [3, 3], [0, 3]]) {
      const corner = [far, far, far];
      corner[u] = box[u + i];
      corner[v] = box[v + j];
      context.lineTo(...frame.project(corner));
    }
    context.closePath();
    context.stroke();
  }
}

/** How the box fills a picture of this side, in this view. */
function makeFrame(box, view, side) {
  const axes = viewAxes(view);
  const centre = [0, 1, 2].map((axis) => (box[axis] + box[axis + 3]) / 2);
  const diagonal = Math.hypot(box[3] - box[0], box[4] - box[1], box[5] - box[2]);
  const scale = view.zoom * 0.94 * side / diagonal;
  const project = (p) => [0, 1].map((screen) => side / 2 +
    scale * [0, 1, 2].reduce((sum, axis) => sum + (p[axis] - centre[axis]) * axes[axis][screen], 0));
  return {axes, scale, project, sides: visibleSides(axes)};
}

function drawVolume(canvas, volume, threshold, view, box, lineColour) {
  const side = canvas.width;
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, side, side);
  const frame = makeFrame(box, view, side);
  paintBox(context, box, frame, lineColour);
  context.lineJoin = 'round';
  context.lineWidth = Math.max(0.7, 0.05 * frame.scale);
  const {grid, offsets} = shownVoxels(volume, threshold);
  const [ws, hs, ds] = [volume.width, volume.height, volume.depth]
    .map((count, axis) => farToNear(count, frame.axes[axis][2]));
  for (const d of ds) {
    for (const h of hs) {
      for (const w of ws) {
        const i = gridIndex(offsets, w, h, d);
        if (!grid[i]) continue;
        const uncovered = frame.sides.filter((side) => !grid[i + side.sign * offsets[side.axis]]);
        if (uncovered.length > 0) paintVoxel(context, volume, [w, h, d], uncovered, frame);
      }
    }
  }
}
