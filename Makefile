# Thin: every line runs by hand too.  make run | test | chaos | lint | bench | bench-codec | fuzz | fuzz-all | regen KAFKA=4.4.0
.PHONY: run build test chaos lint bench bench-codec fuzz fuzz-all regen clean
.DEFAULT_GOAL := run
export PATH := $(PATH):$(HOME)/.cargo/bin

# PostgreSQL does not run as root, and the account it runs as must reach its data: from root's own home directory it does not.
DATA ?= $(shell dir=$$PWD; while [ "$$(id -u)" = 0 ] && [ "$$dir" != / ]; do \
  case $$(stat -c %a "$$dir") in (*[02468]) echo /var/lib/pg_kafka; exit;; esac; dir=$$(dirname "$$dir"); done; echo ./data)
PORT ?= 9092
PROFILE ?= release
ROUNDS ?= 20
TARGET ?= requests
SECONDS ?= 60
KAFKA ?= 4.4.0
OUT ?= schemas

# Starts the broker on port 9092 with a private PostgreSQL in $(DATA). ARGS adds arguments, PROFILE=dev builds faster.
run: build
	cargo run --quiet --locked --profile $(PROFILE) -p broker --bin pg_kafka -- --listeners localhost:$(PORT) --data-dir $(DATA) $(ARGS)

build:
	.ci/deps run
	cargo build --locked --profile $(PROFILE) -p broker --bin pg_kafka

# All tests of the workspace, with real clients: kcat, librdkafka, Java, Kafka's own tools. ARGS go to cargo test.
test:
	.ci/deps test
	CARGO_INCREMENTAL=0 .ci/test --locked $(ARGS)

# Each fault of brokers and PostgreSQL in rounds at random moments under load; checks that every acknowledged record is there once and in order,
# that no committed offset goes back, and that Kafka Streams, Java and librdkafka do what they do in transactions exactly once.
chaos:
	.ci/deps test
	CHAOS_ROUNDS=$(ROUNDS) cargo test --locked -p tests --test e2e -- durability::chaos brokers::chaos \
	  brokers::kill_one_of_two_under_load brokers::kill_two_of_three_under_load \
	  brokers::a_broker_that_pauses_is_replaced_and_comes_back brokers::a_stop_hands_over_before_it_ends \
	  database_faults::faults_of_the_database_under_load database_faults::a_standby_is_promoted_under_load \
	  database_faults::a_full_disk_is_waited_out groups::restarts::no_committed_offset_goes_back \
	  groups::restarts::no_committed_offset_goes_back_with_a_second_broker \
	  transactions::chaos::kafka_streams_counts_words_exactly_once transactions::chaos::java_copies_with_offsets_exactly_once \
	  transactions::chaos::librdkafkas_transactions_are_whole_or_not_there \
	  transactions::chaos::kafka_streams_counts_words_exactly_once_on_three_brokers transactions::brokers::chaos \
	  transactions::chaos::java_copies_with_offsets_exactly_once_on_three_brokers \
	  transactions::chaos::librdkafka_copies_with_offsets_exactly_once \
	  transactions::chaos::librdkafka_copies_with_offsets_exactly_once_on_three_brokers \
	  transactions::concurrent::concurrent_histories_over_several_brokers \
	  transactions::histories::random_histories_are_as_a_plain_model_says --exact --nocapture

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked

# Codecs, then the broker beside Apache Kafka and plain COPY, then two brokers; ARGS go to the second, e.g. ARGS='--rounds 1 --only librdkafka'.
bench:
	.ci/deps test
	cargo bench --locked -p protocol
	cargo bench --locked -p tests --bench broker -- $(ARGS)
	cargo bench --locked -p tests --bench broker -- --cluster 10

# Fuzzes one target for so many seconds, from its seeds and what was found before; API=Fetch leaves one message of it, and SEED=1 makes
# libFuzzer draw the same numbers every time.
# A finding is left in fuzz/artifacts; moved to fuzz/regressions/TARGET it is part of make test.
fuzz:
	.ci/deps fuzz
	FUZZ_API=$(API) FUZZ_SEEDS=$(CURDIR)/fuzz/corpus/$(TARGET) cargo fuzz run --sanitizer none --features libfuzzer --target-dir fuzz/target \
	  $(TARGET) -- -max_total_time=$(SECONDS) -seed=$(or $(SEED),0) -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1

# All targets one after another, so many seconds each.
fuzz-all:
	set -e; for target in fuzz/fuzz_targets/*.rs; do $(MAKE) fuzz TARGET=$$(basename $$target .rs); done

# The codec beside the kafka-protocol crate: instructions (which do not depend on the machine's load) and allocations, then
# the time to build both. Needs valgrind.
bench-codec:
	.ci/deps run
	protocol/benches/instructions.sh
	protocol/benches/build.sh

# Takes the message schemas of a release of Kafka into schemas/ and tells what changes, or why it cannot be taken.
# KAFKA may be several releases, OUT another folder.
regen:
	.ci/deps regen
	.ci/kafka-clients $(KAFKA)
	cargo run --quiet --locked -p codegen -- import --out $(OUT) $(KAFKA:%=target/kafka-clients/kafka-clients-%.jar)

clean:
	cargo clean
	rm -rf tests/clients/*/target
