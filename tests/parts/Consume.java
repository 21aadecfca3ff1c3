// Reads topics from their beginning with the Java client and prints one JSON line per record: a
// reader that shares no code with the one under test.
//
//   --bootstrap HOST:PORT   --topic T (again for more)   --isolation read_committed (the default)
//   --until-count N    stop after N records
//   --to-end           stop at the end as it was at the start (with read_committed: the last stable one)
//   --idle-ms M        stop when nothing came for M ms
//   --timeout-ms M     give up (default 30000): exit status 3
//   --schema ID=FILE   (again for more) values in Confluent's Avro framing with that id come as JSON text
//
// {"topic", "partition", "offset", "timestamp", "key", "headers": {..}, "value"}; a key or a value
// that is no UTF-8 comes as "key_base64" or "value_base64"; a tombstone has "value": null.

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class Consume {
  static final ObjectMapper JSON = new ObjectMapper();
  static final Map<Integer, Schema> SCHEMAS = new HashMap<>();

  public static void main(String[] args) throws Exception {
    Properties properties = new Properties();
    properties.put("isolation.level", "read_committed");
    properties.put("enable.auto.commit", "false");
    properties.put("auto.offset.reset", "none");
    properties.put("fetch.max.wait.ms", "50");
    List<String> topics = new ArrayList<>();
    long untilCount = Long.MAX_VALUE;
    long idleMs = Long.MAX_VALUE;
    long timeoutMs = 30_000;
    boolean toEnd = false;
    for (int i = 0; i < args.length; i++) {
      switch (args[i]) {
        case "--bootstrap" -> properties.put("bootstrap.servers", args[++i]);
        case "--topic" -> topics.add(args[++i]);
        case "--isolation" -> properties.put("isolation.level", args[++i]);
        case "--until-count" -> untilCount = Long.parseLong(args[++i]);
        case "--idle-ms" -> idleMs = Long.parseLong(args[++i]);
        case "--timeout-ms" -> timeoutMs = Long.parseLong(args[++i]);
        case "--to-end" -> toEnd = true;
        case "--schema" -> {
          String[] parts = args[++i].split("=", 2);
          SCHEMAS.put(Integer.valueOf(parts[0]), new Schema.Parser().parse(new File(parts[1])));
        }
        default -> throw new IllegalArgumentException("unknown option " + args[i]);
      }
    }

    PrintStream out = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), false, "UTF-8");
    int status = 3;
    try (var consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      List<TopicPartition> partitions = new ArrayList<>();
      for (String topic : topics) {
        consumer.partitionsFor(topic).forEach(p -> partitions.add(new TopicPartition(topic, p.partition())));
      }
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      long count = 0;
      long start = System.currentTimeMillis();
      long last = start;
      while (System.currentTimeMillis() - start < timeoutMs) {
        for (var record : consumer.poll(Duration.ofMillis(50))) {
          last = System.currentTimeMillis();
          if (count < untilCount) out.println(line(record));
          count++;
        }
        out.flush();
        boolean ended = toEnd && ends.entrySet().stream().allMatch(e -> consumer.position(e.getKey()) >= e.getValue());
        if (ended || count >= untilCount || System.currentTimeMillis() - last >= idleMs) {
          status = 0;
          break;
        }
      }
    }
    out.flush();
    System.exit(status);
  }

  static String line(ConsumerRecord<byte[], byte[]> record) throws Exception {
    ObjectNode line = JSON.createObjectNode();
    line.put("topic", record.topic());
    line.put("partition", record.partition());
    line.put("offset", record.offset());
    line.put("timestamp", record.timestamp());
    put(line, "key", record.key());
    ObjectNode headers = line.putObject("headers");
    record.headers().forEach(h -> headers.put(h.key(), h.value() == null ? null : lossy(h.value())));
    String avro = avro(record.value());
    if (avro == null) {
      put(line, "value", record.value());
    } else {
      line.put("value", avro);
    }
    return JSON.writeValueAsString(line);
  }

  /** JSON of a framed value whose schema was given; no byte may be left over. */
  static String avro(byte[] value) throws Exception {
    if (value == null || value.length < 5 || value[0] != 0) return null;
    Schema schema = SCHEMAS.get(ByteBuffer.wrap(value, 1, 4).getInt());
    if (schema == null) return null;
    BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
    String json = new GenericDatumReader<>(schema).read(null, decoder).toString();
    if (!decoder.isEnd()) throw new IllegalStateException("bytes follow the record");
    return json;
  }

  static void put(ObjectNode line, String name, byte[] bytes) {
    String text = bytes == null ? null : text(bytes);
    if (bytes == null || text != null) {
      line.put(name, text);
    } else {
      line.put(name + "_base64", Base64.getEncoder().encodeToString(bytes));
    }
  }

  static String lossy(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }

  /** The text of the bytes, or null when they are no UTF-8. */
  static String text(byte[] bytes) {
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException e) {
      return null;
    }
  }
}
