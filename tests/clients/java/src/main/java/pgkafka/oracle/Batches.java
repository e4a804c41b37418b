package pgkafka.oracle;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.OptionalLong;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.compress.GzipCompression;
import org.apache.kafka.common.compress.Lz4Compression;
import org.apache.kafka.common.compress.ZstdCompression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.DefaultRecordBatch;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecords.RecordFilter.BatchRetention;
import org.apache.kafka.common.record.internal.MemoryRecords.RecordFilter.BatchRetentionResult;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.internals.BufferSupplier;
import org.apache.kafka.common.utils.internals.ByteBufferOutputStream;
import org.apache.kafka.common.utils.internals.CloseableIterator;

/** Record batches, built, cleaned and read by Kafka. Its classes lie in this package since 4.3. */
final class Batches {
    private static final int LONG_FIELD_BYTES = 40;

    private Batches() {
    }

    static byte[] build(JsonNode of) {
        TimestampType timestampType = of.get("logAppendTime").isNull() ? TimestampType.CREATE_TIME
            : TimestampType.LOG_APPEND_TIME;
        ByteBufferOutputStream out = new ByteBufferOutputStream(512);
        MemoryRecordsBuilder builder = new MemoryRecordsBuilder(out, RecordBatch.MAGIC_VALUE_V2,
            compression(of.get("codec").textValue(), of.get("level")), timestampType, of.get("baseOffset").longValue(),
            of.get("logAppendTime").asLong(RecordBatch.NO_TIMESTAMP), of.get("producerId").longValue(),
            of.get("producerEpoch").shortValue(), of.get("baseSequence").intValue(), of.get("transactional").booleanValue(),
            of.get("control").booleanValue(), of.get("leaderEpoch").intValue(), Integer.MAX_VALUE,
            of.get("deleteHorizon").asLong(RecordBatch.NO_TIMESTAMP));
        for (JsonNode record : of.get("records")) {
            SimpleRecord simple = new SimpleRecord(record.get("timestamp").longValue(), bytes(record.get("key")),
                bytes(record.get("value")), headers(record.get("headers")));
            if (builder.isControlBatch()) {
                builder.appendControlRecordWithOffset(record.get("offset").longValue(), simple);
            } else {
                builder.appendWithOffset(record.get("offset").longValue(), simple);
            }
        }
        if (!of.get("lastOffset").isNull()) {
            builder.overrideLastOffset(of.get("lastOffset").longValue());
        }
        return content(builder.build().buffer());
    }

    /** The marker that ends a transaction, as a coordinator writes it. */
    static byte[] marker(JsonNode of) {
        ControlRecordType type = of.get("commit").booleanValue() ? ControlRecordType.COMMIT : ControlRecordType.ABORT;
        return content(MemoryRecords.withEndTransactionMarker(of.get("baseOffset").longValue(),
            of.get("timestamp").longValue(), of.get("leaderEpoch").intValue(), of.get("producerId").longValue(),
            of.get("producerEpoch").shortValue(),
            new EndTransactionMarker(type, of.get("coordinatorEpoch").intValue())).buffer());
    }

