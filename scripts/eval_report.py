"""Writes what the detection kit measured into benches/DETECTION.md, between its marks.

    eval_report.py RESULTS FILE     RESULTS = folder with what scripts/eval.sh has run: NAME.json of score_eval.py, causes-NAME.json of
                                    rca_eval.py, fleet-SETTING-SEED.json of fleet_eval.py with the alerts beside them
"""
import json
import math
import os
import sys

NAMES = ["tollgate", "static_x2", "rolling_mad", "hour_of_day_mad", "ewma_z"]
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


SPEND = ("spend_spike", "runaway_user", "slow_ramp", "price_change", "model_switch")
# Hours within which the kind has to be found.
WITHIN = {"slow_ramp": 72.0, "runaway_user": 0.25}
WARM_UP_DAYS = 4


def fleets(folder):
    """Incidents of spend in whole fleets: what was found at the default setting, and what other settings would give."""
    runs = {}
    for name in sorted(os.listdir(folder)):
        parts = name.removesuffix(".json").split("-")
        if parts[0] == "fleet" and name.endswith(".json"):
            with open(os.path.join(folder, name)) as handle:
                runs.setdefault(parts[1], {})[parts[2]] = json.load(handle)
    if "2.0" not in runs:
        return None
    ours, rules = runs["2.0"], runs["rules"]
    lines = ["### Fleets, seeds %s" % ", ".join(sorted(ours, key=int)), "",
             "About 30 teams each over 14 days, config/examples/fleet.toml. Incidents of spend; those of policies, idle resources and missing money",
             "are not this engine's. Brackets: what plain rules find.", "",
             "| kind | incidents | found | attributed | median delay, hours | in time |", "|---|---|---|---|---|---|"]
    for kind in SPEND:
        rows, plain = ([r for run in each.values() for r in run["rows"] if r["kind"] == kind] for each in (ours, rules))
        hits = sorted(r["delay_hours"] for r in rows if r["hit"])
        within = "%d within %g h" % (sum(d <= WITHIN[kind] for d in hits), WITHIN[kind]) if kind in WITHIN else "-"
        lines.append("| %s | %d | %d (%d) | %d | %s | %s |" % (
            kind, len(rows), len(hits), sum(r["hit"] for r in plain), sum(r["attributed"] for r in rows),
            "%.1f" % hits[len(hits) // 2] if hits else "-", within))
    lines += ["", "The same at other settings of `alerts_per_team_month`. False: alerts after day 4 that belong to no incident.", "",
              "| setting | found, % | false per team and month | of these at 5 times the expected or more | counters exact |", "|---|---|---|---|---|"]
    for setting, each in sorted(runs.items()):
        rows = [r for run in each.values() for r in run["rows"] if r["kind"] in SPEND]
        false = sum(run["false_alerts_per_team_month"] for run in each.values()) / len(each)
        loud = "-" if setting == "rules" else "%.2f" % loud_false(folder, setting, each)
        exact = "yes" if all(all(run["checks"].values()) for run in each.values()) else "no"
        name = "plain rules" if setting == "rules" else setting
        lines.append("| %s | %.0f | %.2f | %s | %s |" % (name, 100.0 * sum(r["hit"] for r in rows) / len(rows), false, loud, exact))
    return lines + [""]


def loud_false(folder, setting, runs):
    """False alerts per team and month whose money was at least five times what is usual: bursts in the real series, in no label."""
    count, months = 0, 0.0
    for seed in runs:
        with open(os.path.join(folder, "truth-%s.json" % seed)) as handle:
            truth = json.load(handle)
        with open(os.path.join(folder, "alerts-%s-%s.json" % (setting, seed))) as handle:
            alerts = json.load(handle)["alerts"]
        months += truth["teams"] * (truth["days"] - WARM_UP_DAYS) / 30.0
        warm = "%s-%02d" % (truth["start"][:7], int(truth["start"][8:10]) + WARM_UP_DAYS)
        for alert in alerts:
            is_ours = any(related(alert, incident) for incident in truth["incidents"])
            loud = float(alert["actual"]) >= 5.0 * float(alert["expected"]) and float(alert["actual"]) > 0
            count += alert["detected_at"] >= warm and loud and not is_ours
    return count / months


def related(alert, incident):
    """Same team, no dimension that contradicts, detected from an hour before the incident to a day after: wider than the kit's own windows."""
    known = {**(alert.get("dimensions") or {})}
    same = all(known.get(key, value) == value for key, value in incident["dimensions"].items())
    from_hour, to_hour = incident["start"][:13], incident["end"][:10]
    return alert["team"] == incident["team"] and same and alert["detected_at"][:13] >= from_hour and alert["detected_at"][:10] <= to_hour


def causes(folder):
    names = [n for n in ("tollgate", "greedy") if os.path.exists(os.path.join(folder, "causes-%s.json" % n))]
    if "tollgate" not in names:
        return None
    lines = ["### Causes", "", "`tollgate explain` beside the kit's greedy baseline.", "",
             "| corpus | method | F1 | precision | recall | false causes | quiet cases with a cause |", "|---|---|---|---|---|---|---|"]
    for name in names:
        with open(os.path.join(folder, "causes-%s.json" % name)) as handle:
            for r in json.load(handle)["corpora"]:
                lines.append("| %s (%d cases) | %s | %.3f | %.3f | %.3f | %d | %d of %d |" % (
                    r["corpus"], r["cases"], name, r["f1"], r["precision"], r["recall"], r["false"], r["quiet_cases_with_causes"], r["quiet_cases"]))
    return lines + [""]


def series(folder):
    reports = {}
    for name in NAMES:
        if not os.path.exists(os.path.join(folder, name + ".json")):
            continue
        with open(os.path.join(folder, name + ".json")) as handle:
            reports[name] = json.load(handle)
    if "tollgate" not in reports:
        return None
    lines = []
    for label, title in (("dense, hourly", "Dense, hourly"), ("intermittent, hourly", "Intermittent, hourly"), ("dense, 10 min", "Dense, 10 minutes")):
        lines += table(title, reports, label)
    return lines + labelled(reports) + own_rates(reports["tollgate"]) + calibration(reports["tollgate"])


def main():
    folder, path = sys.argv[1:]
    with open(path) as handle:
        text = handle.read()
    for part, lines in (("series", series(folder)), ("causes", causes(folder)), ("fleets", fleets(folder))):
        begin, end = "<!-- begin: make eval, %s -->" % part, "<!-- end: make eval, %s -->" % part
        # What was not run stays as it was.
        if lines is not None:
            head, rest = text.split(begin)
            text = head + begin + "\n\n" + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    with open(path, "w") as handle:
        handle.write(text)


if __name__ == "__main__":
    main()
