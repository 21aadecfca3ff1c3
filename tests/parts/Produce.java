// Produces records to Kafka with the Java client and Apache Avro: a producer that shares no code
// with the one under test. One JSON object per line on stdin:
//
//   {"topic": "t", "partition": 0, "timestamp": 1700000000000, "key": "k", "headers": {"h": "v"}, ...}
//
// and one of: "value": text or null (a tombstone); "value_json": any JSON, sent as compact text;
// "value_base64": bytes; "avro": plain JSON, missing fields take the schema's defaults, or
// "avro_json": Avro's own JSON encoding, both with "schema_file" and "schema_id", framed as
// Confluent does (0, four bytes of id, body). "key_base64" replaces "key" for bytes.
//
//   --bootstrap HOST:PORT   --rate N (records a second)   --property name=value (of the producer)
//   --for-seconds S  keep cycling over the lines; ${n}, ${now_ms} and ${now} in them are replaced
//
// Ends with one JSON line of counts; the exit status is 1 unless every record was acknowledged.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.avro.AvroTypeException;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Produce {
  static final ObjectMapper JSON = new ObjectMapper();
  static final Map<String, Schema> SCHEMAS = new HashMap<>();

  public static void main(String[] args) throws Exception {
    Properties properties = new Properties();
    properties.put("acks", "all");
    properties.put("linger.ms", "5");
    properties.put("max.request.size", "20971520");
    properties.put("buffer.memory", "67108864");
    double rate = 0;
    double forSeconds = 0;
    for (int i = 0; i + 1 < args.length; i += 2) {
      String value = args[i + 1];
      switch (args[i]) {
        case "--bootstrap" -> properties.put("bootstrap.servers", value);
        case "--rate" -> rate = Double.parseDouble(value);
        case "--for-seconds" -> forSeconds = Double.parseDouble(value);
        case "--property" -> properties.put(value.split("=", 2)[0], value.split("=", 2)[1]);
        default -> throw new IllegalArgumentException("unknown option " + args[i]);
      }
    }

    AtomicLong acked = new AtomicLong();
    AtomicLong failed = new AtomicLong();
    long sent = 0;
    long start = System.nanoTime();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    try (var producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
      List<String> cycle = forSeconds > 0 ? in.lines().filter(l -> !l.isBlank()).toList() : null;
      while (true) {
        String line;
        if (cycle == null) {
          line = in.readLine();
          if (line == null) break;
          if (line.isBlank()) continue;
        } else {
          if (cycle.isEmpty() || System.nanoTime() - start > forSeconds * 1e9) break;
          line = cycle.get((int) (sent % cycle.size()));
        }
        if (rate > 0) sleepUntil(start + (long) (sent * 1e9 / rate));
        producer.send(record(JSON.readTree(fill(line, sent))), (metadata, error) -> {
          if (error == null) {
            acked.incrementAndGet();
          } else if (failed.incrementAndGet() <= 5) {
            System.err.println("not acknowledged: " + error);
          }
        });
        sent++;
      }
      producer.flush();
    }
    double seconds = (System.nanoTime() - start) / 1e9;
    System.out.printf(java.util.Locale.ROOT, "{\"sent\":%d,\"acked\":%d,\"failed\":%d,\"seconds\":%.3f}%n",
        sent, acked.get(), failed.get(), seconds);
    System.exit(acked.get() == sent ? 0 : 1);
  }

  static void sleepUntil(long nanos) throws InterruptedException {
    long wait = nanos - System.nanoTime();
    if (wait > 0) Thread.sleep(wait / 1_000_000, (int) (wait % 1_000_000));
  }

  static String fill(String line, long n) {
    if (!line.contains("${")) return line;
    Instant now = Instant.now();
    return line.replace("${n}", Long.toString(n))
        .replace("${now_ms}", Long.toString(now.toEpochMilli()))
        .replace("${now}", now.toString());
  }

  static ProducerRecord<byte[], byte[]> record(JsonNode line) throws Exception {
    Integer partition = line.hasNonNull("partition") ? Integer.valueOf(line.get("partition").asInt()) : null;
    Long timestamp = line.hasNonNull("timestamp") ? Long.valueOf(line.get("timestamp").asLong()) : null;
    byte[] key = line.hasNonNull("key_base64")
        ? Base64.getDecoder().decode(line.get("key_base64").asText())
        : line.hasNonNull("key") ? utf8(line.get("key").asText()) : null;
    var record = new ProducerRecord<>(line.get("topic").asText(), partition, timestamp, key, value(line));
    if (line.hasNonNull("headers")) {
      line.get("headers").properties().forEach(header -> record.headers()
          .add(header.getKey(), header.getValue().isNull() ? null : utf8(header.getValue().asText())));
    }
    return record;
  }

  static byte[] value(JsonNode line) throws Exception {
    if (line.hasNonNull("value")) return utf8(line.get("value").asText());
    if (line.has("value_json")) return JSON.writeValueAsBytes(line.get("value_json"));
    if (line.hasNonNull("value_base64")) return Base64.getDecoder().decode(line.get("value_base64").asText());
    if (!line.has("avro") && !line.has("avro_json")) return null;
    Schema schema = schema(line.get("schema_file").asText());
    Object datum = line.has("avro")
        ? datum(schema, line.get("avro"), schema.getName())
        : new GenericDatumReader<>(schema)
            .read(null, DecoderFactory.get().jsonDecoder(schema, line.get("avro_json").toString()));
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    bytes.write(0);
    bytes.write(ByteBuffer.allocate(4).putInt(line.get("schema_id").asInt()).array());
    BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(bytes, null);
    new GenericDatumWriter<>(schema).write(datum, encoder);
    encoder.flush();
    return bytes.toByteArray();
  }

  static Schema schema(String file) throws Exception {
    Schema schema = SCHEMAS.get(file);
    if (schema == null) {
      schema = new Schema.Parser().parse(new File(file));
      SCHEMAS.put(file, schema);
    }
    return schema;
  }

  /** Plain JSON to an Avro datum: a union takes the first branch that fits. */
  static Object datum(Schema schema, JsonNode json, String path) {
    switch (schema.getType()) {
      case UNION:
        for (Schema branch : schema.getTypes()) {
          try {
            return datum(branch, json, path);
          } catch (AvroTypeException notThisBranch) {
            // The next branch is tried.
          }
        }
        break;
      case NULL:
        if (json.isNull()) return null;
        break;
      case RECORD:
        if (json.isObject()) return recordDatum(schema, json, path);
        break;
      case MAP:
        if (json.isObject()) {
          Map<String, Object> map = new HashMap<>();
          json.properties().forEach(e -> map.put(e.getKey(), datum(schema.getValueType(), e.getValue(), path)));
          return map;
        }
        break;
      case ARRAY:
        if (json.isArray()) {
          List<Object> list = new ArrayList<>();
          json.forEach(element -> list.add(datum(schema.getElementType(), element, path)));
          return list;
        }
        break;
      case ENUM:
        if (json.isTextual() && schema.hasEnumSymbol(json.asText())) {
          return new GenericData.EnumSymbol(schema, json.asText());
        }
        break;
      case STRING:
        if (json.isTextual()) return json.asText();
        break;
      case BYTES:
        if (json.isTextual()) return ByteBuffer.wrap(json.asText().getBytes(StandardCharsets.ISO_8859_1));
        break;
      case FIXED:
        if (json.isTextual()) {
          return new GenericData.Fixed(schema, json.asText().getBytes(StandardCharsets.ISO_8859_1));
        }
        break;
      case INT:
        if (json.canConvertToInt() && json.isIntegralNumber()) return json.asInt();
        break;
      case LONG:
        if (json.canConvertToLong() && json.isIntegralNumber()) return json.asLong();
        break;
      case FLOAT:
        if (json.isNumber()) return (float) json.asDouble();
        break;
      case DOUBLE:
        // JSON has no NaN.
        if (json.isNumber() || json.asText().equals("NaN")) return json.isNumber() ? json.asDouble() : Double.NaN;
        break;
      case BOOLEAN:
        if (json.isBoolean()) return json.asBoolean();
        break;
      default:
        break;
    }
    throw new AvroTypeException(path + ": " + json + " does not fit " + schema);
  }

  static GenericData.Record recordDatum(Schema schema, JsonNode json, String path) {
    GenericData.Record record = new GenericData.Record(schema);
    json.fieldNames().forEachRemaining(name -> {
      if (schema.getField(name) == null) throw new AvroTypeException(path + " has no field " + name);
    });
    for (Schema.Field field : schema.getFields()) {
      JsonNode given = json.get(field.name());
      if (given != null) {
        record.put(field.pos(), datum(field.schema(), given, path + "." + field.name()));
      } else if (field.hasDefaultValue()) {
        record.put(field.pos(), GenericData.get().getDefaultValue(field));
      } else {
        throw new AvroTypeException(path + "." + field.name() + " is missing and has no default");
      }
    }
    return record;
  }

  static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
