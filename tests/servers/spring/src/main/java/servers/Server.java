package servers;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.web.servlet.context.ServletWebServerInitializedEvent;
import org.springframework.context.event.EventListener;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.servlet.mvc.method.annotation.SseEmitter;

/**
 * A server of event streams made of Spring's SseEmitter: it frames the events, the application keeps them.
 *
 * GET /channels/NAME/events is the stream; POST /channels/NAME publishes a JSON list of {"id", "event", "data"}. A line
 * of its output is its address. A reader gets the events after its Last-Event-ID; an unknown id gets live events only.
 */
@SpringBootApplication
@RestController
public class Server {
    record Event(String id, String event, String data) {}

    /** All events of one stream, and its readers. */
    static class Channel {
        private final List<Event> events = new ArrayList<>();
        private final List<SseEmitter> readers = new ArrayList<>();

        synchronized void publish(List<Event> published) {
            for (Event event : published) {
                events.add(event);
                readers.removeIf(reader -> !send(reader, event));
            }
        }

        synchronized SseEmitter open(String lastEventId) {
            SseEmitter reader = new SseEmitter(0L);
            int last = events.stream().map(Event::id).toList().indexOf(lastEventId);
            if (last < 0 || events.subList(last + 1, events.size()).stream().allMatch(event -> send(reader, event))) {
                readers.add(reader);
            }
            return reader;
        }

        private static boolean send(SseEmitter reader, Event event) {
            try {
                SseEmitter.SseEventBuilder built = SseEmitter.event().id(event.id()).data(event.data());
                reader.send(event.event() == null ? built : built.name(event.event()));
                return true;
            } catch (IOException | IllegalStateException gone) {
                return false;
            }
        }
    }

    private final Map<String, Channel> channels = new ConcurrentHashMap<>();

    private Channel channel(String name) {
        return channels.computeIfAbsent(name, created -> new Channel());
    }

    @GetMapping("/channels/{name}/events")
    SseEmitter stream(
            @PathVariable("name") String name,
            @RequestHeader(name = "Last-Event-ID", required = false) String lastEventId) {
        return channel(name).open(lastEventId);
    }

    @PostMapping("/channels/{name}")
    void publish(@PathVariable("name") String name, @RequestBody List<Event> events) {
        channel(name).publish(events);
    }

    @EventListener
    void started(ServletWebServerInitializedEvent started) {
        System.out.println("http://127.0.0.1:" + started.getWebServer().getPort());
    }

    public static void main(String[] arguments) {
        SpringApplication.run(Server.class, arguments);
    }
}
