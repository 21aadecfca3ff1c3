"""What a FOCUS file adds up to, independently of the program under test: every amount column, and the amortised cost by team."""
import csv
import gzip
import json
import sys
from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Decimal

NULLS = {"", "NULL", "null"}
AMOUNTS = ["BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "ConsumedQuantity", "PricingQuantity", "ListUnitPrice",
           "ContractedUnitPrice"]


def nano(text):
    return Decimal(0) if text in NULLS else Decimal(text).quantize(Decimal("1e-9"), ROUND_HALF_EVEN)


def team(row):
    tags = {} if row["Tags"] in NULLS else json.loads(row["Tags"])
    return str(tags.get("business_unit", "")).strip() or "unattributed"


def main(path):
    opened = gzip.open(path, "rt", newline="") if path.endswith(".gz") else open(path, newline="")
    sums, teams, rows = defaultdict(Decimal), defaultdict(Decimal), 0
    for row in csv.DictReader(opened):
        rows += 1
        for column in AMOUNTS:
            sums[column] += nano(row[column])
        teams[team(row)] += nano(row["EffectiveCost"])
    text = {name: format(value, "f") for name, value in sums.items()}
    print(json.dumps({"rows": rows, "sums": text, "teams": {name: format(value, "f") for name, value in teams.items()}}))


main(sys.argv[1])
