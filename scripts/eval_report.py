"""Writes what the detection kit measured into benches/DETECTION.md, between its marks.

    eval_report.py RESULTS FILE     RESULTS = folder with NAME.json of score_eval.py for tollgate and those baselines that were run
"""
import json
import math
import os
import sys

NAMES = ["tollgate", "static_x2", "rolling_mad", "hour_of_day_mad", "ewma_z"]
BEGIN, END = "<!-- begin: make eval -->", "<!-- end: make eval -->"
# The default of watch.thresholds.alerts_per_team_month, which the kit's own alerts are held against.
SETTING = 2.0


def cell(values):
    return "%.0f [%.0f-%.0f]" % tuple(values)


def table(title, reports, label):
    """Recall at one false alarm per series and 30 days, a column for each scorer."""
    groups = {name: report["injections"][label] for name, report in reports.items()}
    first = groups["tollgate"]
    lines = ["### %s, %d series" % (title, first["series"]), "",
             "Recall in % at 1 false alarm per series and 30 days, chosen on the untouched copies; brackets: 95 % interval.", "",
             "| injection | " + " | ".join(reports) + " |", "|---|" + "---|" * len(reports)]
    for kind in first["kinds"]:
        both = kind in ("all spikes", "ramps, levels")
        row = [cell(g["kinds"][kind]["recall"]["1.0"]) if both else "%.0f" % g["kinds"][kind]["recall"]["1.0"][0] for g in groups.values()]
        lines.append("| %s | " % kind + " | ".join(row) + " |")
    for budget in ("0.25", "3.0"):
        row = [cell(g["kinds"]["all spikes"]["recall"][budget]) for g in groups.values()]
        lines.append("| all spikes at %s false alarms | " % budget + " | ".join(row) + " |")
    plain = [("median delay, minutes", "delay_minutes_at_1"), ("leaked, %", "leaked_at_1")]
    for words, key in plain:
        values = [g["kinds"]["all spikes"][key] for g in groups.values()]
        lines.append("| %s | " % words + " | ".join("-" if v is None else "%.0f" % v for v in values) + " |")
    lines.append("| own recall, all spikes | " + " | ".join(cell(g["kinds"]["all spikes"]["own_recall"]) for g in groups.values()) + " |")
    lines.append("| own false alarms per series and 30 days | " + " | ".join("%.2f" % g["own_false_alarms_mean"] for g in groups.values()) + " |")
    lines.append("| scores before an injection that it changed | " + " | ".join("%d" % g["look_ahead_suspects"] for g in groups.values()) + " |")
    return lines + [""]


def poisson(count):
    """95 % interval of a Poisson mean, by the normal approximation of its square root."""
    low = max(math.sqrt(count) - 0.98, 0.0) ** 2
    return low, (math.sqrt(count + 1) + 0.98) ** 2


def own_rates(report):
    """The program's own alerts on untouched series against what the setting names."""
    lines = ["### Own alerts at the default sensitivity", "",
             "`alerts_per_team_month` is %g, and one file counts as one team. Realised on untouched copies, in which what is really" % SETTING,
             "strange counts as false too; intervals: 95 %, Poisson.", "",
             "| series | days | alerts | per series and 30 days | times the setting |", "|---|---|---|---|---|"]
    total, months = 0.0, 0.0
    for label, group in report["injections"].items():
        for days, rate in (("4-14", group["own_false_alarms_mean"] / 3), ("0-4", group["own_opens_days_0_to_4"])):
            span = 10 if days == "4-14" else 4
            count, share = rate * group["series"], group["series"] * span / 30
            total, months = total + count, months + share
            lines.append(rate_row(label, days, count, share))
    one = report["one_day"]
    count, share = one["own_opens_per_series"] * one["series"], one["series"] / 30
    total, months = total + count, months + share
    lines.append(rate_row("one-day, 10 min", "0-1", count, share))
    lines.append(rate_row("all", "", total, months))
    return lines + [""]


def rate_row(label, days, count, months):
    low, high = poisson(count)
    return "| %s | %s | %.0f | %.2f [%.2f-%.2f] | %.2f [%.2f-%.2f] |" % (
        label, days, count, count / months, low / months, high / months,
        count / months / SETTING, low / months / SETTING, high / months / SETTING)


def labelled(reports):
    lines = ["### Labelled curves", "", "Event recall in % at 1 / 3 / 10 false alarms per 30 days.", "",
             "| corpus | " + " | ".join(reports) + " |", "|---|" + "---|" * len(reports)]
    for corpus in reports["tollgate"]["labelled"]:
        row = [" / ".join("%.0f" % r["labelled"][corpus]["recall"][b][0] for b in ("1.0", "3.0", "10.0")) for r in reports.values()]
        lines.append("| %s | " % corpus + " | ".join(row) + " |")
    return lines + [""]


def calibration(report):
    rows = {label: group["calibration"] for label, group in report["injections"].items()}
    thresholds = list(next(iter(rows.values())))
    lines = ["### Calibration", "", "Percent of untouched buckets at or over a score.", "",
             "| series | " + " | ".join(thresholds) + " |", "|---|" + "---|" * len(thresholds)]
    for label, row in rows.items():
        lines.append("| %s | " % label + " | ".join("%.3g" % (100 * row[t]) for t in thresholds) + " |")
    return lines + [""]


def main():
    folder, path = sys.argv[1:]
    reports = {}
    for name in NAMES:
        if name != "tollgate" and not os.path.exists(os.path.join(folder, name + ".json")):
            continue
        with open(os.path.join(folder, name + ".json")) as handle:
            reports[name] = json.load(handle)
    lines = []
    for label, title in (("dense, hourly", "Dense, hourly"), ("intermittent, hourly", "Intermittent, hourly"), ("dense, 10 min", "Dense, 10 minutes")):
        lines += table(title, reports, label)
    lines += labelled(reports) + own_rates(reports["tollgate"]) + calibration(reports["tollgate"])
    with open(path) as handle:
        text = handle.read()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    with open(path, "w") as handle:
        handle.write(head + BEGIN + "\n\n" + "\n".join(lines) + "\n" + END + tail)


if __name__ == "__main__":
    main()
