#!/usr/bin/env bash
# The floor, a bare Rust loop, Apache Flink, Kafka Streams and Tollgate side by side: the same events, the same broker, one after the other.
#
#   scripts/bench-compare.sh ANCHORS [EVENTS]     (make bench-compare ANCHORS=folder EVENTS=12000000)
#
# ANCHORS: the folder with the other systems' jobs (run.sh, bench.py). It is copied, the copy is built and run:
# $XDG_CACHE_HOME/tollgate/anchors. EVENTS: 12,000,000 by default; fewer than some millions say little. ONLY="floor tollgate" runs
# these alone, REPS=3 each of the others three times, TOLLGATE=file takes that binary instead of building one.
# Needs a JDK, Maven, Python and a Rust toolchain. On a machine that does nothing else: ratios, not seconds, are what counts.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
if [ $# -lt 1 ] || [ ! -f "$1/bench.py" ]; then
  echo "usage: scripts/bench-compare.sh ANCHORS [EVENTS]: ANCHORS is the folder with bench.py" >&2
  exit 2
fi
events=${2:-12000000}
only=${ONLY:-floor rustjob flink streams tollgate}
copy="${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/anchors"

mkdir -p "$copy"
cp -R "$1"/. "$copy"/
# One input for all of them; each of their jobs has its own otherwise.
sed -i "s/ensure_input('usage-job2', 2_000_000, 90)/ensure_input('usage', N_RAW)/; s/ensure_input('usage-job', N_JOB)/ensure_input('usage', N_RAW)/" \
  "$copy/bench.py"
sed -i "s/, topic='usage' if not rp else 'usage-job')/)/" "$copy/bench.py"
export N_RAW=$events JOB=usage REPS=${REPS:-1} END=1780010820000000
# rustjob takes its topic from the default.
sed -i "s/def throughput(kind, label, mkcmd, topic='usage-job'/def throughput(kind, label, mkcmd, topic='usage'/" "$copy/bench.py"

binary=${TOLLGATE:-}
[ -n "$binary" ] || binary=$(cd "$here" && cargo build --release --locked --bin tollgate --message-format=json 2>/dev/null \
  | sed -n 's/.*"executable":"\([^"]*\/tollgate\)".*/\1/p' | tail -n 1)
if [ -z "$binary" ]; then
  echo "scripts/bench-compare.sh: cannot build tollgate; run: cargo build --release" >&2
  exit 1
fi

folder=$(mktemp -d)
cleanup() {
  (cd "$copy" && python3 bench.py stop) || true
  rm -rf "$folder"
}
trap cleanup EXIT

printf 'version = 1\n[kafka]\nbootstrap_servers = "127.0.0.1:29192"\ninstance_id = "bench"\nreplication_factor = 1\n' > "$folder/tollgate.toml"

# Theirs are built where their scripts look for them.
unset CARGO_TARGET_DIR
cd "$copy"
rm -f results/*.jsonl results/tollgate.json
./run.sh setup
mkdir -p results data
# A topic of another size goes.
if ! grep -q "\"n\":$events," results/input-usage.json 2>/dev/null; then
  rm -rf data results/input-usage.json
  mkdir -p data
fi
python3 bench.py start
python3 - <<'PY'
import runpy, sys
sys.argv = ['bench.py', 'none']
names = runpy.run_path('bench.py')
names['ensure_input']('usage', names['N_RAW'])
PY
for system in $only; do
  case "$system" in
    floor) ./run.sh floor batch:0:10 ;;
    rustjob) ./run.sh rustjob 100 ;;
    flink) ./run.sh flink 1000 ;;
    streams) ./run.sh streams rocksdb 100 1 ;;
    tollgate)
      "$binary" bench end-to-end --config "$folder/tollgate.toml" --topic usage --team-minute --format json --log-level error \
        | tee results/tollgate.json ;;
    *) echo "scripts/bench-compare.sh: ONLY names '$system'; it may name floor, rustjob, flink, streams, tollgate" >&2; exit 2 ;;
  esac
done
python3 - <<'PY'
import glob, json, os
from decimal import Decimal
rows = []
for name in ('floor', 'rustjob', 'flink', 'streams'):
    if os.path.exists(f'results/{name}.jsonl'):
        rows += [json.loads(line) for line in open(f'results/{name}.jsonl')]
rows = [(r['sys'], r.get('ev_s'), r.get('cpu_per_M'), r.get('rss_mb'), r.get('other_cores'), r.get('ok', True)) for r in rows]
if os.path.exists('results/tollgate.json'):
    # To the nano-dollar: what the generator counted while it wrote, and as many events.
    made = json.load(open('results/input-usage.json'))['cost']
    for r in json.load(open('results/tollgate.json')):
        right = 'cost_in_output' not in r or (int(Decimal(r['cost_in_output']) * 10**9) == made and r['events_in_output'] == r['events'])
        rows.append(('tollgate ' + r['name'], r['events_per_s'], r['cpu_s_per_million'], r['peak_rss_bytes'] / 2**20, None, right))
base = next((r[2] for r in rows if r[0].startswith('floor') or 'batch' in r[0]), None)
base = base or next((r[2] for r in rows if r[0] == 'tollgate floor'), None)
print(f'\n{"system":<40} {"events/s":>12} {"CPU s/M":>9} {"x floor":>8} {"RSS MiB":>8} {"foreign cores":>14}  sums')
show = lambda v, f: format(v, f) if v is not None else '?'
for s, ev, cpu, rss, other, ok in rows:
    ratio = cpu / base if cpu and base else None
    print(f'{s:<40} {show(ev, ",.0f"):>12} {show(cpu, ".3f"):>9} {show(ratio, ".2f"):>8} {show(rss, ".0f"):>8} {show(other, ".2f"):>14}  {"ok" if ok else "WRONG"}')
PY
