package pgkafka.oracle;

import java.nio.file.Path;
import java.util.Collection;
import java.util.Map;
import java.util.TreeMap;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.stream.Collectors;
import org.apache.kafka.common.protocol.ApiMessage;

/** The messages of the jar, found by their classes. */
final class Messages {
    private static final String FOLDER = "org/apache/kafka/common/message/";
    private static final String SUFFIX = ".class";

    private Map<String, MessageClass> byName;

    String list() throws Exception {
        return all().stream().map(MessageClass::toString).collect(Collectors.joining(" "));
    }

    MessageClass named(String name) throws Exception {
        all();
        MessageClass found = byName.get(name);
        if (found == null) {
            throw new IllegalArgumentException("no message named " + name);
        }
        return found;
    }

    private Collection<MessageClass> all() throws Exception {
        if (byName == null) {
            byName = scan();
        }
        return byName.values();
    }

    private static Map<String, MessageClass> scan() throws Exception {
        Map<String, MessageClass> found = new TreeMap<>();
        Path jar = Path.of(ApiMessage.class.getProtectionDomain().getCodeSource().getLocation().toURI());
        try (JarFile file = new JarFile(jar.toFile())) {
            for (JarEntry entry : (Iterable<JarEntry>) file.stream()::iterator) {
                String path = entry.getName();
                if (!path.startsWith(FOLDER) || !path.endsWith(SUFFIX) || path.contains("$")) {
                    continue;
                }
                Class<?> of = Class.forName(path.substring(0, path.length() - SUFFIX.length()).replace('/', '.'));
                if (ApiMessage.class.isAssignableFrom(of)) {
                    MessageClass message = new MessageClass(of.asSubclass(ApiMessage.class));
                    found.put(message.name, message);
                }
            }
        }
        return found;
    }
}
