// Puts the page together.

document.getElementById('summary').textContent = `${RUNS.length} run${RUNS.length === 1 ? '' : 's'}`;
buildTable(document.getElementById('scores'));
buildCharts(document.getElementById('legend'), document.getElementById('charts'));
buildViewer(document.getElementById('viewer'));
buildGallery(document.getElementById('samples'));
if (window.location.hash === '#selftest') {
  selfTest();
}
