package pgkafka.oracle;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;

/**
 * Answers what Kafka's own code makes of messages and record batches: one line of input, one line of output, which is
 * "ok" or "error" and a text. What it knows depends on the kafka-clients jar in its class path.
 *
 * <pre>
 * messages                    name,kind,lowest,highest of every message the jar has
 * write NAME VERSION JSON     the bytes of a message, in hexadecimal
 * read NAME VERSION HEX       the message as JSON
 * recode NAME VERSION HEX     the bytes of the message after reading and writing
 * build JSON                  the bytes of a record batch
 * marker JSON                 the bytes of a marker that ends a transaction
 * clean JSON                  record batches as the log cleaner leaves them
 * batches HEX                 what is in record batches, as a JSON array of lines
 * </pre>
 */
public final class Oracle {
    static final ObjectMapper JSON = new ObjectMapper();
    static final HexFormat HEX = HexFormat.of();

    private final Messages messages = new Messages();

    private Oracle() {
    }

    public static void main(String[] args) throws IOException {
        Oracle oracle = new Oracle();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 16);
        OutputStream out = new BufferedOutputStream(System.out, 1 << 16);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.write(oracle.line(line).getBytes(StandardCharsets.UTF_8));
            out.write('\n');
            if (!in.ready()) {
                out.flush();
            }
        }
        out.flush();
    }

    private String line(String line) {
        try {
            String[] words = line.split(" ", 2);
            return "ok " + answer(words[0], words.length > 1 ? words[1] : "");
        } catch (InvocationTargetException e) {
            return "error " + describe(e.getCause());
        } catch (Exception | Error e) {
            return "error " + describe(e);
        }
    }

    private String answer(String command, String rest) throws Exception {
        switch (command) {
            case "messages":
                return messages.list();
            case "build":
                return HEX.formatHex(Batches.build(JSON.readTree(rest)));
            case "marker":
                return HEX.formatHex(Batches.marker(JSON.readTree(rest)));
            case "clean":
                return HEX.formatHex(Batches.clean(JSON.readTree(rest)));
            case "batches":
                return JSON.writeValueAsString(Batches.describe(HEX.parseHex(rest)));
            case "write":
            case "read":
            case "recode":
                String[] words = rest.split(" ", 3);
                return message(command, messages.named(words[0]), Short.parseShort(words[1]), words[2]);
            default:
                throw new IllegalArgumentException("unknown command " + command);
        }
    }

    private static String message(String command, MessageClass of, short version, String value) throws Exception {
        if (command.equals("write")) {
            JsonNode json = JSON.readTree(value);
            return HEX.formatHex(of.write(of.fromJson(json, version), version));
        }
        var message = of.read(HEX.parseHex(value), version);
        if (command.equals("recode")) {
            return HEX.formatHex(of.write(message, version));
        }
        return JSON.writeValueAsString(of.toJson(message, version));
    }

    private static String describe(Throwable error) {
        return (error.getClass().getSimpleName() + ": " + error.getMessage()).replaceAll("\\s+", " ");
    }
}
