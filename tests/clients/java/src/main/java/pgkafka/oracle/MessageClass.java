package pgkafka.oracle;

import com.fasterxml.jackson.databind.JsonNode;
import java.lang.reflect.Constructor;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.util.Arrays;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

/** One of Kafka's generated message classes, with its JSON converter. */
final class MessageClass {
    final String name;
    private final String kind;
    private final short lowest;
    private final short highest;
    private final Constructor<? extends ApiMessage> create;
    private final Method jsonRead;
    private final Method jsonWrite;
    private final Extras extras = new Extras();

    MessageClass(Class<? extends ApiMessage> of) throws Exception {
        create = of.getConstructor();
        ApiMessage empty = create.newInstance();
        lowest = empty.lowestSupportedVersion();
        highest = empty.highestSupportedVersion();
        String className = of.getSimpleName();
        if (className.endsWith("HeaderData")) {
            kind = "header";
        } else if (empty.apiKey() < 0) {
            kind = "data";
        } else {
            kind = className.endsWith("RequestData") ? "request" : "response";
        }
        name = kind.equals("data") ? className : className.substring(0, className.length() - "Data".length());
        Class<?> converter = Class.forName(of.getName() + "JsonConverter");
        jsonRead = converter.getMethod("read", JsonNode.class, short.class);
        jsonWrite = converter.getMethod("write", of, short.class);
    }

    Message fromJson(JsonNode json, short version) throws Exception {
        extras.prepare(json, create.getDeclaringClass());
        Message message = (Message) jsonRead.invoke(null, json, version);
        extras.apply(json, message);
        return message;
    }

    JsonNode toJson(Message message, short version) throws Exception {
        JsonNode json = (JsonNode) jsonWrite.invoke(null, message, version);
        extras.collect(message, json);
        return json;
    }

    byte[] write(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int size = message.size(cache, version);
        ByteBuffer buffer = ByteBuffer.allocate(size);
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException(buffer.remaining() + " of " + size + " bytes were not written");
        }
        return buffer.array();
    }

    Message read(byte[] bytes, short version) throws Exception {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        Message message = create.newInstance();
        message.read(new ByteBufferAccessor(buffer), version);
        if (buffer.hasRemaining()) {
            byte[] rest = Arrays.copyOfRange(bytes, buffer.position(), bytes.length);
            throw new IllegalArgumentException("left over: " + Oracle.HEX.formatHex(rest));
        }
        return message;
    }

    @Override
    public String toString() {
        return String.join(",", name, kind, Short.toString(lowest), Short.toString(highest));
    }
}
