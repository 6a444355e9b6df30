package bench;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericFixed;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.util.Utf8;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The record traffic of the payments processor without its decisions, on Kafka Streams: exactly once, one stream thread, one
 * persistent store whose changelog is what the lifecycle topic is. For each input it decodes, reads and decodes the state,
 * fills the stage's template records with this payment's id, sequence, hash chain and cause, encodes and forwards them, and
 * writes the state. A real port would cost more: this is a lower bound.
 *
 * Arguments: bootstrap servers, application id, folder, file of schemas and templates, inputs and outputs (comma separated),
 * then further settings as name=value.
 */
public final class EqualTraffic {
  private static final String EVENTS = "npp.payment.events.v1";
  private static final String LIFECYCLE = "npp.payment.lifecycle.v1";
  private static final int PREFIX_BYTES = 5;

  private final Map<Integer, Schema> schemas = new HashMap<>();
  private final Map<String, List<String[]>> templates = new HashMap<>();

  /** Lines of the file: `schema`, id, JSON; or stage, topic, value in Base64. */
  private EqualTraffic(Path file) throws IOException {
    for (String line : Files.readAllLines(file)) {
      String[] part = line.split("\t");
      if (part[0].equals("schema")) {
        schemas.put(Integer.parseInt(part[1]), new Schema.Parser().parse(part[2]));
      } else {
        templates.computeIfAbsent(part[0], stage -> new ArrayList<>()).add(part);
      }
    }
  }

  /** One output record of a stage, filled again and again. */
  private final class Template {
    final String topic;
    final int id;
    final GenericRecord record;
    final GenericRecord header;
    final GenericRecord cause;
    final GenericDatumWriter<GenericRecord> writer;

    Template(String topic, byte[] value) throws IOException {
      this.topic = topic;
      id = schemaId(value);
      Schema schema = schemas.get(id);
      record = new GenericDatumReader<GenericRecord>(schema).read(null, decoder(value, null));
      writer = new GenericDatumWriter<>(schema);
      header = schema.getField("header") == null ? record : (GenericRecord) record.get("header");
      cause = topic.equals(EVENTS) ? (GenericRecord) header.get("cause") : null;
    }
  }

  private final class Machine implements Processor<byte[], byte[], byte[], byte[]> {
    private final Map<Integer, GenericDatumReader<GenericRecord>> readers = new HashMap<>();
    private final Map<Integer, GenericRecord> reused = new HashMap<>();
    private final Map<String, List<Template>> stages = new HashMap<>();
    private final ByteArrayOutputStream out = new ByteArrayOutputStream(2048);
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<Bytes, byte[]> store;
    private MessageDigest sha256;
    private Schema hash;
    private GenericDatumReader<GenericRecord> stateReader;
    private GenericRecord state;
    private BinaryDecoder inputDecoder;
    private BinaryDecoder stateDecoder;
    private BinaryEncoder encoder;

    @Override
    public void init(ProcessorContext<byte[], byte[]> given) {
      context = given;
      store = given.getStateStore("payments");
      try {
        sha256 = MessageDigest.getInstance("SHA-256");
        schemas.forEach((id, schema) -> readers.put(id, new GenericDatumReader<>(schema)));
        for (var stage : templates.entrySet()) {
          List<Template> made = new ArrayList<>();
          for (String[] line : stage.getValue()) {
            Template template = new Template(line[1], Base64.getDecoder().decode(line[2]));
            made.add(template);
            if (template.topic.equals(LIFECYCLE)) stateReader = readers.get(template.id);
            if (template.cause != null) hash = template.header.getSchema().getField("previousHash").schema();
          }
          stages.put(stage.getKey(), made);
        }
      } catch (Exception error) {
        throw new IllegalStateException(error);
      }
    }

