# Thin: every line runs by hand too.  make run | test | lint | bench | regen KAFKA=4.4.0
.PHONY: run build test lint bench regen clean
.DEFAULT_GOAL := run
export PATH := $(PATH):$(HOME)/.cargo/bin

DATA ?= ./data
PORT ?= 9092
PROFILE ?= release
KAFKA ?= 4.4.0
KAFKA_OLD ?= 3.9.2

# Starts the broker on port 9092 with a private PostgreSQL in ./data. ARGS adds arguments, PROFILE=dev builds faster.
run: build
	cargo run --quiet --locked --profile $(PROFILE) -p broker --bin pg_kafka -- --listeners localhost:$(PORT) --data-dir $(DATA) $(ARGS)

build:
	.ci/deps run
	cargo build --locked --profile $(PROFILE) -p broker --bin pg_kafka

# All tests of the workspace, with real clients: kcat, librdkafka, Java, Kafka's own tools. ARGS go to cargo test.
test:
	.ci/deps test
	CARGO_INCREMENTAL=0 .ci/test --locked $(ARGS)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked

# Codecs, then the broker beside Apache Kafka and plain COPY; ARGS go to the latter, e.g. ARGS='--rounds 1 --only librdkafka'.
bench:
	.ci/deps test
	cargo bench --locked -p protocol
	cargo bench --locked -p tests --bench broker -- $(ARGS)

# Writes schemas/ anew from Kafka's own jars: the newest release and the last one that had the versions dropped since.
regen:
	.ci/deps test
	mvn -q -B dependency:copy -Dartifact=org.apache.kafka:kafka-clients:$(KAFKA) -DoutputDirectory=target/kafka-clients
	mvn -q -B dependency:copy -Dartifact=org.apache.kafka:kafka-clients:$(KAFKA_OLD) -DoutputDirectory=target/kafka-clients
	cargo run --locked -p codegen -- import target/kafka-clients/kafka-clients-$(KAFKA).jar target/kafka-clients/kafka-clients-$(KAFKA_OLD).jar
	git diff --stat -- schemas

clean:
	cargo clean
	rm -rf tests/clients/*/target
