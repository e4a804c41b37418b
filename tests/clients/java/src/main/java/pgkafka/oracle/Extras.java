package pgkafka.oracle;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.types.RawTaggedField;

/**
 * What Kafka's JSON converters leave out: unknown tagged fields, the content of records, and floats that are no numbers,
 * which stand as "NaN", "NaN:" and its bits, "Infinity" and "-Infinity".
 */
final class Extras {
    /** Beside the fields of a struct: its unknown tagged fields, as objects of tag and data in base64. */
    private static final String UNKNOWN_TAGS = "_unknownTaggedFields";

    private final Map<Class<?>, Map<String, Method>> getters = new HashMap<>();

    /** Puts floats in place of texts. The converter takes those, but JSON cannot hold them. */
    void prepare(JsonNode json, Class<?> of) {
        ObjectNode object = (ObjectNode) json;
        for (String name : names(object)) {
            JsonNode value = object.get(name);
            Method getter = getter(of, name);
            if (getter == null) {
                continue;
            }
            if (getter.getReturnType() == double.class && value.isTextual()) {
                object.put(name, parseFloat(value.textValue()));
            } else if (value.isObject()) {
                prepare(value, getter.getReturnType());
            } else if (isStructs(value)) {
                Class<?> struct = elementOf(getter.getGenericReturnType());
                value.forEach(element -> prepare(element, struct));
            }
        }
    }

    /** Sets in the message what its converter did not read. */
    void apply(JsonNode json, Message message) throws Exception {
        for (Map.Entry<String, JsonNode> field : json.properties()) {
            JsonNode value = field.getValue();
            if (field.getKey().equals(UNKNOWN_TAGS)) {
                for (JsonNode tag : value) {
                    byte[] data = tag.get("data").binaryValue();
                    message.unknownTaggedFields().add(new RawTaggedField(tag.get("tag").intValue(), data));
                }
            } else if (value.isObject() || isStructs(value)) {
                forEachStruct(value, get(message, field.getKey()), this::apply);
            }
        }
    }

    /** Adds to the JSON what its converter did not write. */
    void collect(Message message, JsonNode json) throws Exception {
        ObjectNode object = (ObjectNode) json;
        for (String name : names(object)) {
            JsonNode value = object.get(name);
            if (value.isObject() || isStructs(value)) {
                forEachStruct(value, get(message, name), (child, of) -> collect(of, child));
            } else if (value.isDouble() && Double.isNaN(value.doubleValue())) {
                object.put(name, printNaN(value.doubleValue()));
            } else if (value.isBinary() && !(get(message, name) instanceof byte[])) {
                object.put(name, content(get(message, name)));
            }
        }
        if (!message.unknownTaggedFields().isEmpty()) {
            ArrayNode tags = object.putArray(UNKNOWN_TAGS);
            for (RawTaggedField tag : message.unknownTaggedFields()) {
                tags.addObject().put("tag", tag.tag()).put("data", tag.data());
            }
        }
    }

    private interface Visit {
        void accept(JsonNode json, Message message) throws Exception;
    }

    /** A JSON object goes with a struct, a JSON array with a collection of structs in the same order. */
    private static void forEachStruct(JsonNode json, Object value, Visit visit) throws Exception {
        if (json.isObject()) {
            if (value != null) {
                visit.accept(json, (Message) value);
            }
            return;
        }
        Iterator<?> structs = value == null ? List.of().iterator() : ((Collection<?>) value).iterator();
        for (JsonNode element : json) {
            if (!structs.hasNext()) {
                return;
            }
            visit.accept(element, (Message) structs.next());
        }
    }

    /** The bytes of a buffer or of records, which are of another class in every release. */
    private static byte[] content(Object value) throws Exception {
        Object buffer = value instanceof ByteBuffer ? value : value.getClass().getMethod("buffer").invoke(value);
        ByteBuffer bytes = ((ByteBuffer) buffer).duplicate();
        byte[] content = new byte[bytes.remaining()];
        bytes.get(content);
        return content;
    }

    private static boolean isStructs(JsonNode value) {
        return value.isArray() && value.size() > 0 && value.get(0).isObject();
    }

    private static double parseFloat(String text) {
        if (text.startsWith("NaN:")) {
            return Double.longBitsToDouble(Long.parseUnsignedLong(text.substring("NaN:".length()), 16));
        }
        return Double.parseDouble(text);
    }

    private static String printNaN(double number) {
        long bits = Double.doubleToRawLongBits(number);
        return bits == Double.doubleToRawLongBits(Double.NaN) ? "NaN" : String.format("NaN:%016x", bits);
    }

    /** The class of the elements of a list, or of Kafka's collections, which extend a generic one. */
    private static Class<?> elementOf(Type collection) {
        Type of = collection;
        while (of instanceof Class<?> subclass) {
            of = subclass.getGenericSuperclass();
        }
        return (Class<?>) ((ParameterizedType) of).getActualTypeArguments()[0];
    }

    private Object get(Message message, String name) throws Exception {
        Method getter = getter(message.getClass(), name);
        return getter == null ? null : getter.invoke(message);
    }

    /** The getter of a field, or null where this release has no such field. */
    private Method getter(Class<?> of, String name) {
        Map<String, Method> known = getters.computeIfAbsent(of, any -> new HashMap<>());
        if (!known.containsKey(name)) {
            Method found = null;
            for (Method method : of.getDeclaredMethods()) {
                if (method.getName().equals(name) && method.getParameterCount() == 0) {
                    found = method;
                }
            }
            known.put(name, found);
        }
        return known.get(name);
    }

    private static List<String> names(ObjectNode object) {
        List<String> names = new ArrayList<>();
        object.fieldNames().forEachRemaining(names::add);
        return names;
    }
}
