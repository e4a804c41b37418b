import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command-line tools one after the other in one process: each line of standard input is a class and its arguments,
 * separated by tabs. After what a tool prints comes a line with a byte 1 and its exit status.
 */
public final class Tools {
    /** The exit status of the tool that runs. */
    private static volatile CompletableFuture<Integer> ended;

    /** A tool that exits goes no further. */
    private static void exit(int status, String message) {
        ended.complete(status);
        while (true) {
            java.util.concurrent.locks.LockSupport.park();
        }
    }

    private static void run(String[] words) {
        CompletableFuture<Integer> end = ended;
        Object args = Arrays.copyOfRange(words, 1, words.length);
        try {
            Class.forName(words[0]).getMethod("main", String[].class).invoke(null, args);
            end.complete(0);
        } catch (InvocationTargetException e) {
            e.getCause().printStackTrace();
            end.complete(1);
        } catch (ReflectiveOperationException e) {
            e.printStackTrace();
            end.complete(1);
        }
    }

    public static void main(String[] args) throws Exception {
        System.setErr(System.out);
        Exit.setExitProcedure(Tools::exit);
        Exit.setHaltProcedure(Tools::exit);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split("\t", -1);
            ended = new CompletableFuture<>();
            Thread tool = new Thread(() -> run(words));
            tool.setDaemon(true);
            tool.start();
            int status = ended.get();
            System.out.println("\u0001" + status);
            System.out.flush();
        }
        Runtime.getRuntime().halt(0);
    }
}