    /** Batches after a pass of the cleaner that keeps some offsets. */
    static byte[] clean(JsonNode of) {
        Set<Long> kept = new HashSet<>();
        of.get("keep").forEach(offset -> kept.add(offset.longValue()));
        BatchRetention retention = BatchRetention.valueOf(of.get("retention").textValue());
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(bytes(of.get("batches"))));
        var filter = new MemoryRecords.RecordFilter(of.get("now").longValue(), of.get("deleteRetention").longValue()) {
            @Override
            protected BatchRetentionResult checkBatchRetention(RecordBatch batch) {
                return new BatchRetentionResult(retention, batch.isControlBatch());
            }

            @Override
            protected boolean shouldRetainRecord(RecordBatch batch, Record record) {
                return kept.contains(record.offset());
            }
        };
        ByteBuffer out = ByteBuffer.allocate(records.sizeInBytes());
        ByteBuffer written = records.filterTo(filter, out, BufferSupplier.create(), Integer.MAX_VALUE).outputBuffer();
        written.flip();
        return content(written);
    }

    /** A line for every whole batch and every record in it. */
    static List<String> describe(byte[] bytes) {
        List<String> lines = new ArrayList<>();
        for (MutableRecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(bytes)).batches()) {
            batch.ensureValid();
            lines.add(describe((DefaultRecordBatch) batch));
            try (CloseableIterator<Record> records = batch.streamingIterator(BufferSupplier.create())) {
                records.forEachRemaining(record -> lines.add(describe(record)));
            }
        }
        return lines;
    }

    private static String describe(DefaultRecordBatch batch) {
        OptionalLong horizon = batch.deleteHorizonMs();
        return "batch base_offset=" + batch.baseOffset() + " last_offset=" + batch.lastOffset()
            + " leader_epoch=" + batch.partitionLeaderEpoch() + " codec=" + batch.compressionType().name
            + " timestamp_type=" + batch.timestampType() + " base_timestamp=" + batch.baseTimestamp()
            + " max_timestamp=" + batch.maxTimestamp() + " producer=" + batch.producerId() + "/" + batch.producerEpoch()
            + "/" + batch.baseSequence() + "/" + batch.lastSequence() + " transactional=" + batch.isTransactional()
            + " control=" + batch.isControlBatch()
            + " delete_horizon=" + (horizon.isPresent() ? Long.toString(horizon.getAsLong()) : "none")
            + " count=" + batch.countOrNull() + " crc=" + String.format("%08x", batch.checksum())
            + " size=" + batch.sizeInBytes();
    }

    private static String describe(Record record) {
        String headers = Stream.of(record.headers())
            .map(header -> text(header.key().getBytes(StandardCharsets.UTF_8)) + ":" + text(header.value()))
            .collect(Collectors.joining(","));
        return "record offset=" + record.offset() + " timestamp=" + record.timestamp() + " key=" + text(content(record.key()))
            + " value=" + text(content(record.value())) + " headers=[" + headers + "]";
    }

    private static String text(byte[] field) {
        if (field == null) {
            return "null";
        }
        if (field.length > LONG_FIELD_BYTES) {
            CRC32C crc = new CRC32C();
            crc.update(field, 0, field.length);
            return field.length + "#" + String.format("%08x", crc.getValue());
        }
        return "x" + Oracle.HEX.formatHex(field);
    }

    private static Compression compression(String codec, JsonNode level) {
        CompressionType type = CompressionType.forName(codec);
        if (level.isNull()) {
            return Compression.of(type).build();
        }
        switch (type) {
            case GZIP:
                return new GzipCompression.Builder().level(level.intValue()).build();
            case LZ4:
                return new Lz4Compression.Builder().level(level.intValue()).build();
            case ZSTD:
                return new ZstdCompression.Builder().level(level.intValue()).build();
            default:
                throw new IllegalArgumentException(codec + " has no levels");
        }
    }

    private static Header[] headers(JsonNode headers) {
        List<Header> list = new ArrayList<>();
        for (JsonNode header : headers) {
            String key = new String(bytes(header.get(0)), StandardCharsets.UTF_8);
            list.add(new RecordHeader(key, bytes(header.get(1))));
        }
        return list.toArray(new Header[0]);
    }

    /** Bytes from hexadecimal; null stays null. */
    private static byte[] bytes(JsonNode hex) {
        return hex.isNull() ? null : Oracle.HEX.parseHex(hex.textValue());
    }

    private static byte[] content(ByteBuffer buffer) {
        if (buffer == null) {
            return null;
        }
        byte[] content = new byte[buffer.remaining()];
        buffer.duplicate().get(content);
        return content;
    }
}
