# `make demo` needs a Rust toolchain and the C build packages; `make test` needs a JDK, Maven and
# Python as well. scripts/setup.sh checks both and says what is missing.

.DEFAULT_GOAL := help
.PHONY: help demo run test check fmt clippy unit parts compose chaos mails bench-compare eval

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

demo: ## The whole thing on an in-process broker with made-up teams; needs no Kafka
	@scripts/setup.sh demo
	cargo run --release -- demo

run: ## Against your Kafka, with the settings of CONFIG (default config/tollgate.toml)
	@scripts/setup.sh demo
	cargo run --release -- run --config $(or $(CONFIG),config/tollgate.toml)

test: ## Everything: format, lints, unit, doc and integration tests on a real Kafka and mail server
	@scripts/setup.sh test
	$(MAKE) --no-print-directory check

check: parts ## The same without looking for what must be installed
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked

unit: ## The tests that need neither Kafka nor Java
	cargo test --locked --lib --bins
	cargo test --locked --doc
	cargo test --locked --test it tidy

parts: ## Fetches Kafka, its Java client and a schema registry for the tests, once
	scripts/parts.sh
	scripts/parts.sh registry

chaos: parts ## The long fault matrix on three brokers, most of an hour (settings: tests/real/chaos/mod.rs)
	cargo test --locked --test it -- --ignored --exact real::chaos::the_long_one --nocapture

mails: parts ## 10,000 alerts to a mail server that fails in every way, with two kills; optimised, some minutes (tests/real/bulk.rs)
	cargo test --release --locked --test it -- --ignored --exact real::bulk::ten_thousand_alerts --nocapture

fmt: ## Formats the code
	cargo fmt

clippy: ## Lints, warnings denied
	cargo clippy --locked --all-targets -- -D warnings

compose: ## Checks docker-compose.yml
	scripts/check-compose.sh

bench-compare: ## Floor, bare loop, Flink, Streams and Tollgate on one broker; ANCHORS=folder, EVENTS=12000000
	scripts/bench-compare.sh "$(ANCHORS)" $(EVENTS)

eval: ## Detection: the evaluation kit on series, causes and fleets, tables into benches/DETECTION.md; KIT=folder, PYTHON with numpy
	scripts/eval.sh "$(KIT)"
