#!/bin/sh
# The detection kit on `tollgate score`: tables into benches/DETECTION.md, between its marks.
#   scripts/eval.sh KIT           KIT = the kit's folder; PYTHON (default python3) needs numpy
# PROGRAM (default: a release build of this tree) may name another binary.
set -eu
kit=${1:-}
python=${PYTHON:-python3}
if [ ! -f "$kit/score_eval.py" ]; then
    echo "eval: no score_eval.py in '$kit'; write make eval KIT=folder of the evaluation kit" >&2
    exit 2
fi
"$python" -c 'import numpy' 2>/dev/null || { echo "eval: $python has no numpy; set PYTHON to one that has" >&2; exit 2; }
kit=$(cd "$kit" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
if [ -z "${PROGRAM:-}" ]; then
    cargo build --release --locked
    PROGRAM=${CARGO_TARGET_DIR:-target}/release/tollgate
fi
case "$PROGRAM" in /*) ;; *) PROGRAM=$root/$PROGRAM ;; esac
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
run() { # name, scorer
    echo "eval: $1"
    "$python" "$kit/score_eval.py" --scorer "$2" --out "$results/$1.json" > "$results/$1.txt"
}
for baseline in static_x2 rolling_mad hour_of_day_mad ewma_z; do run "$baseline" "builtin:$baseline"; done
run tollgate "$PROGRAM score --direction {direction} --out {out} {in}"
cat "$results/tollgate.txt"
"$python" scripts/eval_report.py "$results" benches/DETECTION.md