    @Override
    public void process(Record<byte[], byte[]> input) {
      try {
        byte[] value = input.value();
        int id = schemaId(value);
        inputDecoder = decoder(value, inputDecoder);
        GenericRecord command = readers.get(id).read(reused.get(id), inputDecoder);
        reused.put(id, command);
        Bytes key = Bytes.wrap(input.key());
        byte[] stored = store.get(key);
        long sequence = 0;
        byte[] head = new byte[32];
        if (stored != null) {
          stateDecoder = decoder(stored, stateDecoder);
          state = stateReader.read(state, stateDecoder);
          sequence = (Long) state.get("sequence");
          head = ((GenericFixed) state.get("headHash")).bytes().clone();
        }
        var place = context.recordMetadata().orElseThrow();
        Utf8 payment = new Utf8(input.key());
        GenericFixed inputHash = new GenericData.Fixed(hash, sha256.digest(value));
        long now = System.currentTimeMillis();
        for (Template template : stages.get(stageOf(command))) {
          template.header.put("paymentIntentId", payment);
          template.header.put("decidedAt", now);
          if (template.topic.equals(LIFECYCLE)) {
            template.record.put("sequence", sequence);
            template.record.put("headHash", new GenericData.Fixed(hash, head));
            store.put(key, encoded(template));
            continue;
          }
          if (template.cause != null) {
            template.header.put("sequence", ++sequence);
            template.header.put("previousHash", new GenericData.Fixed(hash, head));
            template.cause.put("topic", place.topic());
            template.cause.put("partition", place.partition());
            template.cause.put("offset", place.offset());
            template.cause.put("inputHash", inputHash);
          } else {
            template.header.put("sequence", sequence);
          }
          byte[] output = encoded(template);
          if (template.cause != null) head = sha256.digest(output);
          context.forward(input.withValue(output), template.topic);
        }
      } catch (IOException error) {
        throw new IllegalStateException(error);
      }
    }

    private byte[] encoded(Template template) throws IOException {
      out.reset();
      for (int shift = 32; shift >= 0; shift -= 8) out.write(shift == 32 ? 0 : template.id >>> shift);
      encoder = EncoderFactory.get().binaryEncoder(out, encoder);
      template.writer.write(template.record, encoder);
      encoder.flush();
      return out.toByteArray();
    }
  }

  private static int schemaId(byte[] value) {
    return (value[1] & 255) << 24 | (value[2] & 255) << 16 | (value[3] & 255) << 8 | value[4] & 255;
  }

  private static BinaryDecoder decoder(byte[] value, BinaryDecoder reused) {
    return DecoderFactory.get().binaryDecoder(value, PREFIX_BYTES, value.length - PREFIX_BYTES, reused);
  }

  private static String stageOf(GenericRecord command) {
    return switch (command.getSchema().getName()) {
      case "CreatePayment" -> "create";
      case "PolicyVerdict" -> "policy";
      case "DepositsResult" -> command.get("operation").toString().equals("HOLD") ? "hold" : "capture";
      default -> command.get("kind").toString().equals("ACCEPTED") ? "acknowledge" : "settle";
    };
  }

  public static void main(String[] given) throws Exception {
    EqualTraffic traffic = new EqualTraffic(Path.of(given[3]));
    Properties settings = new Properties();
    settings.put("bootstrap.servers", given[0]);
    settings.put("application.id", given[1]);
    settings.put("state.dir", given[2]);
    settings.put("processing.guarantee", "exactly_once_v2");
    settings.put("num.stream.threads", "1");
    settings.put("replication.factor", "1");
    settings.put("consumer.auto.offset.reset", "earliest");
    settings.put("producer.compression.type", "lz4");
    for (int at = 6; at < given.length; at++) {
      String[] pair = given[at].split("=", 2);
      settings.put(pair[0], pair[1]);
    }
    var bytes = Serdes.ByteArray();
    Topology topology = new Topology();
    topology.addSource("inputs", bytes.deserializer(), bytes.deserializer(), given[4].split(","));
    topology.addProcessor("machine", () -> traffic.new Machine(), "inputs");
    topology.addStateStore(
        Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("payments"), Serdes.Bytes(), bytes), "machine");
    for (String topic : given[5].split(",")) {
      topology.addSink(topic, topic, bytes.serializer(), bytes.serializer(), "machine");
    }
    KafkaStreams streams = new KafkaStreams(topology, settings);
    streams.setStateListener((now, before) -> System.out.println(now));
    // Leaves its group, so that the next process of a round need not wait for its session's end.
    CloseOptions leaving = CloseOptions.timeout(Duration.ofSeconds(20))
        .withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(leaving)));
    streams.start();
    Thread.currentThread().join();
  }
}
