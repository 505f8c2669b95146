#!/usr/bin/env bash
# The page of `voxot report` in a headless Chromium: no error on the console, and its own test (#selftest: drag, wheel,
# keys and pinch on the viewer, table, legend, values on hover) passes. Exit status 77 where no Chromium starts.
#   tests/report_page.sh VOXOT
set -euo pipefail

voxot=$1
browser=
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then browser=$name && break; fi
done
if [[ -z "$browser" ]]; then
  echo "skipped: no chromium here"
  exit 77
fi

flags=(--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage)
if ! timeout 60 "$browser" "${flags[@]}" --dump-dom 'data:text/html,<p>it opens pages</p>' 2>/dev/null | grep -q 'it opens pages'; then
  echo "skipped: $browser does not start here"
  exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Two steps of a run: coloured volumes, grey ones, or vectors; a name that would end the page's data if it were not escaped.
train() {
  local out=$1
  shift
  "$voxot" train "$work/tiny.toml" --out "$work/$out" --threads 1 --device cpu --quiet "$@" >/dev/null 2>&1
}
cat >"$work/tiny.toml" <<'TOML'
[solver]
steps = 2
inner_steps = 1
batch_size = 2
[transport]
base = 2
[potential]
nf = 2
[source]
dataset = "digits"
classes = [3]
[target]
dataset = "digits"
classes = [5]
[log]
every = 1
validate_every = 0
samples_every = 1
TOML
train 'colour<'
mv "$work/colour<" "$work/moved" && mkdir "$work/colour<" && mv "$work/moved" "$work/colour</script><b>\"é"
train grey --set source.colour=none --set target.colour=none
train vectors --set source.dataset=gaussian --set target.dataset=gaussian \
  --set transport.model=mlp --set potential.model=mlp

# check PAGE EXPECTED: opens the page and looks for what its test must have tried.
check() {
  local page=$1 expected=$2 verdict
  timeout 120 "$browser" "${flags[@]}" --user-data-dir="$work/profile" --enable-logging=stderr \
    --virtual-time-budget=10000 --window-size=1200,900 --dump-dom "file://$page#selftest" >"$work/dom" 2>"$work/log"
  verdict=$(grep -o 'data-selftest="[^"]*"' "$work/dom" || echo 'no verdict')
  echo "$verdict"
  if grep -F CONSOLE "$work/log"; then
    echo "FAILED: the console has messages"
    exit 1
  fi
  [[ "$verdict" == 'data-selftest="passed: '*"$expected"* ]] || exit 1
}

"$voxot" report "$work/colour</script><b>\"é" "$work/grey" "$work/vectors" --output "$work/all" >/dev/null
check "$work/all/index.html" 'drag turns; drag turns the others; wheel zooms'
"$voxot" report "$work/vectors" --output "$work/flat" >/dev/null
check "$work/flat/index.html" 'hover shows values; no error'

# The test must be able to fail: a viewer that does not listen, an error on the page.
sed "s/addEventListener('pointerdown', (event) => {/addEventListener('nothing', (event) => {/" "$work/all/index.html" >"$work/deaf.html"
if (check "$work/deaf.html" '') >"$work/verdict"; then
  echo "FAILED: a viewer without ears passes"
  exit 1
fi
grep -q 'failed: drag turns' "$work/verdict"
sed 's/^buildGallery(/undefinedFunction();&/' "$work/all/index.html" >"$work/broken.html"
if (check "$work/broken.html" '') >"$work/verdict"; then
  echo "FAILED: an error on the console passes"
  exit 1
fi
echo "passed"
