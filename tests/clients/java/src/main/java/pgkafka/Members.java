package pgkafka;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Members of a consumer group, driven by lines on standard input:
 *
 * <pre>
 * start NAME [setting=value …]   a member joins, in a thread
 * launch NAME [setting=value …]  a member joins, in a process of its own
 * leave NAME                     closes the member
 * kill NAME                      ends the process of a member by SIGKILL
 * fails NAME                     until the member has ended by a failure, at most 120 s
 * pause NAME MILLIS              the member does not poll for that long
 * wait MILLIS                    nothing for a while
 * settle COUNT                   until that many partitions are owned, evenly, and nothing changed for a second, at most 120 s
 * seen COUNT                     until that many different records were consumed, at most 120 s
 * </pre>
 *
 * Standard output has a line for every event: "MILLIS NAME assigned|revoked|lost PARTITIONS", "MILLIS NAME refused FAILURE" for
 * one that was to fail, "MILLIS settled", and in the end "record PARTITION OFFSET TIMES" for every record that was consumed.
 */
final class Members {
    private final String bootstrap;
    private final String subscription;
    private final String group;
    private final List<String> settings;
    private final Map<String, Place> members = new HashMap<>();
    private final Map<String, Integer> records = new HashMap<>();
    private final long started = System.nanoTime();
    private volatile long changed = System.nanoTime();

    Members(String bootstrap, String subscription, String group, List<String> settings) {
        this.bootstrap = bootstrap;
        this.subscription = subscription;
        this.group = group;
        this.settings = settings;
    }

