#!/usr/bin/env bash
# Fetches the real parts that the integration tests run against, once: Apache Kafka with its tools,
# its Java client and Apache Avro, as Maven artifacts. Prints the folder. Safe to run at any time and
# side by side: it downloads into a temporary folder and renames it into place when it is whole.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
pom="$here/tests/parts/pom.xml"
parts="${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/parts"
kafka="$parts/kafka-4.3.1"

if [ -d "$kafka/lib" ] && cmp -s "$pom" "$kafka/pom.xml"; then
  echo "$kafka"
  exit 0
fi

for tool in java mvn; do
  if ! command -v "$tool" >/dev/null; then
    echo "scripts/parts.sh: $tool is missing: scripts/setup.sh test installs it" >&2
    exit 1
  fi
done

mkdir -p "$parts"
fresh=$(mktemp -d "$parts/fetching.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
cp "$pom" "$fresh/pom.xml"

echo "fetching Apache Kafka 4.3.1 into $kafka (about 60 MB, once)" >&2
for attempt in 1 2 3; do
  if mvn -q -B -f "$fresh/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$fresh/lib" >&2; then
    break
  elif [ "$attempt" = 3 ]; then
    echo "scripts/parts.sh: Maven could not fetch the artifacts (three attempts)" >&2
    exit 1
  fi
  sleep $((attempt * 5))
done
ls "$fresh"/lib/kafka_2.13-4.3.1.jar "$fresh"/lib/kafka-clients-4.3.1.jar "$fresh"/lib/avro-*.jar >/dev/null

rm -rf "$fresh/target"
if [ -d "$kafka" ]; then
  mv "$kafka" "$fresh.old"
  rm -rf "$fresh.old"
fi
# Another run may have been faster: then its folder is as good as ours.
if [ ! -d "$kafka" ]; then
  mv "$fresh" "$kafka"
fi
cmp -s "$pom" "$kafka/pom.xml"
echo "$kafka"
