#!/usr/bin/env python3
"""Makes src/demo/data/servegen.csv.zst: what `tollgate demo` replays.

    scripts/demo_data.py FOLDER

FOLDER holds request series derived from ServeGen (https://github.com/alibaba/ServeGen, Apache-2.0):
    servegen/m-<name>.csv.gz     timestamp,value: requests per 10 minutes (the original rates x 600), 14 days
    servegen_tokens.csv.gz       series,window_start_s,mean_input_tokens,mean_output_tokens

The output has one row per series and 10 minutes that had any request: series, number of the 10 minutes (0..2015),
requests, mean input and output tokens per request. Nothing is scaled or smoothed here; the demo does that when it loads.
Needs Python 3.9 and the program zstd.
"""

import csv
import gzip
import io
import pathlib
import subprocess
import sys

# Series that are active almost all the time. The demo tells a story, it measures nothing: these are calm ones.
# (requests of, tokens of): eight take the token counts of another tenant, most of them because none of their own are known.
SERIES = [
    ("small_chunk-8", "mid_chunk-66"),
    ("mid_chunk-99", "large_chunk-113"),
    ("mid_chunk-23", "mid_chunk-14"),
    ("large_chunk-113", "large_chunk-113"),
    ("small_chunk-5", "large_chunk-95"),
    ("large_chunk-21", "large_chunk-113"),
    ("mid_chunk-72", "mid_chunk-72"),
    ("mid_chunk-14", "mid_chunk-14"),
    ("mid_chunk-66", "mid_chunk-66"),
    ("mid_chunk-58", "mid_chunk-66"),
    ("mid_chunk-11", "large_chunk-95"),
    ("mid_chunk-95", "mid_chunk-14"),
]
BUCKETS = 14 * 144
BUCKETS_PER_TOKEN_WINDOW = 36


def rows(path):
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)


def tokens_of(folder):
    """(series, window) -> mean input and output tokens per request."""
    means = {}
    for row in rows(folder / "servegen_tokens.csv.gz"):
        window = int(float(row["window_start_s"])) // (600 * BUCKETS_PER_TOKEN_WINDOW)
        mean = (row["mean_input_tokens"], row["mean_output_tokens"])
        if all(mean):
            means[row["series"], window] = tuple(round(float(tokens)) for tokens in mean)
    return means


def extract(folder):
    means = tokens_of(folder)
    text = io.StringIO()
    text.write("series,bucket,requests,input_tokens,output_tokens\n")
    for number, (series, tokens) in enumerate(SERIES):
        known = None
        for bucket, row in enumerate(rows(folder / "servegen" / f"m-{series}.csv.gz")):
            # A window without a mean of its own keeps the one before.
            known = means.get((f"m-{tokens}", bucket // BUCKETS_PER_TOKEN_WINDOW), known)
            requests = round(float(row["value"] or 0))
            if bucket < BUCKETS and requests > 0 and known:
                text.write(f"{number},{bucket},{requests},{known[0]},{known[1]}\n")
    return text.getvalue()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = pathlib.Path(__file__).resolve().parent.parent / "src/demo/data/servegen.csv.zst"
    text = extract(pathlib.Path(sys.argv[1]))
    packed = subprocess.run(["zstd", "-19", "-c"], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
    target.write_bytes(packed)
    print(f"{target.name}: {text.count(chr(10)) - 1} rows, {len(packed)} bytes")


if __name__ == "__main__":
    main()