    void run() throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            List<String> rest = List.of(words).subList(Math.min(2, words.length), words.length);
            switch (words[0]) {
                case "start" -> members.put(words[1], new InThread(words[1], rest));
                case "launch" -> members.put(words[1], new InProcess(words[1], rest));
                case "leave" -> members.remove(words[1]).leave();
                case "kill" -> ((InProcess) members.remove(words[1])).kill();
                case "fails" -> fails(words[1]);
                case "pause" -> members.get(words[1]).pause(Long.parseLong(words[2]));
                case "wait" -> Thread.sleep(Long.parseLong(words[1]));
                case "settle" -> settle(Integer.parseInt(words[1]));
                case "seen" -> seen(Integer.parseInt(words[1]));
                default -> throw new IllegalArgumentException("unknown command " + line);
            }
        }
        for (Place member : new ArrayList<>(members.values())) {
            member.leave();
            if (member.failure != null) {
                say(member.name, " failed " + member.failure);
            }
        }
        synchronized (records) {
            records.forEach((record, times) -> System.out.println("record " + record + " " + times));
        }
    }

    private void fails(String name) throws Exception {
        Place member = members.get(name);
        long deadline = System.nanoTime() + 120_000_000_000L;
        while (member.failure == null && System.nanoTime() < deadline) {
            Thread.sleep(20);
        }
        members.remove(name).leave();
        say(name, " refused " + member.failure);
    }

    private void settle(int partitions) throws InterruptedException {
        long deadline = System.nanoTime() + 120_000_000_000L;
        while (System.nanoTime() < deadline) {
            var owned = members.values().stream().mapToInt(m -> m.owned).summaryStatistics();
            boolean even = owned.getMax() - owned.getMin() <= 1;
            if (owned.getSum() == partitions && even && System.nanoTime() - changed > 1_000_000_000L) {
                say("settled", "");
                return;
            }
            Thread.sleep(20);
        }
        say("never settled", "");
    }

    private void seen(int count) throws InterruptedException {
        long deadline = System.nanoTime() + 120_000_000_000L;
        while (System.nanoTime() < deadline) {
            synchronized (records) {
                if (records.size() >= count) {
                    return;
                }
            }
            Thread.sleep(20);
        }
    }

    private void say(String what, String rest) {
        synchronized (System.out) {
            System.out.println((System.nanoTime() - started) / 1_000_000 + " " + what + rest);
        }
    }

    /** Where a member runs, and what is known of it. */
    private abstract class Place implements Member.Events {
        final String name;
        volatile int owned;
        volatile String failure;

        Place(String name) {
            this.name = name;
        }

        abstract void pause(long millis) throws IOException;

        abstract void leave() throws Exception;

        @Override
        public void changed(String what, Collection<Integer> partitions, int owned) {
            this.owned = owned;
            changed = System.nanoTime();
            say(name, " " + what + " " + partitions.stream().map(String::valueOf).collect(Collectors.joining(",")));
        }

        @Override
        public void consumed(String topic, int partition, long offset) {
            synchronized (records) {
                records.merge(topic + " " + partition + " " + offset, 1, Integer::sum);
            }
        }

        @Override
        public void uncommitted(String why) {
            say(name, " uncommitted " + why);
        }

        @Override
        public void failed(String why) {
            owned = 0;
            failure = why;
        }
    }

    private final class InThread extends Place {
        private final Member member;

        InThread(String name, List<String> own) {
            super(name);
            List<String> all = Stream.concat(settings.stream(), own.stream()).toList();
            member = new Member(bootstrap, subscription, group, name, all, this);
            member.start();
        }

        @Override
        void pause(long millis) {
            member.pause(millis);
        }

        @Override
        void leave() throws InterruptedException {
            member.end();
        }
    }

    private final class InProcess extends Place {
        private final Process process;
        private final Thread reader;

        InProcess(String name, List<String> own) throws IOException {
            super(name);
            List<String> command = new ArrayList<>(List.of(
                    ProcessHandle.current().info().command().orElse("java"), "-Xmx128m", "-XX:TieredStopAtLevel=1",
                    "-cp", System.getProperty("java.class.path"), "pgkafka.Client", "member", bootstrap, subscription, group, name));
            command.addAll(settings);
            command.addAll(own);
            process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
            reader = new Thread(this::read, name);
            reader.start();
        }

        private void read() {
            try (BufferedReader out = process.inputReader(StandardCharsets.UTF_8)) {
                // A line that was cut off by the end of the process is none: its offset may be a part of one.
                StringBuilder line = new StringBuilder();
                for (int c = out.read(); c >= 0; c = out.read()) {
                    if (c == '\n') {
                        take(line.toString().split(" "));
                        line.setLength(0);
                    } else {
                        line.append((char) c);
                    }
                }
            } catch (IOException e) {
                failed(e.getClass().getSimpleName());
            }
        }

        private void take(String[] words) {
            if (words[0].equals("record") && words.length == 4) {
                consumed(words[1], Integer.parseInt(words[2]), Long.parseLong(words[3]));
            } else if (words[0].equals("changed") && words.length >= 3) {
                String list = words.length > 3 ? words[3] : "";
                List<Integer> partitions = Arrays.stream(list.split(",")).filter(w -> !w.isEmpty()).map(Integer::valueOf).toList();
                changed(words[1], partitions, Integer.parseInt(words[2]));
            } else if (words[0].equals("uncommitted") && words.length == 2) {
                uncommitted(words[1]);
            } else if (words[0].equals("failed") && words.length == 2) {
                failed(words[1]);
            }
        }

        /** The system's SIGKILL, which leaves the process no time for a word to the group. */
        void kill() throws InterruptedException {
            process.destroyForcibly().waitFor();
            reader.join();
            owned = 0;
        }

        @Override
        void pause(long millis) throws IOException {
            tell("pause " + millis);
        }

        @Override
        void leave() throws Exception {
            // One that has failed reads no more.
            if (process.isAlive() && failure == null) {
                tell("leave");
            }
            process.getOutputStream().close();
            process.waitFor();
            reader.join();
        }

        private void tell(String line) throws IOException {
            OutputStream in = process.getOutputStream();
            in.write((line + "\n").getBytes(StandardCharsets.UTF_8));
            in.flush();
        }
    }
}
