// Pictures of each run: its newest samples, and samples over training.

function picture(uri, caption, alt) {
  return el('figure', {}, el('figcaption', {}, caption),
    el('div', {class: 'scroll'}, el('img', {src: uri, alt})));
}

function runSamples(run, index) {
  const name = run.row.name;
  const figures = [];
  if (run.grid) {
    figures.push(picture(run.grid, 'newest samples: source, mapped, real targets', `${name}: newest samples`));
  }
  for (const {step, uri} of run.pictures) {
    figures.push(picture(uri, `at step ${step}: source above mapped`, `${name}: samples at step ${step}`));
  }
  if (figures.length === 0) figures.push(el('p', {class: 'hint'}, 'No pictures.'));
  return el('article', {class: 'card run-samples'},
    el('h3', {class: 'run-name'}, swatch(index), el('span', {}, name)), ...figures);
}

function buildGallery(place) {
  place.append(...RUNS.map(runSamples));
}
