#!/bin/sh
# The detection kit on `tollgate score`, `explain` and `backtest`: tables into benches/DETECTION.md, between its marks.
#   scripts/eval.sh KIT           KIT = the kit's folder; PYTHON (default python3) needs numpy
# PROGRAM (default: a release build of this tree) may name another binary; FLEETS the seeds of the fleets; ONLY="score causes fleets" a part.
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

fleet() { # name, command, config, folder
    "$python" "$kit/fleet_eval.py" --backtest "$2" --config "$3" --fleet "$4" --out "$results/$1.json" > "$results/$1.txt"
}

for part in ${ONLY:-score causes fleets}; do
    case "$part" in
    score)
        for baseline in static_x2 rolling_mad hour_of_day_mad ewma_z; do run "$baseline" "builtin:$baseline"; done
        run tollgate "$PROGRAM score --direction {direction} --out {out} {in}"
        cat "$results/tollgate.txt"
        ;;
    causes)
        echo "eval: causes"
        "$python" "$kit/rca_eval.py" --explain "builtin:greedy" --out "$results/causes-greedy.json" > /dev/null
        "$python" "$kit/rca_eval.py" --explain "$PROGRAM explain --format json {in}" --out "$results/causes-tollgate.json"
        ;;
    fleets)
        # The config names its policies beside itself.
        cp -r config/examples/fleet-policies "$results/"
        backtest="$PROGRAM backtest --config {config} --events {events} --format json | tee $results/alerts.json"
        for seed in ${FLEETS:-11 12 13 14 15 16 17 18 19 20}; do
            echo "eval: fleet $seed"
            "$python" "$kit/fleet_gen.py" --seed "$seed" --data "$kit/data" --out "$results/fleet" > /dev/null
            fleet "fleet-rules-$seed" "$python $kit/baseline_backtest.py {config} {events}" "$results/fleet/policy.json" "$results/fleet"
            for setting in 0.5 1.0 2.0 4.0; do
                sed "s/^\[watch.thresholds\]/&\nalerts_per_team_month = $setting/" config/examples/fleet.toml > "$results/fleet.toml"
                fleet "fleet-$setting-$seed" "$backtest" "$results/fleet.toml" "$results/fleet"
                cp "$results/alerts.json" "$results/alerts-$setting-$seed.json"
            done
            cp "$results/fleet/truth.json" "$results/truth-$seed.json"
        done
        ;;
    esac
done
"$python" scripts/eval_report.py "$results" benches/DETECTION.md
