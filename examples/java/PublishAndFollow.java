// Publishes one payment and follows it to its end: Kafka's own client, the JDK, and nothing else.
//
//   java -cp "kafka-clients.jar:slf4j-api.jar:lz4-java.jar" PublishAndFollow.java \
//       localhost:9092 http://localhost:8081 my-key-1 1250
//
// It writes and reads Avro's bytes by hand, to show the wire format in full. A real system takes an
// Avro library and the schemas of the registry. Exit 0: settled; 1: anything else.

import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class PublishAndFollow {
    static final String COMMANDS = "npp.payment.commands.v1";
    static final String LIFECYCLE = "npp.payment.lifecycle.v1";
    static final String OUTCOMES = "npp.payment.outcomes.v1";
    static final String SOURCE = "mobile-app";
    static final Set<String> FINAL = Set.of("SETTLED", "FAILED", "EXPIRED");
    static final Duration FOLLOW_MAX = Duration.ofSeconds(60);

    public static void main(String[] words) throws Exception {
        String bootstrap = words[0], registry = words[1], key = words[2];
        long cents = Long.parseLong(words[3]);
        String payment = paymentIntentId(SOURCE, key);
        String commandId = "cmd-" + UUID.randomUUID();
        System.out.println(payment);
        byte[] value = createPayment(schemaId(registry), payment, commandId, key, cents);
        // The readers stand at the ends before anything is published: nothing can be missed.
        Map<String, Object> reading = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed");
        try (var consumer = new KafkaConsumer<>(reading, new StringDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> places = java.util.stream.Stream.of(LIFECYCLE, OUTCOMES)
                    .flatMap(topic -> consumer.partitionsFor(topic).stream())
                    .map(each -> new TopicPartition(each.topic(), each.partition()))
                    .toList();
            consumer.assign(places);
            consumer.seekToEnd(places);
            places.forEach(consumer::position);
            publish(bootstrap, payment, value);
            System.exit(follow(consumer, payment, commandId) ? 0 : 1);
        }
    }

    /** pi_ + base32 (lower case, no padding) of the first 16 bytes of SHA-256(source, NUL, key). */
    static String paymentIntentId(String source, String key) throws Exception {
        byte[] hash = MessageDigest.getInstance("SHA-256")
                .digest((source + "\0" + key).getBytes(StandardCharsets.UTF_8));
        String letters = "abcdefghijklmnopqrstuvwxyz234567";
        StringBuilder text = new StringBuilder("pi_");
        for (int bit = 0; bit < 130; bit += 5) {
            int five = 0;
            for (int at = bit; at < bit + 5; at++) {
                five = five << 1 | (at < 128 ? hash[at / 8] >> (7 - at % 8) & 1 : 0);
            }
            text.append(letters.charAt(five));
        }
        return text.toString();
    }

    /** The subject is topic, "-", and the record's full name. */
    static int schemaId(String registry) throws Exception {
        String path = "/subjects/" + COMMANDS + "-au.npp.orchestrator.v1.CreatePayment/versions/latest";
        HttpRequest ask = HttpRequest.newBuilder(URI.create(registry + path)).build();
        String said = HttpClient.newHttpClient().send(ask, HttpResponse.BodyHandlers.ofString()).body();
        Matcher id = Pattern.compile("\"id\"\\s*:\\s*(\\d+)").matcher(said);
        if (!id.find()) throw new IllegalStateException("the registry says: " + said);
        return Integer.parseInt(id.group(1));
    }

    static void publish(String bootstrap, String payment, byte[] value) throws Exception {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", bootstrap, "acks", "all", "enable.idempotence", true, "compression.type", "lz4");
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
            // Java's own partitioner is the one that is wanted: murmur2 of the key, modulo the partitions.
            producer.send(new ProducerRecord<>(COMMANDS, payment, value)).get();
        }
    }

    /** Prints what becomes of it; true when it is settled. */
    static boolean follow(KafkaConsumer<String, byte[]> consumer, String payment, String commandId) {
        long until = System.nanoTime() + FOLLOW_MAX.toNanos(), seen = 0;
        while (System.nanoTime() < until) {
            for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                if (!payment.equals(record.key()) || record.value() == null) continue;
                Avro avro = new Avro(record.value());
                if (record.topic().equals(OUTCOMES)) {
                    Outcome outcome = Outcome.read(avro);
                    if (!commandId.equals(outcome.commandId)) continue;
                    System.out.println(outcome.result + " " + outcome.rule + " " + outcome.sentence);
                    return false; // a duplicate or a refusal; an accepted payment has no outcome
                }
                Lifecycle now = Lifecycle.read(avro);
                if (now.sequence <= seen) continue; // one that was seen already
                seen = now.sequence;
                System.out.println(now.sequence + " " + now.state + " " + now.moneyOutcome);
                if (FINAL.contains(now.state)) return now.state.equals("SETTLED");
            }
        }
        System.out.println("not at its end yet");
        return false;
    }

    record Lifecycle(long sequence, String state, String moneyOutcome) {
        static Lifecycle read(Avro avro) {
            avro.bytes(1); // atRest
            if (avro.number() == 1) avro.number(); // deadline
            avro.text(); // paymentIntentId
            avro.number(); // stateVersion
            long sequence = avro.number();
            avro.bytes(32); // headHash
            avro.text(); // lastLifecycleEvent
            return new Lifecycle(sequence, avro.text(), avro.text());
        }
    }

    record Outcome(String commandId, String result, String rule, String sentence) {
        static Outcome read(Avro avro) {
            avro.text(); // paymentIntentId
            avro.text(); // cause: clusterId, topic, partition, offset, inputHash, commandId
            avro.text();
            avro.number();
            avro.number();
            avro.bytes(32);
            String commandId = avro.optional();
            avro.text(); // inputType
            String result = avro.text();
            avro.optional(); // code
            return new Outcome(commandId, result, avro.optional(), avro.optional());
        }
    }

    /** A value's bytes: magic byte 0, schema id (4 bytes, big endian), then Avro binary. */
    static class Avro {
        private final ByteBuffer left;

        Avro(byte[] value) {
            left = ByteBuffer.wrap(value);
            if (left.get() != 0) throw new IllegalArgumentException("not the registry's wire format");
            left.getInt();
        }

        long number() {
            long found = 0;
            for (int shift = 0; ; shift += 7) {
                byte next = left.get();
                found |= (long) (next & 0x7f) << shift;
                if (next >= 0) return found >>> 1 ^ -(found & 1);
            }
        }

        byte[] bytes(int count) {
            byte[] found = new byte[count];
            left.get(found);
            return found;
        }

        String text() {
            return new String(bytes((int) number()), StandardCharsets.UTF_8);
        }

        String optional() {
            return number() == 0 ? null : text();
        }
    }

    static byte[] createPayment(int schema, String payment, String commandId, String key, long cents) throws Exception {
        Out out = new Out();
        out.raw(ByteBuffer.allocate(5).put((byte) 0).putInt(schema).array());
        out.text(payment).some(commandId).number(System.currentTimeMillis()).none(); // header; no traceparent
        out.text(SOURCE).text(key).number(cents).text("AUD");
        out.text("avro.1").none().bytes(parties()); // sealed: scheme, no keyId, the parties' own bytes
        out.text("NOTPROVIDED").text("x2p1"); // endToEndId, service
        out.none().none().none().none(); // uetr, customerId, requestedExecutionTime, expiresAt
        return out.bytes.toByteArray();
    }

    static byte[] parties() throws Exception {
        Out out = new Out();
        out.text("Ada Debtor").some("062000").some("12345678").none().none();
        out.text("Bo Creditor").some("082000").some("87654321").none().none();
        out.some("invoice 1"); // remittance
        return out.bytes.toByteArray();
    }

    /** Avro binary: zigzag numbers, texts and bytes with their length, a union's branch before its value. */
    static class Out {
        final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        Out raw(byte[] given) throws Exception {
            bytes.write(given);
            return this;
        }

        Out number(long given) {
            long left = given << 1 ^ given >> 63;
            for (; (left & ~0x7fL) != 0; left >>>= 7) bytes.write((int) (left & 0x7f | 0x80));
            bytes.write((int) left);
            return this;
        }

        Out bytes(byte[] given) throws Exception {
            return number(given.length).raw(given);
        }

        Out text(String given) throws Exception {
            return bytes(given.getBytes(StandardCharsets.UTF_8));
        }

        Out some(String given) throws Exception {
            return number(1).text(given);
        }

        Out none() {
            return number(0);
        }
    }
}
